//! Why a pair cannot be scored.

use imaging::label::NoLabel;
use imaging::nifti::{NiftiError, Source};
use program::{Class, Explain};
use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// Why a pair cannot be scored.
#[derive(Debug, thiserror::Error)]
pub(super) enum ScoreError {
    #[error("{path}: {error}", path = path.display())]
    Volume { path: PathBuf, error: NiftiError },
    #[error("{first} and {second} are on different grids:\n  {first_grid}\n  {second_grid}",
        first = first.display(), second = second.display())]
    Grids {
        first: PathBuf,
        second: PathBuf,
        first_grid: String,
        second_grid: String,
    },
    #[error("{path} is no mask: {error}", path = path.display())]
    NoMask { path: PathBuf, error: NoLabel },
    #[error("{path} holds the labels {found:?}: which of them are lesion?", path = path.display())]
    LabelsNeeded { path: PathBuf, found: Vec<u16> },
    #[error("0 is the background and cannot be a lesion's label")]
    BackgroundAsLesion,
    #[error("{path} holds values that are not finite, which are neither scores nor brain", path = path.display())]
    ScoreNotFinite { path: PathBuf },
    #[error("{path}: {error}", path = path.display())]
    Disk {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("a folder is scored against a folder: {path} is none", path = path.display())]
    NotAFolder { path: PathBuf },
    #[error("no reference has a prediction of the same name: {examples}")]
    NoPairs { examples: String },
    #[error("{reference} belongs by {first_rule} to {first}, and by {second_rule} to {second}",
        reference = reference.display(), first = first.display(), second = second.display())]
    Ambiguous {
        reference: PathBuf,
        first: PathBuf,
        first_rule: String,
        second: PathBuf,
        second_rule: String,
    },
    #[error(
        "{0:?} is no pattern: expected a path below the folder with {{case}} in it and no other \
         wildcard"
    )]
    Pattern(String),
    #[error(
        "one pattern of --pair names patients and the other does not: {{patient}} must be in \
         both or in neither"
    )]
    Patients,
    #[error("{failed} of {all} cases could not be scored; each is named above")]
    NotAll { failed: usize, all: usize },
    #[error("no JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("--score, --brain and --json are for a single pair")]
    SinglePairOnly,
}

pub(super) fn disk(path: &Path, error: std::io::Error) -> ScoreError {
    ScoreError::Disk {
        path: path.to_owned(),
        error,
    }
}

impl Explain for ScoreError {
    fn class(&self) -> Class {
        match self {
            Self::Disk { .. } => Class::Disk,
            Self::BackgroundAsLesion
            | Self::NotAFolder { .. }
            | Self::SinglePairOnly
            | Self::Pattern(_)
            | Self::Patients
            | Self::Ambiguous { .. } => Class::Configuration,
            Self::Json(_) => Class::Internal,
            _ => Class::Data,
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = match self {
            Self::Grids { .. } => {
                "Resample one onto the other's grid first; scoring never resamples."
            }
            Self::LabelsNeeded { .. } => {
                "Say --labels (and --prediction-labels where they differ). Only a mask of 0 and \
                 one other value needs none."
            }
            Self::NoPairs { .. } | Self::Ambiguous { .. } | Self::Pattern(_) | Self::Patients => {
                "Say which files are meant: --pair '{case}/lesion.nii.gz' '{case}/mask.nii.gz', \
                 or --reference-suffix and --prediction-suffix."
            }
            _ => return None,
        };
        Some(hint.into())
    }
}

/// A grid in words.
pub(super) fn describe(source: &Source) -> String {
    let grid = source.grid();
    let [depth, height, width] = grid.dims;
    let [z, y, x] = grid.spacing_mm;
    let [right, front, top] = source.canonical_affine().0.map(|row| row[3]);
    format!(
        "{width} x {height} x {depth} voxels of {x} x {y} x {z} mm (right, front, top), the \
         first at ({right:.1}, {front:.1}, {top:.1}) mm"
    )
}
