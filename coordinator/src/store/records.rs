//! `records/RUN/round-NNNN.json`: what each finished round did, once that no longer changes. Only
//! people and reports read them.

use super::{StoreError, checkpoint, file_name};
use protocol::outcome::{RoundRecord, RunKind};
use std::path::{Path, PathBuf};

/// Writes a round's record.
pub(super) fn write(root: &Path, run: &RunKind, record: &RoundRecord) -> Result<(), StoreError> {
    checkpoint::seal(&place(root, run, record.round), record)?.commit()
}

/// The records of the rounds before `last`, in their order, as far as they are there.
pub fn records(
    root: &Path,
    run: &RunKind,
    last: u32,
) -> impl Iterator<Item = Result<RoundRecord, StoreError>> {
    (1..last).filter_map(move |round| {
        checkpoint::unseal(&place(root, run, round))
            .map_err(unreadable)
            .transpose()
    })
}

fn place(root: &Path, run: &RunKind, round: u32) -> PathBuf {
    root.join("records")
        .join(file_name(run))
        .join(format!("round-{round:04}.json"))
}

/// A run can do without a record, but not without its checkpoint.
fn unreadable(error: StoreError) -> StoreError {
    match error {
        StoreError::Damaged { path, reason } => StoreError::Record { path, reason },
        error => error,
    }
}
