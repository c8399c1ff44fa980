//! Masks and maps from files, checked to be on one grid.

use super::error::{ScoreError, describe};
use super::files::stem;
use crate::data::tissue;
use imaging::label::label;
use imaging::nifti::{self, Source, Volume};
use protocol::case::Grid;
use std::path::{Path, PathBuf};

/// Which labels are lesion.
#[derive(Clone, Debug)]
pub(super) struct Labels {
    pub(super) reference: Vec<u16>,
    /// The reference's where none were given.
    pub(super) prediction: Vec<u16>,
}

/// Two masks on one grid, 1 lesion and 0 other.
pub(super) struct Pair {
    pub(super) reference: Vec<u8>,
    pub(super) prediction: Vec<u8>,
    pub(super) grid: Grid,
    /// What is odd about the files.
    pub(super) warnings: Vec<String>,
    source: Source,
    path: PathBuf,
}

impl Pair {
    pub(super) fn read(
        reference: &Path,
        prediction: &Path,
        labels: &Labels,
    ) -> Result<Self, ScoreError> {
        if labels
            .reference
            .iter()
            .chain(&labels.prediction)
            .any(|&label| label == 0)
        {
            return Err(ScoreError::BackgroundAsLesion);
        }
        let mut warnings = Vec::new();
        let (reference_mask, source, found) = mask(reference, &labels.reference, &mut warnings)?;
        if let Some(warning) = none_of(reference, &found, &labels.reference, "--labels") {
            warnings.push(warning);
        }
        let (prediction_mask, predicted, found) =
            mask(prediction, &labels.prediction, &mut warnings)?;
        // A prediction without lesion is possible; one in another spelling is likelier.
        if let Some(warning) = none_of(
            prediction,
            &found,
            &labels.prediction,
            "--prediction-labels",
        ) {
            warnings.push(warning);
        }
        if same_file(reference, prediction) {
            warnings.push(format!(
                "{} is the same file as {}",
                super::files::shown(prediction),
                super::files::shown(reference)
            ));
        }
        same_grid(reference, &source, prediction, &predicted)?;
        Ok(Self {
            reference: reference_mask,
            prediction: prediction_mask,
            grid: source.grid(),
            warnings,
            source,
            path: reference.to_owned(),
        })
    }
}

/// A map of scores on a pair's grid.
pub(super) struct ScoreMap {
    pub(super) values: Vec<f32>,
    /// Brain 1, other 0; `None` if the brain is not known.
    pub(super) brain: Option<Vec<u8>>,
    /// What the file's name ends in, as in `t1ce` of `case7_t1ce.nii.gz`.
    pub(super) name: String,
}

impl ScoreMap {
    pub(super) fn read(
        path: &Path,
        brain: &[PathBuf],
        pair: &mut Pair,
    ) -> Result<Self, ScoreError> {
        let map = finite(path, &mut pair.warnings)?;
        same_grid(&pair.path, &pair.source, path, &map.source)?;
        let mut inside = vec![
            0u8;
            if brain.is_empty() {
                0
            } else {
                map.values.len()
            }
        ];
        for path in brain {
            let part = finite(path, &mut pair.warnings)?;
            same_grid(&pair.path, &pair.source, path, &part.source)?;
            let tissue = tissue(&part.values, part.source.grid().dims);
            for (inside, tissue) in inside.iter_mut().zip(tissue) {
                *inside |= tissue;
            }
        }
        if !brain.is_empty() && !inside.contains(&1) {
            pair.warnings
                .push("the volumes of --brain show no brain".into());
        }
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let stem = stem(&file).unwrap_or_default();
        let name = stem.rsplit('_').next().unwrap_or_default().to_owned();
        Ok(Self {
            values: map.values,
            brain: (!brain.is_empty()).then_some(inside),
            name,
        })
    }
}

fn volume(path: &Path, warnings: &mut Vec<String>) -> Result<Volume, ScoreError> {
    let volume = nifti::read(path).map_err(|error| ScoreError::Volume {
        path: path.to_owned(),
        error,
    })?;
    warnings.extend(
        volume
            .warnings
            .iter()
            .map(|warning| format!("{}: {warning}: {}", path.display(), warning.remedy())),
    );
    Ok(volume)
}

/// A volume of numbers only.
fn finite(path: &Path, warnings: &mut Vec<String>) -> Result<Volume, ScoreError> {
    let volume = volume(path, warnings)?;
    if volume.values.iter().all(|value| value.is_finite()) {
        Ok(volume)
    } else {
        Err(ScoreError::ScoreNotFinite {
            path: path.to_owned(),
        })
    }
}

fn same_grid(first: &Path, one: &Source, second: &Path, other: &Source) -> Result<(), ScoreError> {
    if one.same_place(other) {
        return Ok(());
    }
    let (first, second) = (first.to_owned(), second.to_owned());
    Err(ScoreError::Grids {
        first,
        second,
        first_grid: describe(one),
        second_grid: describe(other),
    })
}

/// Reads a mask and says which voxels have one of the labels. Without labels the mask may hold only
/// 0 and one other value: a guess among several would be silently wrong. Gives the labels that
/// occur, too.
fn mask(
    path: &Path,
    labels: &[u16],
    warnings: &mut Vec<String>,
) -> Result<(Vec<u8>, Source, Vec<u16>), ScoreError> {
    let Volume { values, source, .. } = volume(path, warnings)?;
    let mut lesion = vec![labels.is_empty(); 1 << 16];
    lesion[0] = false;
    labels
        .iter()
        .for_each(|&label| lesion[usize::from(label)] = true);
    let mut seen = vec![false; 1 << 16];
    let mut inside = Vec::with_capacity(values.len());
    for &value in &values {
        let label = label(value).map_err(|error| ScoreError::NoMask {
            path: path.to_owned(),
            error,
        })?;
        seen[usize::from(label)] = true;
        inside.push(u8::from(lesion[usize::from(label)]));
    }
    let found: Vec<u16> = (1..=u16::MAX)
        .filter(|&label| seen[usize::from(label)])
        .collect();
    if labels.is_empty() && found.len() > 1 {
        return Err(ScoreError::LabelsNeeded {
            path: path.to_owned(),
            found,
        });
    }
    Ok((inside, source, found))
}

/// A warning where a mask holds values and none of those that are lesion.
fn none_of(path: &Path, found: &[u16], wanted: &[u16], option: &str) -> Option<String> {
    let none = !found.iter().any(|label| wanted.contains(label));
    (none && !found.is_empty() && !wanted.is_empty()).then(|| {
        format!(
            "{} holds the labels {} and none of {}: {option} says which are lesion",
            super::files::shown(path),
            listed(found),
            listed(wanted)
        )
    })
}

fn same_file(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

fn listed(labels: &[u16]) -> String {
    labels
        .iter()
        .map(u16::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}
