//! What the loop remembers between an event and the effect that names it.

use crate::store::{CheckOutcome, FileSource, StoreError};
use aggregation::Checked;
use program::signal::Signal;
use protocol::codec::transfer::Arrived;
use protocol::identity::{SiteName, Version};
use protocol::message::{RunId, TaskId};
use protocol::outcome::{Outcome, RunKind};
use protocol::parameters::ParametersId;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::time::Instant;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// The result of a job that the loop started.
pub(super) enum JobResult {
    /// It broke off.
    Broken(String),
    Checked {
        site: SiteName,
        task: TaskId,
        result: Result<CheckOutcome, StoreError>,
        id: ParametersId,
    },
    Aggregated {
        run: RunId,
        version: Version,
        result: Result<ParametersId, StoreError>,
    },
    Restored {
        run: RunId,
        version: Version,
        result: Result<(), StoreError>,
    },
}

/// A job on the disk. Only the next one of its kind and the end of the loop wait for it.
pub(super) type BackgroundJob = Option<JoinHandle<Result<(), StoreError>>>;

/// Checked updates of rounds that are being trained, by task and site.
pub(crate) type Accepted = BTreeMap<(TaskId, SiteName), Checked<FileSource>>;

pub(super) struct ReceivedFile {
    pub(super) path: PathBuf,
    pub(super) arrived: Arrived,
}

/// A stop that waits for the jobs at work.
#[derive(Clone, Copy)]
pub(super) struct Draining {
    pub(super) signal: Signal,
    /// How long it waits.
    pub(super) until: Instant,
}

/// What the loop remembers between an event and the effect that names it.
pub(crate) struct DriverState {
    pub(super) began: Instant,
    /// Received files, by the numbers that the state machine knows them by.
    pub(super) files: HashMap<u64, ReceivedFile>,
    /// The number of the last received file.
    pub(super) last_file: u64,
    pub(super) checked: Accepted,
    pub(super) exported: BTreeMap<RunKind, Version>,
    /// The job that writes a model for people; one at a time.
    pub(super) exporting: BackgroundJob,
    /// The job that removes what is no longer needed: a round's files take a while.
    pub(super) pruning: BackgroundJob,
    pub(super) results: mpsc::UnboundedSender<JobResult>,
    pub(super) outcome: Option<Outcome>,
    /// Results that are still to come.
    pub(super) open_jobs: usize,
    /// The coordinator was asked to stop.
    pub(super) draining: Option<Draining>,
    /// Sequences of which was said that they are not learnt.
    pub(super) not_learnt: BTreeSet<String>,
}

impl DriverState {
    /// Nothing but what was accepted before a restart; the machine's clock starts at `began`.
    pub(crate) fn new(began: Instant, checked: Accepted) -> Self {
        let (results, _) = mpsc::unbounded_channel();
        Self {
            began,
            files: HashMap::new(),
            last_file: 0,
            checked,
            exported: BTreeMap::new(),
            exporting: None,
            pruning: None,
            results,
            outcome: None,
            open_jobs: 0,
            draining: None,
            not_learnt: BTreeSet::new(),
        }
    }
}
