//! The rounds before the last one: in the run folder, for whoever looks.

use super::state::{RoundStatus, Status, Trouble};
use crate::store;
use std::path::Path;

/// The picture with all rounds of its runs, as far as they can be read; what cannot is among the
/// troubles.
pub(super) fn whole(mut status: Status, folder: &Path) -> Status {
    for run in &mut status.runs {
        let mut before = Vec::new();
        for record in store::records(folder, &run.name, run.finished) {
            match record {
                Ok(record) => before.push(RoundStatus::from(&record)),
                Err(error) => {
                    let (at, site) = (status.now, "coordinator".into());
                    status.troubles.push_back(Trouble {
                        at,
                        site,
                        reason: error.to_string(),
                    });
                }
            }
        }
        run.rounds.splice(..0, before);
    }
    status
}
