//! Convolution, normalisation, and the two together.

use crate::device::{self, Device};
use burn::module::{Initializer, Module, Param, RunningState};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{GroupNorm, GroupNormConfig, PaddingConfig2d};
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
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
        let padding = padding(self.side, self.dilation);
        Conv2dConfig::new([self.inputs, self.outputs], [self.side, self.side])
            .with_stride([self.stride, self.stride])
            .with_dilation([self.dilation, self.dilation])
            .with_padding(PaddingConfig2d::Explicit(padding, padding, padding, padding))
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
    pub(super) fn init(shape: Shape, norm: federation::Norm, device: &Device) -> Self {
        Self { conv: shape.conv(false, device), norm: Norm::init(shape.outputs, norm, device) }
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

/// A convolution without bias, channels last: ours where there is one, burn's elsewhere.
fn convolve(conv: &Conv2d, input: Tensor<4>) -> Tensor<4> {
    if !device::has_operators(&input.device()) {
        return channels_last(conv.forward(channels_first(input)));
    }
    let padding = padding(conv.kernel_size[0], conv.dilation[0]);
    device::convolve(input, conv.weight.val(), [conv.stride[0], padding, conv.dilation[0]])
}

/// `[batch, height, width, channels]` as burn's operators want it, `[batch, channels, height, width]`.
pub(super) fn channels_first(input: Tensor<4>) -> Tensor<4> {
    input.permute([0, 3, 1, 2])
}

/// `[batch, channels, height, width]` as the network wants it, `[batch, height, width, channels]`.
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
    fn init(channels: usize, norm: federation::Norm, device: &Device) -> Self {
        match norm {
            federation::Norm::Batch | federation::Norm::BatchLocal => Self::Batch(BatchNorm::init(channels, device)),
            federation::Norm::Group => {
                Self::Group(GroupNormConfig::new(architecture::groups(channels), channels).init(device))
            }
        }
    }

    fn forward(&self, input: Tensor<4>, rectified: bool) -> Tensor<4> {
        match self {
            Self::Batch(norm) => norm.forward(input, rectified),
            Self::Group(norm) => rectify(channels_last(norm.forward(channels_first(input))), rectified),
        }
    }
}

fn rectify(values: Tensor<4>, rectified: bool) -> Tensor<4> {
    if rectified { relu(values) } else { values }
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

    fn forward(&self, input: Tensor<4>, rectified: bool) -> Tensor<4> {
        let device = input.device();
        let own = device::has_operators(&device);
        match (device.is_autodiff(), own) {
            (false, false) => rectify(self.infer(input), rectified),
            (true, false) => rectify(self.train(input), rectified),
            (false, true) => {
                let statistics = Tensor::stack(vec![self.running_mean.value(), self.running_var.value()], 0);
                device::normalise(input, statistics, self.affine(), EPSILON as f32, rectified)
            }
            (true, true) => {
                let statistics = device::statistics(input.clone());
                let [mean, variance] = [0, 1].map(|row| statistics.clone().slice(row..=row).squeeze_dim::<1>(0));
                self.remember(input.dims(), mean, variance);
                device::normalise(input, statistics, self.affine(), EPSILON as f32, rectified)
            }
        }
    }

    fn affine(&self) -> [Tensor<1>; 2] {
        [self.weight.val(), self.bias.val()]
    }

    fn infer(&self, input: Tensor<4>) -> Tensor<4> {
        let [weight, bias] = self.affine();
        let (mean, variance) = (self.running_mean.value(), self.running_var.value());
        channels_last(batch_norm(channels_first(input), weight, bias, mean, variance, EPSILON))
    }

    fn train(&self, input: Tensor<4>) -> Tensor<4> {
        let ([weight, bias], shape) = (self.affine(), input.dims());
        let normalised = batch_norm_train(channels_first(input), weight, bias, EPSILON);
        self.remember(shape, normalised.mean, normalised.variance);
        channels_last(normalised.output)
    }

    /// Moves the running statistics by the batch's mean and biased variance.
    fn remember(&self, [batch, height, width, _]: [usize; 4], mean: Tensor<1>, variance: Tensor<1>) {
        let seen = (batch * height * width) as f64;
        remember(&self.running_mean, mean);
        remember(&self.running_var, variance.mul_scalar(seen / (seen - 1.0).max(1.0)));
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
