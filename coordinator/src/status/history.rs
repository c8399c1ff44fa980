//! The rounds before the last one: in the run folder, for whoever looks.

use super::picture::{RoundStatus, Status};
use crate::store::{self, StoreError};
use std::path::Path;

/// The picture with all rounds of its runs, as far as the run folder has them.
///
/// # Errors
/// A damaged record, a disk that refuses.
pub(super) fn whole(mut status: Status, folder: &Path) -> Result<Status, StoreError> {
    for run in &mut status.runs {
        let before = store::records(folder, &run.name, run.finished)?;
        run.rounds.splice(..0, before.iter().map(RoundStatus::from));
    }
    Ok(status)
}
