//! Why a pair cannot be scored.

use crate::failure::{Class, Failure};
use crate::nifti::{NiftiError, Source};
use std::path::{Path, PathBuf};

/// Why a pair cannot be scored.
#[derive(Debug, thiserror::Error)]
pub(super) enum ScoreError {
    #[error("{path}: {error}", path = path.display())]
    Volume { path: PathBuf, error: NiftiError },
    #[error("{first} and {second} lie on different grids:\n  {first_grid}\n  {second_grid}",
        first = first.display(), second = second.display())]
    Grids { first: PathBuf, second: PathBuf, first_grid: String, second_grid: String },
    #[error("{path} is no mask: it holds {value}, and labels are whole numbers from 0 to 65535", path = path.display())]
    NoMask { path: PathBuf, value: f32 },
    #[error("{path} holds the labels {found:?}: which of them are lesion?", path = path.display())]
    LabelsNeeded { path: PathBuf, found: Vec<u16> },
    #[error("0 is the background and cannot be a lesion's label")]
    BackgroundAsLesion,
    #[error("{path} holds values that are not finite and cannot be scores", path = path.display())]
    ScoreNotFinite { path: PathBuf },
    #[error("{path}: {error}", path = path.display())]
    Disk { path: PathBuf, error: std::io::Error },
    #[error("a folder is scored against a folder: {path} is none", path = path.display())]
    NotAFolder { path: PathBuf },
    #[error("no reference has a prediction of the same name: {examples}")]
    NoPairs { examples: String },
    #[error("{reference} belongs by {first_rule} to {first}, and by {second_rule} to {second}",
        reference = reference.display(), first = first.display(), second = second.display())]
    Ambiguous { reference: PathBuf, first: PathBuf, first_rule: String, second: PathBuf, second_rule: String },
    #[error("{0:?} is no pattern: expected a path below the folder with {{case}} in it and no other wildcard")]
    Pattern(String),
    #[error("{failed} of {all} cases could not be scored; each is named above")]
    NotAll { failed: usize, all: usize },
    #[error("no JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("--score, --brain and --json are for a single pair")]
    SinglePairOnly,
}

pub(super) fn disk(path: &Path, error: std::io::Error) -> ScoreError {
    ScoreError::Disk { path: path.to_owned(), error }
}

impl From<ScoreError> for Failure {
    fn from(error: ScoreError) -> Self {
        let class = match &error {
            ScoreError::Disk { .. } => Class::Disk,
            ScoreError::BackgroundAsLesion
            | ScoreError::NotAFolder { .. }
            | ScoreError::SinglePairOnly
            | ScoreError::Pattern(_)
            | ScoreError::Ambiguous { .. } => Class::Configuration,
            ScoreError::Json(_) => Class::Internal,
            _ => Class::Data,
        };
        let hint = match &error {
            ScoreError::Grids { .. } => "Resample one onto the other's grid first; scoring never resamples.",
            ScoreError::LabelsNeeded { .. } => {
                "Say --labels (and --prediction-labels where they differ). Only a mask of 0 and one other value needs \
                 none."
            }
            ScoreError::NoPairs { .. } | ScoreError::Ambiguous { .. } | ScoreError::Pattern(_) => {
                "Say which files are meant: --pair '{case}/lesion.nii.gz' '{case}/mask.nii.gz', or --reference-suffix and \
                 --prediction-suffix."
            }
            _ => return Self::new(class, error),
        };
        Self::new(class, error).hint(hint)
    }
}

/// A grid in words.
pub(super) fn describe(source: &Source) -> String {
    let grid = source.grid();
    let [depth, height, width] = grid.dims;
    let [z, y, x] = grid.spacing_mm;
    let [right, front, top] = source.canonical_affine().0.map(|row| row[3]);
    format!(
        "{width} x {height} x {depth} voxels of {x} x {y} x {z} mm (right, front, top), the first at \
         ({right:.1}, {front:.1}, {top:.1}) mm"
    )
}
