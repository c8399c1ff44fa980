//! The events that the coordinator's state machine takes, and the effects that it returns.

use super::{Checkpoint, StopReason, UpdateRejection};
use crate::identity::{SiteName, Version};
use crate::message::{CoordinatorMessage, Hello, RunId, SiteMessage, TaskId, TransferHeader};
use crate::notification::Notification;
use crate::outcome::RoundRecord;
use crate::parameters::ParametersId;
use metrics::sequence::SequenceSet;
use serde::{Deserialize, Serialize};

/// A model in the coordinator's folder. The initial version is the same model for all runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelRef {
    pub run: RunId,
    pub version: Version,
    /// Its content hash.
    pub parameters: ParametersId,
}

/// What a site's update counts for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contribution {
    /// The site: its name is its place in the sum.
    pub site: SiteName,
    /// The update's content hash.
    pub parameters: ParametersId,
    /// Slices seen while training: the weight.
    pub slices: u64,
    /// Sequences the training examples held.
    pub sequences: SequenceSet,
    /// The version of the model that the site started from.
    pub base: Version,
}

/// An update that was checked and is stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AcceptedUpdate {
    /// Its content hash.
    pub parameters: ParametersId,
    /// How far it went from the model that it started from: the euclidean norm of the difference.
    pub distance: f64,
}

/// What the shell tells the machine.
#[derive(Clone, Debug)]
pub enum Event {
    /// A site is connected and has said hello.
    Connected {
        /// The site, from its certificate.
        site: SiteName,
        /// Counts connections; a later one of the same site replaces the earlier.
        connection: u64,
        /// Its first words.
        hello: Hello,
    },
    /// A site's message.
    Message {
        /// The site.
        site: SiteName,
        /// The connection it came on.
        connection: u64,
        /// The message.
        message: SiteMessage,
    },
    /// A parameter vector arrived completely, with the hash of its header. The answer is
    /// [`Effect::Check`] or [`Effect::Discard`] with the same `file`.
    Received {
        /// The site.
        site: SiteName,
        /// What it is.
        header: TransferHeader,
        /// The shell's name for the file.
        file: u64,
    },
    /// What an [`Effect::Check`] found: an update stored, or the reason to refuse it.
    Stored {
        /// The site.
        site: SiteName,
        /// The training.
        task: TaskId,
        /// The update.
        result: Result<AcceptedUpdate, UpdateRejection>,
    },
    /// A site's connection ended.
    Disconnected {
        /// The site.
        site: SiteName,
        /// The connection.
        connection: u64,
        /// Why, as far as known.
        reason: String,
    },
    /// What an [`Effect::Aggregate`] made is safely stored.
    Aggregated {
        run: RunId,
        version: Version,
        parameters: ParametersId,
    },
    /// What an [`Effect::Restore`] asked for is done.
    Restored { run: RunId, version: Version },
    /// Hand out no new task; what runs goes on.
    Pause,
    /// Hand out tasks again.
    Resume,
    /// Shut a site out of this run.
    Drop {
        /// The site.
        site: SiteName,
    },
    /// Begin nothing new: the shell is about to end.
    Drain,
    /// Time passed.
    Tick,
}

/// What the shell has to do, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Send a message.
    Send {
        /// To whom.
        site: SiteName,
        /// What.
        message: CoordinatorMessage,
    },
    /// Send a stored model.
    SendParameters {
        /// To whom.
        site: SiteName,
        /// Goes before the bytes.
        header: TransferHeader,
        /// Where it is stored.
        model: ModelRef,
    },
    /// End a connection.
    Close {
        /// Whose.
        site: SiteName,
        /// Why.
        reason: String,
    },
    /// Check a received update and store it; answer with [`Event::Stored`].
    Check {
        /// The shell's name for the file.
        file: u64,
        /// From whom.
        site: SiteName,
        /// The training it is the result of.
        task: TaskId,
        /// What it must be.
        parameters: ParametersId,
    },
    /// This file is not wanted, or no longer.
    Discard {
        /// The shell's name for the file.
        file: u64,
    },
    /// Make a version of stored updates and of the version before it, and store it; answer with
    /// [`Event::Aggregated`].
    Aggregate {
        run: RunId,
        /// The version to make.
        version: Version,
        /// The updates, in site order.
        updates: Vec<Contribution>,
        /// Where updates may have started from older models: how far to go the way that they went.
        rate: Option<f64>,
    },
    /// Store an earlier model in the place of a version that no site can work with; answer with
    /// [`Event::Restored`].
    Restore {
        run: RunId,
        /// The version that is discarded.
        version: Version,
        /// The model that goes on.
        from: ModelRef,
    },
    /// Store the record of a finished round, which no longer changes, before going on.
    Record {
        /// The training run.
        run: RunId,
        /// The record.
        record: Box<RoundRecord>,
    },
    /// Store these facts before going on.
    Persist(Box<Checkpoint>),
    /// Tell the observers of the run.
    Report(Notification),
    /// The federation cannot go on. What was persisted is kept, and a new start goes on from there.
    Stop {
        /// Why.
        reason: StopReason,
    },
    /// Everything is done: ask for [`StateMachine::outcome`](super::StateMachine::outcome).
    Finish,
}
