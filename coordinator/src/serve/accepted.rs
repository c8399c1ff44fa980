//! The updates that were accepted before a restart.

use crate::driver::Accepted;
use crate::store::{Place, Store};
use protocol::coordinator::Checkpoint;
use protocol::identity::SiteName;
use protocol::message::{Trained, TransferHeader};
use protocol::parameters::Manifest;

/// Reads the accepted updates again. An update whose file is lost or damaged is removed from the
/// checkpoint, so that its site is asked for it again.
pub(super) fn recover(store: &Store, manifest: &Manifest, checkpoint: &mut Checkpoint) -> Accepted {
    let mut accepted = Accepted::new();
    for run in &mut checkpoint.runs {
        let mut is_sound = |site: &SiteName, trained: &Trained| {
            let task = trained.task;
            let base = Place {
                run: &run.outcome.name,
                version: task.base(),
            };
            let header = TransferHeader {
                parameters: trained.parameters,
                bytes: store.update_bytes(manifest),
                task,
            };
            match store.accepted(base, site, manifest, header) {
                Ok(checked) => {
                    accepted.insert((task, site.clone()), checked);
                    true
                }
                Err(error) => {
                    tracing::warn!(%error, %site, "an accepted update is asked for again");
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
