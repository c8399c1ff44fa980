//! The rounds before the last one, from the run folder.

use super::state::{RoundStatus, Status, Trouble};
use crate::store;
use std::path::Path;

/// The status with all rounds of its runs. Rounds that cannot be read are added to the troubles.
pub(super) fn with_all_rounds(mut status: Status, folder: &Path) -> Status {
    for run in &mut status.runs {
        let mut before = Vec::new();
        for record in store::records(folder, &run.name, run.finished) {
            match record {
                Ok(record) => before.push(RoundStatus::from(&record)),
                Err(error) => status.troubles.push_back(Trouble {
                    at: status.now,
                    site: "coordinator".into(),
                    reason: error.to_string(),
                }),
            }
        }
        run.rounds.splice(..0, before);
    }
    status
}
