//! What became of a folder of cases: `brain.json`, and the same in words.

use super::error::BrainError;
use crate::folder::{FolderError, write_json};
use ::program::visible::visible;
use serde::Serialize;
use std::path::Path;

/// What became of one case's mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Written,
    /// Written by an earlier run, or not made by this program.
    Kept,
    Failed,
}

/// One case.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CaseReport {
    pub case: String,
    pub state: State,
    /// The sequences that the mask is made from.
    pub images: Vec<String>,
    /// The network that made it here; `None` where it was made otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// The volume of the brain, millilitres; `None` where it was not computed here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ml: Option<f64>,
    /// Voxels of holes that were filled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filled_voxels: Option<usize>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// A folder of cases.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub cases: Vec<CaseReport>,
}

impl Report {
    /// Writes `brain.json`.
    ///
    /// # Errors
    /// The disk refuses.
    pub(super) fn write(&self, folder: &Path) -> Result<(), FolderError> {
        write_json(&folder.join("brain.json"), self)
    }

    /// Says how many cases have no mask; `None` if all have one.
    #[must_use]
    pub fn left_out(&self) -> Option<BrainError> {
        match self.count(State::Failed) {
            0 => None,
            failed => Some(BrainError::NotAll(failed)),
        }
    }

    fn count(&self, state: State) -> usize {
        let mut count = 0;
        for case in &self.cases {
            count += usize::from(case.state == state);
        }
        count
    }
}

/// For people: a line for each case.
impl std::fmt::Display for Report {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for case in &self.cases {
            let state = match case.state {
                State::Written => "written",
                State::Kept => "kept",
                State::Failed => "FAILED",
            };
            write!(formatter, "{:20} {state:8}", visible(&case.case))?;
            if let Some(ml) = case.ml {
                write!(formatter, " {ml:.0} ml, from {}", case.images.join(", "))?;
            }
            if let Some(network) = &case.network {
                write!(formatter, ", by {network}")?;
            }
            if let Some(filled @ 1..) = case.filled_voxels {
                write!(formatter, ", {filled} voxels of holes filled")?;
            }
            if let Some(why) = &case.why {
                write!(formatter, " {}", visible(why))?;
            }
            writeln!(formatter)?;
        }
        write!(
            formatter,
            "\n{} cases: {} masks written, {} kept, {} failed",
            self.cases.len(),
            self.count(State::Written),
            self.count(State::Kept),
            self.count(State::Failed)
        )
    }
}
