//! The weights of HD-BET's network as a safetensors file, and which of the published ones they are.

use super::checkpoint::{self, CheckpointError};
use program::{Class, Explain};
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The published networks, by the BLAKE3 hash of their weights.
const PUBLISHED: [(&str, &str); 5] = [
    (
        "HD-BET 0",
        "ef286df9fcc08d6a873ce0a4dbe2c73d22b512f4e433cbd84edc18754ea25fd3",
    ),
    (
        "HD-BET 1",
        "39868bd49bc6971545580987aadb319dae021b1bbd8388891f90a66b39c92b53",
    ),
    (
        "HD-BET 2",
        "8281dff5a923bd0bc980e1ec8258ec43b48e52e30e77eaa78f9f415112bec3b7",
    ),
    (
        "HD-BET 3",
        "b0429a8883542cbfcd6274cef45e516e32b303321d7e9942b6223716704aef36",
    ),
    (
        "HD-BET 4",
        "7404d850be35b1910f75e1edaa196f66b46602bd52c6e357062537f8f60c8a9d",
    ),
];

/// Why a file holds no network that finds brains.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum WeightsError {
    #[error("not a safetensors file: {0}")]
    Container(String),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("the tensor {0} is missing: the weights are those of another network")]
    Missing(String),
    #[error(
        "{tensor} has the shape {found:?}, and HD-BET's {expected:?}: the weights are those of \
         another network"
    )]
    Shape {
        tensor: String,
        expected: Vec<usize>,
        found: Vec<usize>,
    },
    #[error("{tensor} holds {found} values; only F32 is read")]
    Type { tensor: String, found: String },
    /// Damaged, or trained by someone else.
    #[error(
        "the weights have the BLAKE3 hash {0}, which is none of the five networks that HD-BET's \
         authors published"
    )]
    Unknown(String),
}

impl Explain for WeightsError {
    fn class(&self) -> Class {
        Class::Data
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = match self {
            Self::Container(_) => {
                "site-agent brain-network makes the file from HD-BET's published weights"
            }
            Self::Checkpoint(_) | Self::Unknown(_) => {
                "download HD-BET's weights again; docs/users/IMPORT.md says from where"
            }
            _ => return None,
        };
        Some(hint.into())
    }
}

/// One tensor.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Values {
    pub(super) shape: Vec<usize>,
    pub(super) values: Vec<f32>,
}

/// The tensors of a network, by their published names.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Weights(BTreeMap<String, Values>);

impl Weights {
    #[cfg(test)]
    pub(super) fn of(tensors: BTreeMap<String, Values>) -> Self {
        Self(tensors)
    }

    /// From a file that [`Self::to_safetensors`] wrote.
    ///
    /// # Errors
    /// Another kind of file, or values of another type.
    pub(super) fn from_safetensors(bytes: &[u8]) -> Result<Self, WeightsError> {
        let file = SafeTensors::deserialize(bytes)
            .map_err(|error| WeightsError::Container(error.to_string()))?;
        let mut tensors = BTreeMap::new();
        for (name, view) in file.iter() {
            if view.dtype() != Dtype::F32 {
                return Err(WeightsError::Type {
                    tensor: name.into(),
                    found: format!("{:?}", view.dtype()),
                });
            }
            let mut values = Vec::with_capacity(view.data().len() / 4);
            for bytes in view.data().as_chunks::<4>().0 {
                values.push(f32::from_le_bytes(*bytes));
            }
            let shape = view.shape().to_vec();
            tensors.insert(name.to_owned(), Values { shape, values });
        }
        Ok(Self(tensors))
    }

    /// From a file of HD-BET's own.
    ///
    /// # Errors
    /// Another kind of file.
    pub(super) fn from_checkpoint(bytes: &[u8]) -> Result<Self, WeightsError> {
        let mut tensors = checkpoint::read(bytes)?;
        tensors.retain(|name, _| is_used(name));
        Ok(Self(tensors))
    }

    /// As a safetensors file. Equal weights give equal bytes.
    ///
    /// # Errors
    /// Shapes that contradict the values.
    pub(super) fn to_safetensors(&self) -> Result<Vec<u8>, WeightsError> {
        let failed =
            |error: safetensors::SafeTensorError| WeightsError::Container(error.to_string());
        let mut buffers = Vec::new();
        for (name, tensor) in &self.0 {
            buffers.push((name, &tensor.shape, to_bytes(&tensor.values)));
        }
        let mut views = Vec::new();
        for (name, shape, bytes) in &buffers {
            let view = TensorView::new(Dtype::F32, (*shape).clone(), bytes).map_err(failed)?;
            views.push((name.as_str(), view));
        }
        serialize(views, None).map_err(failed)
    }

    /// Which published network these are the weights of.
    ///
    /// # Errors
    /// None of them.
    pub(super) fn published(&self) -> Result<&'static str, WeightsError> {
        let hash = self.hash().to_hex();
        for (name, known) in PUBLISHED {
            if known == hash.as_str() {
                return Ok(name);
            }
        }
        Err(WeightsError::Unknown(hash.to_string()))
    }

    /// The hash of all names, shapes and values.
    fn hash(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        for (name, tensor) in &self.0 {
            hasher.update(format!("{name} {:?}\n", tensor.shape).as_bytes());
            hasher.update(&to_bytes(&tensor.values));
        }
        hasher.finalize()
    }

    /// The features at the finest resolution: 21 in the published networks.
    ///
    /// # Errors
    /// The first convolution is missing or sees several images.
    pub(super) fn base_filters(&self) -> Result<usize, WeightsError> {
        let name = "init_conv.weight";
        let tensor = self.tensor(name)?;
        match tensor.shape[..] {
            [base, 1, 3, 3, 3] => Ok(base),
            _ => Err(WeightsError::Shape {
                tensor: name.into(),
                expected: vec![21, 1, 3, 3, 3],
                found: tensor.shape.clone(),
            }),
        }
    }

    /// A tensor's values.
    ///
    /// # Errors
    /// It is missing or has another shape.
    pub(super) fn values(&self, name: &str, shape: &[usize]) -> Result<&[f32], WeightsError> {
        let tensor = self.tensor(name)?;
        if tensor.shape != shape {
            return Err(WeightsError::Shape {
                tensor: name.into(),
                expected: shape.into(),
                found: tensor.shape.clone(),
            });
        }
        Ok(&tensor.values)
    }

    fn tensor(&self, name: &str) -> Result<&Values, WeightsError> {
        let missing = || WeightsError::Missing(name.into());
        self.0.get(name).ok_or_else(missing)
    }
}

/// Whether a tensor is a part of the network that is run: see [`super::unet`].
fn is_used(name: &str) -> bool {
    let is_statistic = name.contains(".running_");
    let is_for_training = name.starts_with("loc2_seg.") || name.starts_with("loc3_seg.");
    !is_statistic && !is_for_training
}

fn to_bytes(values: &[f32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4 * values.len());
    for value in values {
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    bytes
}
