//! The ResNet that sees the slices.

use super::layers::{ConvNorm, Shape, channels_first, channels_last};
use crate::device::{self, Device};
use burn::module::Module;
use burn::nn::PaddingConfig2d;
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::tensor::Tensor;
use protocol::architecture;
use protocol::settings::{Model, Norm};

/// Stem, pooling and residual blocks.
#[derive(Module, Debug)]
pub(super) struct Backbone {
    pub(super) stem: ConvNorm,
    pool: MaxPool2d,
    pub(super) blocks: Vec<Block>,
}

impl Backbone {
    pub(super) fn init(model: &Model, channels: usize, device: &Device) -> Self {
        let stem = Shape {
            inputs: channels,
            outputs: model.width,
            side: 7,
            stride: 2,
            dilation: 1,
        };
        let pool = MaxPool2dConfig::new([3, 3])
            .with_strides([2, 2])
            .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1));
        let blocks = architecture::blocks(model)
            .iter()
            .map(|block| Block::init(block, model, device))
            .collect();
        Self {
            stem: ConvNorm::init(stem, model.norm, device),
            pool: pool.init(),
            blocks,
        }
    }

    /// # Shapes
    /// - input: `[batch, height, width, channels]`
    /// - output: `[batch, height / stride, width / stride, features]`, rounded up
    pub(super) fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let stem = channels_first(self.stem.forward_relu(input)); // [batch, width, height / 2, width / 2]
        let stem = channels_last(self.pool.forward(stem)); // [batch, height / 4, width / 4, width]
        self.blocks
            .iter()
            .fold(stem, |features, block| block.forward(features))
    }
}

/// A residual block: two 3x3 convolutions, or 1x1, 3x3, 1x1 where it is a bottleneck.
#[derive(Module, Debug)]
pub(super) struct Block {
    #[module(skip)]
    pub(super) name: String,
    pub(super) convs: Vec<ConvNorm>,
    pub(super) downsample: Option<ConvNorm>,
}

impl Block {
    fn init(block: &architecture::Block, model: &Model, device: &Device) -> Self {
        let norm: Norm = model.norm;
        let &architecture::Block {
            inputs,
            width,
            outputs,
            stride,
            dilation,
            ..
        } = block;
        let spatial = |inputs, stride| Shape {
            inputs,
            outputs: width,
            side: 3,
            stride,
            dilation,
        };
        let shapes = if model.layout.bottleneck() {
            vec![
                Shape::plain(inputs, width, 1),
                spatial(width, stride),
                Shape::plain(width, outputs, 1),
            ]
        } else {
            vec![spatial(inputs, stride), spatial(width, 1)]
        };
        let shortcut = Shape {
            inputs,
            outputs,
            side: 1,
            stride,
            dilation: 1,
        };
        Self {
            name: block.name(),
            convs: shapes
                .into_iter()
                .map(|shape| ConvNorm::init(shape, norm, device))
                .collect(),
            downsample: block
                .downsamples()
                .then(|| ConvNorm::init(shortcut, norm, device)),
        }
    }

    fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let shortcut = self
            .downsample
            .as_ref()
            .map_or_else(|| input.clone(), |conv| conv.forward(input.clone()));
        let last = self.convs.len() - 1;
        let residual = self
            .convs
            .iter()
            .enumerate()
            .fold(input, |features, (index, conv)| {
                if index == last {
                    conv.forward(features)
                } else {
                    conv.forward_relu(features)
                }
            });
        device::join(residual, shortcut)
    }
}
