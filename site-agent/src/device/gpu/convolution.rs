//! Convolutions and their gradients on a GPU.
//!
//! Matrix units are used where the GPU has them, plain programs where it has none. The gradient
//! with respect to the kernel is a product of matrices: what the kernel saw at every place, times
//! what came of it.

use super::{element, empty, kernels, sum_rows, threads};
use crate::device::atrous::Geometry;
use burn::backend::TensorMetadata;
use burn::backend::ops::FloatTensorOps;
use burn::tensor::{DType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::{cast, into_contiguous};
use burn_cubecl::tensor::CubeTensor;
use cubek_convolution::{
    AcceleratedTileKind, ConvAlgorithm, ConvolutionArgs, ConvolutionInputs, DirectTensors,
    Strategy, launch_direct, launch_ref,
};
use cubek_matmul::definition::{MatmulElems, MatmulGlobalElems};
use cubek_matmul::multi_level;
use cubek_std::InputBinding;

/// Values of patches gathered at once, of which a GPU must have room for.
const MOST_PATCHES: usize = 1 << 27;
/// Rows and columns of a matrix that one group of threads multiplies.
const TILE: usize = 64;
/// Groups of threads that keep a large GPU busy.
const BUSY_GPU: usize = 256;
/// Rows below which a sum is not split further.
const LEAST_SPLIT: usize = 128;

/// How matrix units are used where a GPU has them: every tile is loaded by all threads together.
const TILED: Strategy = Strategy::Inferred {
    algorithm: ConvAlgorithm::SimpleSyncCyclic,
    tile_kind: AcceleratedTileKind::Cmma,
};

/// See [`crate::device::convolve`].
pub(super) fn forward(input: CubeTensor, kernel: CubeTensor, geometry: &Geometry) -> CubeTensor {
    let (input, kernel) = (into_contiguous(input), channels_last(kernel));
    let output = empty(&input, geometry.output(), input.dtype);
    let inputs = ConvolutionInputs::Forward {
        input: binding(&input),
        weight: binding(&kernel),
        bias: None,
        out: output.clone().binding(),
    };
    if !tiled(inputs, [&input, &kernel, &output], geometry) {
        direct(
            &input,
            &kernel,
            &output,
            arguments(geometry.stride, geometry.padding, geometry.dilation),
        );
    }
    output
}

/// The gradient with respect to the input, from that of the output.
pub(super) fn to_input(
    gradient: CubeTensor,
    kernel: CubeTensor,
    geometry: &Geometry,
) -> CubeTensor {
    let gradient = unstrided(into_contiguous(gradient), geometry);
    let geometry = Geometry {
        stride: 1,
        ..*geometry
    };
    let output = empty(&gradient, geometry.input, gradient.dtype);
    let turned = channels_last(kernel.clone());
    let inputs = ConvolutionInputs::BackwardData {
        out_grad: binding(&gradient),
        weights: binding(&turned),
        in_grad: output.clone().binding(),
    };
    if tiled(inputs, [&gradient, &turned, &output], &geometry) {
        return output;
    }
    direct_to_input(gradient, kernel, &geometry)
}

/// The gradient with respect to the kernel, from that of the output: as many images at once as
/// there is room for.
pub(super) fn to_kernel(
    gradient: CubeTensor,
    input: CubeTensor,
    geometry: &Geometry,
) -> CubeTensor {
    let [outputs, inputs, side, _] = geometry.kernel;
    let [batch, rows, columns, _] = geometry.output();
    let (gradient, input) = (into_contiguous(gradient), into_contiguous(input));
    let length = side * side * inputs;
    let most = (MOST_PATCHES / (rows * columns * length)).clamp(1, batch);
    let mut sum: Option<CubeTensor> = None;
    for first in (0..batch).step_by(most) {
        let count = most.min(batch - first);
        let (gradient, input) = (
            images(&gradient, first, count),
            images(&input, first, count),
        );
        let block = Geometry {
            input: [count, geometry.input[1], geometry.input[2], inputs],
            ..*geometry
        };
        let product = block_to_kernel(gradient, input, &block);
        sum = Some(match sum {
            Some(sum) => CubeBackend::float_add(sum, product),
            None => product,
        });
    }
    let sum = sum.unwrap_or_else(|| empty(&gradient, [1, 1, outputs * length], DType::F32));
    let kernel = CubeBackend::float_reshape(sum, Shape::from([outputs, side, side, inputs]));
    let kernel = CubeBackend::float_permute(kernel, &[0, 3, 1, 2]);
    if gradient.dtype == DType::F32 {
        kernel
    } else {
        cast(kernel, gradient.dtype)
    }
}

/// Some images of a batch, without a copy of the others.
fn images(batch: &CubeTensor, first: usize, count: usize) -> CubeTensor {
    let [all, height, width, channels] = batch.shape().dims();
    if count == all {
        return batch.clone();
    }
    let block = [first..first + count, 0..height, 0..width, 0..channels];
    into_contiguous(CubeBackend::float_slice(
        batch.clone(),
        &block.map(Into::into),
    ))
}

/// The gradient with respect to the kernel of one block of images, `[1, 1, outputs * length]` in 32
/// bits.
fn block_to_kernel(gradient: CubeTensor, input: CubeTensor, geometry: &Geometry) -> CubeTensor {
    let [outputs, inputs, side, _] = geometry.kernel;
    let [count, rows, columns, _] = geometry.output();
    let length = side * side * inputs;
    let places = count * rows * columns;
    let splits = splits(places, outputs.div_ceil(TILE) * length.div_ceil(TILE));
    let split = |tensor: CubeTensor, columns: usize| {
        CubeBackend::float_reshape(tensor, Shape::from([splits, places / splits, columns]))
    };
    let patches = split(patches(input, geometry), length);
    let products = products(&split(gradient, outputs), &patches);
    sum_rows(products, [1, splits, outputs * length], DType::F32)
}

fn binding(tensor: &CubeTensor) -> InputBinding {
    InputBinding::new(tensor.clone().binding(), element(tensor))
}

fn arguments(stride: usize, padding: usize, dilation: usize) -> ConvolutionArgs<2> {
    ConvolutionArgs {
        stride: [stride; 2],
        padding: [padding; 2],
        dilation: [dilation; 2],
    }
}

/// `[outputs, inputs, side, side]` as `[outputs, side, side, inputs]`.
fn channels_last(kernel: CubeTensor) -> CubeTensor {
    into_contiguous(CubeBackend::float_permute(kernel, &[0, 2, 3, 1]))
}

/// Runs a convolution or one of its gradients on matrix units, and says whether the GPU can.
fn tiled(
    inputs: ConvolutionInputs,
    [left, right, out]: [&CubeTensor; 3],
    geometry: &Geometry,
) -> bool {
    let types = MatmulElems::from_globals(&MatmulGlobalElems {
        lhs: element(left),
        rhs: element(right),
        out: element(out),
    });
    let arguments = arguments(geometry.stride, geometry.padding, geometry.dilation);
    launch_ref::<2>(&TILED, &out.client, inputs, arguments, types).is_ok()
}

/// A convolution without matrix units, on tensors with their channels last.
#[expect(
    clippy::expect_used,
    reason = "the only thing refused is more than one group, and there is one"
)]
fn direct(
    input: &CubeTensor,
    kernel: &CubeTensor,
    output: &CubeTensor,
    arguments: ConvolutionArgs<2>,
) {
    let tensors = DirectTensors {
        input: input.clone().binding(),
        weight: kernel.clone().binding(),
        bias: None,
        out: output.clone().binding(),
    };
    launch_direct::<2>(&output.client, tensors, arguments, 1, element(output))
        .expect("one group is never refused");
}

/// The gradient of a convolution with respect to its output as that of the same convolution with
/// stride 1.
fn unstrided(gradient: CubeTensor, geometry: &Geometry) -> CubeTensor {
    if geometry.stride == 1 {
        return gradient;
    }
    let [batch, height, width, channels] = geometry.output();
    let whole = Geometry {
        stride: 1,
        ..*geometry
    }
    .output();
    let output = empty(&gradient, whole, gradient.dtype);
    let (count, cube) = threads(&gradient, batch * whole[1] * whole[2] * channels);
    kernels::spread::launch(
        &output.client,
        count,
        cube,
        gradient.clone().into_buffer_arg(),
        output.clone().into_buffer_arg(),
        height,
        width,
        whole[1],
        whole[2],
        channels,
        geometry.stride,
        element(&gradient),
    );
    output
}

/// The gradient with respect to the input of a convolution with stride 1: the convolution of the
/// output's gradient with the kernel turned about its centre.
fn direct_to_input(gradient: CubeTensor, kernel: CubeTensor, geometry: &Geometry) -> CubeTensor {
    let reach = geometry.dilation * (geometry.kernel[2] - 1);
    // Where the padding is wider than the kernel's reach, the border of the gradient saw nothing
    // but padding.
    let cut = geometry.padding.saturating_sub(reach);
    let [_, height, width, channels] = geometry.output();
    let seen = [
        0..geometry.input[0],
        cut..height - cut,
        cut..width - cut,
        0..channels,
    ];
    let gradient = into_contiguous(CubeBackend::float_slice(gradient, &seen.map(Into::into)));
    let turned = CubeBackend::float_flip(kernel, &[2, 3]);
    let turned = into_contiguous(CubeBackend::float_permute(turned, &[1, 2, 3, 0]));
    let output = empty(&gradient, geometry.input, gradient.dtype);
    direct(
        &gradient,
        &turned,
        &output,
        arguments(1, reach.saturating_sub(geometry.padding), geometry.dilation),
    );
    output
}

/// What the kernel's taps see from every place of the output: `[batch * rows * columns, taps *
/// inputs]`.
fn patches(input: CubeTensor, geometry: &Geometry) -> CubeTensor {
    let [batch, height, width, inputs] = geometry.input;
    let [_, rows, columns, _] = geometry.output();
    let side = geometry.kernel[2];
    let shape = [batch * rows * columns, side * side * inputs];
    if side == 1 && geometry.stride == 1 && geometry.padding == 0 {
        return CubeBackend::float_reshape(input, Shape::from(shape));
    }
    let output = empty(&input, shape, input.dtype);
    let (count, cube) = threads(&input, shape[0] * shape[1]);
    kernels::patches::launch(
        &output.client,
        count,
        cube,
        input.clone().into_buffer_arg(),
        output.clone().into_buffer_arg(),
        height,
        width,
        inputs,
        rows,
        columns,
        side,
        geometry.stride,
        geometry.padding,
        geometry.dilation,
        element(&input),
    );
    output
}

/// The products of matrices, the left ones transposed: `[batch, n, rows]` and `[batch, n, columns]`
/// make `[batch, rows, columns]`, in 32 bits.
fn products(left: &CubeTensor, right: &CubeTensor) -> CubeTensor {
    let [batch, length, rows] = left.shape().dims();
    let [_, _, columns] = right.shape().dims();
    let output = empty(left, [batch, rows, columns], DType::F32);
    let mut types = MatmulElems::from_globals(&MatmulGlobalElems {
        lhs: element(left),
        rhs: element(right),
        out: element(&output),
    });
    let turned = CubeBackend::float_swap_dims(left.clone(), 1, 2);
    let tiled = cubek_matmul::strategy::Strategy::MultiLevel(
        multi_level::Strategy::SimpleCyclicCmma(Default::default()),
    );
    let out = output.clone().binding();
    if cubek_matmul::launch::launch_ref(
        &tiled,
        &output.client,
        binding(&turned),
        binding(right),
        out,
        &mut types,
    )
    .is_ok()
    {
        return output;
    }
    let (count, cube) = threads(&output, batch * rows * columns);
    kernels::multiply_turned::launch(
        &output.client,
        count,
        cube,
        left.clone().into_buffer_arg(),
        right.clone().into_buffer_arg(),
        output.clone().into_buffer_arg(),
        length,
        rows,
        columns,
        [element(left), element(right)],
    );
    output
}

/// In how many parts a product's sums over `rows` are made, so that all of the GPU has work: a
/// power of two.
fn splits(rows: usize, products: usize) -> usize {
    let mut splits = 1;
    while rows.is_multiple_of(2 * splits)
        && rows / splits > 2 * LEAST_SPLIT
        && products * splits < BUSY_GPU
    {
        splits *= 2;
    }
    splits
}
