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

/// Why a network cannot take or give parameters.
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
    #[error("{tensor} cannot be read: {fault}")]
    Unreadable {
        /// Its name.
        tensor: String,
        fault: DeviceFault,
    },
    /// The network has values that are not finite.
    #[error(transparent)]
    Values(#[from] ParametersError),
}

impl Explain for ModelError {
    fn class(&self) -> Class {
        Class::Data
    }
}

/// A tensor of the network, under torchvision's name.
struct Slot<'a> {
    name: String,
    place: Place<'a>,
}

/// Where a tensor is in the network.
enum Place<'a> {
    Kernel(&'a mut Param<Tensor<4>>),
    Vector(&'a mut Param<Tensor<1>>),
    Statistic(&'a mut RunningState<Tensor<1>>),
}

impl Place<'_> {
    fn shape(&self) -> Vec<usize> {
        match self {
            Self::Kernel(param) => param.dims().into(),
            Self::Vector(param) => param.dims().into(),
            Self::Statistic(state) => state.value().dims().into(),
        }
    }

    /// Replaces the value. Parameters stay trainable; pending updates of a statistic are dropped.
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
        for (slot, (_, values)) in slots.into_iter().zip(parameters.tensors()) {
            slot.place.fill(values);
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
        for slot in slots {
            match slot.place.read() {
                Ok(tensor) => values.extend(tensor),
                Err(fault) => {
                    let tensor = slot.name;
                    return Err(ModelError::Unreadable { tensor, fault });
                }
            }
        }
        Ok(Parameters::new(Arc::clone(manifest), values)?)
    }

    /// Every tensor under torchvision's name, in the manifest's order.
    fn slots(&mut self) -> Vec<Slot<'_>> {
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
        let kernel = Place::Kernel(&mut classifier.classifier.weight);
        slots.push(Slot::new(CLASSIFIER, "weight", kernel));
        if let Some(bias) = &mut classifier.classifier.bias {
            slots.push(Slot::new(CLASSIFIER, "bias", Place::Vector(bias)));
        }
        slots
    }
}

impl<'a> Slot<'a> {
    fn new(layer: &str, part: &str, place: Place<'a>) -> Self {
        Self {
            name: format!("{layer}.{part}"),
            place,
        }
    }
}

/// Adds the tensors of a convolution and of its normalisation, whose names are `conv` and `norm`.
fn push<'a>(slots: &mut Vec<Slot<'a>>, conv: &str, norm: &str, layer: &'a mut ConvNorm) {
    let kernel = Place::Kernel(&mut layer.conv.weight);
    slots.push(Slot::new(conv, "weight", kernel));
    match &mut layer.norm {
        Norm::Batch(batch) => {
            let weight = Place::Vector(&mut batch.weight);
            let bias = Place::Vector(&mut batch.bias);
            let mean = Place::Statistic(&mut batch.running_mean);
            let variance = Place::Statistic(&mut batch.running_var);
            slots.push(Slot::new(norm, "weight", weight));
            slots.push(Slot::new(norm, "bias", bias));
            slots.push(Slot::new(norm, "running_mean", mean));
            slots.push(Slot::new(norm, "running_var", variance));
        }
        Norm::Group(group) => {
            if let Some(weight) = &mut group.gamma {
                slots.push(Slot::new(norm, "weight", Place::Vector(weight)));
            }
            if let Some(bias) = &mut group.beta {
                slots.push(Slot::new(norm, "bias", Place::Vector(bias)));
            }
        }
    }
}

/// Compares names and shapes one by one, and reports the first difference.
fn check(slots: &[Slot<'_>], manifest: &Manifest) -> Result<(), ModelError> {
    for index in 0..slots.len().max(manifest.tensors.len()) {
        let mut expected = "none".to_owned();
        if let Some(slot) = slots.get(index) {
            expected = format!("{} {:?}", slot.name, slot.place.shape());
        }
        let mut found = "none".to_owned();
        if let Some(TensorSpec { name, shape, .. }) = manifest.tensors.get(index) {
            found = format!("{name} {shape:?}");
        }
        if expected != found {
            return Err(ModelError::Mismatch { expected, found });
        }
    }
    Ok(())
}
