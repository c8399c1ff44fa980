//! Convolution, normalisation, and the two together.

use crate::device::Device;
use burn::module::{Initializer, Module, Param, RunningState};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{GroupNorm, GroupNormConfig, PaddingConfig2d};
use burn::tensor::Tensor;
use burn::tensor::module::{batch_norm, batch_norm_train, interpolate};
use burn::tensor::ops::{InterpolateMode, InterpolateOptions};
use shared::architecture;
use shared::federation;

/// PyTorch's defaults.
const EPSILON: f64 = 1e-5;
const MOMENTUM: f64 = 0.1;

/// What a convolution is, apart from its weights.
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
        Self { inputs, outputs, side, stride: 1, dilation: 1 }
    }

    /// The convolution, padded so that stride 1 keeps the resolution; zero until loaded.
    pub(super) fn conv(self, bias: bool, device: &Device) -> Conv2d {
        let padding = self.dilation * (self.side - 1) / 2;
        Conv2dConfig::new([self.inputs, self.outputs], [self.side, self.side])
            .with_stride([self.stride, self.stride])
            .with_dilation([self.dilation, self.dilation])
            .with_padding(PaddingConfig2d::Explicit(padding, padding, padding, padding))
            .with_bias(bias)
            .with_initializer(Initializer::Zeros)
            .init(device)
    }
}

/// A convolution and its normalisation.
#[derive(Module, Debug)]
pub(super) struct ConvNorm {
    pub(super) conv: Conv2d,
    pub(super) norm: Norm,
}

impl ConvNorm {
    pub(super) fn init(shape: Shape, norm: federation::Norm, device: &Device) -> Self {
        Self { conv: shape.conv(false, device), norm: Norm::init(shape.outputs, norm, device) }
    }

    pub(super) fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        self.norm.forward(self.conv.forward(input))
    }
}

/// Normalisation of features.
#[derive(Module, Debug)]
pub(super) enum Norm {
    Batch(BatchNorm),
    Group(GroupNorm),
}

impl Norm {
    fn init(channels: usize, norm: federation::Norm, device: &Device) -> Self {
        match norm {
            federation::Norm::Batch | federation::Norm::BatchLocal => Self::Batch(BatchNorm::init(channels, device)),
            federation::Norm::Group => {
                Self::Group(GroupNormConfig::new(architecture::groups(channels), channels).init(device))
            }
        }
    }

    fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Batch(norm) => norm.forward(input),
            Self::Group(norm) => norm.forward(input),
        }
    }
}

/// Batch normalisation as PyTorch's: normalises by the biased variance, remembers the unbiased one (burn's own layer
/// remembers the biased one).
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

    fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let (weight, bias) = (self.weight.val(), self.bias.val());
        if !input.device().is_autodiff() {
            return batch_norm(input, weight, bias, self.running_mean.value(), self.running_var.value(), EPSILON);
        }
        let [batch, _, height, width] = input.dims();
        let seen = (batch * height * width) as f64;
        let normalised = batch_norm_train(input, weight, bias, EPSILON);
        remember(&self.running_mean, normalised.mean);
        remember(&self.running_var, normalised.variance.mul_scalar(seen / (seen - 1.0).max(1.0)));
        normalised.output
    }
}

fn remember(running: &RunningState<Tensor<1>>, seen: Tensor<1>) {
    let old = running.value_sync().mul_scalar(1.0 - MOMENTUM);
    running.update(old.add(seen.detach().mul_scalar(MOMENTUM)).detach());
}

/// Bilinear enlargement with half-pixel centres (PyTorch's `align_corners=False`).
pub(super) fn enlarge(input: Tensor<4>, size: [usize; 2]) -> Tensor<4> {
    let options = InterpolateOptions::new(InterpolateMode::Bilinear).with_align_corners(false).with_output_size(size);
    interpolate(input, options)
}
