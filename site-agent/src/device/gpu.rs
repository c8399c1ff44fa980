//! The operators on a GPU, through cubecl: the same programs for NVIDIA's CUDA and for Vulkan.
//!
//! Nothing is chosen by trying what is fastest, so results do not depend on how busy the GPU is,
//! and the first step needs no trials.

mod convolution;
mod kernels;

use super::atrous::Geometry;
use super::operators::{AdamStep, MomentumStep, OperatorGradients, Operators, OptimiserSteps};
use super::{DeviceError, DeviceFault};
use burn::backend::ops::FloatTensorOps;
use burn::backend::{DispatchDevice, TensorMetadata};
use burn::tensor::{DType, Device, DeviceType, Shape, Tensor};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::calculate_cube_count_elemwise;
use cubecl::ir::{ElemType, FloatKind};
use cubecl::prelude::{CubeCount, CubeDim};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// The least rows that one thread sums, where there are as many.
const ROWS_A_THREAD: usize = 32;
/// The most partial sums of a sum over rows.
const PARTS: usize = 1024;
/// The most partial sums of a sum of squares.
const MOST_SQUARES: usize = 1 << 15;
/// The most rows that one thread sums alone.
const FEW_PARTS: usize = 64;

/// Opens a GPU and computes a sum on it, so that a fault shows now and not in a round.
pub(super) fn open(
    backend: &'static str,
    kind: DeviceType,
    index: usize,
    kernel_cache: Option<&Path>,
) -> Result<Device, DeviceError> {
    super::cache::keep_in(kernel_cache);
    let devices = Device::enumerate(kind).into_vec();
    let found = devices.len();
    let device = devices.into_iter().nth(index).ok_or(DeviceError::Absent {
        backend,
        index,
        found,
    })?;
    match check(&device) {
        Ok(()) => {
            quieten_panics();
            Ok(device)
        }
        Err(fault) => Err(DeviceError::Broken {
            name: format!("{backend}:{index}"),
            fault,
        }),
    }
}

/// Computes a sum on a GPU.
pub(super) fn check(device: &Device) -> Result<(), DeviceFault> {
    let device = device.clone().without_autodiff();
    // Drivers and their bindings panic where something is wrong, on threads of their own too: here
    // that is an answer.
    let (answer, panics) =
        without_panics(move || super::read(super::total(Tensor::<1>::ones([1000], &device))));
    match (panics.first(), answer) {
        (Some(words), _) => Err(DeviceFault::new(words)),
        (None, Some(Ok(sum))) if sum == [1000.0] => Ok(()),
        (None, Some(Ok(sum))) => Err(DeviceFault::Failed(format!(
            "a sum of a thousand ones is {sum:?}"
        ))),
        (None, Some(Err(fault))) => Err(fault),
        (None, None) => Err(DeviceFault::Failed("it ended without a word".into())),
    }
}

/// The libraries that panic where a GPU refuses.
const LIBRARIES: [&str; 4] = ["burn-", "cubecl-", "cudarc-", "wgpu-"];

/// From now on panics of these libraries are a line of the log. They are answers of a GPU, and
/// what asked for the work hears of them; a trace of the libraries' own code helps no user.
fn quieten_panics() {
    static QUIET: std::sync::Once = std::sync::Once::new();
    QUIET.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let file = panic.location().map_or("", |location| location.file());
            if LIBRARIES.iter().any(|library| file.contains(library)) {
                let words = panic.payload_as_str().unwrap_or("no reason given");
                tracing::debug!("the GPU's libraries broke off work: {words}");
            } else {
                before(panic);
            }
        }));
    });
}

/// What a panic of `unwrap` says before the error itself.
const UNWRAPPED: &str = "called `Result::unwrap()` on an `Err` value: ";

/// Does work on a thread of its own. Returns what came of it, unless it panicked, and the words of
/// all panics meanwhile, on whatever thread, in their order. None is printed.
fn without_panics<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> (Option<T>, Vec<String>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = heard.clone();
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let words = panic.payload_as_str().unwrap_or("no reason given");
        let words = words.strip_prefix(UNWRAPPED).unwrap_or(words);
        let mut heard = hears.lock().unwrap_or_else(PoisonError::into_inner);
        heard.push(words.to_owned());
    }));
    let done = std::thread::spawn(work).join().ok();
    std::panic::set_hook(before);
    let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
    (done, std::mem::take(&mut *heard))
}

/// Bytes of memory that a GPU has.
pub(super) fn memory(device: &Device) -> Option<u64> {
    match device.clone().without_autodiff().as_dispatch() {
        DispatchDevice::Cube(gpu) => gpu.client().properties().memory.max_memory(),
        _ => None,
    }
}

fn element(tensor: &CubeTensor) -> ElemType {
    let kind = match tensor.dtype {
        DType::F64 => FloatKind::F64,
        DType::F16 => FloatKind::F16,
        DType::BF16 => FloatKind::BF16,
        _ => FloatKind::F32,
    };
    ElemType::Float(kind)
}

/// An uninitialised tensor on the same GPU.
fn empty<const D: usize>(like: &CubeTensor, shape: [usize; D], dtype: DType) -> CubeTensor {
    empty_device_contiguous_dtype(
        like.client.clone(),
        like.device.clone(),
        Shape::from(shape),
        dtype,
    )
}

/// An uninitialised tensor of the same shape and type on the same GPU.
fn empty_like(other: &CubeTensor) -> CubeTensor {
    empty_device_contiguous_dtype(
        other.client.clone(),
        other.device.clone(),
        other.shape(),
        other.dtype,
    )
}

/// One thread for each of `count` values.
fn threads(tensor: &CubeTensor, count: usize) -> (CubeCount, CubeDim) {
    let cube = CubeDim::new(&tensor.client, count);
    (
        calculate_cube_count_elemwise(&tensor.client, count, cube),
        cube,
    )
}

/// The number of partial sums of a sum over `rows`.
fn parts(rows: usize) -> usize {
    if rows <= FEW_PARTS {
        1
    } else {
        (rows / ROWS_A_THREAD).clamp(1, PARTS)
    }
}

/// Sums over the rows of `[groups, rows, columns]`, repeatedly until one row is left.
fn sum_rows(input: CubeTensor, [groups, rows, columns]: [usize; 3], dtype: DType) -> CubeTensor {
    let parts = parts(rows);
    let last = parts == 1;
    let output = empty(
        &input,
        [groups, parts, columns],
        if last { dtype } else { DType::F32 },
    );
    let (count, cube) = threads(&output, groups * parts * columns);
    kernels::sum_rows::launch(
        &output.client,
        count,
        cube,
        input.clone().into_buffer_arg(),
        output.clone().into_buffer_arg(),
        rows,
        columns,
        parts,
        [element(&input), element(&output)],
    );
    if last {
        output
    } else {
        sum_rows(output, [groups, parts, columns], dtype)
    }
}

/// The sum of partial sums, `[parts, columns]` in 32 bits: `[1, columns]`.
fn folded(sums: CubeTensor, parts: usize, columns: usize) -> CubeTensor {
    if parts == 1 {
        sums
    } else {
        sum_rows(sums, [1, parts, columns], DType::F32)
    }
}

impl Operators for CubeBackend {
    fn convolution(input: CubeTensor, kernel: CubeTensor, geometry: Geometry) -> CubeTensor {
        convolution::forward(input, kernel, &geometry)
    }

    fn statistics(input: CubeTensor) -> CubeTensor {
        let input = into_contiguous(input);
        let [batch, height, width, channels] = input.shape().dims();
        let rows = batch * height * width;
        let parts = parts(rows);
        let sums = empty(&input, [parts, 2, channels], DType::F32);
        let (count, cube) = threads(&input, parts * channels);
        kernels::sum_moments::launch(
            &input.client,
            count,
            cube,
            input.clone().into_buffer_arg(),
            sums.clone().into_buffer_arg(),
            rows,
            channels,
            parts,
            element(&input),
        );
        let sums = folded(sums, parts, 2 * channels);
        let output = empty(&input, [2, channels], DType::F32);
        let (count, cube) = threads(&input, channels);
        kernels::mean_and_variance::launch(
            &input.client,
            count,
            cube,
            input.clone().into_buffer_arg(),
            sums.into_buffer_arg(),
            output.clone().into_buffer_arg(),
            rows,
            channels,
            element(&input),
        );
        output
    }

    fn normalisation(
        input: CubeTensor,
        statistics: CubeTensor,
        weight: CubeTensor,
        bias: CubeTensor,
        epsilon: f32,
        rectified: bool,
    ) -> CubeTensor {
        let input = into_contiguous(input);
        let shape: [usize; 4] = input.shape().dims();
        let output = empty(&input, shape, input.dtype);
        let (count, cube) = threads(&input, shape.iter().product());
        kernels::normalise::launch(
            &output.client,
            count,
            cube,
            input.clone().into_buffer_arg(),
            into_contiguous(statistics).into_buffer_arg(),
            into_contiguous(weight).into_buffer_arg(),
            into_contiguous(bias).into_buffer_arg(),
            output.clone().into_buffer_arg(),
            shape[3],
            epsilon,
            rectified,
            element(&input),
        );
        output
    }

    fn sums(input: CubeTensor) -> CubeTensor {
        let input = into_contiguous(input);
        let [groups, rows, columns] = input.shape().dims();
        let dtype = input.dtype;
        Self::float_reshape(
            sum_rows(input, [groups, rows, columns], dtype),
            Shape::from([groups, columns]),
        )
    }

    fn product(input: CubeTensor, matrix: CubeTensor) -> CubeTensor {
        let input = into_contiguous(input);
        let matrix = into_contiguous(matrix);
        let [groups, rows, columns] = input.shape().dims();
        let [outputs, _] = matrix.shape().dims();
        let output = empty(&input, [groups, outputs, columns], input.dtype);
        let (count, cube) = threads(&input, groups * outputs * columns);
        kernels::multiply::launch(
            &output.client,
            count,
            cube,
            input.clone().into_buffer_arg(),
            matrix.into_buffer_arg(),
            output.clone().into_buffer_arg(),
            rows,
            columns,
            outputs,
            element(&input),
        );
        output
    }

    fn joined(left: CubeTensor, right: CubeTensor) -> CubeTensor {
        let left = into_contiguous(left);
        let right = into_contiguous(right);
        let output = empty_like(&left);
        let (count, cube) = threads(&output, output.meta.num_elements());
        kernels::join::launch(
            &output.client,
            count,
            cube,
            left.clone().into_buffer_arg(),
            right.into_buffer_arg(),
            output.clone().into_buffer_arg(),
            element(&left),
        );
        output
    }

    fn shifted(input: CubeTensor, bias: CubeTensor) -> CubeTensor {
        let [columns] = bias.shape().dims();
        Self::float_add(input, Self::float_reshape(bias, Shape::from([1, columns])))
    }
}

impl OptimiserSteps for CubeBackend {
    fn squares(values: CubeTensor) -> CubeTensor {
        let values = into_contiguous(values);
        let parts = (values.meta.num_elements() / ROWS_A_THREAD).clamp(1, MOST_SQUARES);
        let sums = empty(&values, [1, parts, 1], DType::F32);
        let (count, cube) = threads(&values, parts);
        kernels::sum_squares::launch(
            &values.client,
            count,
            cube,
            values.clone().into_buffer_arg(),
            sums.clone().into_buffer_arg(),
            parts,
            element(&values),
        );
        Self::float_reshape(sum_rows(sums, [1, parts, 1], DType::F32), Shape::from([1]))
    }

    fn adam(
        weights: CubeTensor,
        gradient: CubeTensor,
        first: CubeTensor,
        second: CubeTensor,
        step: AdamStep,
    ) -> (CubeTensor, CubeTensor, CubeTensor) {
        let [weights, gradient, first, second] =
            [weights, gradient, first, second].map(into_contiguous);
        let new = [
            empty_like(&weights),
            empty_like(&weights),
            empty_like(&weights),
        ];
        let (count, cube) = threads(&weights, weights.meta.num_elements());
        let [new_weights, new_first, new_second] = new.clone().map(CubeTensor::into_buffer_arg);
        let client = weights.client.clone();
        kernels::adam::launch(
            &client,
            count,
            cube,
            weights.into_buffer_arg(),
            gradient.into_buffer_arg(),
            first.into_buffer_arg(),
            second.into_buffer_arg(),
            new_weights,
            new_first,
            new_second,
            step.rate,
            step.factor,
            step.penalty,
            step.shrink,
            step.corrections[0],
            step.corrections[1],
            AdamStep::BETAS[0],
            AdamStep::BETAS[1],
            AdamStep::EPSILON,
        );
        let [weights, first, second] = new;
        (weights, first, second)
    }

    fn momentum(
        weights: CubeTensor,
        gradient: CubeTensor,
        velocity: CubeTensor,
        step: MomentumStep,
    ) -> (CubeTensor, CubeTensor) {
        let [weights, gradient, velocity] = [weights, gradient, velocity].map(into_contiguous);
        let new = [empty_like(&weights), empty_like(&weights)];
        let (count, cube) = threads(&weights, weights.meta.num_elements());
        let [new_weights, new_velocity] = new.clone().map(CubeTensor::into_buffer_arg);
        let client = weights.client.clone();
        kernels::momentum::launch(
            &client,
            count,
            cube,
            weights.into_buffer_arg(),
            gradient.into_buffer_arg(),
            velocity.into_buffer_arg(),
            new_weights,
            new_velocity,
            step.rate,
            step.factor,
            step.penalty,
            MomentumStep::MOMENTUM,
        );
        let [weights, velocity] = new;
        (weights, velocity)
    }
}

impl OperatorGradients for CubeBackend {
    fn passed(gradient: CubeTensor, output: CubeTensor) -> CubeTensor {
        let gradient = into_contiguous(gradient);
        let joined = into_contiguous(output);
        let output = empty_like(&gradient);
        let (count, cube) = threads(&output, output.meta.num_elements());
        kernels::pass::launch(
            &output.client,
            count,
            cube,
            gradient.clone().into_buffer_arg(),
            joined.clone().into_buffer_arg(),
            output.clone().into_buffer_arg(),
            [element(&gradient), element(&joined)],
        );
        output
    }

    fn convolution_to_input(
        gradient: CubeTensor,
        kernel: CubeTensor,
        geometry: Geometry,
    ) -> CubeTensor {
        convolution::to_input(gradient, kernel, &geometry)
    }

    fn convolution_to_kernel(
        gradient: CubeTensor,
        input: CubeTensor,
        geometry: Geometry,
    ) -> CubeTensor {
        convolution::to_kernel(gradient, input, &geometry)
    }

    fn normalisation_gradients(
        gradient: CubeTensor,
        input: CubeTensor,
        statistics: CubeTensor,
        weight: CubeTensor,
        bias: CubeTensor,
        epsilon: f32,
        rectified: bool,
    ) -> (CubeTensor, CubeTensor, CubeTensor) {
        let tensors = [gradient, input, statistics, weight, bias].map(into_contiguous);
        let [gradient, input, statistics, weight, bias] = &tensors;
        let shape: [usize; 4] = input.shape().dims();
        let [batch, height, width, channels] = shape;
        let rows = batch * height * width;
        let parts = parts(rows);
        let types = [element(gradient), element(input)];
        let sums = empty(input, [parts, 2, channels], DType::F32);
        let (count, cube) = threads(input, parts * channels);
        kernels::sum_gradients::launch(
            &input.client,
            count,
            cube,
            gradient.clone().into_buffer_arg(),
            input.clone().into_buffer_arg(),
            statistics.clone().into_buffer_arg(),
            weight.clone().into_buffer_arg(),
            bias.clone().into_buffer_arg(),
            sums.clone().into_buffer_arg(),
            rows,
            channels,
            parts,
            epsilon,
            rectified,
            types,
        );
        let sums = folded(sums, parts, 2 * channels);
        let output = empty(input, shape, input.dtype);
        let (count, cube) = threads(input, rows * channels);
        kernels::normalise_back::launch(
            &input.client,
            count,
            cube,
            gradient.clone().into_buffer_arg(),
            input.clone().into_buffer_arg(),
            statistics.clone().into_buffer_arg(),
            weight.clone().into_buffer_arg(),
            bias.clone().into_buffer_arg(),
            sums.clone().into_buffer_arg(),
            output.clone().into_buffer_arg(),
            rows,
            channels,
            epsilon,
            rectified,
            types,
        );
        let sums = Self::float_reshape(sums, Shape::from([2, channels]));
        let row = |index: usize| {
            let row = Self::float_slice(
                sums.clone(),
                &[(index..index + 1).into(), (0..channels).into()],
            );
            Self::float_reshape(row, Shape::from([channels]))
        };
        (output, row(1), row(0))
    }
}
