//! Every operator and its gradient on a GPU against the processor.
//!
//! The GPU is what `LACUNA_DEVICE` names, Vulkan's first device where it is not set: Mesa's
//! software GPU will do.

use super::{adam as adam_of, read as read_checked, *};
use burn::tensor::TensorData;
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};

/// A GPU, and how far its results may be from the processor's, relative to their size.
pub(crate) struct Gpu {
    pub(crate) device: Device,
    pub(crate) tolerance: f64,
}

/// The GPU to test, or a loud word that there is none.
pub(crate) fn gpu() -> Option<Gpu> {
    let name = std::env::var("LACUNA_DEVICE").unwrap_or_else(|_| "vulkan".into());
    match open(&name) {
        // NVIDIA's matrix units round to 10 bits what they multiply.
        Ok(device) => Some(Gpu {
            device,
            tolerance: if name.starts_with("cuda") { 2e-3 } else { 1e-5 },
        }),
        Err(error) => {
            eprintln!("SKIPPED, NOTHING WAS CHECKED: {error}");
            None
        }
    }
}

fn values(count: usize, seed: usize) -> Vec<f32> {
    (0..count)
        .map(|at| (((at + seed).wrapping_mul(2_654_435_761) >> 9) % 2001) as f32 / 1000.0 - 1.0)
        .collect()
}

fn tensor<const D: usize>(shape: [usize; D], seed: usize, device: &Device) -> Tensor<D> {
    Tensor::from_data(
        TensorData::new(values(shape.iter().product(), seed), shape),
        device,
    )
}

fn read_all<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    read_checked(tensor).unwrap()
}

/// An operator's result and its gradients by each of its inputs, all as flat values.
type Found = Vec<Vec<f32>>;

/// The result of `operator` on `inputs`, and the gradients of its product with fixed values.
fn found(
    inputs: &[(Vec<usize>, usize)],
    device: &Device,
    operator: impl Fn(&[Tensor<4>]) -> Tensor<4>,
) -> Found {
    let device = device.clone().autodiff();
    let inputs: Vec<Tensor<4>> = inputs
        .iter()
        .map(|(shape, seed)| {
            tensor(<[usize; 4]>::try_from(&shape[..]).unwrap(), *seed, &device).require_grad()
        })
        .collect();
    let output = operator(&inputs);
    let weights = tensor(output.dims(), 99, &device);
    let gradients = total(output.clone() * weights).backward();
    let mut found = vec![read_all(output.inner())];
    found.extend(
        inputs
            .iter()
            .filter_map(|input| input.grad(&gradients))
            .map(read_all),
    );
    found
}

fn check(left: &Found, right: &Found, tolerance: f64) -> Result<(), TestCaseError> {
    prop_assert_eq!(left.len(), right.len());
    for (which, (left, right)) in left.iter().zip(right).enumerate() {
        prop_assert_eq!(left.len(), right.len());
        let square =
            |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>();
        let apart = square(
            &mut left
                .iter()
                .zip(right)
                .map(|(&a, &b)| f64::from(a) - f64::from(b)),
        )
        .sqrt();
        let size = square(&mut right.iter().map(|&b| f64::from(b))).sqrt();
        // A sum of a thousand values between -1 and 1 may cancel out: its rounding is that of the
        // values.
        prop_assert!(
            apart <= tolerance * size.max(1.0),
            "result {which}: {apart} apart, size {size}"
        );
    }
    Ok(())
}

/// Runs `operator` on the GPU and on the processor, with shapes drawn by `strategy`.
fn agree<S: Strategy>(
    cases: u32,
    strategy: S,
    inputs: impl Fn(&S::Value) -> Vec<(Vec<usize>, usize)>,
    operator: impl Fn(&S::Value, &[Tensor<4>]) -> Tensor<4>,
) {
    let Some(Gpu { device, tolerance }) = gpu() else {
        return;
    };
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let outcome = TestRunner::new(config).run(&strategy, |drawn| {
        let inputs = inputs(&drawn);
        let run = |device: &Device| found(&inputs, device, |tensors| operator(&drawn, tensors));
        check(&run(&device), &run(&Device::flex()), tolerance)
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

#[derive(Clone, Debug)]
struct Convolution {
    input: [usize; 4],
    kernel: [usize; 4],
    stride: usize,
    padding: usize,
    dilation: usize,
}

fn convolutions() -> impl Strategy<Value = Convolution> {
    let channels = || prop_oneof![Just(1usize), Just(3), Just(8), Just(16), Just(20), Just(32)];
    let sizes = (1usize..3, 3usize..14, 3usize..14, channels(), channels());
    let taps = (
        prop_oneof![Just(1usize), Just(3), Just(7)],
        1usize..3,
        1usize..4,
        0usize..4,
    );
    (sizes, taps).prop_filter_map(
        "the kernel is within the padded input",
        |((batch, height, width, inputs, outputs), (side, stride, dilation, padding))| {
            let span = dilation * (side - 1) + 1;
            (span <= height.min(width) + 2 * padding).then_some(Convolution {
                input: [batch, height, width, inputs],
                kernel: [outputs, inputs, side, side],
                stride,
                padding,
                dilation,
            })
        },
    )
}

#[test]
fn convolutions_are_the_processors() {
    let inputs = |drawn: &Convolution| vec![(drawn.input.to_vec(), 1), (drawn.kernel.to_vec(), 2)];
    agree(24, convolutions(), inputs, |drawn, tensors| {
        convolve(
            tensors[0].clone(),
            tensors[1].clone(),
            [drawn.stride, drawn.padding, drawn.dilation],
        )
    });
}

#[test]
fn a_convolution_of_channels_that_lie_apart_is_the_processors() {
    let Some(Gpu { device, tolerance }) = gpu() else {
        return;
    };
    let run = |device: &Device| {
        let (input, kernel) = (
            tensor([2, 20, 9, 11], 1, device),
            tensor([16, 20, 7, 7], 2, device),
        );
        vec![read_all(convolve(
            input.permute([0, 2, 3, 1]),
            kernel,
            [2, 3, 1],
        ))]
    };
    check(&run(&device), &run(&Device::flex()), tolerance).unwrap();
}

#[test]
fn normalisations_are_the_processors() {
    let shapes = (
        1usize..4,
        1usize..10,
        1usize..70,
        prop_oneof![Just(1usize), Just(5), Just(64)],
        any::<bool>(),
    );
    let inputs = |&(batch, height, width, channels, _): &(usize, usize, usize, usize, bool)| {
        let vector = vec![1, 1, 1, channels];
        vec![
            (vec![batch, height, width, channels], 3),
            (vector.clone(), 4),
            (vector, 5),
        ]
    };
    agree(16, shapes, inputs, |&(.., channels, rectified), tensors| {
        // Away from zero, where sums of squares would lose their digits.
        let input = tensors[0].clone().add_scalar(5.0);
        let affine = [1, 2].map(|index| tensors[index].clone().reshape([channels]));
        // Not PyTorch's small epsilon: a channel of one value would make much of rounding.
        normalise(input.clone(), statistics(input), affine, 1e-2, rectified)
    });
}

#[test]
fn sums_products_and_shifts_are_the_processors() {
    let shapes = (1usize..4, 1usize..3000, 1usize..5, 1usize..40);
    let inputs = |&(groups, rows, columns, _): &(usize, usize, usize, usize)| {
        vec![
            (vec![1, groups, rows, columns], 6),
            (vec![1, 1, 1, columns], 7),
        ]
    };
    agree(
        24,
        shapes,
        inputs,
        |&(groups, rows, columns, outputs), tensors| {
            let input = shift(tensors[0].clone(), tensors[1].clone().reshape([columns]));
            let input = input.reshape([groups, rows, columns]);
            let device = input.device().without_autodiff();
            let product =
                times(tensor([outputs, rows], 8, &device), input.clone()).div_scalar(rows as f64);
            let means = row_means(input).reshape([groups, 1, columns]);
            Tensor::cat(vec![product, means], 1).reshape([1, groups, outputs + 1, columns])
        },
    );
}

#[test]
fn joins_are_the_processors() {
    let shapes = (1usize..4, 1usize..9, 1usize..9, 1usize..40);
    let inputs = |&(batch, height, width, channels): &(usize, usize, usize, usize)| {
        let shape = vec![batch, height, width, channels];
        vec![(shape.clone(), 10), (shape, 11)]
    };
    agree(12, shapes, inputs, |_, tensors| {
        join(tensors[0].clone(), tensors[1].clone())
    });
}

#[test]
fn steps_of_the_optimisers_are_the_processors() {
    let Some(Gpu { device, .. }) = gpu() else {
        return;
    };
    let run = |device: &Device, length: usize| {
        let vector = |seed| tensor([length], seed, device);
        let adam = AdamStep {
            rate: 0.1,
            factor: 0.5,
            penalty: 0.01,
            shrink: 0.99,
            corrections: [0.1, 0.001],
        };
        let second = vector(15).abs();
        let mut found: Found = adam_of(vector(12), vector(13), [vector(14), second], adam)
            .map(read_all)
            .to_vec();
        let step = MomentumStep {
            rate: 0.1,
            factor: 0.5,
            penalty: 0.01,
        };
        found.extend(momentum(vector(12), vector(13), vector(14), step).map(read_all));
        found.push(read_all(squares(vector(12))));
        found
    };
    for length in [1, 77, 100_003] {
        check(&run(&device, length), &run(&Device::flex(), length), 1e-5).unwrap();
    }
}

#[test]
fn what_does_not_fit_is_an_error_and_the_gpu_goes_on() {
    let Some(Gpu { device, .. }) = gpu() else {
        return;
    };
    let huge = device.clone();
    let too_much = std::thread::spawn(move || {
        read_checked(Tensor::<2>::ones([1 << 20, 1 << 20], &huge).slice([0..1, 0..1]))
    });
    let refused = match too_much.join() {
        Ok(answer) => answer.expect_err("four terabytes fit nowhere").to_string(),
        Err(panic) => DeviceFault::new(crate::train::panic_message(&*panic)).to_string(),
    };
    assert!(
        refused.contains("memory") || refused.contains("device failed"),
        "{refused}"
    );
    assert_eq!(read_all(Tensor::<1>::ones([3], &device)), [1.0; 3]);
}

#[test]
fn the_same_sum_is_the_same_bits_again() {
    let Some(Gpu { device, .. }) = gpu() else {
        return;
    };
    let sum = || {
        total(tensor([1, 1, 1000, 77], 9, &device))
            .into_scalar::<f32>()
            .to_bits()
    };
    let first = sum();
    assert!((0..5).all(|_| sum() == first));
}

#[test]
fn what_is_not_a_number_stays_visible() {
    let Some(Gpu { device, .. }) = gpu() else {
        return;
    };
    let input = Tensor::<4>::from_data(TensorData::new(vec![f32::NAN, 1.0], [1, 1, 2, 1]), &device);
    let (one, zero) = (Tensor::ones([1], &device), Tensor::zeros([1], &device));
    let statistics = Tensor::<2>::from_data(TensorData::new(vec![0.0, 1.0], [2, 1]), &device);
    assert!(read_all(normalise(input, statistics, [one, zero], 0.0, true))[0].is_nan());
}
