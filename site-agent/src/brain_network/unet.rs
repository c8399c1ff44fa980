//! HD-BET's network: a U-Net in three dimensions with residual blocks on its way down (Isensee et
//! al. 2019, arXiv 1901.11341; its ancestor is arXiv 1802.10508).
//!
//! Layers have the names that they have in the published weights. The heads at the coarser levels
//! (`loc2_seg`, `loc3_seg`) were for training only and are not here. Instance normalisation takes
//! the statistics of the image itself, so the running statistics of the weights are not here
//! either.

use super::weights::{Weights, WeightsError};
use crate::device::{self, Device};
use burn::tensor::activation::leaky_relu;
use burn::tensor::module::conv3d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Tensor, TensorData};

/// The network halves the resolution four times: each side of its input is a multiple of this.
pub(super) const MULTIPLE: usize = 16;

/// PyTorch's default.
const EPSILON: f64 = 1e-5;
/// The slope of rectifiers for values below zero.
const SLOPE: f64 = 0.01;
/// The same before the way up and behind it.
const STEEP_SLOPE: f64 = 0.1;

/// The network. It only infers.
#[derive(Clone, Debug)]
pub(super) struct UNet {
    first: Conv,
    /// From fine to coarse, each but the last with the way down from it.
    levels: Vec<Level>,
    coarsest: Residual,
    coarsest_norm: Norm,
    /// From coarse to fine.
    ups: Vec<Up>,
    last: [ConvNorm; 2],
    classes: Conv,
}

/// What is computed at one resolution on the way down, and the step to the next.
#[derive(Clone, Debug)]
struct Level {
    block: Residual,
    norm: Norm,
    down: Conv,
}

/// The step to the next finer resolution, and what is computed there.
#[derive(Clone, Debug)]
struct Up {
    conv: ConvNorm,
    /// The finest resolution has none: there are the last convolutions.
    merge: Option<[ConvNorm; 2]>,
}

impl UNet {
    /// The network with these weights, on a device.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub(super) fn new(weights: &Weights, device: &Device) -> Result<Self, WeightsError> {
        let from = Source { weights, device };
        let base = weights.base_filters()?;
        let mut levels = Vec::new();
        for level in 1..=4 {
            let width = base << (level - 1);
            levels.push(Level {
                block: from.residual(&format!("context{level}"), width)?,
                norm: from.norm(&format!("down{level}.bn"), width, SLOPE)?,
                down: from.conv(&format!("down{level}.downsample"), [width, 2 * width], 2)?,
            });
        }
        let mut ups = Vec::new();
        for step in 1..=4 {
            // What comes from below has twice the features of the finer resolution.
            let width = base << (4 - step);
            let name = format!("up{step}");
            let conv = from.conv_norm(
                &format!("{name}.upsample_conv"),
                &format!("{name}.bn"),
                [2 * width, width],
                SLOPE,
            )?;
            let merge = if step < 4 {
                Some(from.merge(&format!("loc{step}"), width)?)
            } else {
                None
            };
            ups.push(Up { conv, merge });
        }
        let both = [2 * base, 2 * base];
        Ok(Self {
            first: from.conv("init_conv", [1, base], 1)?,
            levels,
            coarsest: from.residual("context5", base << 4)?,
            coarsest_norm: from.norm("bn_after_context5", base << 4, STEEP_SLOPE)?,
            ups,
            last: [
                from.conv_norm("end_conv_1", "end_conv_1_bn", both, STEEP_SLOPE)?,
                from.conv_norm("end_conv_2", "end_conv_2_bn", both, STEEP_SLOPE)?,
            ],
            classes: from.point_conv("seg_layer", [2 * base, 2], false)?,
        })
    }

    /// Logits of two classes: outside, and brain.
    ///
    /// # Shapes
    /// - input: `[1, 1, depth, height, width]`, each a multiple of [`MULTIPLE`]
    /// - output: `[1, 2, depth, height, width]`
    pub(super) fn forward(&self, input: Tensor<5>) -> Tensor<5> {
        let mut skipped = Vec::new();
        let mut features = self.first.forward(input);
        for level in &self.levels {
            let finer = level.norm.forward(level.block.forward(features));
            features = level.down.forward(finer.clone());
            skipped.push(finer);
        }
        features = self.coarsest_norm.forward(self.coarsest.forward(features));
        for up in &self.ups {
            features = up.conv.forward(enlarge(features));
            if let Some(finer) = skipped.pop() {
                features = Tensor::cat(vec![finer, features], 1);
            }
            if let Some(merge) = &up.merge {
                for conv in merge {
                    features = conv.forward(features);
                }
            }
        }
        for conv in &self.last {
            features = conv.forward(features);
        }
        self.classes.forward(features)
    }
}

/// Where layers take their weights from, and where they are put.
struct Source<'a> {
    weights: &'a Weights,
    device: &'a Device,
}

impl Source<'_> {
    fn tensor<const D: usize>(
        &self,
        name: &str,
        shape: [usize; D],
    ) -> Result<Tensor<D>, WeightsError> {
        let values = self.weights.values(name, &shape)?;
        let data = TensorData::new(values.to_vec(), shape);
        Ok(Tensor::from_data(data, self.device))
    }

    /// A kernel of three in each direction.
    fn conv(
        &self,
        name: &str,
        [inputs, outputs]: [usize; 2],
        stride: usize,
    ) -> Result<Conv, WeightsError> {
        Ok(Conv {
            kernel: self.tensor(&format!("{name}.weight"), [outputs, inputs, 3, 3, 3])?,
            bias: Some(self.tensor(&format!("{name}.bias"), [outputs])?),
            stride,
            padding: 1,
        })
    }

    /// A kernel of one.
    fn point_conv(
        &self,
        name: &str,
        [inputs, outputs]: [usize; 2],
        has_bias: bool,
    ) -> Result<Conv, WeightsError> {
        let mut bias = None;
        if has_bias {
            bias = Some(self.tensor(&format!("{name}.bias"), [outputs])?);
        }
        Ok(Conv {
            kernel: self.tensor(&format!("{name}.weight"), [outputs, inputs, 1, 1, 1])?,
            bias,
            stride: 1,
            padding: 0,
        })
    }

    fn norm(&self, name: &str, channels: usize, slope: f64) -> Result<Norm, WeightsError> {
        Ok(Norm {
            weight: self.tensor(&format!("{name}.weight"), [channels])?,
            bias: self.tensor(&format!("{name}.bias"), [channels])?,
            slope,
        })
    }

    fn conv_norm(
        &self,
        conv: &str,
        norm: &str,
        channels: [usize; 2],
        slope: f64,
    ) -> Result<ConvNorm, WeightsError> {
        Ok(ConvNorm {
            conv: self.conv(conv, channels, 1)?,
            norm: self.norm(norm, channels[1], slope)?,
        })
    }

    /// What joins the features from below with those of the way down.
    fn merge(&self, name: &str, width: usize) -> Result<[ConvNorm; 2], WeightsError> {
        let spatial = self.conv_norm(
            &format!("{name}.conv1"),
            &format!("{name}.bn_1"),
            [2 * width, 2 * width],
            SLOPE,
        )?;
        let point = ConvNorm {
            conv: self.point_conv(&format!("{name}.conv2"), [2 * width, width], true)?,
            norm: self.norm(&format!("{name}.bn_2"), width, SLOPE)?,
        };
        Ok([spatial, point])
    }

    fn residual(&self, name: &str, width: usize) -> Result<Residual, WeightsError> {
        Ok(Residual {
            norms: [
                self.norm(&format!("{name}.bn_1"), width, SLOPE)?,
                self.norm(&format!("{name}.bn_2"), width, SLOPE)?,
            ],
            convs: [
                self.conv(&format!("{name}.conv1"), [width, width], 1)?,
                self.conv(&format!("{name}.conv2"), [width, width], 1)?,
            ],
        })
    }
}

/// A convolution; stride 1 keeps the resolution.
#[derive(Clone, Debug)]
struct Conv {
    /// `[outputs, inputs, side, side, side]`
    kernel: Tensor<5>,
    bias: Option<Tensor<1>>,
    stride: usize,
    padding: usize,
}

impl Conv {
    fn forward(&self, input: Tensor<5>) -> Tensor<5> {
        let options = ConvOptions::new([self.stride; 3], [self.padding; 3], [1; 3], 1);
        conv3d(input, self.kernel.clone(), self.bias.clone(), options)
    }
}

/// Instance normalisation and a leaky rectifier.
#[derive(Clone, Debug)]
struct Norm {
    weight: Tensor<1>,
    bias: Tensor<1>,
    slope: f64,
}

impl Norm {
    /// # Shapes
    /// - input and output: `[1, channels, depth, height, width]`
    fn forward(&self, input: Tensor<5>) -> Tensor<5> {
        let shape = input.dims();
        let [_, channels, depth, height, width] = shape;
        let rows = input.reshape([channels, depth, height * width]);
        let centred = rows.clone().sub(mean(rows));
        let variance = mean(centred.clone().square()); // [channels, 1, 1]
        let scale = self
            .weight
            .clone()
            .reshape([channels, 1, 1])
            .div(variance.add_scalar(EPSILON).sqrt());
        let shift = self.bias.clone().reshape([channels, 1, 1]);
        leaky_relu(centred.mul(scale).add(shift), self.slope).reshape(shape)
    }
}

/// The mean of each channel, `[channels, 1, 1]`, of `[channels, slices, pixels]`. First that of each
/// slice: a sum of millions of values in 32 bits would lose digits.
fn mean(values: Tensor<3>) -> Tensor<3> {
    values.mean_dim(2).mean_dim(1)
}

/// A convolution, and what follows it.
#[derive(Clone, Debug)]
struct ConvNorm {
    conv: Conv,
    norm: Norm,
}

impl ConvNorm {
    fn forward(&self, input: Tensor<5>) -> Tensor<5> {
        self.norm.forward(self.conv.forward(input))
    }
}

/// Two convolutions whose result is added to the input.
#[derive(Clone, Debug)]
struct Residual {
    norms: [Norm; 2],
    convs: [Conv; 2],
}

impl Residual {
    fn forward(&self, input: Tensor<5>) -> Tensor<5> {
        let mut features = input.clone();
        for (norm, conv) in self.norms.iter().zip(&self.convs) {
            features = conv.forward(norm.forward(features));
        }
        features.add(input)
    }
}

/// Twice the resolution by linear interpolation, in which the outermost voxels stay where they are
/// (PyTorch's `align_corners=True`).
///
/// # Shapes
/// - input: `[1, channels, depth, height, width]`
/// - output: `[1, channels, 2 depth, 2 height, 2 width]`
fn enlarge(input: Tensor<5>) -> Tensor<5> {
    let [_, channels, depth, height, width] = input.dims();
    let device = input.device();
    let weights = |side: usize| {
        let data = TensorData::new(linear(side), [2 * side, side]);
        Tensor::from_data(data, &device)
    };
    let rows = input.reshape([channels * depth * height, width, 1]);
    let rows = device::times(weights(width), rows);
    let columns = rows.reshape([channels * depth, height, 2 * width]);
    let columns = device::times(weights(height), columns);
    let slices = columns.reshape([channels, depth, 4 * height * width]);
    let slices = device::times(weights(depth), slices);
    slices.reshape([1, channels, 2 * depth, 2 * height, 2 * width])
}

/// The weights by which twice `side` places along a line mix the values at `side` places, `[2 side,
/// side]`.
fn linear(side: usize) -> Vec<f32> {
    let mut weights = vec![0.0; 2 * side * side];
    let step = (side - 1) as f64 / (2 * side - 1) as f64;
    for (place, weights) in weights.chunks_exact_mut(side).enumerate() {
        let at = place as f64 * step;
        let left = at as usize;
        let share = at - left as f64;
        weights[left] += (1.0 - share) as f32;
        if left + 1 < side {
            weights[left + 1] += share as f32;
        }
    }
    weights
}
