//! Model parameters as the federation sees them: a manifest of named tensors and one flat vector of
//! `f32`.
//!
//! On the wire and on disk the values are raw little-endian `f32` in manifest order, which is the
//! data section of a safetensors file.

use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::Arc;

/// The first convolution, `[out, sequences * slices, height, width]`: the one tensor whose input
/// channels belong to sequences.
pub const STEM: &str = "backbone.conv1.weight";

/// What a tensor is to the optimiser and to aggregation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Trained by gradients.
    Weight,
    /// A statistic of a normalisation layer, such as a running variance: averaged, never optimised.
    RunningStatistic,
}

/// One named tensor of the model.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TensorSpec {
    /// torchvision's name, such as `backbone.layer1.0.conv1.weight`.
    pub name: String,
    /// Row-major shape.
    pub shape: Vec<usize>,
    /// What the tensor is.
    pub kind: Kind,
}

impl TensorSpec {
    /// How many values the tensor has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the tensor has no values.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the values are running variances, of which the network takes the root.
    #[must_use]
    pub fn is_variance(&self) -> bool {
        self.kind == Kind::RunningStatistic && self.name.ends_with(".running_var")
    }

    /// Refuses the first value below zero of a running variance; any other tensor passes.
    ///
    /// # Errors
    /// [`ParametersError::Variance`].
    pub fn check_variance(&self, values: &[f32]) -> Result<(), ParametersError> {
        match values
            .iter()
            .position(|&value| self.is_variance() && value < 0.0)
        {
            Some(index) => Err(ParametersError::Variance {
                tensor: self.name.clone(),
                index,
                value: values[index],
            }),
            None => Ok(()),
        }
    }
}

/// A variance below this is none: what is closer to zero came of rounding, and a network adds more
/// before it takes the root.
pub const LEAST_VARIANCE: f32 = -1e-6;

/// The tensors of a model, in the order their values are stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Manifest {
    /// The tensors, in storage order.
    pub tensors: Vec<TensorSpec>,
}

impl Manifest {
    /// How many values all tensors have together.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tensors.iter().map(TensorSpec::len).sum()
    }

    /// Whether the model has no values.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes the values take on the wire.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.len() as u64 * 4
    }

    /// The tensors with the range of the flat vector that each one takes.
    pub fn ranges(&self) -> impl Iterator<Item = (&TensorSpec, Range<usize>)> {
        let mut start = 0;
        self.tensors.iter().map(move |spec| {
            let range = start..start + spec.len();
            start = range.end;
            (spec, range)
        })
    }

    /// A digest of names, shapes and kinds: two parties with the same digest mean the same model.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("federation manifest v1");
        for spec in &self.tensors {
            hasher.update(&(spec.name.len() as u64).to_le_bytes());
            hasher.update(spec.name.as_bytes());
            hasher.update(&(spec.shape.len() as u64).to_le_bytes());
            for &side in &spec.shape {
                hasher.update(&(side as u64).to_le_bytes());
            }
            hasher.update(&[u8::from(spec.kind == Kind::RunningStatistic)]);
        }
        *hasher.finalize().as_bytes()
    }
}

/// The content hash of a parameter vector: BLAKE3 over its raw little-endian bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ParametersId(pub [u8; 32]);

impl std::fmt::Debug for ParametersId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl ParametersId {
    /// All of it, in 64 hexadecimal digits: a file's name.
    #[must_use]
    pub fn hex(&self) -> String {
        blake3::Hash::from_bytes(self.0).to_string()
    }
}

impl std::fmt::Display for ParametersId {
    /// The first eight hexadecimal digits: enough to tell models apart in a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0[..4]
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Why a vector is not a model.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ParametersError {
    /// The vector is not as long as the manifest says.
    #[error("{found} values where the model has {expected}")]
    Length {
        /// What the manifest asks for.
        expected: usize,
        /// What came.
        found: usize,
    },
    /// A value is NaN or infinite.
    #[error("{tensor} holds a value that is not finite, at index {index}")]
    NotFinite {
        /// The tensor's name.
        tensor: String,
        /// The index inside the tensor.
        index: usize,
    },
    /// A running variance is below zero.
    #[error("{tensor} holds a variance below zero, {value}, at index {index}")]
    Variance {
        /// The tensor's name.
        tensor: String,
        /// The index inside the tensor.
        index: usize,
        /// The value.
        value: f32,
    },
}

/// A model's parameters: as many finite values as the manifest says, and no variance below zero.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    manifest: Arc<Manifest>,
    values: Vec<f32>,
}

impl Parameters {
    /// Checks length, finiteness and running variances.
    pub fn new(manifest: Arc<Manifest>, values: Vec<f32>) -> Result<Self, ParametersError> {
        if values.len() != manifest.len() {
            return Err(ParametersError::Length {
                expected: manifest.len(),
                found: values.len(),
            });
        }
        check_finite(&manifest, &values)?;
        check_variances(&manifest, &values)?;
        Ok(Self { manifest, values })
    }

    /// The tensors' names, shapes and kinds.
    #[must_use]
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// All values, in manifest order.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The tensors with their values.
    pub fn tensors(&self) -> impl Iterator<Item = (&TensorSpec, &[f32])> {
        self.manifest
            .ranges()
            .map(|(spec, range)| (spec, &self.values[range]))
    }

    /// The content hash.
    #[must_use]
    pub fn id(&self) -> ParametersId {
        let mut hasher = blake3::Hasher::new();
        for block in self.values.chunks(1 << 14) {
            hasher.update(&to_bytes(block));
        }
        ParametersId(*hasher.finalize().as_bytes())
    }

    /// The euclidean norm of the difference to another model of the same manifest; `None` across
    /// manifests.
    #[must_use]
    pub fn distance(&self, other: &Self) -> Option<f64> {
        (self.manifest == other.manifest).then(|| {
            let squares = self
                .values
                .iter()
                .zip(&other.values)
                .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
            squares.sum::<f64>().sqrt()
        })
    }
}

/// Refuses the first value that is NaN or infinite, by tensor name.
pub fn check_finite(manifest: &Manifest, values: &[f32]) -> Result<(), ParametersError> {
    let Some(bad) = values.iter().position(|value| !value.is_finite()) else {
        return Ok(());
    };
    let (tensor, index) = manifest
        .ranges()
        .find(|(_, range)| range.contains(&bad))
        .map_or_else(
            || ("?".into(), bad),
            |(spec, range)| (spec.name.clone(), bad - range.start),
        );
    Err(ParametersError::NotFinite { tensor, index })
}

/// Refuses the first running variance below zero, by tensor name.
fn check_variances(manifest: &Manifest, values: &[f32]) -> Result<(), ParametersError> {
    manifest
        .ranges()
        .try_for_each(|(spec, range)| spec.check_variance(&values[range]))
}

/// Raw little-endian bytes of some values.
#[must_use]
pub fn to_bytes(values: &[f32]) -> Vec<u8> {
    let mut bytes = vec![0; values.len() * 4];
    bytes
        .as_chunks_mut::<4>()
        .0
        .iter_mut()
        .zip(values)
        .for_each(|(quad, value)| *quad = value.to_le_bytes());
    bytes
}

/// The values of raw little-endian bytes; `None` unless the length is a multiple of four.
#[must_use]
pub fn from_bytes(bytes: &[u8]) -> Option<Vec<f32>> {
    let (quads, rest) = bytes.as_chunks::<4>();
    rest.is_empty()
        .then(|| quads.iter().map(|quad| f32::from_le_bytes(*quad)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Arc<Manifest> {
        let spec = |name: &str, shape: &[usize], kind| TensorSpec {
            name: name.into(),
            shape: shape.into(),
            kind,
        };
        Arc::new(Manifest {
            tensors: vec![
                spec("a.weight", &[2, 3], Kind::Weight),
                spec("a.running_var", &[3], Kind::RunningStatistic),
            ],
        })
    }

    #[test]
    fn ranges_follow_one_another() {
        let ranges: Vec<_> = manifest().ranges().map(|(_, range)| range).collect();
        assert_eq!(ranges, [0..6, 6..9]);
    }

    #[test]
    fn a_wrong_length_and_a_nan_are_refused_with_the_facts() {
        let short = Parameters::new(manifest(), vec![0.0; 8]);
        assert_eq!(
            short,
            Err(ParametersError::Length {
                expected: 9,
                found: 8
            })
        );
        let mut values = vec![0.0; 9];
        values[7] = f32::NAN;
        let bad = Parameters::new(manifest(), values);
        assert_eq!(
            bad,
            Err(ParametersError::NotFinite {
                tensor: "a.running_var".into(),
                index: 1
            })
        );
    }

    #[test]
    fn a_variance_below_zero_is_refused_and_a_weight_below_zero_is_not() {
        let mut values = vec![-1.0; 9];
        values[6..].fill(0.0);
        assert!(Parameters::new(manifest(), values.clone()).is_ok());
        values[8] = -1e-9;
        let bad = Parameters::new(manifest(), values);
        assert_eq!(
            bad,
            Err(ParametersError::Variance {
                tensor: "a.running_var".into(),
                index: 2,
                value: -1e-9
            })
        );
    }

    #[test]
    fn the_id_is_the_hash_of_the_raw_bytes() {
        let values: Vec<f32> = (0..9).map(|i| i as f32 * 0.1).collect();
        let parameters = Parameters::new(manifest(), values.clone()).unwrap();
        assert_eq!(
            parameters.id().0,
            *blake3::hash(&to_bytes(&values)).as_bytes()
        );
        assert_eq!(from_bytes(&to_bytes(&values)), Some(values));
        assert_eq!(from_bytes(&[0; 7]), None);
    }

    #[test]
    fn the_digest_tells_kinds_apart() {
        let mut other = (*manifest()).clone();
        other.tensors[1].kind = Kind::Weight;
        assert_ne!(other.digest(), manifest().digest());
    }
}
