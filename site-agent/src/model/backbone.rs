//! The ResNet that sees the slices.

use super::layers::{ConvNorm, Shape, channels_first, channels_last};
use crate::device::{self, Device};
use burn::module::Module;
use burn::nn::PaddingConfig2d;
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::tensor::Tensor;
use protocol::architecture;
use protocol::settings::Model;

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
        let mut blocks = Vec::new();
        for block in architecture::blocks(model) {
            blocks.push(Block::init(&block, model, device));
        }
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
        // [batch, width of the network, height / 2, width / 2]
        let stem = channels_first(self.stem.forward_relu(input));
        // [batch, height / 4, width / 4, width of the network]
        let mut features = channels_last(self.pool.forward(stem));
        for block in &self.blocks {
            features = block.forward(features);
        }
        features
    }
}

/// A residual block: two 3x3 convolutions, or the bottleneck of 1x1, 3x3 and 1x1.
#[derive(Module, Debug)]
pub(super) struct Block {
    #[module(skip)]
    pub(super) name: String,
    pub(super) convs: Vec<ConvNorm>,
    pub(super) downsample: Option<ConvNorm>,
}

impl Block {
    fn init(block: &architecture::Block, model: &Model, device: &Device) -> Self {
        let bottleneck = model.layout.bottleneck();
        let spatial = Shape {
            inputs: if bottleneck {
                block.width
            } else {
                block.inputs
            },
            outputs: block.width,
            side: 3,
            stride: block.stride,
            dilation: block.dilation,
        };
        let shapes = if bottleneck {
            vec![
                Shape::plain(block.inputs, block.width, 1),
                spatial,
                Shape::plain(block.width, block.outputs, 1),
            ]
        } else {
            let second = Shape {
                inputs: block.width,
                stride: 1,
                ..spatial
            };
            vec![spatial, second]
        };
        let mut convs = Vec::with_capacity(shapes.len());
        for shape in shapes {
            convs.push(ConvNorm::init(shape, model.norm, device));
        }
        let mut downsample = None;
        if block.downsamples() {
            let shortcut = Shape {
                inputs: block.inputs,
                outputs: block.outputs,
                side: 1,
                stride: block.stride,
                dilation: 1,
            };
            downsample = Some(ConvNorm::init(shortcut, model.norm, device));
        }
        Self {
            name: block.name(),
            convs,
            downsample,
        }
    }

    fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let shortcut = match &self.downsample {
            Some(conv) => conv.forward(input.clone()),
            None => input.clone(),
        };
        let last = self.convs.len() - 1;
        let mut features = input;
        for (index, conv) in self.convs.iter().enumerate() {
            features = if index == last {
                conv.forward(features)
            } else {
                conv.forward_relu(features)
            };
        }
        device::join(features, shortcut)
    }
}
