//! A model as one safetensors file: the tensors under torchvision's names, and in the metadata all that is needed
//! to use them. Reads torchvision's own state dicts too.
//!
//! The data section holds the values in manifest order, and equal models give equal bytes. The header's
//! `__metadata__` holds `format` (`pt`), `card_version` (`1`) and `card`, a [`ModelCard`] as JSON.

use crate::architecture::{CLASSIFIER, initial, manifest};
use crate::federation::{Federation, Input, Model, SettingsError};
use crate::parameters::{Manifest, Parameters, ParametersError, STEM, TensorSpec, from_bytes, to_bytes};
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

const CARD_VERSION: &str = "1";

/// What a model is, apart from its values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelCard {
    /// The federation's name.
    pub name: String,
    /// What the model sees.
    pub input: Input,
    /// The network.
    pub model: Model,
    /// The round that made it; 0 for an untrained one.
    pub round: u32,
    /// The probability from which a voxel counts as lesion; `None` where none was chosen yet.
    pub threshold: Option<f32>,
}

/// Why a file is not a model.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ModelFileError {
    /// Not a safetensors file, or a damaged one.
    #[error("not a safetensors file: {0}")]
    Container(String),
    /// A safetensors file of something else: it says nothing of a federation's model.
    #[error("no model card of version {CARD_VERSION} in the file: {0}")]
    Card(String),
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
    let mut bytes = prelude(parameters.manifest(), card)?;
    bytes.reserve_exact(parameters.values().len() * 4);
    parameters.values().chunks(1 << 14).for_each(|block| bytes.extend(to_bytes(block)));
    Ok(bytes)
}

/// What stands in a model file before the values, which follow as raw little-endian `f32` in the manifest's order: for
/// whoever has them in a file and need not hold them.
///
/// # Errors
/// As [`encode`].
pub fn prelude(found: &Manifest, card: &ModelCard) -> Result<Vec<u8>, ModelFileError> {
    let card = check(card.clone())?;
    compare(&manifest(&card.model, &card.input), found)?;
    header(found, &card)
}

/// The length of the header and the header, padded so that the values are aligned to eight bytes. Written here
/// and not by the safetensors crate, which orders tensors by name and metadata at random.
fn header(manifest: &Manifest, card: &ModelCard) -> Result<Vec<u8>, ModelFileError> {
    let failed = |error: serde_json::Error| ModelFileError::Card(error.to_string());
    let card = serde_json::to_string(card).and_then(|card| serde_json::to_string(&card)).map_err(failed)?;
    let mut text = format!(r#"{{"__metadata__":{{"format":"pt","card_version":"{CARD_VERSION}","card":{card}}}"#);
    for (spec, range) in manifest.ranges() {
        let name = serde_json::to_string(&spec.name).map_err(failed)?;
        let (shape, start, end) = (&spec.shape, range.start * 4, range.end * 4);
        text.push_str(&format!(r#",{name}:{{"dtype":"F32","shape":{shape:?},"data_offsets":[{start},{end}]}}"#));
    }
    text.push('}');
    text.push_str(&" ".repeat(text.len().next_multiple_of(8) - text.len()));
    Ok([&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat())
}

fn compare(expected: &Manifest, found: &Manifest) -> Result<(), ModelFileError> {
    for spec in &expected.tensors {
        let missing = || ModelFileError::Missing { tensor: spec.name.clone() };
        let other = found.tensors.iter().find(|other| other.name == spec.name).ok_or_else(missing)?;
        same_shape(spec, &other.shape)?;
    }
    let stranger = found.tensors.iter().find(|spec| !expected.tensors.contains(spec));
    stranger.map_or(Ok(()), |spec| Err(ModelFileError::Unexpected { tensor: spec.name.clone() }))
}

fn same_shape(spec: &TensorSpec, found: &[usize]) -> Result<(), ModelFileError> {
    let TensorSpec { name, shape, .. } = spec;
    if shape == found {
        return Ok(());
    }
    Err(ModelFileError::Shape { tensor: name.clone(), expected: shape.clone(), found: found.into() })
}

/// A card is trusted no more than a federation's settings, and checked by the same rules.
fn check(card: ModelCard) -> Result<ModelCard, ModelFileError> {
    let least = Federation::from_toml("name = 'card'\nrounds = 1\n[input]\nsequences = ['any']\n")?;
    let federation = Federation { name: card.name, input: card.input, model: card.model, ..least }.check()?;
    let threshold = card.threshold;
    if threshold.is_some_and(|threshold| !(0.0..=1.0).contains(&threshold)) {
        return Err(ModelFileError::Card(format!("a threshold of {threshold:?} is no probability")));
    }
    let Federation { name, input, model, .. } = federation;
    Ok(ModelCard { name, input, model, round: card.round, threshold })
}

/// Reads a model that [`encode`] wrote.
///
/// # Errors
/// A damaged file, one without a card, or one whose tensors are not those of the card's network.
pub fn decode(bytes: &[u8]) -> Result<(ModelCard, Parameters), ModelFileError> {
    let (tensors, card) = open(bytes)?;
    let card = check(card.ok_or_else(|| ModelFileError::Card("there is none".into()))??)?;
    let manifest = manifest(&card.model, &card.input);
    no_strangers(&tensors, &manifest)?;
    let mut values = Vec::with_capacity(bytes.len() / 4);
    for spec in &manifest.tensors {
        let (shape, found) = read(&tensors, &spec.name)?;
        same_shape(spec, &shape)?;
        values.extend(found);
    }
    let parameters = Parameters::new(Arc::new(manifest), values)?;
    Ok((card, parameters))
}

type Card = Option<Result<ModelCard, ModelFileError>>;

fn open(bytes: &[u8]) -> Result<(SafeTensors<'_>, Card), ModelFileError> {
    let failed = |error: safetensors::SafeTensorError| ModelFileError::Container(error.to_string());
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(failed)?;
    let tensors = SafeTensors::deserialize(bytes).map_err(failed)?;
    let entries = metadata.metadata().as_ref();
    let entry = |key: &str| entries.and_then(|entries| entries.get(key));
    let card = entry("card").filter(|_| entry("card_version").is_some_and(|version| version == CARD_VERSION));
    Ok((tensors, card.map(|card| serde_json::from_str(card).map_err(|e| ModelFileError::Card(e.to_string())))))
}

/// Every tensor in the file must be the network's, but for what torchvision keeps beside its network.
fn no_strangers(tensors: &SafeTensors<'_>, manifest: &Manifest) -> Result<(), ModelFileError> {
    let beside = |name: &str| name.starts_with("aux_classifier.") || name.ends_with(".num_batches_tracked");
    let known: std::collections::HashSet<_> = manifest.tensors.iter().map(|spec| spec.name.as_str()).collect();
    let stranger = tensors.names().into_iter().filter(|name| !known.contains(name) && !beside(name)).min();
    stranger.map_or(Ok(()), |name| Err(ModelFileError::Unexpected { tensor: name.into() }))
}

/// A tensor's shape and values.
fn read(tensors: &SafeTensors<'_>, name: &str) -> Result<(Vec<usize>, Vec<f32>), ModelFileError> {
    let view = tensors.tensor(name).map_err(|_| ModelFileError::Missing { tensor: name.into() })?;
    let values = if view.dtype() == Dtype::F32 { from_bytes(view.data()) } else { None };
    match values {
        Some(values) => Ok((view.shape().into(), values)),
        None => Err(ModelFileError::Type { tensor: name.into(), found: format!("{:?}", view.dtype()) }),
    }
}

/// Reads the state dict of a torchvision DeepLabV3 (a safetensors file of `model.state_dict()`) into this network.
///
/// `aux_classifier.*` and `*.num_batches_tracked` are left out. A stem of three colours becomes one of
/// `sequences * slices` channels: every channel gets the sum of the three colours' kernels divided by the number of
/// channels, so that channels which all show the same slice activate the features just as a grey photograph did. A
/// last convolution of other classes than one is replaced by the untrained one of [`initial`].
///
/// # Errors
/// A damaged file, tensors that are missing, strange or of another shape, or values that are not 32-bit floats.
pub fn import_state_dict(bytes: &[u8], model: &Model, input: &Input) -> Result<Parameters, ModelFileError> {
    let (tensors, _) = open(bytes)?;
    let manifest = Arc::new(manifest(model, input));
    no_strangers(&tensors, &manifest)?;
    let untrained = initial(&manifest, 0);
    let mut values = Vec::with_capacity(manifest.len());
    for (spec, fresh) in untrained.tensors() {
        let (shape, found) = read(&tensors, &spec.name)?;
        if spec.name.starts_with(CLASSIFIER) && shape.first() != Some(&1) && shape.get(1..) == spec.shape.get(1..) {
            values.extend_from_slice(fresh);
        } else if let Some(stem) = grey(spec, &shape, &found) {
            values.extend(stem);
        } else {
            same_shape(spec, &shape)?;
            values.extend(found);
        }
    }
    Ok(Parameters::new(manifest, values)?)
}

/// The stem's kernels for grey slices in place of three colours; `None` for any other tensor.
fn grey(spec: &TensorSpec, shape: &[usize], colours: &[f32]) -> Option<Vec<f32>> {
    let &[outputs, channels, height, width] = spec.shape.as_slice() else { return None };
    if spec.name != STEM || channels == 3 || shape != [outputs, 3, height, width] {
        return None;
    }
    let area = height * width;
    let kernel = |rgb: &[f32]| -> Vec<f32> {
        (0..area).map(|i| (rgb[i] + rgb[area + i] + rgb[2 * area + i]) / channels as f32).collect()
    };
    Some(colours.chunks_exact(3 * area).flat_map(|rgb| kernel(rgb).repeat(channels)).collect())
}

#[cfg(test)]
mod tests;
