//! The updates that were accepted before a restart.

use crate::driver::Accepted;
use crate::store::{Place, Store};
use protocol::coordinator::Checkpoint;
use protocol::message::{RunId, TaskId, Trained};
use protocol::parameters::Manifest;

/// Reads the accepted updates again. An update whose file is lost or damaged is removed from the
/// checkpoint, so that its site is asked for it again.
pub(super) fn recover(store: &Store, manifest: &Manifest, checkpoint: &mut Checkpoint) -> Accepted {
    let mut accepted = Accepted::new();
    for (index, run) in checkpoint.runs.iter_mut().enumerate() {
        let name = run.outcome.name.to_string();
        let id = RunId(u16::try_from(index).unwrap_or(u16::MAX));
        let mut is_sound = |site: &str, trained: &Trained| {
            let place = Place {
                run: &name,
                round: trained.task.round,
            };
            let task = TaskId {
                run: id,
                ..trained.task
            };
            match store.accepted(place, site, manifest, trained.parameters) {
                Ok(checked) => {
                    accepted.insert((task, site.to_string()), checked);
                    true
                }
                Err(error) => {
                    tracing::warn!(%error, site, "an accepted update is asked for again");
                    false
                }
            }
        };
        if let Some(open) = &mut run.open {
            open.updates.retain(|site, trained| is_sound(site, trained));
        }
        if let Some(buffer) = &mut run.buffer {
            buffer.forget_updates(|site, trained| !is_sound(site, trained));
        }
    }
    accepted
}
