//! What the loop remembers between an event and the effect that names it.

use crate::outcome::Outcome;
use crate::signal::Signal;
use crate::store::{FileSource, StoreError};
use shared::aggregate::Checked;
use shared::codec::transfer::Arrived;
use shared::message::{RunId, TaskId};
use shared::parameters::ParametersId;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::Instant;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// What work beside the loop came to.
pub(super) enum Finding {
    /// It broke off.
    Broken(String),
    Checked {
        site: String,
        task: TaskId,
        /// The update and how far it went, or why it is refused.
        result: Result<Result<(Checked<FileSource>, f64), String>, StoreError>,
        id: ParametersId,
    },
    Aggregated {
        run: RunId,
        round: u32,
        result: Result<ParametersId, StoreError>,
    },
    Restored {
        run: RunId,
        round: u32,
        result: Result<(), StoreError>,
    },
}

/// Work on the disk that nobody waits for, but the next of its kind and the end.
pub(super) type Beside = Option<JoinHandle<Result<(), StoreError>>>;

/// Checked updates of rounds that are being trained, by task and site.
pub(crate) type Accepted = BTreeMap<(TaskId, String), Checked<FileSource>>;

/// What the loop remembers between an event and the effect that names it.
pub(crate) struct Books {
    pub(super) began: Instant,
    pub(super) files: HashMap<u64, (PathBuf, Arrived)>,
    pub(super) count: u64,
    pub(super) checked: Accepted,
    pub(super) exported: BTreeMap<String, u32>,
    /// The model that is being written for people; one at a time, beside the loop.
    pub(super) exporting: Beside,
    /// What nothing leads to any more is being removed, beside the loop too: that of a round takes a while.
    pub(super) pruning: Beside,
    pub(super) findings: mpsc::UnboundedSender<Finding>,
    pub(super) outcome: Option<Outcome>,
    /// Findings that are still to come.
    pub(super) awaited: usize,
    /// Who asked to stop, and when work beside the loop is waited for no longer.
    pub(super) draining: Option<(Signal, Instant)>,
}

impl Books {
    /// Books with nothing in them but what was accepted before a restart; the machine's clock starts at `began`.
    pub(crate) fn new(began: Instant, checked: Accepted) -> Self {
        let (findings, _) = mpsc::unbounded_channel();
        Self {
            began,
            files: HashMap::new(),
            count: 0,
            checked,
            exported: BTreeMap::new(),
            exporting: None,
            pruning: None,
            findings,
            outcome: None,
            awaited: 0,
            draining: None,
        }
    }
}
