//! A model as one safetensors file: the tensors under torchvision's names, and in the metadata all
//! that is needed to use them. Reads torchvision's own state dicts too.
//!
//! The data section holds the values in manifest order, and equal models give equal bytes. The
//! header's `__metadata__` holds `format` (`pt`), `card_version` (`2`), `card`, a [`ModelCard`] as
//! JSON, and the hashes of the weights and of the header, which are checked whenever a file is
//! read. Files without them, from PyTorch or of card version 1, are read too, and the reader is
//! told.

mod card;
mod seal;

use crate::architecture::{CLASSIFIER, initial, manifest};
use crate::parameters::{
    Manifest, Parameters, ParametersError, ParametersId, STEM, TensorSpec, from_bytes, to_bytes,
};
use crate::settings::{Input, Model, SettingsError};
pub use card::ModelCard;
use safetensors::{Dtype, SafeTensors};
use std::sync::Arc;

/// A model from a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// What it is.
    pub card: ModelCard,
    /// Its weights.
    pub parameters: Parameters,
    /// Whether the file carried hashes, which then were right. Damage to a file without them cannot
    /// be seen.
    pub hashed: bool,
}

/// Weights from a file, for a network that is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    pub parameters: Parameters,
    /// What the model was; a state dict has none.
    pub card: Option<ModelCard>,
    /// As in [`Loaded`].
    pub hashed: bool,
}

/// Why a file is not a model.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ModelFileError {
    /// Not a safetensors file, or a damaged one.
    #[error("not a safetensors file: {0}")]
    Container(String),
    /// A safetensors file of something else: it says nothing of a federation's model.
    #[error("no model card that this release reads in the file: {0}")]
    Card(String),
    /// What is before the weights is not what was written.
    #[error(
        "the file is damaged or was changed: its header does not have the hash that it was \
         written with"
    )]
    Header,
    /// The weights are not those that were written.
    #[error(
        "the file is damaged or was changed: its weights have the hash {found}, and were written \
         with {expected}"
    )]
    Weights {
        /// What the file says.
        expected: String,
        /// What its weights have.
        found: String,
    },
    /// A model of equal shape that is another network, or sees other sequences.
    #[error("the file's model has {key} = {found} where the federation has {expected}")]
    Network {
        /// Which setting.
        key: &'static str,
        /// The file's.
        found: String,
        /// The federation's.
        expected: String,
    },
    /// The card describes a network that cannot be.
    #[error("the model card is wrong: {0}")]
    Settings(#[from] SettingsError),
    /// A tensor of the network is not in the file.
    #[error("{tensor} is missing")]
    Missing {
        /// Its name.
        tensor: String,
    },
    /// A tensor in the file is not in the network.
    #[error("{tensor} is no part of the network")]
    Unexpected {
        /// Its name.
        tensor: String,
    },
    /// A tensor of another shape.
    #[error("{tensor} has shape {found:?} where the network has {expected:?}")]
    Shape {
        /// Its name.
        tensor: String,
        /// The network's shape.
        expected: Vec<usize>,
        /// The file's.
        found: Vec<usize>,
    },
    /// Values that are not 32-bit floats.
    #[error("{tensor} holds {found} values; only F32 is read")]
    Type {
        /// The tensor's name.
        tensor: String,
        /// What it holds.
        found: String,
    },
    /// Values that are no model.
    #[error(transparent)]
    Values(#[from] ParametersError),
}

/// Writes a model.
///
/// # Errors
/// A card that cannot be, or that describes another network than the parameters'.
pub fn encode(parameters: &Parameters, card: &ModelCard) -> Result<Vec<u8>, ModelFileError> {
    let mut bytes = prelude(parameters.manifest(), card, parameters.id())?;
    bytes.reserve_exact(parameters.values().len() * 4);
    parameters
        .values()
        .chunks(1 << 14)
        .for_each(|block| bytes.extend(to_bytes(block)));
    Ok(bytes)
}

/// What is in a model file before the values, which follow as raw little-endian `f32` in the
/// manifest's order: for a caller that has them in a file and need not hold them. `weights` is
/// their hash.
///
/// # Errors
/// As [`encode`].
pub fn prelude(
    found: &Manifest,
    card: &ModelCard,
    weights: ParametersId,
) -> Result<Vec<u8>, ModelFileError> {
    let card = card.clone().check()?;
    compare(&manifest(&card.model, &card.input), found)?;
    header(found, &card, weights)
}

/// The length of the header and the header, padded so that the values are aligned to eight bytes.
/// Written here and not by the safetensors crate, which orders tensors by name and metadata at
/// random.
fn header(
    manifest: &Manifest,
    card: &ModelCard,
    weights: ParametersId,
) -> Result<Vec<u8>, ModelFileError> {
    let failed = |error: serde_json::Error| ModelFileError::Card(error.to_string());
    let card = serde_json::to_string(card)
        .and_then(|card| serde_json::to_string(&card))
        .map_err(failed)?;
    let (version, hashes) = (card::VERSION, seal::blank(weights));
    let mut text = format!(
        r#"{{"__metadata__":{{"format":"pt","card_version":"{version}",{hashes},"card":{card}}}"#
    );
    for (spec, range) in manifest.ranges() {
        let name = serde_json::to_string(&spec.name).map_err(failed)?;
        let (shape, start, end) = (&spec.shape, range.start * 4, range.end * 4);
        text.push_str(&format!(
            r#",{name}:{{"dtype":"F32","shape":{shape:?},"data_offsets":[{start},{end}]}}"#
        ));
    }
    text.push('}');
    text.push_str(&" ".repeat(text.len().next_multiple_of(8) - text.len()));
    seal::fill(&mut text);
    Ok([&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat())
}

fn compare(expected: &Manifest, found: &Manifest) -> Result<(), ModelFileError> {
    for spec in &expected.tensors {
        let missing = || ModelFileError::Missing {
            tensor: spec.name.clone(),
        };
        let other = found
            .tensors
            .iter()
            .find(|other| other.name == spec.name)
            .ok_or_else(missing)?;
        same_shape(spec, &other.shape)?;
    }
    let stranger = found
        .tensors
        .iter()
        .find(|spec| !expected.tensors.contains(spec));
    stranger.map_or(Ok(()), |spec| {
        Err(ModelFileError::Unexpected {
            tensor: spec.name.clone(),
        })
    })
}

fn same_shape(spec: &TensorSpec, found: &[usize]) -> Result<(), ModelFileError> {
    let TensorSpec { name, shape, .. } = spec;
    if shape == found {
        return Ok(());
    }
    Err(ModelFileError::Shape {
        tensor: name.clone(),
        expected: shape.clone(),
        found: found.into(),
    })
}

/// Reads a model that [`encode`] wrote.
///
/// # Errors
/// A damaged file, one without a card, or one whose tensors are not those of the card's network.
pub fn decode(bytes: &[u8]) -> Result<Loaded, ModelFileError> {
    let opened = Opened::new(bytes)?;
    let card = opened
        .card
        .clone()
        .ok_or_else(|| ModelFileError::Card("there is none".into()))??
        .check()?;
    let manifest = manifest(&card.model, &card.input);
    no_strangers(&opened.tensors, &manifest)?;
    let mut values = Vec::with_capacity(bytes.len() / 4);
    for spec in &manifest.tensors {
        let (shape, found) = read(&opened.tensors, &spec.name)?;
        same_shape(spec, &shape)?;
        values.extend(found);
    }
    opened.check_weights()?;
    let parameters = Parameters::new(Arc::new(manifest), values)?;
    Ok(Loaded {
        card,
        parameters,
        hashed: opened.weights.is_some(),
    })
}

/// A file whose header is sound.
struct Opened<'a> {
    tensors: SafeTensors<'a>,
    card: Option<Result<ModelCard, ModelFileError>>,
    /// The hash that the weights were written with, and all bytes after the header.
    weights: Option<String>,
    data: &'a [u8],
}

impl<'a> Opened<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, ModelFileError> {
        let failed =
            |error: safetensors::SafeTensorError| ModelFileError::Container(error.to_string());
        let (length, metadata) = SafeTensors::read_metadata(bytes).map_err(failed)?;
        let tensors = SafeTensors::deserialize(bytes).map_err(failed)?;
        let entries = metadata.metadata().as_ref();
        let entry = |key: &str| entries.and_then(|entries| entries.get(key));
        let version = entry("card_version").map(String::as_str);
        // The length was checked to lie within the bytes.
        let (header, data) = bytes
            .get(8..)
            .and_then(|rest| rest.split_at_checked(length))
            .unwrap_or_default();
        let weights = seal::announced(header, entries, version == Some(card::VERSION))?;
        let card = entry("card")
            .zip(version)
            .map(|(card, version)| ModelCard::read(version, card));
        Ok(Self {
            tensors,
            card,
            weights,
            data,
        })
    }

    /// Whether the weights are those that were written, as far as the file can say.
    fn check_weights(&self) -> Result<(), ModelFileError> {
        let Some(expected) = &self.weights else {
            return Ok(());
        };
        let found = blake3::hash(self.data).to_string();
        if found == *expected {
            return Ok(());
        }
        Err(ModelFileError::Weights {
            expected: expected.clone(),
            found,
        })
    }
}

/// Every tensor in the file must be the network's, but for what torchvision keeps besides its
/// network.
fn no_strangers(tensors: &SafeTensors<'_>, manifest: &Manifest) -> Result<(), ModelFileError> {
    let is_extra =
        |name: &str| name.starts_with("aux_classifier.") || name.ends_with(".num_batches_tracked");
    let known: std::collections::HashSet<_> = manifest
        .tensors
        .iter()
        .map(|spec| spec.name.as_str())
        .collect();
    let stranger = tensors
        .names()
        .into_iter()
        .filter(|name| !known.contains(name) && !is_extra(name))
        .min();
    stranger.map_or(Ok(()), |name| {
        Err(ModelFileError::Unexpected {
            tensor: name.into(),
        })
    })
}

/// A tensor's shape and values.
fn read(tensors: &SafeTensors<'_>, name: &str) -> Result<(Vec<usize>, Vec<f32>), ModelFileError> {
    let view = tensors.tensor(name).map_err(|_| ModelFileError::Missing {
        tensor: name.into(),
    })?;
    let values = if view.dtype() == Dtype::F32 {
        from_bytes(view.data())
    } else {
        None
    };
    match values {
        Some(values) => Ok((view.shape().into(), values)),
        None => Err(ModelFileError::Type {
            tensor: name.into(),
            found: format!("{:?}", view.dtype()),
        }),
    }
}

/// Reads the state dict of a torchvision DeepLabV3 (a safetensors file of `model.state_dict()`)
/// into this network.
///
/// `aux_classifier.*` and `*.num_batches_tracked` are left out. A stem of three colours becomes one
/// of `sequences * slices` channels: every channel gets the sum of the three colours' kernels
/// divided by the number of channels, so that channels which all show the same slice activate the
/// features just as a grey photograph did. A last convolution of other classes than one is replaced
/// by the untrained one of [`initial`].
///
/// # Errors
/// A damaged file, tensors that are missing, strange or of another shape, values that are not
/// 32-bit floats, or a model file of ours whose card says that it is another network.
pub fn import_state_dict(
    bytes: &[u8],
    model: &Model,
    input: &Input,
) -> Result<Imported, ModelFileError> {
    let opened = Opened::new(bytes)?;
    opened.check_weights()?;
    // A state dict has no card, and a strange one says nothing of ours.
    let card = match &opened.card {
        Some(Ok(card)) => Some(card.clone()),
        Some(Err(_)) | None => None,
    };
    if let Some(card) = &card {
        card.fits(model, input)?;
    }
    let tensors = &opened.tensors;
    let manifest = Arc::new(manifest(model, input));
    no_strangers(tensors, &manifest)?;
    let untrained = initial(&manifest, 0);
    let mut values = Vec::with_capacity(manifest.len());
    for (spec, fresh) in untrained.tensors() {
        let (shape, found) = read(tensors, &spec.name)?;
        if spec.name.starts_with(CLASSIFIER)
            && shape.first() != Some(&1)
            && shape.get(1..) == spec.shape.get(1..)
        {
            values.extend_from_slice(fresh);
        } else if let Some(stem) = grey(spec, &shape, &found) {
            values.extend(stem);
        } else {
            same_shape(spec, &shape)?;
            values.extend(found);
        }
    }
    Ok(Imported {
        parameters: Parameters::new(manifest, values)?,
        card,
        hashed: opened.weights.is_some(),
    })
}

/// The stem's kernels for grey slices in place of three colours; `None` for any other tensor.
fn grey(spec: &TensorSpec, shape: &[usize], colours: &[f32]) -> Option<Vec<f32>> {
    let &[outputs, channels, height, width] = spec.shape.as_slice() else {
        return None;
    };
    if spec.name != STEM || channels == 3 || shape != [outputs, 3, height, width] {
        return None;
    }
    let area = height * width;
    let kernel = |rgb: &[f32]| -> Vec<f32> {
        (0..area)
            .map(|i| (rgb[i] + rgb[area + i] + rgb[2 * area + i]) / channels as f32)
            .collect()
    };
    Some(
        colours
            .chunks_exact(3 * area)
            .flat_map(|rgb| kernel(rgb).repeat(channels))
            .collect(),
    )
}

#[cfg(test)]
mod tests;
