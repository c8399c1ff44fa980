//! A site's own thresholds for a model: what `calibrate` writes and `predict` reads, a small TOML
//! file.

use crate::data::SiteFileError;
use program::visible::visible;
use program::{Class, Explain, files};
use protocol::operating::OperatingPoints;
use protocol::parameters::ParametersId;
use protocol::text;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Of the file.
pub(crate) const VERSION: u32 = 1;

/// A site's own thresholds for one model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// 1.
    pub version: u32,
    /// The release that wrote it.
    pub software: String,
    /// The federation's name.
    pub model: String,
    /// The round that made the model.
    pub round: u32,
    /// The hash of the model's weights: for another model it is refused.
    pub weights: String,
    /// Cases that were scored.
    pub cases: u32,
    /// Lesions in their references.
    pub lesions: u32,
    /// Cases that could not be used, or have no reference.
    pub left_out: u32,
    /// 95 % intervals of the thresholds, by bootstrap over patients.
    pub intervals: Intervals,
    /// The thresholds.
    pub operating_points: OperatingPoints,
}

/// 95 % intervals; none where fewer than two patients have a threshold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intervals {
    /// Of the threshold of the best Dice.
    pub dice: Option<[f32; 2]>,
    /// Of the mean Youden threshold.
    pub youden: Option<[f32; 2]>,
}

/// Why there is no calibration, or it is not used.
#[derive(Debug, thiserror::Error)]
pub enum CalibrationError {
    /// A file that cannot be read or written.
    #[error("{}: {error}", .path.display())]
    Disk {
        /// Which.
        path: PathBuf,
        /// What the disk said.
        error: io::Error,
    },
    #[error(transparent)]
    SiteFile(#[from] SiteFileError),
    /// Not what `calibrate` writes.
    #[error("the calibration {}: {reason}", .path.display())]
    Syntax {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// It was made for other weights.
    #[error("the calibration {} is of another model: of {name}, round {round}, weights {found}; \
             this one's are {expected}",
        .path.display())]
    OtherModel {
        /// Which file.
        path: PathBuf,
        /// The federation whose model it is for.
        name: String,
        /// The round.
        round: u32,
        /// The weights that it is for.
        found: String,
        /// The weights that were given.
        expected: String,
    },
    /// Nothing to find a threshold on.
    #[error("no lesion is marked in any of {cases} cases with a reference")]
    NoLesion {
        /// Cases that were scored.
        cases: usize,
    },
    /// A fault of ours.
    #[error("the calibration has no TOML form: {0}")]
    Encode(String),
}

impl Explain for CalibrationError {
    fn class(&self) -> Class {
        match self {
            Self::Disk { .. } => Class::Disk,
            Self::SiteFile(error) => error.class(),
            Self::Syntax { .. } | Self::OtherModel { .. } => Class::Configuration,
            Self::NoLesion { .. } => Class::Data,
            Self::Encode(_) => Class::Internal,
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = match self {
            Self::Disk { .. } => "is the folder there, and may it be read and written?",
            Self::SiteFile(error) => return error.hint(),
            Self::Syntax { .. } => "write it again with `site-agent calibrate`",
            Self::OtherModel { .. } => "calibrate this model with `site-agent calibrate`",
            Self::NoLesion { .. } => {
                "data.label and data.lesion_labels say where lesions are marked"
            }
            Self::Encode(_) => return None,
        };
        Some(hint.into())
    }
}

impl Calibration {
    /// Reads a file and refuses one that is for other weights.
    ///
    /// # Errors
    /// See [`CalibrationError`].
    pub fn read(path: &Path, weights: ParametersId) -> Result<Self, CalibrationError> {
        let bytes = std::fs::read(path).map_err(|error| CalibrationError::Disk {
            path: path.into(),
            error,
        })?;
        let wrong = |reason: String| CalibrationError::Syntax {
            path: path.into(),
            reason,
        };
        let text = text::decode(&bytes).map_err(|error| wrong(error.to_string()))?;
        let found: Self =
            toml::from_str(text).map_err(|error| wrong(text::explain(&error, text)))?;
        if found.version != VERSION {
            return Err(wrong(format!(
                "its version is {}, and this release reads {VERSION}",
                found.version
            )));
        }
        let points = found.operating_points.check();
        points.map_err(|error| wrong(error.to_string()))?;
        if found.weights != weights.hex() {
            let Self {
                model: name,
                round,
                weights: other,
                ..
            } = found;
            let (path, expected) = (path.into(), weights.hex());
            return Err(CalibrationError::OtherModel {
                path,
                name,
                round,
                found: other,
                expected,
            });
        }
        Ok(found)
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&self, path: &Path) -> Result<(), CalibrationError> {
        let table =
            toml::to_string(self).map_err(|error| CalibrationError::Encode(error.to_string()))?;
        let text = format!(
            "# A site's own thresholds for one model, for `site-agent predict \
             --calibration`.\n{table}"
        );
        files::replace(path, |file| file.write_all(text.as_bytes())).map_err(|error| {
            CalibrationError::Disk {
                path: path.into(),
                error,
            }
        })
    }
}

impl fmt::Display for Calibration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            cases,
            lesions,
            left_out,
            round,
            ..
        } = self;
        writeln!(
            f,
            "{cases} cases with {lesions} lesions, {left_out} left out; {}, round {round}",
            visible(&self.model)
        )?;
        let points = &self.operating_points;
        let rows = [
            ("dice", points.dice, self.intervals.dice),
            ("youden", points.youden, self.intervals.youden),
        ];
        let lines = rows.into_iter().filter_map(|(name, threshold, interval)| {
            let interval =
                interval.map(|[low, high]| format!(", 95 % interval {low:.4} to {high:.4}"));
            Some(format!(
                "{name:<8} probability >= {:.4}{}",
                threshold?,
                interval.unwrap_or_default()
            ))
        });
        f.write_str(&lines.collect::<Vec<_>>().join("\n"))
    }
}
