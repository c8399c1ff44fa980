//! What became of a folder of cases: `register.json`, and the same in words.

use super::error::RegisterError;
use super::judge::{Judgement, Verdict};
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
    /// Written aside, to be looked at.
    Doubtful,
    Failed,
}

/// One image or mask of a case.
#[derive(Clone, Debug, Serialize)]
pub struct ImageReport {
    pub image: String,
    pub state: State,
    /// Where it is, from the new folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Moves the image onto the reference: from the place that its file gives to the place in the
    /// reference, millimetres to the patient's right, front and top.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matrix: Option<[[f64; 4]; 4]>,
    /// That of its sequence for a mask; `None` for the reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judgement: Option<Judgement>,
}

/// One case.
#[derive(Clone, Debug, Serialize)]
pub struct CaseReport {
    pub case: String,
    /// The sequence whose grid all images are on.
    pub reference: String,
    pub images: Vec<ImageReport>,
    /// Files that are neither a sequence nor a mask that was named.
    pub left_alone: Vec<String>,
}

/// A folder of cases.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub cases: Vec<CaseReport>,
}

impl Report {
    /// Writes `register.json`.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn write(&self, folder: &Path) -> Result<(), FolderError> {
        write_json(&folder.join("register.json"), self)
    }

    /// Says how many images are not with the others; `None` if all are.
    #[must_use]
    pub fn left_out(&self) -> Option<RegisterError> {
        let doubtful = self.count(State::Doubtful);
        let failed = self.count(State::Failed);
        if doubtful + failed == 0 {
            return None;
        }
        Some(RegisterError::NotAll(format!(
            "{doubtful} are doubtful, {failed} failed"
        )))
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
            writeln!(
                formatter,
                "{}, onto {}",
                visible(&case.case),
                visible(&case.reference)
            )?;
            for image in &case.images {
                let state = match image.state {
                    State::Written => "written",
                    State::Kept => "kept",
                    State::Doubtful => "DOUBTFUL",
                    State::Failed => "FAILED",
                };
                write!(formatter, "  {:10} {state:8}", visible(&image.image))?;
                if let Some(judgement) = &image.judgement {
                    write!(
                        formatter,
                        " moved {:.2} mm and {:.2} degrees, mutual information {:.3} to {:.3}, \
                         covers {:.0} %",
                        judgement.moved_mm,
                        judgement.turned_degrees,
                        judgement.information_before,
                        judgement.information_after,
                        100.0 * judgement.covered
                    )?;
                    if judgement.verdict == Verdict::Doubtful {
                        write!(formatter, ": {}", judgement.why.join("; "))?;
                    }
                }
                if let Some(why) = &image.why {
                    write!(formatter, " {}", visible(why))?;
                }
                writeln!(formatter)?;
            }
            for file in &case.left_alone {
                writeln!(formatter, "  {} was left alone", visible(file))?;
            }
        }
        write!(
            formatter,
            "\n{} cases: {} images written, {} kept, {} doubtful, {} failed",
            self.cases.len(),
            self.count(State::Written),
            self.count(State::Kept),
            self.count(State::Doubtful),
            self.count(State::Failed)
        )
    }
}
