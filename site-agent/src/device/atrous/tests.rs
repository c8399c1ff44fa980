use super::*;
use proptest::prelude::*;

/// Visits every product of the convolution: output place, input place, kernel place.
fn each(geometry: &Geometry, mut visit: impl FnMut(usize, usize, usize)) {
    let [batch, height, width, channels] = geometry.input;
    let [outputs, _, side, _] = geometry.kernel;
    let [_, rows, columns, _] = geometry.output();
    let within = |place: usize, step: usize, limit: usize| {
        let at = place * geometry.stride + step * geometry.dilation;
        at.checked_sub(geometry.padding).filter(|&at| at < limit)
    };
    for (image, output) in
        (0..batch).flat_map(|image| (0..outputs).map(move |output| (image, output)))
    {
        for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)))
        {
            for (channel, tap) in
                (0..channels).flat_map(|c| (0..side * side).map(move |tap| (c, tap)))
            {
                let place = (
                    within(row, tap / side, height),
                    within(column, tap % side, width),
                );
                let (Some(y), Some(x)) = place else { continue };
                visit(
                    ((image * rows + row) * columns + column) * outputs + output,
                    ((image * height + y) * width + x) * channels + channel,
                    (output * channels + channel) * side * side + tap,
                );
            }
        }
    }
}

/// Small whole numbers: sums of their products are exact in any order.
fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count)
        .map(|at| ((at + seed).wrapping_mul(2_654_435_761) >> 7) as f32 % 7.0 - 3.0)
        .collect()
}

fn geometries() -> impl Strategy<Value = Geometry> {
    let sizes = (1usize..4, 1usize..4, 1usize..12, 1usize..12, 1usize..4);
    (
        sizes,
        prop_oneof![Just(1usize), Just(3), Just(5)],
        1usize..4,
        1usize..7,
        0usize..9,
    )
        .prop_filter_map(
            "the kernel is within the padded input",
            |((batch, channels, height, width, outputs), side, stride, dilation, padding)| {
                let (input, kernel) = (
                    [batch, height, width, channels],
                    [outputs, channels, side, side],
                );
                let span = dilation * (side - 1) + 1;
                (span <= height.min(width) + 2 * padding).then_some(Geometry {
                    input,
                    kernel,
                    stride,
                    padding,
                    dilation,
                })
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn forward_and_backward_are_the_definition(geometry in geometries()) {
        let input = numbers(geometry.input.iter().product(), 1);
        let kernel = numbers(geometry.kernel.iter().product(), 2);
        let gradient = numbers(geometry.output().iter().product(), 3);
        let mut output = vec![0.0; gradient.len()];
        let mut to_input = vec![0.0; input.len()];
        let mut to_kernel = vec![0.0; kernel.len()];
        each(&geometry, |o, i, k| {
            output[o] += input[i] * kernel[k];
            to_input[i] += gradient[o] * kernel[k];
            to_kernel[k] += gradient[o] * input[i];
        });
        prop_assert_eq!(forward(&geometry, &input, &kernel), output);
        prop_assert_eq!(super::to_input(&geometry, &gradient, &kernel), to_input);
        prop_assert_eq!(super::to_kernel(&geometry, &gradient, &input), to_kernel);
    }
}

#[test]
fn large_maps_go_block_by_block() {
    let geometry = Geometry {
        input: [2, 65, 64, 24],
        kernel: [3, 24, 3, 3],
        stride: 2,
        padding: 1,
        dilation: 1,
    };
    let group = &geometry.groups()[0];
    assert!(geometry.blocks(group).count() > 1);
    let input = numbers(2 * 24 * 65 * 64, 4);
    let kernel = numbers(3 * 24 * 9, 5);
    let mut output = vec![0.0; geometry.output().iter().product()];
    each(&geometry, |o, i, k| output[o] += input[i] * kernel[k]);
    assert_eq!(forward(&geometry, &input, &kernel), output);
}

#[test]
fn taps_that_see_only_padding_cost_nothing() {
    let wide = Geometry {
        input: [1, 8, 8, 4],
        kernel: [4, 4, 3, 3],
        stride: 1,
        padding: 12,
        dilation: 12,
    };
    assert_eq!(
        wide.groups(),
        [Group {
            taps: 4..5,
            rows: 0..8,
            columns: 0..8
        }]
    );
    let some = Geometry {
        padding: 6,
        dilation: 6,
        ..wide
    };
    assert_eq!(
        some.groups().iter().map(Group::places).sum::<usize>(),
        64 + 4 * 16 + 4 * 4
    );
    let near = Geometry {
        padding: 1,
        dilation: 1,
        ..wide
    };
    assert_eq!(
        near.groups(),
        [Group {
            taps: 0..9,
            rows: 0..8,
            columns: 0..8
        }]
    );
}
