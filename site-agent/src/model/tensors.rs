//! Between the network on a device and the federation's flat parameters.

use super::DeepLabV3;
use super::layers::{ConvNorm, Norm};
use crate::device::{self, DeviceFault};
use burn::module::{Module, Param, RunningState};
use burn::tensor::{Tensor, TensorData};
use program::{Class, Explain};
use protocol::architecture::CLASSIFIER;
use protocol::parameters::{Manifest, Parameters, ParametersError, STEM, TensorSpec};
use std::sync::Arc;

/// Why parameters and network do not fit.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ModelError {
    /// The parameters belong to another network.
    #[error("the parameters' tensor {found} where the network has {expected}")]
    Mismatch {
        /// The network's tensor, with its shape.
        expected: String,
        /// The parameters' tensor, with its shape.
        found: String,
    },
    /// A tensor could not be read back.
    #[error("{tensor} cannot be read: {fault}")]
    Unreadable {
        /// The tensor's name.
        tensor: String,
        /// What the device says.
        fault: DeviceFault,
    },
    /// The network holds values that cannot be shared.
    #[error(transparent)]
    Values(#[from] ParametersError),
}

impl Explain for ModelError {
    fn class(&self) -> Class {
        Class::Data
    }
}

/// Where a tensor lives in the network.
enum Slot<'a> {
    Kernel(&'a mut Param<Tensor<4>>),
    Vector(&'a mut Param<Tensor<1>>),
    Statistic(&'a mut RunningState<Tensor<1>>),
}

impl Slot<'_> {
    fn shape(&self) -> Vec<usize> {
        match self {
            Self::Kernel(param) => param.dims().into(),
            Self::Vector(param) => param.dims().into(),
            Self::Statistic(state) => state.value().dims().into(),
        }
    }

    /// Replaces the value. Parameters stay trainable; a statistic forgets updates that were still
    /// pending.
    fn fill(self, values: &[f32]) {
        let data = TensorData::new(values.to_vec(), self.shape());
        match self {
            Self::Kernel(param) => *param = Param::from_data(data, &param.device()),
            Self::Vector(param) => *param = Param::from_data(data, &param.device()),
            Self::Statistic(state) => {
                *state = RunningState::new(Tensor::from_data(data, &state.value().device()))
            }
        }
    }

    fn read(self) -> Result<Vec<f32>, DeviceFault> {
        match self {
            Self::Kernel(param) => device::read(param.val()),
            Self::Vector(param) => device::read(param.val()),
            // `valid` is what merges the updates of every thread that ran the network.
            Self::Statistic(state) => device::read(state.valid().value()),
        }
    }
}

impl DeepLabV3 {
    /// Fills the network with parameters, on the device where it is.
    ///
    /// # Errors
    /// Parameters whose names or shapes are another network's.
    pub fn load(mut self, parameters: &Parameters) -> Result<Self, ModelError> {
        let slots = self.slots();
        check(&slots, parameters.manifest())?;
        for ((_, slot), (_, values)) in slots.into_iter().zip(parameters.tensors()) {
            slot.fill(values);
        }
        Ok(self)
    }

    /// The network's values in the manifest's order.
    ///
    /// # Errors
    /// Another network's manifest, or values that are not finite.
    pub fn to_parameters(&self, manifest: &Arc<Manifest>) -> Result<Parameters, ModelError> {
        let mut network = self.clone();
        let slots = network.slots();
        check(&slots, manifest)?;
        let mut values = Vec::with_capacity(manifest.len());
        for (tensor, slot) in slots {
            values.extend(
                slot.read()
                    .map_err(|fault| ModelError::Unreadable { tensor, fault })?,
            );
        }
        Ok(Parameters::new(Arc::clone(manifest), values)?)
    }

    /// Every tensor under torchvision's name, in the manifest's order.
    fn slots(&mut self) -> Vec<(String, Slot<'_>)> {
        let mut slots = Vec::new();
        let Self {
            backbone,
            classifier,
            ..
        } = self;
        push(
            &mut slots,
            STEM.trim_end_matches(".weight"),
            "backbone.bn1",
            &mut backbone.stem,
        );
        for block in &mut backbone.blocks {
            let name = &block.name;
            for (number, conv) in (1..).zip(&mut block.convs) {
                push(
                    &mut slots,
                    &format!("{name}.conv{number}"),
                    &format!("{name}.bn{number}"),
                    conv,
                );
            }
            if let Some(conv) = &mut block.downsample {
                push(
                    &mut slots,
                    &format!("{name}.downsample.0"),
                    &format!("{name}.downsample.1"),
                    conv,
                );
            }
        }
        let pyramid = "classifier.0";
        let pooling = classifier.branches.len();
        for (index, conv) in classifier.branches.iter_mut().enumerate() {
            push(
                &mut slots,
                &format!("{pyramid}.convs.{index}.0"),
                &format!("{pyramid}.convs.{index}.1"),
                conv,
            );
        }
        let names = [
            format!("{pyramid}.convs.{pooling}.1"),
            format!("{pyramid}.convs.{pooling}.2"),
        ];
        push(&mut slots, &names[0], &names[1], &mut classifier.pooling);
        push(
            &mut slots,
            &format!("{pyramid}.project.0"),
            &format!("{pyramid}.project.1"),
            &mut classifier.project,
        );
        push(
            &mut slots,
            "classifier.1",
            "classifier.2",
            &mut classifier.conv,
        );
        slots.push((
            format!("{CLASSIFIER}.weight"),
            Slot::Kernel(&mut classifier.classifier.weight),
        ));
        if let Some(bias) = &mut classifier.classifier.bias {
            slots.push((format!("{CLASSIFIER}.bias"), Slot::Vector(bias)));
        }
        slots
    }
}

fn push<'a>(slots: &mut Vec<(String, Slot<'a>)>, conv: &str, norm: &str, layer: &'a mut ConvNorm) {
    let mut slot = |name: &str, part: &str, slot| slots.push((format!("{name}.{part}"), slot));
    slot(conv, "weight", Slot::Kernel(&mut layer.conv.weight));
    match &mut layer.norm {
        Norm::Batch(batch) => {
            slot(norm, "weight", Slot::Vector(&mut batch.weight));
            slot(norm, "bias", Slot::Vector(&mut batch.bias));
            slot(
                norm,
                "running_mean",
                Slot::Statistic(&mut batch.running_mean),
            );
            slot(norm, "running_var", Slot::Statistic(&mut batch.running_var));
        }
        Norm::Group(group) => {
            for (part, param) in [("weight", &mut group.gamma), ("bias", &mut group.beta)] {
                if let Some(param) = param {
                    slot(norm, part, Slot::Vector(param));
                }
            }
        }
    }
}

/// Names and shapes must agree one by one; the first difference is reported.
fn check(slots: &[(String, Slot<'_>)], manifest: &Manifest) -> Result<(), ModelError> {
    let words = |name: &str, shape: &[usize]| format!("{name} {shape:?}");
    for index in 0..slots.len().max(manifest.tensors.len()) {
        let expected = slots
            .get(index)
            .map(|(name, slot)| words(name, &slot.shape()));
        let found = manifest
            .tensors
            .get(index)
            .map(|TensorSpec { name, shape, .. }| words(name, shape));
        if expected != found {
            let word = |side: Option<String>| side.unwrap_or_else(|| "none".into());
            return Err(ModelError::Mismatch {
                expected: word(expected),
                found: word(found),
            });
        }
    }
    Ok(())
}
