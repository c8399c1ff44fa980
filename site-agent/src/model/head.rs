//! The atrous spatial pyramid and the classifier on top of it.

use super::layers::{ConvNorm, Shape, channels_first};
use crate::device::Device;
use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::nn::{Dropout, DropoutConfig};
use burn::tensor::Tensor;
use shared::architecture::{features, head_channels};
use shared::federation::Model;

/// From features to one logit per feature pixel.
#[derive(Module, Debug)]
pub(super) struct Head {
    /// One 1x1 branch, then one atrous 3x3 branch per rate.
    pub(super) branches: Vec<ConvNorm>,
    /// The branch that sees the mean over the whole image.
    pub(super) pooling: ConvNorm,
    pub(super) project: ConvNorm,
    dropout: Dropout,
    pub(super) conv: ConvNorm,
    pub(super) classifier: Conv2d,
}

impl Head {
    pub(super) fn init(model: &Model, device: &Device) -> Self {
        let (inputs, outputs, norm) = (features(model), head_channels(model), model.norm);
        let branch =
            |side, dilation| ConvNorm::init(Shape { inputs, outputs, side, stride: 1, dilation }, norm, device);
        let branches: Vec<_> =
            std::iter::once(branch(1, 1)).chain(model.rates.iter().map(|&rate| branch(3, rate))).collect();
        let joined = (branches.len() + 1) * outputs;
        Self {
            branches,
            pooling: branch(1, 1),
            project: ConvNorm::init(Shape::plain(joined, outputs, 1), norm, device),
            dropout: DropoutConfig::new(f64::from(model.head_dropout)).init(),
            conv: ConvNorm::init(Shape::plain(outputs, outputs, 3), norm, device),
            classifier: Shape::plain(outputs, 1, 1).conv(true, device),
        }
    }

    /// # Shapes
    /// - input: `[batch, height, width, features]`
    /// - output: `[batch, 1, height, width]`
    pub(super) fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let pyramid = self.dropout.forward(self.project.forward_relu(self.pyramid(input)));
        self.classifier.forward(channels_first(self.conv.forward_relu(pyramid)))
    }

    /// All branches side by side, `[batch, height, width, branches * channels]`.
    fn pyramid(&self, input: Tensor<4>) -> Tensor<4> {
        let [batch, height, width, _] = input.dims();
        let mean = input.clone().mean_dim(1).mean_dim(2); // [batch, 1, 1, features]
        let image = self.pooling.forward_relu(mean);
        let [.., channels] = image.dims();
        let mut branches: Vec<_> = self.branches.iter().map(|conv| conv.forward_relu(input.clone())).collect();
        branches.push(image.expand([batch, height, width, channels]));
        Tensor::cat(branches, 3)
    }
}
