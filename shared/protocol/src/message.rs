//! The messages of the protocol. One codec encodes them as frames; parameters never travel in them.

use crate::case::{Cases, Role};
use crate::identity::{SiteName, Version};
use crate::overlay::Overlay;
use crate::parameters::ParametersId;
use crate::settings::{Compute, Federation};
use metrics::score::{CaseScore, SubsetScore};
use metrics::sequence::SequenceSet;
use serde::{Deserialize, Serialize};

/// The protocol's version: the ALPN name both ends must offer, and the number in [`Hello`].
pub const PROTOCOL: u32 = 6;
/// TLS application protocol name.
pub const ALPN: &[u8] = b"lacuna/6";

/// The most models whose consensus a site is asked to score.
pub const MAX_MODELS: usize = 64;

/// One training run of models: the federation's, one site's that trains alone for comparison, or the
/// consensus of the latter.
///
/// Number 0 is always the federation; its runs' names and members are in the coordinator's
/// folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RunId(pub u16);

impl RunId {
    /// The federation's own training run: the first.
    pub const FEDERATION: Self = Self(0);

    /// Whether this is the federation's own training run.
    #[must_use]
    pub fn is_federation(self) -> bool {
        self == Self::FEDERATION
    }
}

/// What a task is about. A task is named by what it does, so that a repeated message names the same
/// task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TaskKind {
    /// Train from the model and send the result.
    Train,
    /// Score the model on these cases.
    Evaluate(Cases),
}

/// A task of one site: unique within a federation. A training from a version of the model is a task
/// of the round that makes the next one; an evaluation of a version is a task of the round that
/// made it, 0 for the initial model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TaskId {
    /// The training run.
    pub run: RunId,
    /// The round.
    pub round: u32,
    /// The work.
    pub kind: TaskKind,
    /// Counts repeated evaluations of one model, such as at thresholds found by the first. 0 for
    /// training.
    pub pass: u8,
}

impl TaskId {
    /// The training from the version `base` of a run's model.
    #[must_use]
    pub fn training(run: RunId, base: Version) -> Self {
        Self {
            run,
            round: base.next().0,
            kind: TaskKind::Train,
            pass: 0,
        }
    }

    /// The version of the run's model that the task works on.
    #[must_use]
    pub fn base(self) -> Version {
        match self.kind {
            TaskKind::Train => Version(self.round.saturating_sub(1)),
            TaskKind::Evaluate(_) => Version(self.round),
        }
    }
}

/// A site's greeting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// Version of the site's software.
    pub software: String,
    /// What the site does.
    pub role: Role,
    /// The names of the sequences that the site's configuration gives a path for.
    pub sequences: Vec<String>,
}

/// What a site found in its data folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// Sequences that at least one usable case has.
    pub sequences: SequenceSet,
    /// Cases to train on.
    pub training_cases: u32,
    /// Cases kept back for validation.
    pub validation_cases: u32,
    /// Cases of a site that only evaluates.
    pub held_out_cases: u32,
    /// Cases that could not be used; the site's skip report names them.
    pub skipped_cases: u32,
    /// Examples that an epoch of training draws: one a slice, several a slice of a case whose brain
    /// is larger than the model's plane, which is seen through windows that overlap.
    pub training_slices: u64,
    /// Lesions of the cases to train on, 26-connected.
    #[serde(default)]
    pub training_lesions: u32,
    /// Lesions of the cases kept back.
    #[serde(default)]
    pub validation_lesions: u32,
    /// Lesions of the cases of a site that only evaluates.
    #[serde(default)]
    pub held_out_lesions: u32,
}

impl Inventory {
    /// The lesions of all cases.
    #[must_use]
    pub fn lesions(&self) -> u64 {
        [
            self.training_lesions,
            self.validation_lesions,
            self.held_out_lesions,
        ]
        .into_iter()
        .map(u64::from)
        .sum()
    }
}

/// How far a site's task is. Liveness is progress.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The task.
    pub task: TaskId,
    /// Steps done, or cases scored; where subsets are asked for, each case counts once for each of
    /// its subsets.
    pub done: u32,
    /// The same in all.
    pub total: u32,
    /// Mean training loss of the latest steps.
    pub loss: Option<f32>,
    /// Slices per second, in the latest steps.
    pub slices_per_second: f32,
}

/// A finished local training. The parameters follow on a stream of their own.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trained {
    /// The task.
    pub task: TaskId,
    /// The new parameters' content hash.
    pub parameters: ParametersId,
    /// Slices seen: the site's weight in the average.
    pub slices: u64,
    /// Optimiser steps done.
    pub steps: u32,
    /// Optimiser steps that the training was to have: more than were done where it had to conclude
    /// early.
    #[serde(default)]
    pub asked_steps: u32,
    /// Mean loss over the steps.
    pub mean_loss: f32,
    /// Mean loss over the last tenth of the steps.
    pub last_loss: f32,
    /// Seconds the training took at the site.
    pub seconds: f32,
    /// Sequences that the training examples held: what the site can teach the stem.
    pub sequences: SequenceSet,
    /// What the network computed in.
    pub compute: Compute,
}

/// What an evaluation counts in addition to the histograms.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct EvaluationRequest {
    /// Voxels and lesions at these thresholds.
    pub thresholds: Vec<f32>,
    /// Lesions alone at these, with everything that a case has.
    pub sweep: Vec<f32>,
    /// Whether each case is also scored on every part of its sequences.
    pub subsets: bool,
}

/// From a site to the coordinator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum SiteMessage {
    /// The greeting.
    Hello(Hello),
    /// The data is read and preprocessed; tasks may come.
    Ready(Inventory),
    /// Still working on a task.
    Progress(Progress),
    /// The site is preparing its data.
    Preparing {
        /// Cases prepared.
        done: u32,
        /// Cases in all.
        total: u32,
    },
    /// Training ended well.
    Trained(Trained),
    /// One case of an evaluation.
    Scored {
        /// The task.
        task: TaskId,
        /// What was counted.
        score: CaseScore,
    },
    /// The evaluation's last case was sent.
    Evaluated {
        /// The task.
        task: TaskId,
        /// How many cases were scored.
        cases: u32,
    },
    /// The task ended badly; the site stays.
    Failed {
        /// The task.
        task: TaskId,
        /// A sentence for people, without patient data.
        reason: String,
    },
    /// One case of an evaluation, shown a part of its sequences.
    SubsetScored {
        /// The task.
        task: TaskId,
        /// What was counted.
        score: SubsetScore,
    },
    /// A picture of a representative case of the federation's report, from a site that permits it.
    Overlay {
        /// The task.
        task: TaskId,
        /// The picture.
        overlay: Overlay,
    },
}

/// From the coordinator to a site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum CoordinatorMessage {
    /// The site is in. The federation's settings are the coordinator's alone.
    Welcome {
        /// The settings.
        federation: Box<Federation>,
        /// The site's name, from its certificate.
        site: SiteName,
    },
    /// The site is not let in; the connection closes.
    Refused {
        /// A sentence for people.
        reason: String,
    },
    /// Train from this model.
    Train {
        /// The task.
        task: TaskId,
        /// Where to start from: sent on a stream of its own unless the site was sent it before.
        model: ParametersId,
        /// The most optimiser steps to do; `None` for as many as the settings say. More than that
        /// are never done.
        steps: Option<u32>,
    },
    /// Score a model, or the consensus of several: the mean of their probabilities.
    Evaluate {
        /// The task.
        task: TaskId,
        /// What to score: [`MAX_MODELS`] at most.
        models: Vec<ParametersId>,
        /// What to count.
        wanted: EvaluationRequest,
    },
    /// Everything is done; the site may leave.
    Finished {
        /// A sentence for people.
        summary: String,
    },
    /// The round's time is over: end this training at its next step and send its update. A site
    /// that works on another task, or has ended this one, ignores the message.
    Conclude {
        /// The training.
        task: TaskId,
    },
    /// What the site sent for this task was refused, and counts for nothing.
    NotCounted {
        /// The task.
        task: TaskId,
        /// A sentence for people: which condition does not hold, with its figures.
        reason: String,
    },
}

/// Goes before the bytes of a parameter vector on a stream of its own.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TransferHeader {
    /// What the bytes hash to.
    pub parameters: ParametersId,
    /// How many bytes follow: exactly what the manifest asks for.
    pub bytes: u64,
    /// The task that the bytes belong to: the update of a training, or the model to work on.
    pub task: TaskId,
}

/// What the receiver of a transfer says to its sender, on the same stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TransferAnswer {
    /// The header is good; the content is wanted from this byte on, which is between two chunks.
    /// The bytes before it came over an earlier connection.
    Wanted {
        /// The byte, from 0; the header's `bytes` when nothing is missing.
        from: u64,
    },
    /// Everything is here and verified; at the coordinator it is also safe on the disk.
    Taken {
        /// What it hashes to.
        parameters: ParametersId,
    },
}
