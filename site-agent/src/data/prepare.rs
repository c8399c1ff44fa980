//! One case's files made ready for the model.

use super::brain::brain;
use super::labels;
use super::normalise::normalise;
use super::trouble::{Trouble, pointer};
use crate::case::{CaseFileError, Native, Noticed, Placement, Prepared};
use crate::nifti::{self, Form, NiftiError, Source, Volume};
use program::{Class, Explain};
use protocol::case::Grid;
use protocol::federation::Input;
use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// Where one case's volumes are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Files {
    /// One entry for each of the federation's sequences, in order; `None` where the case lacks it.
    pub sequences: Vec<Option<PathBuf>>,
    /// The reference segmentation.
    pub label: Option<PathBuf>,
    /// A brain mask.
    pub brain: Option<PathBuf>,
}

/// Why a case cannot be used. For people at the site: may name sequences and grids.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// A file that must be there is not.
    #[error("no {0} file")]
    Missing(&'static str),
    /// A file that is no usable volume.
    #[error("{what}: {error}")]
    File {
        /// Which sequence, `label` or `brain mask`.
        what: String,
        /// What is wrong with it.
        error: NiftiError,
    },
    /// Two volumes that do not lie on one grid.
    #[error("{first} and {second} lie on different grids: {first} has {first_grid}; {second} has {second_grid}")]
    Grids {
        /// The sequence that gives the case its grid.
        first: String,
        /// Its grid.
        first_grid: Box<Source>,
        /// The other volume.
        second: String,
        /// Its grid.
        second_grid: Box<Source>,
    },
    /// NaN or infinity.
    #[error("{0} holds values that are not finite")]
    NotFinite(String),
    /// No voxel of any sequence (or of the mask) is brain.
    #[error("there is no brain: every voxel is zero")]
    NoBrain,
    /// Nearly every voxel is brain.
    #[error(
        "{percent:.1} % of the volume would be brain{}",
        if *.mask { ", by the brain mask" } else { ": nearly no voxel is like those around the head" }
    )]
    AllBrain {
        /// The share.
        percent: f64,
        /// Whether a mask says so.
        mask: bool,
    },
    /// Two sequences whose voxels are all the same.
    #[error("{first} and {second} are the same image")]
    SameImage {
        /// One sequence.
        first: String,
        /// The other.
        second: String,
    },
    /// All images are those of another case.
    #[error("its images are those of {other}, voxel by voxel")]
    SameCase {
        /// The case that is used instead.
        other: String,
    },
    /// A label with other values than all sound ones.
    #[error(
        "the label holds none of data.lesion_labels {listed:?}, but {held}, which no sound label of the site holds"
    )]
    ForeignLabel {
        /// Its values, and how many voxels hold them.
        held: String,
        /// As configured.
        listed: Vec<u16>,
    },
    /// A file that is there and has no content to read.
    #[error("{what}: {trouble}")]
    Content {
        /// Which sequence, `label`, `brain mask` or `the case's folder`.
        what: String,
        /// What it is instead.
        trouble: Trouble,
    },
    /// A folder that could be a case's, or a label without images.
    #[error("none of its sequences' files is there, such as {}{}", .wanted.display(), besides(.found))]
    NoSequences {
        /// Where a file was looked for, below the root.
        wanted: PathBuf,
        /// What is there instead, in part.
        found: Vec<String>,
    },
    /// One value throughout the brain: nothing to normalise by.
    #[error("{0} has the same value in the whole brain")]
    Constant(String),
    /// A label that is not an integer.
    #[error("the label holds {0}, which is not a whole number from 0 to 65535")]
    Label(f32),
    /// The cache file.
    #[error("{0}")]
    Cache(#[from] CaseFileError),
}

impl Explain for CaseError {
    fn class(&self) -> Class {
        match self {
            Self::Cache(error) => error.class(),
            _ => Class::Data,
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Cache(error) => error.hint(),
            _ => None,
        }
    }
}

/// What lies where files were looked for.
fn besides(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!("; there are {}", names.join(", ")) }
}

/// The content of one case's files.
pub(super) struct Contents {
    pub(super) sequences: Vec<Option<Vec<u8>>>,
    pub(super) label: Option<Vec<u8>>,
    pub(super) brain: Option<Vec<u8>>,
}

impl Files {
    /// Reads the files as they are.
    pub(super) fn read(&self, input: &Input) -> Result<Contents, CaseError> {
        let read = |what: &str, path: &Option<PathBuf>| {
            let content = path.as_deref().map(|path: &Path| std::fs::read(path));
            let content = content.transpose();
            let content = content.map_err(|error| CaseError::File { what: what.into(), error: error.into() })?;
            match content.as_deref().and_then(pointer) {
                Some(trouble) => Err(CaseError::Content { what: what.into(), trouble }),
                None => Ok(content),
            }
        };
        let named = input.sequences.iter().zip(&self.sequences);
        Ok(Contents {
            sequences: named.map(|(name, path)| read(name, path)).collect::<Result<_, _>>()?,
            label: read("label", &self.label)?,
            brain: read("brain mask", &self.brain)?,
        })
    }
}

/// Prepares one case: one grid, z-scores over the brain (population standard deviation), zero outside, and the
/// model's planes. The brain is the mask where there is one, else every voxel that is not like the volume's corners in
/// some sequence.
///
/// Also returns how the first present sequence is stored, for results that shall lie on its grid.
///
/// # Errors
/// See [`CaseError`].
pub fn prepare(id: &str, files: &Files, input: &Input, lesion_labels: &[u16]) -> Result<(Prepared, Source), CaseError> {
    files.read(input)?.prepare(id, input, lesion_labels)
}

impl Contents {
    /// As [`prepare`].
    pub(super) fn prepare(
        self,
        id: &str,
        input: &Input,
        lesion_labels: &[u16],
    ) -> Result<(Prepared, Source), CaseError> {
        let examined = self.examine(input, lesion_labels)?;
        let Examined { source, images, brain, lesion, noticed } = examined;
        let grid = source.grid();
        let placement = Placement::new([grid.spacing_mm[1], grid.spacing_mm[2]], input.spacing_mm);
        let planes = Planes { placement, grid, plane: input.plane, brain: &brain };
        let sequences = images.into_iter().map(|image| image.map(|image| planes.image(&image))).collect();
        let label = lesion.as_ref().map(|lesion| placement.place_nearest(lesion, grid.dims, input.plane));
        let native = Native { grid, brain, lesion };
        Ok((Prepared { id: id.into(), sequences, label, plane: input.plane, native, placement, noticed }, source))
    }

    /// Everything about a case that does not depend on the model's planes.
    pub(super) fn examine(self, input: &Input, lesion_labels: &[u16]) -> Result<Examined, CaseError> {
        let mut images: Vec<Option<Vec<f32>>> = Vec::with_capacity(input.sequences.len());
        let mut stand = None;
        for (name, content) in input.sequences.iter().zip(self.sequences) {
            images.push(content.map(|content| finite_volume(name, &content, &mut stand)).transpose()?);
        }
        let label = self.label.map(|content| finite_volume("label", &content, &mut stand)).transpose()?;
        let mask = self.brain.map(|content| finite_volume("brain mask", &content, &mut stand)).transpose()?;
        let Some((_, source)) = stand else { return Err(CaseError::Missing("sequence")) };
        let mut noticed = Noticed::default();
        let lesion = label.as_ref().map(|values| lesion(values, lesion_labels)).transpose()?;
        if let Some(label) = label {
            noticed.labels = labels::census(&label);
        }
        let dims = source.grid().dims;
        let brain = brain(source.grid().voxels(), dims, &images, mask.as_deref(), &mut noticed.notes)?;
        noticed.images = different(&input.sequences, &images)?;
        if let Some(lesion) = &lesion {
            labels::compare(lesion, &brain, &mut noticed.notes);
        }
        for (name, image) in input.sequences.iter().zip(&mut images) {
            if let Some(image) = image {
                normalise(name, image, &brain, input.clip_percentiles, &mut noticed.notes)?;
            }
        }
        Ok(Examined { source, images, brain, lesion, noticed })
    }
}

/// A case's volumes on the patient's own grid, images as z-scores.
pub(super) struct Examined {
    source: Source,
    images: Vec<Option<Vec<f32>>>,
    brain: Vec<u8>,
    lesion: Option<Vec<u8>>,
    pub(super) noticed: Noticed,
}

/// Hashes of the images that are there. Two sequences of one case are never the same image.
fn different(names: &[String], images: &[Option<Vec<f32>>]) -> Result<Vec<String>, CaseError> {
    let mut hashes: Vec<String> = Vec::new();
    let mut hashed: Vec<&String> = Vec::new();
    for (name, image) in names.iter().zip(images) {
        let Some(image) = image else { continue };
        let mut hash = blake3::Hasher::new();
        for values in image.chunks(1 << 14) {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            hash.update(&bytes);
        }
        let hash = hash.finalize().to_hex().to_string();
        if let Some(same) = hashes.iter().position(|other| *other == hash) {
            return Err(CaseError::SameImage { first: hashed[same].clone(), second: name.clone() });
        }
        hashes.push(hash);
        hashed.push(name);
    }
    Ok(hashes)
}

/// Reads a volume that must lie where the first one lies and hold numbers only.
fn finite_volume(what: &str, content: &[u8], stand: &mut Option<(String, Source)>) -> Result<Vec<f32>, CaseError> {
    let parsed = nifti::parse(content).map_err(|error| CaseError::File { what: what.into(), error });
    let Volume { values, source, .. } = parsed?;
    if source.form() == Form::Spacing {
        tracing::warn!("a volume has neither sform nor qform: left and right are assumed, see docs/users/DATA.md");
    }
    let (first, first_grid) = stand.get_or_insert_with(|| (what.into(), source.clone()));
    if !first_grid.same_place(&source) {
        return Err(CaseError::Grids {
            first: first.clone(),
            first_grid: Box::new(first_grid.clone()),
            second: what.into(),
            second_grid: Box::new(source),
        });
    }
    if values.iter().all(|value| value.is_finite()) { Ok(values) } else { Err(CaseError::NotFinite(what.into())) }
}

/// Lesion 1, other 0. A label without lesion is a case without lesion.
fn lesion(values: &[f32], lesion_labels: &[u16]) -> Result<Vec<u8>, CaseError> {
    let whole = |value: f32| (value - value.round()).abs() < 1e-3 && (-0.5..65535.5).contains(&value);
    if let Some(&odd) = values.iter().find(|&&value| !whole(value)) {
        return Err(CaseError::Label(odd));
    }
    Ok(values.iter().map(|&value| u8::from(lesion_labels.contains(&(value.round() as u16)))).collect())
}

/// How a case's native planes become the model's.
struct Planes<'a> {
    placement: Placement,
    grid: Grid,
    plane: usize,
    brain: &'a [u8],
}

impl Planes<'_> {
    /// Z-scores on the model's planes, zero outside the brain.
    fn image(&self, image: &[f32]) -> Vec<f32> {
        let mut placed = self.placement.place(image, self.grid.dims, self.plane);
        if self.placement != Placement::WHOLE_PIXELS {
            // Interpolation bleeds over the brain's edge.
            let brain = self.placement.place_nearest(self.brain, self.grid.dims, self.plane);
            placed.iter_mut().zip(brain).filter(|(_, brain)| *brain == 0).for_each(|(value, _)| *value = 0.0);
        }
        placed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_labels_are_labels() {
        assert_eq!(lesion(&[0.0, 4.0, 1.0, 3.9999], &[4]).unwrap(), [0, 1, 0, 1]);
        assert_eq!(lesion(&[0.0, 2.0], &[4]).unwrap(), [0, 0]);
        for odd in [0.5, -1.0, 1e9] {
            assert!(matches!(lesion(&[0.0, odd], &[4]), Err(CaseError::Label(_))), "{odd}");
        }
    }

    #[derive(serde::Deserialize)]
    struct Reference {
        site: String,
        brain_voxels: usize,
        zscore_in_brain: std::collections::BTreeMap<String, Statistics>,
    }

    #[derive(serde::Deserialize)]
    struct Statistics {
        mean: f64,
        std_pop: f64,
    }

    /// Every voxel of every real case against numpy's means and standard deviations.
    #[test]
    fn real_cases_have_the_reference_statistics() {
        let Some(root) = std::env::var_os("LACUNA_DATA").map(|root| Path::new(&root).join("glioma-tcga")) else {
            eprintln!("SKIPPED: real_cases_have_the_reference_statistics needs LACUNA_DATA, the folder of glioma-tcga");
            return;
        };
        #[derive(serde::Deserialize)]
        struct Numbers {
            cases: std::collections::BTreeMap<String, Reference>,
        }
        let numbers: Numbers =
            serde_json::from_slice(&std::fs::read(root.join("reference_numbers.json")).unwrap()).unwrap();
        assert!(!numbers.cases.is_empty());
        let names = ["t1", "t1ce", "t2", "flair"].map(String::from).to_vec();
        let input = Input { sequences: names, slices: 5, plane: 240, spacing_mm: None, clip_percentiles: None };
        for (id, reference) in numbers.cases {
            let file = |what: &str| root.join(&reference.site).join(&id).join(format!("{id}_{what}.nii.gz"));
            let sequences = input.sequences.iter().map(|name| Some(file(name))).collect();
            let files = Files { sequences, label: Some(file("seg")), brain: None };
            let (prepared, _) = prepare(&id, &files, &input, &[4]).unwrap();
            let brain = &prepared.native.brain;
            assert_eq!(brain.iter().filter(|b| **b == 1).count(), reference.brain_voxels, "{id}");
            for (name, planes) in input.sequences.iter().zip(&prepared.sequences) {
                let (raw, wanted) = (nifti::read(&file(name)).unwrap(), &reference.zscore_in_brain[name]);
                for ((&raw, &z), &brain) in raw.values.iter().zip(planes.as_ref().unwrap()).zip(brain) {
                    let expected = (f64::from(raw) - wanted.mean) / wanted.std_pop * f64::from(brain);
                    assert!((f64::from(z) - expected).abs() < 1e-5, "{id} {name}: {z} {expected}");
                }
            }
        }
    }
}
