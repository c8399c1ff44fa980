//! The coordinator's state machine, without IO: events and the time go in, effects come out in
//! order.
//!
//! The [`Checkpoint`] holds the facts that survive a restart: rounds of training with every
//! accepted update, aggregation and validation, then the scores of the best model. What a phase
//! knows beyond that is in memory only and can be asked for again. The shell executes the effects
//! in their order; [`Effect::Persist`] comes before any message that depends on it.
//!
//! Nothing is counted twice: a task is named by what it does, so a repeated or late message finds
//! its task open, or finds nothing. A site that disconnects keeps its task until that made no
//! progress for `patience_s`. When it comes back it is asked again, and sends what it has finished
//! meanwhile. Coming back is no progress: a site that starts again and again and never gets further
//! is given up (`task_table`).
//!
//! Bad models: an update far beyond the others' is refused (`outliers`), and a model that no site
//! can work with is replaced by the last one that some site could work with
//! (`training_run::rollback`).
//!
//! Slow sites: at a deadline those that still train are told to send what they have (`task_table`),
//! and with a buffer no round waits for any site (`training_run::buffered`; its durable facts in
//! `buffer`).
//!
//! The operator's part, pausing, dropping a site and draining, is in `control`.

mod buffer;
mod checkpoint;
mod control;
mod event;
mod outliers;
mod rejection;
mod roster;
mod scores;
mod task_table;
mod training_run;

use crate::identity::SiteName;
use crate::message::{CoordinatorMessage, MAX_MODELS, RunId, SiteMessage, TaskId, TaskKind};
use crate::notification::Notification;
use crate::operating::OperatingPoints;
use crate::outcome::{Outcome, RunKind};
use crate::parameters::ParametersId;
use crate::settings::Federation;
pub use buffer::{Asked, Buffer, Missing};
pub use checkpoint::{Best, Checkpoint, OpenRound, RunProgress, Speed, Totals, UsableModel};
use control::Dispatch;
pub use control::TooFewLeft;
pub use event::{AcceptedUpdate, Contribution, Effect, Event, ModelRef};
use metrics::sequence::MAX_SEQUENCES;
pub use rejection::{
    GaveNothing, ScoreRejection, SiteRejection, StopReason, SummaryRejection, TaskFailure,
    UpdateRejection,
};
use roster::Roster;
use std::time::Duration;
use task_table::{MostWork, TaskResult, TaskTable};
use training_run::{Advance, Moment, TrainingRun};

/// What a federation is to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The settings.
    pub federation: Federation,
    /// Also train each site alone, for the same rounds, and score the consensus of what they learn.
    pub with_local: bool,
    /// The initial model.
    pub initial: ParametersId,
    /// The initial model's own thresholds. They are used where no site trains and none has
    /// validation cases.
    pub initial_points: OperatingPoints,
    /// Bytes of one model.
    pub model_bytes: u64,
    /// Bytes of one update.
    pub update_bytes: u64,
}

/// How often one case is scored at most: once with each subset of its sequences.
const MOST_SCORES: u32 = (1 << MAX_SEQUENCES) - 1;

/// What all training runs share.
#[derive(Debug)]
struct SharedState {
    plan: Plan,
    roster: Roster,
    task_table: TaskTable,
    dispatch: Dispatch,
}

impl SharedState {
    /// Whether the sites only evaluate the initial model.
    fn only_evaluates(&self) -> bool {
        self.plan.federation.rounds == 0
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(u64::from(self.plan.federation.sites.patience_s))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Gathering,
    Working,
    Over,
    Stopped,
}

/// The coordinator's state machine. Time is the duration since any fixed moment, the same in every
/// call.
#[derive(Debug)]
pub struct StateMachine {
    shared: SharedState,
    training_runs: Vec<TrainingRun>,
    stage: Stage,
    began: Duration,
}

impl StateMachine {
    /// A federation that begins, or goes on from a checkpoint of the same settings.
    #[must_use]
    pub fn new(mut plan: Plan, checkpoint: Option<Checkpoint>, now: Duration) -> Self {
        // Without rounds there is nothing that a site could learn alone.
        plan.with_local &= plan.federation.rounds > 0;
        let checkpoint = checkpoint.unwrap_or_default();
        let roster = Roster::new(&plan.federation, &checkpoint, now);
        let dispatch = if checkpoint.paused {
            Dispatch::Paused { since: now }
        } else {
            Dispatch::Running
        };
        let mut training_runs: Vec<TrainingRun> = checkpoint
            .runs
            .into_iter()
            .enumerate()
            .map(|(id, run)| TrainingRun::resumed(RunId(id as u16), run))
            .collect();
        if training_runs.is_empty() {
            training_runs.push(TrainingRun::new(
                RunId::FEDERATION,
                RunKind::Federation,
                Vec::new(),
            ));
        }
        if plan.federation.rounds == 0
            && let Some(federation) = training_runs.first_mut()
        {
            federation.reports_initial_model(plan.initial);
        }
        let task_table = TaskTable::new(
            plan.federation.sites.concurrent,
            plan.model_bytes,
            plan.update_bytes,
        );
        let shared = SharedState {
            plan,
            roster,
            task_table,
            dispatch,
        };
        Self {
            shared,
            training_runs,
            stage: Stage::Gathering,
            began: now,
        }
    }

    /// Takes an event and says what to do about it.
    pub fn handle(&mut self, event: Event, now: Duration) -> Vec<Effect> {
        let mut out = Vec::new();
        self.take(event, now, &mut out);
        if self.stage == Stage::Gathering && !self.shared.is_held() {
            self.gather(now, &mut out);
        }
        if self.stage == Stage::Working {
            self.expire(now, &mut out);
            self.work(now, &mut out);
            if !self.shared.is_held() {
                self.shared
                    .task_table
                    .fill(&mut self.shared.roster, now, &mut out);
                if let Some(deadline) = self.shared.plan.federation.sites.deadline_s {
                    self.shared.task_table.conclude(
                        Duration::from_secs(deadline.into()),
                        now,
                        &mut out,
                    );
                }
            }
        }
        out
    }

    /// The record of the federation, with the last round of each training run only:
    /// [`Effect::Record`] gave the rounds before.
    #[must_use]
    pub fn outcome(&self, now: Duration) -> Outcome {
        let mut runs = Vec::new();
        for training_run in &self.training_runs {
            let run = &training_run.progress.outcome;
            if !run.rounds.is_empty() || !run.scores.is_empty() {
                runs.push(run.clone());
            }
        }
        Outcome {
            federation: self.shared.plan.federation.clone(),
            sites: self.shared.roster.records(),
            runs,
            seconds: now.saturating_sub(self.began).as_secs_f64(),
        }
    }

    /// The facts that a restart needs.
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            sites: self.shared.roster.records(),
            runs: self
                .training_runs
                .iter()
                .map(|training_run| training_run.progress.clone())
                .collect(),
            dropped: self.shared.roster.dropped(),
            paused: self.shared.dispatch.is_paused(),
        }
    }

    /// Whether a site's checked update is, or may yet become, part of a model that is not made.
    #[must_use]
    pub fn awaits_update(&self, site: &SiteName, task: TaskId) -> bool {
        if let Some(training_run) = self.training_runs.get(usize::from(task.run.0))
            && training_run.awaits_update(site, task)
        {
            return true;
        }
        self.shared.task_table.has(site, task)
    }

    /// Whose models a run makes; `None` for a run that this federation does not have.
    #[must_use]
    pub fn run_kind(&self, run: RunId) -> Option<&RunKind> {
        let training_run = self.training_runs.get(usize::from(run.0))?;
        Some(&training_run.progress.outcome.name)
    }

    fn take(&mut self, event: Event, now: Duration, out: &mut Vec<Effect>) {
        let SharedState {
            roster,
            task_table,
            plan,
            ..
        } = &mut self.shared;
        match event {
            Event::Connected {
                site,
                connection,
                hello,
            } => {
                let welcomed =
                    roster.connect(&site, connection, &hello, &plan.federation, now, out);
                if welcomed && self.stage == Stage::Over {
                    out.push(farewell(&site));
                }
            }
            Event::Message {
                site,
                connection,
                message,
            } => {
                if roster.is_current_connection(&site, connection) {
                    self.message(&site, message, now, out);
                }
            }
            Event::Received { site, header, file } => {
                task_table.received(&site, header, file, now, out)
            }
            Event::Stored { site, task, result } => {
                if let Some(answer) = task_table.stored(&site, task, result) {
                    self.answer(&site, task, answer, out);
                }
            }
            Event::Disconnected {
                site,
                connection,
                reason,
            } => roster.disconnect(&site, connection, reason, now, out),
            Event::Aggregated {
                run,
                version,
                parameters,
            } => {
                let Some(training_run) = self.training_runs.get_mut(usize::from(run.0)) else {
                    return;
                };
                let mut moment = Moment { now, effects: out };
                if let Some(news) = training_run.aggregated(version, parameters, &mut moment) {
                    out.push(Effect::Persist(Box::new(self.checkpoint())));
                    out.push(Effect::Report(news));
                }
            }
            Event::Restored { run, version } => {
                let Some(training_run) = self.training_runs.get_mut(usize::from(run.0)) else {
                    return;
                };
                if let Some(news) = training_run.restored(version) {
                    out.push(Effect::Persist(Box::new(self.checkpoint())));
                    out.push(Effect::Report(news));
                }
            }
            Event::Pause => self.pause(now, out),
            Event::Resume => self.resume(now, out),
            Event::Drop { site } => self.dismiss(&site, now, out),
            Event::Drain => self.drain(out),
            Event::Tick => {}
        }
    }

    fn message(
        &mut self,
        site: &SiteName,
        message: SiteMessage,
        now: Duration,
        out: &mut Vec<Effect>,
    ) {
        let SharedState {
            roster,
            task_table,
            plan,
            ..
        } = &mut self.shared;
        let settings = &plan.federation;
        if !matches!(
            message,
            SiteMessage::Hello(_) | SiteMessage::Preparing { .. } | SiteMessage::Ready(_)
        ) {
            roster.clear_given_up(site);
        }
        let answered = match message {
            // The transport has handled the first hello; a second one says nothing new.
            SiteMessage::Hello(_) => None,
            SiteMessage::Preparing { done, total } => {
                roster.preparing(site, done, total, now);
                out.push(Effect::Report(Notification::Preparing {
                    site: site.clone(),
                    done,
                    total,
                }));
                None
            }
            SiteMessage::Ready(inventory) => {
                if roster.ready(site, inventory, settings, now, out) {
                    task_table.ask_again(site, now);
                }
                None
            }
            SiteMessage::Progress(progress) => {
                let most = match progress.task.kind {
                    TaskKind::Train => roster.most_steps(site, &settings.training),
                    TaskKind::Evaluate(_) => roster
                        .cases(site, progress.task.kind)
                        .saturating_mul(MOST_SCORES),
                };
                if task_table.progress(site, progress, most, now) {
                    out.push(Effect::Report(Notification::Progress {
                        site: site.clone(),
                        progress,
                    }));
                }
                None
            }
            SiteMessage::Trained(trained) => {
                let most = MostWork {
                    batch: settings.training.batch,
                    steps: roster.most_steps(site, &settings.training),
                };
                task_table
                    .trained(site, trained, most, now)
                    .map(|answer| (trained.task, answer))
            }
            SiteMessage::Scored { task, score } => {
                let most = roster.cases(site, task.kind);
                task_table
                    .scored(site, task, score, most, now)
                    .map(|answer| (task, answer))
            }
            SiteMessage::SubsetScored { task, score } => {
                let most = roster.cases(site, task.kind);
                task_table
                    .subset_scored(site, task, score, most, now)
                    .map(|answer| (task, answer))
            }
            SiteMessage::Overlay { task, overlay } => {
                task_table.overlay_drawn(site, task, overlay);
                None
            }
            SiteMessage::Evaluated { task, cases } => task_table
                .evaluated(site, task, cases)
                .map(|answer| (task, answer)),
            SiteMessage::Failed { task, reason } => task_table
                .failed(site, task, reason)
                .map(|answer| (task, answer)),
        };
        if let Some((task, answer)) = answered {
            self.answer(site, task, answer, out);
        }
    }

    fn answer(&mut self, site: &SiteName, task: TaskId, answer: TaskResult, out: &mut Vec<Effect>) {
        let news = match &answer {
            TaskResult::Update { trained, .. } => Some(Notification::Accepted {
                site: site.clone(),
                trained: *trained,
            }),
            TaskResult::CountsAgainstModel(reason) | TaskResult::Missing(reason) => {
                Some(Notification::Failed {
                    site: site.clone(),
                    reason: reason.to_string(),
                })
            }
            TaskResult::Scores(_) => None,
        };
        let refusal = match &answer {
            TaskResult::CountsAgainstModel(reason) | TaskResult::Missing(reason)
                if reason.is_refusal() =>
            {
                Some(reason.to_string())
            }
            _ => None,
        };
        if let Some(training_run) = self.training_runs.get_mut(usize::from(task.run.0))
            && training_run.answered(site, task, answer)
        {
            out.push(Effect::Persist(Box::new(self.checkpoint())));
        }
        if let Some(news) = news {
            out.push(Effect::Report(news));
        }
        if let Some(reason) = refusal {
            out.push(not_counted(site, task, reason));
        }
    }

    /// Begins when all expected sites are there, or when no further site has come for a while and
    /// there are enough.
    fn gather(&mut self, now: Duration, out: &mut Vec<Effect>) {
        let minimum = self.shared.plan.federation.sites.minimum;
        let waiting = self.shared.roster.awaited();
        let quiet = self.shared.roster.silence(now) > self.shared.timeout();
        let present = if self.shared.only_evaluates() {
            self.shared.roster.present()
        } else {
            self.shared.roster.present_trainers()
        };
        let enough = present >= minimum;
        let local = self.shared.plan.with_local && self.training_runs.len() == 1;
        let finished = !local && self.training_runs.iter().all(TrainingRun::is_done);
        // Where too few sites are left because some were dropped, waiting does not help: the
        // federation does what it can, and the next round says what is missing.
        let too_few_left = waiting.is_empty() && quiet && !self.shared.roster.dropped().is_empty();
        if finished {
            self.stage = Stage::Working;
        } else if too_few_left || enough && (waiting.is_empty() || quiet) {
            for site in waiting {
                self.shared.roster.give_up(&site);
                let reason = "was expected and did not get ready".to_string();
                out.push(Effect::Report(Notification::Failed { site, reason }));
            }
            self.stage = Stage::Working;
            out.push(Effect::Persist(Box::new(self.checkpoint())));
        }
    }

    fn expire(&mut self, now: Duration, out: &mut Vec<Effect>) {
        let timeout = self.shared.timeout();
        for (site, task) in self.shared.expired(now) {
            self.shared.roster.give_up(&site);
            let reason = self.shared.task_table.lateness(&site, task, timeout);
            if let Some(answer) = self.shared.task_table.give_up(&site, task, reason) {
                self.answer(&site, task, answer, out);
            }
        }
    }

    /// Lets every training run whose phase is over go on. The federation comes first; then the
    /// sites' own runs, all at the same time, because each of them needs only one site.
    fn work(&mut self, now: Duration, out: &mut Vec<Effect>) {
        loop {
            let federation_done = self.training_runs.first().is_some_and(TrainingRun::is_done);
            if federation_done && self.shared.plan.with_local && self.training_runs.len() == 1 {
                self.add_local();
            }
            let active = if federation_done {
                self.training_runs.len()
            } else {
                1
            };
            let mut is_changed = false;
            let consensus_models = self.consensus_models();
            for training_run in &mut self.training_runs[..active] {
                if training_run.is_consensus() {
                    let Some(consensus_models) = &consensus_models else {
                        continue;
                    };
                    training_run.consensus_models.clone_from(consensus_models);
                }
                let mut moment = Moment { now, effects: out };
                match training_run.advance(&mut self.shared, &mut moment) {
                    Ok(Advance::Changed) => is_changed = true,
                    Ok(Advance::Waiting) => {}
                    Err(reason) => {
                        self.stage = Stage::Stopped;
                        out.push(Effect::Persist(Box::new(self.checkpoint())));
                        out.push(Effect::Stop { reason });
                        return;
                    }
                }
            }
            if !is_changed {
                break;
            }
            out.push(Effect::Persist(Box::new(self.checkpoint())));
        }
        if self.training_runs.iter().all(TrainingRun::is_done) {
            self.stage = Stage::Over;
            out.push(Effect::Report(Notification::Finished));
            out.extend(self.shared.roster.connected().map(farewell));
            out.push(Effect::Finish);
        }
    }

    fn add_local(&mut self) {
        let trainers = self.shared.roster.trainers();
        for site in &trainers {
            let id = RunId(self.training_runs.len() as u16);
            self.training_runs.push(TrainingRun::new(
                id,
                RunKind::Alone { site: site.clone() },
                vec![site.clone()],
            ));
        }
        if (2..=MAX_MODELS).contains(&trainers.len()) {
            self.training_runs.push(TrainingRun::consensus(
                RunId(self.training_runs.len() as u16),
                trainers,
            ));
        }
    }

    /// The best model of each site that trains alone, once all of them are done.
    fn consensus_models(&self) -> Option<Vec<ModelRef>> {
        let mut models = Vec::new();
        for training_run in self.training_runs.iter().skip(1) {
            if training_run.is_consensus() {
                continue;
            }
            if !training_run.is_done() {
                return None;
            }
            models.extend(training_run.best());
        }
        Some(models)
    }
}

/// Tells a site that what it sent for a task was refused.
fn not_counted(site: &SiteName, task: TaskId, reason: String) -> Effect {
    Effect::Send {
        site: site.clone(),
        message: CoordinatorMessage::NotCounted { task, reason },
    }
}

fn farewell(site: &SiteName) -> Effect {
    let summary = "the federation is finished".into();
    Effect::Send {
        site: site.clone(),
        message: CoordinatorMessage::Finished { summary },
    }
}

#[cfg(test)]
mod tests;
