//! What became of a folder of cases: `deface.json`, and the same in words.

use super::error::DefaceError;
use crate::folder::{FolderError, write_json};
use program::visible::visible;
use serde::Serialize;
use std::path::Path;

/// What became of one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Written,
    /// Written by an earlier run.
    Kept,
    Failed,
}

/// One image or mask of a case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImageReport {
    pub image: String,
    pub state: State,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Voxels that were set to zero; `None` for a mask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removed_voxels: Option<usize>,
}

/// One case.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CaseReport {
    pub case: String,
    /// How steeply the plane rises to the front, degrees.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rises_degrees: Option<f64>,
    pub images: Vec<ImageReport>,
    /// The picture of the case, from the new folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub picture: Option<String>,
    /// What a person should look at.
    pub notes: Vec<String>,
    /// Files that are neither a sequence nor a mask that was named: they are not in the new folder.
    pub left_alone: Vec<String>,
}

/// A folder of cases.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub cases: Vec<CaseReport>,
}

impl Report {
    /// Writes `deface.json`.
    ///
    /// # Errors
    /// The disk refuses.
    pub(super) fn write(&self, folder: &Path) -> Result<(), FolderError> {
        write_json(&folder.join("deface.json"), self)
    }

    /// Says how many images are not in the new folder; `None` if all are.
    #[must_use]
    pub fn left_out(&self) -> Option<DefaceError> {
        match self.count(State::Failed) {
            0 => None,
            failed => Some(DefaceError::NotAll(failed)),
        }
    }

    fn count(&self, state: State) -> usize {
        let mut count = 0;
        for case in &self.cases {
            for image in &case.images {
                count += usize::from(image.state == state);
            }
        }
        count
    }
}

/// For people: a line for each image.
impl std::fmt::Display for Report {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for case in &self.cases {
            write!(formatter, "{}", visible(&case.case))?;
            if let Some(degrees) = case.rises_degrees {
                write!(formatter, ", by a plane that rises {degrees:.0} degrees")?;
            }
            writeln!(formatter)?;
            for image in &case.images {
                let state = match image.state {
                    State::Written => "written",
                    State::Kept => "kept",
                    State::Failed => "FAILED",
                };
                write!(formatter, "  {:10} {state:8}", visible(&image.image))?;
                if let Some(voxels) = image.removed_voxels {
                    write!(formatter, " {voxels} voxels removed")?;
                }
                if let Some(why) = &image.why {
                    write!(formatter, " {}", visible(why))?;
                }
                writeln!(formatter)?;
            }
            for note in &case.notes {
                writeln!(formatter, "  {}", visible(note))?;
            }
            for file in &case.left_alone {
                writeln!(formatter, "  {} was left alone", visible(file))?;
            }
        }
        write!(
            formatter,
            "\n{} cases: {} images written, {} kept, {} failed",
            self.cases.len(),
            self.count(State::Written),
            self.count(State::Kept),
            self.count(State::Failed)
        )
    }
}
