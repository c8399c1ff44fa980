//! A site's state machine, without IO: the same shape as [`crate::coordinator`].
//!
//! One task at a time. A task needs its models: work starts when both the request and the
//! parameters are here, in any order. The result of a task is kept until another one is asked for,
//! so a coordinator that asks again after a broken connection, or after its own restart, gets the
//! result without the work being done twice.

use crate::case::Cases;
use crate::message::{
    CoordinatorMessage, EvaluationRequest, Inventory, Progress, SiteMessage, TaskId, TaskKind,
    Trained, TransferHeader,
};
use crate::overlay::Overlay;
use crate::parameters::ParametersId;
use metrics::score::{CaseScore, SubsetScore};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What the coordinator says to a second agent of a site whose first one is there.
pub const TWICE: &str = "is connected already";

/// The file in a site's work folder that the agent which works there holds locked.
pub const LOCK: &str = ".lock";

/// What the shell tells the machine.
#[derive(Clone, Debug)]
pub enum Event {
    /// The coordinator's message.
    Message(CoordinatorMessage),
    /// A model arrived completely, with the hash of its header.
    Received(TransferHeader),
    /// The connection ended.
    Disconnected,
    /// The data is being prepared.
    Preparing {
        /// Cases prepared.
        done: u32,
        /// Cases in all.
        total: u32,
    },
    /// The data is ready.
    Prepared(Inventory),
    /// The running task is getting on.
    Progress(Progress),
    /// The running task scored a case.
    Scored {
        /// The task.
        task: TaskId,
        /// What was counted.
        score: CaseScore,
    },
    /// The running task scored a case on a part of its sequences.
    SubsetScored {
        /// The task.
        task: TaskId,
        /// What was counted.
        score: SubsetScore,
    },
    /// The running task drew a case's picture, and the site permits to send it.
    Drawn {
        /// The task.
        task: TaskId,
        /// The picture.
        overlay: Overlay,
    },
    /// The running training ended; its parameters are stored under their content hash.
    Trained(Trained),
    /// The running evaluation ended.
    Evaluated(TaskId),
    /// The running task ended badly.
    Failed {
        /// The task.
        task: TaskId,
        /// A sentence for people, without patient data.
        reason: String,
    },
}

/// What to work on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Work {
    /// The task.
    pub task: TaskId,
    /// The model to start from or to score; several for the consensus of all of them.
    pub models: Vec<ParametersId>,
    /// What to count; nothing for training.
    pub wanted: EvaluationRequest,
    /// The most optimiser steps of a training; `None` for as many as the settings say.
    #[serde(default)]
    pub steps: Option<u32>,
}

impl Work {
    /// The cases an evaluation is about; `None` for training.
    #[must_use]
    pub fn cases(&self) -> Option<Cases> {
        match self.task.kind {
            TaskKind::Train => None,
            TaskKind::Evaluate(cases) => Some(cases),
        }
    }
}

/// A training that ended well: what survives a restart, so that it is not done twice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    /// What was asked for.
    pub work: Work,
    /// What came of it; the parameters are stored under their content hash.
    pub trained: Trained,
}

/// What the shell has to do, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Store this in place of what was stored before, and then go on. If it cannot be stored, only
    /// a restart has to train again.
    Persist(Finished),
    /// Send a message.
    Send(SiteMessage),
    /// Send the stored result of a training.
    SendParameters(TransferHeader),
    /// Stop what is running; its later events are not listened to.
    Cancel,
    /// Let the running training end at its next step, with what it has.
    Conclude,
    /// Begin to work.
    Start(Work),
    /// This stored parameter vector will not be asked for again.
    Forget(ParametersId),
    /// The federation is over.
    Leave {
        /// A sentence for people.
        summary: String,
    },
    /// The coordinator refused what this site sent for a task.
    NotCounted {
        /// The task.
        task: TaskId,
        /// A sentence for people.
        reason: String,
    },
    /// The coordinator will not have this site.
    Refused {
        /// A sentence for people.
        reason: String,
    },
}

/// Why a training gives nothing whose time was over before it began.
const TOO_LATE: &str = "the round's deadline came before its first step";

/// The result of a task.
#[derive(Debug)]
enum Outcome {
    Trained(Trained),
    Evaluated,
    Failed(String),
}

#[derive(Debug)]
struct Job {
    work: Work,
    running: bool,
    /// Asked again while running: scores may have been lost, so all go out once more at the end.
    repeat: bool,
    scores: Vec<CaseScore>,
    subsets: Vec<SubsetScore>,
    overlays: Vec<Overlay>,
    outcome: Option<Outcome>,
}

/// The site's state machine.
#[derive(Debug)]
pub struct StateMachine {
    welcomed: bool,
    inventory: Option<Inventory>,
    job: Option<Job>,
    /// Models that came since the last task was asked for: of that task, or of the next one.
    received: BTreeSet<ParametersId>,
    /// Every parameter vector the shell has stored.
    stored: BTreeSet<ParametersId>,
    update_bytes: u64,
}

impl StateMachine {
    /// A site that has not joined yet; one update takes `update_bytes`.
    #[must_use]
    pub fn new(update_bytes: u64) -> Self {
        Self {
            welcomed: false,
            inventory: None,
            job: None,
            received: BTreeSet::new(),
            stored: BTreeSet::new(),
            update_bytes,
        }
    }

    /// A site that comes back after its program ended, and has the result of its last training.
    #[must_use]
    pub fn resumed(update_bytes: u64, finished: Finished) -> Self {
        let Finished { work, trained } = finished;
        let (scores, subsets, overlays) = (Vec::new(), Vec::new(), Vec::new());
        let outcome = Some(Outcome::Trained(trained));
        let job = Job {
            work,
            running: false,
            repeat: false,
            scores,
            subsets,
            overlays,
            outcome,
        };
        Self {
            job: Some(job),
            stored: BTreeSet::from([trained.parameters]),
            ..Self::new(update_bytes)
        }
    }

    /// Takes an event and says what to do about it.
    pub fn handle(&mut self, event: Event) -> Vec<Effect> {
        let mut out = Vec::new();
        match event {
            Event::Message(message) => self.message(message, &mut out),
            Event::Received(header) => {
                self.received.insert(header.parameters);
                self.stored.insert(header.parameters);
                self.start_if_whole(&mut out);
            }
            Event::Disconnected => self.welcomed = false,
            Event::Preparing { done, total } => {
                self.say(SiteMessage::Preparing { done, total }, &mut out)
            }
            Event::Prepared(inventory) => {
                self.inventory = Some(inventory);
                self.say(SiteMessage::Ready(inventory), &mut out);
            }
            Event::Progress(progress) => {
                if self.running(progress.task).is_some() {
                    self.say(SiteMessage::Progress(progress), &mut out);
                }
            }
            Event::Scored { task, score } => {
                if let Some(job) = self.running(task) {
                    job.scores.push(score.clone());
                    self.say(SiteMessage::Scored { task, score }, &mut out);
                }
            }
            Event::SubsetScored { task, score } => {
                if let Some(job) = self.running(task) {
                    job.subsets.push(score.clone());
                    self.say(SiteMessage::SubsetScored { task, score }, &mut out);
                }
            }
            Event::Drawn { task, overlay } => {
                if let Some(job) = self.running(task) {
                    job.overlays.push(overlay.clone());
                    self.say(SiteMessage::Overlay { task, overlay }, &mut out);
                }
            }
            Event::Trained(trained) => {
                self.stored.insert(trained.parameters);
                // Persist first: the machine must find the result after a crash that follows the
                // send.
                let work = self.running(trained.task).map(|job| job.work.clone());
                out.extend(work.map(|work| Effect::Persist(Finished { work, trained })));
                self.end(trained.task, Outcome::Trained(trained), &mut out);
            }
            Event::Evaluated(task) => self.end(task, Outcome::Evaluated, &mut out),
            Event::Failed { task, reason } => self.end(task, Outcome::Failed(reason), &mut out),
        }
        self.forget_unused(&mut out);
        out
    }

    fn message(&mut self, message: CoordinatorMessage, out: &mut Vec<Effect>) {
        match message {
            CoordinatorMessage::Welcome { .. } => {
                self.welcomed = true;
                out.extend(
                    self.inventory
                        .map(|inventory| Effect::Send(SiteMessage::Ready(inventory))),
                );
            }
            CoordinatorMessage::Refused { reason } => out.push(Effect::Refused { reason }),
            CoordinatorMessage::Train { task, model, steps } => {
                self.asked(
                    Work {
                        task,
                        models: vec![model],
                        wanted: EvaluationRequest::default(),
                        steps,
                    },
                    out,
                );
            }
            CoordinatorMessage::Evaluate {
                task,
                models,
                wanted,
            } => self.asked(
                Work {
                    task,
                    models,
                    wanted,
                    steps: None,
                },
                out,
            ),
            CoordinatorMessage::Conclude { task } => self.conclude(task, out),
            CoordinatorMessage::NotCounted { task, reason } => {
                out.push(Effect::NotCounted { task, reason });
            }
            CoordinatorMessage::Finished { summary } => {
                self.cancel(out);
                out.push(Effect::Leave { summary });
            }
        }
    }

    /// The same task again: its result, if there is one, goes out again; one that failed is tried
    /// again, since what was in its way may be gone. Another one replaces it.
    fn asked(&mut self, work: Work, out: &mut Vec<Effect>) {
        let failed = |job: &Job| matches!(job.outcome, Some(Outcome::Failed(_)));
        if let Some(job) = self
            .job
            .as_mut()
            .filter(|job| job.work == work && !failed(job))
        {
            job.repeat = true;
            return self.tell(out);
        }
        self.cancel(out);
        self.received.retain(|model| work.models.contains(model));
        let (scores, subsets, overlays) = (Vec::new(), Vec::new(), Vec::new());
        self.job = Some(Job {
            work,
            running: false,
            repeat: false,
            scores,
            subsets,
            overlays,
            outcome: None,
        });
        self.start_if_whole(out);
    }

    /// A training that runs ends with what it has; one that could not begin yet has nothing to
    /// give.
    fn conclude(&mut self, task: TaskId, out: &mut Vec<Effect>) {
        if task.kind != TaskKind::Train {
            return;
        }
        if self.running(task).is_some() {
            out.push(Effect::Conclude);
        } else if let Some(job) = self
            .job
            .as_mut()
            .filter(|job| job.work.task == task && job.outcome.is_none())
        {
            job.outcome = Some(Outcome::Failed(TOO_LATE.into()));
            self.tell(out);
        }
    }

    fn cancel(&mut self, out: &mut Vec<Effect>) {
        if self.job.take().is_some_and(|job| job.running) {
            out.push(Effect::Cancel);
        }
    }

    fn start_if_whole(&mut self, out: &mut Vec<Effect>) {
        let stored = &self.stored;
        let waits = |job: &&mut Job| {
            !job.running
                && job.outcome.is_none()
                && job.work.models.iter().all(|model| stored.contains(model))
        };
        if let Some(job) = self.job.as_mut().filter(waits) {
            job.running = true;
            out.push(Effect::Start(job.work.clone()));
        }
    }

    fn running(&mut self, task: TaskId) -> Option<&mut Job> {
        self.job
            .as_mut()
            .filter(|job| job.running && job.work.task == task)
    }

    fn end(&mut self, task: TaskId, outcome: Outcome, out: &mut Vec<Effect>) {
        if let Some(job) = self.running(task) {
            job.running = false;
            job.outcome = Some(outcome);
            self.tell(out);
        }
    }

    /// Sends the result of the task, if it has ended. Single scores were sent as they came.
    fn tell(&self, out: &mut Vec<Effect>) {
        let Some((job, outcome)) = self
            .job
            .as_ref()
            .and_then(|job| Some((job, job.outcome.as_ref()?)))
        else {
            return;
        };
        let task = job.work.task;
        if !self.welcomed {
            return;
        }
        match outcome {
            Outcome::Trained(trained) => {
                let parameters = trained.parameters;
                out.push(Effect::Send(SiteMessage::Trained(*trained)));
                out.push(Effect::SendParameters(TransferHeader {
                    parameters,
                    bytes: self.update_bytes,
                    task,
                }));
            }
            Outcome::Evaluated => {
                let scores = job.scores.iter().filter(|_| job.repeat).cloned();
                out.extend(scores.map(|score| Effect::Send(SiteMessage::Scored { task, score })));
                let subsets = job.subsets.iter().filter(|_| job.repeat).cloned();
                out.extend(
                    subsets.map(|score| Effect::Send(SiteMessage::SubsetScored { task, score })),
                );
                let overlays = job.overlays.iter().filter(|_| job.repeat).cloned();
                out.extend(
                    overlays.map(|overlay| Effect::Send(SiteMessage::Overlay { task, overlay })),
                );
                out.push(Effect::Send(SiteMessage::Evaluated {
                    task,
                    cases: job.scores.len() as u32,
                }));
            }
            Outcome::Failed(reason) => {
                out.push(Effect::Send(SiteMessage::Failed {
                    task,
                    reason: reason.clone(),
                }));
            }
        }
    }

    /// Sends a message that only makes sense now; it is dropped while there is no connection.
    fn say(&self, message: SiteMessage, out: &mut Vec<Effect>) {
        if self.welcomed {
            out.push(Effect::Send(message));
        }
    }

    fn forget_unused(&mut self, out: &mut Vec<Effect>) {
        let job = self.job.as_ref();
        let update = job.and_then(|job| match &job.outcome {
            Some(Outcome::Trained(trained)) => Some(trained.parameters),
            _ => None,
        });
        let received = &self.received;
        self.stored.retain(|id| {
            let needed = job.is_some_and(|job| job.work.models.contains(id));
            let keep = needed || received.contains(id) || update == Some(*id);
            out.extend((!keep).then_some(Effect::Forget(*id)));
            keep
        });
    }
}

#[cfg(test)]
mod tests;
