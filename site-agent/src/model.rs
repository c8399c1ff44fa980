//! The DropOut DeepLabV3: atrous convolutions on a ResNet, one lesion logit per pixel of the centre
//! slice.
//!
//! Chen et al. 2017 (arXiv 1706.05587), with the layers of torchvision's `deeplabv3_resnet50`, so
//! that weights can be exchanged in both directions. The federation's dropout of sequences is
//! computed before, in [`protocol::dropout`].

mod backbone;
mod head;
mod layers;
mod tensors;

use crate::device::{self, Device};
use backbone::Backbone;
use burn::module::Module;
use burn::tensor::{FloatDType, Tensor};
use head::Head;
use protocol::settings::{Compute, Input, Model};
pub use tensors::ModelError;

/// The network.
#[derive(Module, Debug)]
pub struct DeepLabV3 {
    backbone: Backbone,
    classifier: Head,
    #[module(skip)]
    compute: Compute,
}

/// The network on a device, all weights zero until [`DeepLabV3::load`] fills them.
///
/// On a device with `.autodiff()` it trains: batch statistics, feature dropout, gradients.
/// Everywhere else it infers.
#[must_use]
pub fn init(model: &Model, input: &Input, device: &Device) -> DeepLabV3 {
    DeepLabV3 {
        backbone: Backbone::init(model, input.channels(), device),
        classifier: Head::init(model, device),
        compute: Compute::F32,
    }
}

impl DeepLabV3 {
    /// The same network computing in `compute`, if the device supports it. Its weights, statistics
    /// and logits stay 32-bit.
    #[must_use]
    pub fn computing_in(mut self, compute: Compute, device: &Device) -> Self {
        self.compute = if device::computes_in(device, compute) {
            compute
        } else {
            Compute::F32
        };
        self
    }

    /// The arithmetic in use.
    #[must_use]
    pub fn compute(&self) -> Compute {
        self.compute
    }

    /// Lesion logits.
    ///
    /// # Shapes
    /// - input: `[batch, sequences * slices, height, width]`, a sequence's slices contiguous
    /// - output: `[batch, 1, height, width]`
    #[must_use]
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        self.forward_with(input, None)
    }

    /// The same, with the head's features multiplied by `kept`. In training some of its values are
    /// zero.
    ///
    /// # Shapes
    /// - kept: `[batch, height / stride, width / stride, channels of the head]`, rounded up
    #[must_use]
    pub fn forward_with(&self, input: Tensor<4>, kept: Option<Tensor<4>>) -> Tensor<4> {
        let [_, _, height, width] = input.dims();
        let input = match self.compute {
            Compute::F32 => input,
            Compute::Bf16 => input.cast(FloatDType::BF16),
        };
        // [batch, height / stride, width / stride, features]
        let features = self.backbone.forward(layers::channels_last(input));
        layers::enlarge(self.classifier.forward(features, kept), [height, width])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device;
    use burn::tensor::{TensorData, Tolerance};
    use protocol::architecture::{initial, manifest};
    use protocol::parameters::Parameters;
    use protocol::settings::{Layout, Norm};
    use std::sync::Arc;

    fn narrow(layout: Layout, norm: Norm) -> Model {
        Model {
            layout,
            width: 4,
            output_stride: 8,
            rates: [1, 2, 3],
            norm,
            head_dropout: 0.0,
        }
    }

    fn two_sequences() -> Input {
        Input {
            sequences: vec!["t1".into(), "flair".into()],
            slices: 3,
            plane: 32,
            spacing_mm: None,
            clip_percentiles: None,
        }
    }

    fn loaded(layout: Layout, norm: Norm, device: &Device) -> (DeepLabV3, Parameters) {
        let model = narrow(layout, norm);
        let input = two_sequences();
        let parameters = initial(&Arc::new(manifest(&model, &input)), 3);
        let network = init(&model, &input, device).load(&parameters).unwrap();
        (network, parameters)
    }

    /// The values of one tensor, as a column.
    fn column(parameters: &Parameters, name: &str) -> TensorData {
        for (spec, values) in parameters.tensors() {
            if spec.name == name {
                return TensorData::new(values.to_vec(), [values.len(), 1]);
            }
        }
        panic!("no tensor {name}");
    }

    #[test]
    fn every_layout_and_norm_has_the_manifests_tensors_and_no_others() {
        let device = device::open("cpu").unwrap();
        for layout in [
            Layout::ResNet18,
            Layout::ResNet34,
            Layout::ResNet50,
            Layout::ResNet101,
        ] {
            for norm in [Norm::Batch, Norm::BatchLocal, Norm::Group] {
                let (network, parameters) = loaded(layout, norm, &device);
                assert_eq!(
                    network.to_parameters(parameters.manifest()).as_ref(),
                    Ok(&parameters)
                );
                assert_eq!(
                    network.num_params(),
                    parameters.values().len(),
                    "{layout:?} {norm:?}"
                );
            }
        }
    }

    #[test]
    fn another_networks_parameters_are_refused_by_name() {
        let device = device::open("cpu").unwrap();
        let (network, _) = loaded(Layout::ResNet18, Norm::Batch, &device);
        let (_, other) = loaded(Layout::ResNet34, Norm::Batch, &device);
        let error = network.clone().load(&other).unwrap_err().to_string();
        assert!(
            error.contains("backbone.layer1.2.conv1.weight [4, 4, 3, 3]"),
            "{error}"
        );
        assert!(network.to_parameters(other.manifest()).is_err());
    }

    #[test]
    fn logits_cover_the_input_at_every_stride() {
        let device = device::open("cpu").unwrap();
        for output_stride in [4, 8, 16] {
            let mut model = narrow(Layout::ResNet18, Norm::Group);
            model.output_stride = output_stride;
            let network = init(&model, &two_sequences(), &device);
            let slabs = Tensor::ones([2, 6, 33, 47], &device);
            assert_eq!(network.forward(slabs).dims(), [2, 1, 33, 47]);
        }
    }

    #[test]
    fn training_moves_statistics_by_a_tenth_of_the_unbiased_batch_and_inference_by_nothing() {
        let device = device::open("cpu").unwrap();
        let (network, parameters) =
            loaded(Layout::ResNet18, Norm::Batch, &device.clone().autodiff());
        // Not random: by chance a mean near zero could miss its tolerance.
        let waves: Vec<f32> = (0..2 * 6 * 256)
            .map(|at| (at as f32 * 0.37).sin() + (at as f32 * 0.011).cos() + 0.2)
            .collect();
        let slabs = Tensor::<4>::from_data(TensorData::new(waves, [2, 6, 16, 16]), &device);
        let stem = network.valid().backbone.stem.conv.forward(slabs.clone()); // [2, 4, 8, 8]
        let _ = network.valid().forward(slabs.clone());
        assert_eq!(
            network.to_parameters(parameters.manifest()).as_ref(),
            Ok(&parameters)
        );

        let _ = network.forward(Tensor::from_inner(slabs));
        let after = network.to_parameters(parameters.manifest()).unwrap();
        let flat = stem.swap_dims(0, 1).reshape([4, 128]);
        let (variance, mean) = flat.var_mean(1); // burn's var is the unbiased one
        let expected_var = variance.mul_scalar(0.1).add_scalar(0.9).into_data();
        column(&after, "backbone.bn1.running_var")
            .assert_approx_eq::<f32>(&expected_var, Tolerance::relative(1e-5));
        let expected_mean = mean.mul_scalar(0.1).into_data();
        column(&after, "backbone.bn1.running_mean")
            .assert_approx_eq::<f32>(&expected_mean, Tolerance::relative(1e-4));
        let again = network.load(&parameters).unwrap();
        assert_eq!(
            again.to_parameters(parameters.manifest()),
            Ok(parameters),
            "loading forgets what was pending"
        );
    }
}
