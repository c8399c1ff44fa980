//! The atrous spatial pyramid and the classifier after it.

use super::layers::{ConvNorm, Shape, convolve, like};
use crate::device::{self, Device};
use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::tensor::{FloatDType, Tensor};
use protocol::architecture::{features, head_channels};
use protocol::settings::Model;

/// From features to one logit per feature pixel.
#[derive(Module, Debug)]
pub(super) struct Head {
    /// One 1x1 branch, then one atrous 3x3 branch per rate.
    pub(super) branches: Vec<ConvNorm>,
    /// The branch that sees the mean over all pixels.
    pub(super) pooling: ConvNorm,
    pub(super) project: ConvNorm,
    pub(super) conv: ConvNorm,
    pub(super) classifier: Conv2d,
}

impl Head {
    pub(super) fn init(model: &Model, device: &Device) -> Self {
        let inputs = features(model);
        let outputs = head_channels(model);
        let norm = model.norm;
        let pointwise = Shape::plain(inputs, outputs, 1);
        let mut branches = vec![ConvNorm::init(pointwise, norm, device)];
        for rate in model.rates {
            let atrous = Shape {
                inputs,
                outputs,
                side: 3,
                stride: 1,
                dilation: rate,
            };
            branches.push(ConvNorm::init(atrous, norm, device));
        }
        let joined = (branches.len() + 1) * outputs;
        Self {
            branches,
            pooling: ConvNorm::init(pointwise, norm, device),
            project: ConvNorm::init(Shape::plain(joined, outputs, 1), norm, device),
            conv: ConvNorm::init(Shape::plain(outputs, outputs, 3), norm, device),
            classifier: Shape::plain(outputs, 1, 1).conv(true, device),
        }
    }

    /// Features are multiplied by `kept`, if it is given.
    ///
    /// # Shapes
    /// - input: `[batch, height, width, features]`
    /// - kept: `[batch, height, width, channels of the head]`
    /// - output: `[batch, height, width, 1]`
    pub(super) fn forward(&self, input: Tensor<4>, kept: Option<Tensor<4>>) -> Tensor<4> {
        let mut pyramid = self.project.forward_relu(self.pyramid(input));
        if let Some(kept) = kept {
            pyramid = pyramid.clone() * like(kept, &pyramid);
        }
        let features = self.conv.forward_relu(pyramid).cast(FloatDType::F32);
        convolve(&self.classifier, features)
    }

    /// All branches side by side, `[batch, height, width, branches * channels]`.
    fn pyramid(&self, input: Tensor<4>) -> Tensor<4> {
        let [batch, height, width, features] = input.dims();
        let mean = device::row_means(input.clone().reshape([batch, height * width, features]));
        let image = self
            .pooling
            .forward_relu(mean.reshape([batch, 1, 1, features]));
        let [.., channels] = image.dims();
        let mut branches = Vec::with_capacity(self.branches.len() + 1);
        for branch in &self.branches {
            branches.push(branch.forward_relu(input.clone()));
        }
        // A product with ones puts the mean at every place, and its gradient is the sum over all
        // places.
        let ones = Tensor::ones([height * width, 1], &input.device().without_autodiff());
        let everywhere = device::times(ones, image.reshape([batch, 1, channels]));
        branches.push(everywhere.reshape([batch, height, width, channels]));
        Tensor::cat(branches, 3)
    }
}
