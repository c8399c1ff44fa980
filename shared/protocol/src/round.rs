//! The coordinator's state machine, without IO: events and the time go in, effects come out in order.
//!
//! A federation is a script that stands in the [`Snapshot`], the facts that survive a restart: rounds of training with
//! every accepted update, aggregation and validation, then the scores of the best model. What a phase knows beyond that
//! lives in memory and can be asked for again. The shell obeys the effects in their order; [`Effect::Persist`] comes before any
//! message that builds on it.
//!
//! Nothing is counted twice: a task is named by what it does, so a repeated or late message finds its task open,
//! or finds nothing. A site that vanishes keeps its task until nothing of it moved for `patience_s`; when it comes back
//! it is asked again and sends what it has finished meanwhile. Coming back is no progress: one that begins again and again
//! and never gets further is given up (`desk`).
//!
//! Bad models: an update far beyond the others' is refused (`outliers`), and a model that no site can work with gives its
//! place to the last one that some site could (`lineage::sound`).
//!
//! Slow sites: a deadline makes those that still train send what they have (`desk`), and with a buffer no round waits for
//! anybody (`lineage::buffered`; its durable facts in `buffer`).
//!
//! The operator's part, pausing, dropping a site and draining, stands in `control`.

mod buffer;
mod control;
mod desk;
mod event;
mod lineage;
mod outliers;
mod roster;
mod scores;
mod snapshot;

use crate::federation::Federation;
use crate::happening::Happening;
use crate::message::{CoordinatorMessage, MAX_MODELS, RunId, SiteMessage, TaskId, TaskKind};
use crate::outcome::Outcome;
use crate::parameters::ParametersId;
pub use buffer::{Asked, Buffer, Missing};
use control::Hold;
use desk::Desk;
pub use event::{Contribution, Effect, Event, ModelRef, Taken};
use lineage::Lineage;
use metrics::sequence::MAX_SEQUENCES;
use roster::Roster;
pub use snapshot::{Best, OpenRound, RunProgress, Snapshot, Sound, Speed, Totals};
use std::time::Duration;

/// What a federation is to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The settings.
    pub federation: Federation,
    /// Also train each site alone, for the same rounds, and score the consensus of what they learn.
    pub with_local: bool,
    /// The initial model.
    pub initial: ParametersId,
    /// Bytes of one model.
    pub model_bytes: u64,
    /// Bytes of one update.
    pub update_bytes: u64,
}

/// How often one case is scored at most: once with each subset of its sequences.
const MOST_SCORES: u32 = (1 << MAX_SEQUENCES) - 1;

/// What every lineage shares.
#[derive(Debug)]
struct Table {
    plan: Plan,
    roster: Roster,
    desk: Desk,
    hold: Hold,
}

impl Table {
    fn patience(&self) -> Duration {
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

/// The coordinator's state machine. Time is the duration since any fixed moment, the same in every call.
#[derive(Debug)]
pub struct Machine {
    table: Table,
    lineages: Vec<Lineage>,
    stage: Stage,
    began: Duration,
}

impl Machine {
    /// A federation that begins, or goes on from a snapshot of the same settings.
    #[must_use]
    pub fn new(plan: Plan, snapshot: Option<Snapshot>, now: Duration) -> Self {
        let snapshot = snapshot.unwrap_or_default();
        let roster = Roster::new(&plan.federation, &snapshot, now);
        let hold = if snapshot.paused { Hold::Paused { since: now } } else { Hold::No };
        let mut lineages: Vec<Lineage> =
            snapshot.runs.into_iter().enumerate().map(|(id, run)| Lineage::resumed(RunId(id as u16), run)).collect();
        if lineages.is_empty() {
            lineages.push(Lineage::new(RunId(0), "federation".into(), Vec::new()));
        }
        let desk = Desk::new(plan.federation.sites.concurrent, plan.model_bytes, plan.update_bytes);
        let table = Table { plan, roster, desk, hold };
        Self { table, lineages, stage: Stage::Gathering, began: now }
    }

    /// Takes an event and says what to do about it.
    pub fn handle(&mut self, event: Event, now: Duration) -> Vec<Effect> {
        let mut out = Vec::new();
        self.take(event, now, &mut out);
        if self.stage == Stage::Gathering && !self.table.is_held() {
            self.gather(now, &mut out);
        }
        if self.stage == Stage::Working {
            self.expire(now, &mut out);
            self.work(now, &mut out);
            if !self.table.is_held() {
                self.table.desk.fill(&mut self.table.roster, now, &mut out);
                if let Some(deadline) = self.table.plan.federation.sites.deadline_s {
                    self.table.desk.conclude(Duration::from_secs(deadline.into()), now, &mut out);
                }
            }
        }
        out
    }

    /// What the federation came to, with the last round of each lineage alone: [`Effect::Record`] gave those before.
    #[must_use]
    pub fn outcome(&self, now: Duration) -> Outcome {
        let runs = self.lineages.iter().map(|lineage| &lineage.progress.outcome);
        Outcome {
            federation: self.table.plan.federation.clone(),
            sites: self.table.roster.records(),
            runs: runs.filter(|run| !run.rounds.is_empty() || !run.scores.is_empty()).cloned().collect(),
            seconds: now.saturating_sub(self.began).as_secs_f64(),
        }
    }

    /// The facts that a restart needs.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            sites: self.table.roster.records(),
            runs: self.lineages.iter().map(|lineage| lineage.progress.clone()).collect(),
            dropped: self.table.roster.dropped(),
            paused: self.table.hold.is_paused(),
        }
    }

    /// Whether a site's checked update is, or may yet become, part of a model that is not made.
    #[must_use]
    pub fn counts_on(&self, site: &str, task: TaskId) -> bool {
        let lineage = self.lineages.get(usize::from(task.run.0));
        lineage.is_some_and(|lineage| lineage.counts_on(site, task)) || self.table.desk.tasks(site).contains(&task)
    }

    /// A lineage's name: `federation`, `alone:SITE` or `consensus`.
    #[must_use]
    pub fn run_name(&self, run: RunId) -> &str {
        self.lineages.get(usize::from(run.0)).map_or("", |lineage| lineage.progress.outcome.name.as_str())
    }

    fn take(&mut self, event: Event, now: Duration, out: &mut Vec<Effect>) {
        let Table { roster, desk, plan, .. } = &mut self.table;
        match event {
            Event::Connected { site, connection, hello } => {
                let welcomed = roster.connect(&site, connection, &hello, &plan.federation, now, out);
                if welcomed && self.stage == Stage::Over {
                    out.push(farewell(&site));
                }
            }
            Event::Message { site, connection, message } => {
                if roster.hears(&site, connection) {
                    self.message(&site, message, now, out);
                }
            }
            Event::Received { site, header, file } => desk.received(&site, header, file, now, out),
            Event::Stored { site, task, result } => {
                if let Some(answer) = desk.stored(&site, task, result) {
                    self.answer(&site, task, answer, out);
                }
            }
            Event::Disconnected { site, connection, reason } => roster.disconnect(&site, connection, reason, now, out),
            Event::Aggregated { run, round, parameters } => {
                let lineage = self.lineages.get_mut(usize::from(run.0));
                if let Some(news) = lineage.and_then(|lineage| lineage.aggregated(round, parameters, now, out)) {
                    out.push(Effect::Persist(Box::new(self.snapshot())));
                    out.push(Effect::Report(news));
                }
            }
            Event::Restored { run, round } => {
                let lineage = self.lineages.get_mut(usize::from(run.0));
                if let Some(news) = lineage.and_then(|lineage| lineage.restored(round)) {
                    out.push(Effect::Persist(Box::new(self.snapshot())));
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

    fn message(&mut self, site: &str, message: SiteMessage, now: Duration, out: &mut Vec<Effect>) {
        let Table { roster, desk, plan, .. } = &mut self.table;
        let settings = &plan.federation;
        if !matches!(message, SiteMessage::Hello(_) | SiteMessage::Preparing { .. } | SiteMessage::Ready(_)) {
            roster.hear(site);
        }
        let answered = match message {
            // The transport keeps the first words to itself; a second hello says nothing new.
            SiteMessage::Hello(_) => None,
            SiteMessage::Preparing { done, total } => {
                roster.preparing(site, done, total, now);
                out.push(Effect::Report(Happening::Preparing { site: site.into(), done, total }));
                None
            }
            SiteMessage::Ready(inventory) => {
                if roster.ready(site, inventory, settings, now, out) {
                    desk.ask_again(site, now);
                }
                None
            }
            SiteMessage::Progress(progress) => {
                let most = match progress.task.kind {
                    TaskKind::Train => roster.most_steps(site, &settings.training),
                    TaskKind::Evaluate(_) => roster.cases(site, progress.task.kind).saturating_mul(MOST_SCORES),
                };
                if desk.progress(site, progress, most, now) {
                    out.push(Effect::Report(Happening::Progress { site: site.into(), progress }));
                }
                None
            }
            SiteMessage::Trained(trained) => {
                let most = (settings.training.batch, roster.most_steps(site, &settings.training));
                desk.trained(site, trained, most, now).map(|answer| (trained.task, answer))
            }
            SiteMessage::Scored { task, score } => {
                let most = roster.cases(site, task.kind);
                desk.scored(site, task, score, most, now).map(|answer| (task, answer))
            }
            SiteMessage::SubsetScored { task, score } => {
                let most = roster.cases(site, task.kind);
                desk.subset_scored(site, task, score, most, now).map(|answer| (task, answer))
            }
            SiteMessage::Overlay { task, overlay } => {
                desk.drawn(site, task, overlay);
                None
            }
            SiteMessage::Evaluated { task, cases } => desk.evaluated(site, task, cases).map(|answer| (task, answer)),
            SiteMessage::Failed { task, reason } => desk.failed(site, task, reason).map(|answer| (task, answer)),
        };
        if let Some((task, answer)) = answered {
            self.answer(site, task, answer, out);
        }
    }

    fn answer(&mut self, site: &str, task: TaskId, answer: desk::Answer, out: &mut Vec<Effect>) {
        let news = match &answer {
            desk::Answer::Update(trained, _) => Some(Happening::Accepted { site: site.into(), trained: *trained }),
            desk::Answer::Failed(reason) | desk::Answer::Nothing(reason) => {
                Some(Happening::Failed { site: site.into(), reason: reason.clone() })
            }
            desk::Answer::Scores(_) => None,
        };
        let lineage = self.lineages.get_mut(usize::from(task.run.0));
        if lineage.is_some_and(|lineage| lineage.answered(site, task, answer)) {
            out.push(Effect::Persist(Box::new(self.snapshot())));
        }
        out.extend(news.map(Effect::Report));
    }

    /// Begins when everybody expected is there, or when nobody new has come for a while and there are enough.
    fn gather(&mut self, now: Duration, out: &mut Vec<Effect>) {
        let minimum = self.table.plan.federation.sites.minimum;
        let waiting = self.table.roster.awaited();
        let quiet = self.table.roster.silence(now) > self.table.patience();
        let enough = self.table.roster.present_trainers() >= minimum;
        let local = self.table.plan.with_local && self.lineages.len() == 1;
        let finished = !local && self.lineages.iter().all(Lineage::is_done);
        // With too few left of those who were not dropped nobody is waited for: what can be done without is done, and
        // the next round says what is missing.
        let bereft = waiting.is_empty() && quiet && !self.table.roster.dropped().is_empty();
        if finished {
            self.stage = Stage::Working;
        } else if bereft || enough && (waiting.is_empty() || quiet) {
            for site in waiting {
                self.table.roster.give_up(&site);
                let reason = "was expected and did not get ready".to_string();
                out.push(Effect::Report(Happening::Failed { site, reason }));
            }
            self.stage = Stage::Working;
            out.push(Effect::Persist(Box::new(self.snapshot())));
        }
    }

    fn expire(&mut self, now: Duration, out: &mut Vec<Effect>) {
        let patience = self.table.patience();
        for (site, task) in self.table.expired(now) {
            self.table.roster.give_up(&site);
            let reason = self.table.desk.lateness(&site, task, patience);
            if let Some(answer) = self.table.desk.give_up(&site, task, reason) {
                self.answer(&site, task, answer, out);
            }
        }
    }

    /// Lets every lineage whose phase is over go on. The federation comes first; the sites' own runs follow side by
    /// side, because each of them keeps one site busy only.
    fn work(&mut self, now: Duration, out: &mut Vec<Effect>) {
        loop {
            let federation_done = self.lineages.first().is_some_and(Lineage::is_done);
            if federation_done && self.table.plan.with_local && self.lineages.len() == 1 {
                self.add_local();
            }
            let active = if federation_done { self.lineages.len() } else { 1 };
            let mut persist = false;
            let voters = self.voters();
            for lineage in &mut self.lineages[..active] {
                if lineage.is_consensus() {
                    let Some(voters) = &voters else { continue };
                    lineage.voters.clone_from(voters);
                }
                match lineage.advance(&mut self.table, now, out) {
                    Ok(durable) => persist |= durable,
                    Err(reason) => {
                        self.stage = Stage::Stopped;
                        out.push(Effect::Persist(Box::new(self.snapshot())));
                        out.push(Effect::Stop { reason });
                        return;
                    }
                }
            }
            if !persist {
                break;
            }
            out.push(Effect::Persist(Box::new(self.snapshot())));
        }
        if self.lineages.iter().all(Lineage::is_done) {
            self.stage = Stage::Over;
            out.push(Effect::Report(Happening::Finished));
            out.extend(self.table.roster.connected().map(farewell));
            out.push(Effect::Finish);
        }
    }

    fn add_local(&mut self) {
        let trainers = self.table.roster.trainers();
        for site in &trainers {
            let id = RunId(self.lineages.len() as u16);
            self.lineages.push(Lineage::new(id, format!("alone:{site}"), vec![site.clone()]));
        }
        if (2..=MAX_MODELS).contains(&trainers.len()) {
            self.lineages.push(Lineage::consensus(RunId(self.lineages.len() as u16), trainers));
        }
    }

    /// What each site learnt alone, once all of them have.
    fn voters(&self) -> Option<Vec<ModelRef>> {
        let alone = self.lineages.iter().skip(1).filter(|lineage| !lineage.is_consensus());
        alone.clone().all(Lineage::is_done).then(|| alone.filter_map(Lineage::best).collect())
    }
}

fn farewell(site: &str) -> Effect {
    let summary = "the federation is finished".into();
    Effect::Send { site: site.into(), message: CoordinatorMessage::Finished { summary } }
}

#[cfg(test)]
mod tests;
