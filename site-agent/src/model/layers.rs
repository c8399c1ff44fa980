//! Convolution, normalisation, and the two together.

use crate::device::{self, Device};
use burn::module::{Initializer, Module, Param, RunningState};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{GroupNorm, GroupNormConfig, PaddingConfig2d};
use burn::tensor::activation::relu;
use burn::tensor::{Tensor, TensorData};
use protocol::architecture;
use protocol::settings;

/// PyTorch's default.
const EPSILON: f64 = 1e-5;
/// PyTorch's default.
const MOMENTUM: f64 = 0.1;

/// A convolution without its weights.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) side: usize,
    pub(super) stride: usize,
    pub(super) dilation: usize,
}

impl Shape {
    /// A square kernel with stride and dilation 1.
    pub(super) fn plain(inputs: usize, outputs: usize, side: usize) -> Self {
        Self {
            inputs,
            outputs,
            side,
            stride: 1,
            dilation: 1,
        }
    }

    /// The convolution, padded so that stride 1 keeps the resolution; zero until loaded.
    pub(super) fn conv(self, bias: bool, device: &Device) -> Conv2d {
        let padding = padding(self.side, self.dilation);
        Conv2dConfig::new([self.inputs, self.outputs], [self.side, self.side])
            .with_stride([self.stride, self.stride])
            .with_dilation([self.dilation, self.dilation])
            .with_padding(PaddingConfig2d::Explicit(
                padding, padding, padding, padding,
            ))
            .with_bias(bias)
            .with_initializer(Initializer::Zeros)
            .init(device)
    }
}

/// Zeros around the input that keep its resolution at stride 1.
fn padding(side: usize, dilation: usize) -> usize {
    dilation * (side - 1) / 2
}

/// A convolution and its normalisation.
#[derive(Module, Debug)]
pub(super) struct ConvNorm {
    pub(super) conv: Conv2d,
    pub(super) norm: Norm,
}

impl ConvNorm {
    pub(super) fn init(shape: Shape, norm: settings::Norm, device: &Device) -> Self {
        Self {
            conv: shape.conv(false, device),
            norm: Norm::init(shape.outputs, norm, device),
        }
    }

    /// # Shapes
    /// - input: `[batch, height, width, inputs]`
    /// - output: `[batch, height / stride, width / stride, outputs]`, rounded up
    pub(super) fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        self.norm.forward(convolve(&self.conv, input), false)
    }

    /// The same, rectified.
    pub(super) fn forward_relu(&self, input: Tensor<4>) -> Tensor<4> {
        self.norm.forward(convolve(&self.conv, input), true)
    }
}

/// A convolution, channels last.
pub(super) fn convolve(conv: &Conv2d, input: Tensor<4>) -> Tensor<4> {
    let padding = padding(conv.kernel_size[0], conv.dilation[0]);
    let kernel = like(conv.weight.val(), &input);
    let output = device::convolve(input, kernel, [conv.stride[0], padding, conv.dilation[0]]);
    match &conv.bias {
        Some(bias) => device::shift(output, bias.val()),
        None => output,
    }
}

/// Values in the element type of another tensor.
pub(super) fn like(values: Tensor<4>, other: &Tensor<4>) -> Tensor<4> {
    if values.dtype() == other.dtype() {
        values
    } else {
        values.cast(other.dtype())
    }
}

/// From `[batch, height, width, channels]` to `[batch, channels, height, width]`, which burn's own
/// operators need.
pub(super) fn channels_first(input: Tensor<4>) -> Tensor<4> {
    input.permute([0, 3, 1, 2])
}

/// From `[batch, channels, height, width]` to `[batch, height, width, channels]`, which the network
/// uses.
pub(super) fn channels_last(input: Tensor<4>) -> Tensor<4> {
    input.permute([0, 2, 3, 1])
}

/// Normalisation of features.
#[derive(Module, Debug)]
pub(super) enum Norm {
    Batch(BatchNorm),
    Group(GroupNorm),
}

impl Norm {
    fn init(channels: usize, norm: settings::Norm, device: &Device) -> Self {
        match norm {
            settings::Norm::Batch | settings::Norm::BatchLocal => {
                Self::Batch(BatchNorm::init(channels, device))
            }
            settings::Norm::Group => Self::Group(
                GroupNormConfig::new(architecture::groups(channels), channels).init(device),
            ),
        }
    }

    fn forward(&self, input: Tensor<4>, rectified: bool) -> Tensor<4> {
        match self {
            Self::Batch(norm) => norm.forward(input, rectified),
            Self::Group(norm) => rectify(
                channels_last(norm.forward(channels_first(input))),
                rectified,
            ),
        }
    }
}

fn rectify(values: Tensor<4>, rectified: bool) -> Tensor<4> {
    if rectified { relu(values) } else { values }
}

/// Batch normalisation as in PyTorch: it normalises by the biased variance and keeps a running mean
/// of the unbiased one. burn's own layer keeps that of the biased one.
#[derive(Module, Debug)]
pub(super) struct BatchNorm {
    pub(super) weight: Param<Tensor<1>>,
    pub(super) bias: Param<Tensor<1>>,
    pub(super) running_mean: RunningState<Tensor<1>>,
    pub(super) running_var: RunningState<Tensor<1>>,
}

impl BatchNorm {
    fn init(channels: usize, device: &Device) -> Self {
        Self {
            weight: Initializer::Ones.init([channels], device),
            bias: Initializer::Zeros.init([channels], device),
            running_mean: RunningState::new(Tensor::zeros([channels], device)),
            running_var: RunningState::new(Tensor::ones([channels], device)),
        }
    }

    fn forward(&self, input: Tensor<4>, rectified: bool) -> Tensor<4> {
        let statistics = if input.device().is_autodiff() {
            let statistics = device::statistics(input.clone());
            let mean = statistics.clone().slice(0..=0).squeeze_dim::<1>(0);
            let variance = statistics.clone().slice(1..=1).squeeze_dim::<1>(0);
            self.remember(input.dims(), mean, variance);
            statistics
        } else {
            Tensor::stack(vec![self.running_mean.value(), self.running_var.value()], 0)
        };
        device::normalise(
            input,
            statistics,
            [self.weight.val(), self.bias.val()],
            EPSILON as f32,
            rectified,
        )
    }

    /// Moves the running statistics by the batch's mean and biased variance.
    fn remember(
        &self,
        [batch, height, width, _]: [usize; 4],
        mean: Tensor<1>,
        variance: Tensor<1>,
    ) {
        let seen = (batch * height * width) as f64;
        remember(&self.running_mean, mean);
        remember(
            &self.running_var,
            variance.mul_scalar(seen / (seen - 1.0).max(1.0)),
        );
    }
}

fn remember(running: &RunningState<Tensor<1>>, seen: Tensor<1>) {
    let old = running.value_sync().mul_scalar(1.0 - MOMENTUM);
    running.update(old.add(seen.detach().mul_scalar(MOMENTUM)).detach());
}

/// Bilinear enlargement of one channel, with half-pixel centres (PyTorch's `align_corners=False`):
/// rows are mixed, then columns.
///
/// # Shapes
/// - input: `[batch, height, width, 1]`
/// - output: `[batch, 1, size[0], size[1]]`
pub(super) fn enlarge(input: Tensor<4>, size: [usize; 2]) -> Tensor<4> {
    let [batch, height, width, _] = input.dims();
    let device = input.device().without_autodiff();
    let row_weights = TensorData::new(bilinear(height, size[0]), [size[0], height]);
    let column_weights = TensorData::new(bilinear(width, size[1]), [size[1], width]);
    let rows = device::times(
        Tensor::from_data(row_weights, &device),
        input.reshape([batch, height, width]),
    );
    let columns = device::times(
        Tensor::from_data(column_weights, &device),
        rows.reshape([batch * size[0], width, 1]),
    );
    columns.reshape([batch, 1, size[0], size[1]])
}

/// The weights by which `to` places along a line mix the values at `from` places, `[to, from]`.
/// Each place mixes its two neighbours, the nearer one with more weight. Beyond the outermost
/// centre it takes that one only.
fn bilinear(from: usize, to: usize) -> Vec<f32> {
    let mut weights = vec![0.0; to * from];
    for (place, weights) in weights.chunks_exact_mut(from).enumerate() {
        let centre = (from as f32 / to as f32 * (place as f32 + 0.5) - 0.5).max(0.0);
        let left = (centre as usize).min(from - 1);
        let right = (left + 1).min(from - 1);
        let share = centre - left as f32;
        weights[left] += 1.0 - share;
        weights[right] += share;
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::TensorData;
    use burn::tensor::module::interpolate;
    use burn::tensor::ops::{InterpolateMode, InterpolateOptions};

    #[test]
    fn enlarging_is_what_burn_and_pytorch_call_bilinear() {
        let device = device::open("cpu").unwrap();
        for ([height, width], size) in [
            ([4, 4], [32, 32]),
            ([5, 3], [33, 47]),
            ([1, 2], [9, 2]),
            ([7, 7], [7, 7]),
        ] {
            let values: Vec<f32> = (0..2 * height * width)
                .map(|at| (at * 37 % 101) as f32 / 50.5 - 1.0)
                .collect();
            let input =
                Tensor::<4>::from_data(TensorData::new(values, [2, 1, height, width]), &device);
            let bilinear =
                InterpolateOptions::new(InterpolateMode::Bilinear).with_align_corners(false);
            let expected = interpolate(input.clone(), bilinear.with_output_size(size));
            let found = enlarge(input.permute([0, 2, 3, 1]), size);
            assert!((found - expected).abs().max().into_scalar::<f32>() <= 1e-6);
        }
    }
}
