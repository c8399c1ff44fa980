//! How the status follows from notifications and checkpoints. Rounds come from checkpoints alone,
//! so that they look the same while the federation runs, after a restart, and when no coordinator
//! runs.

use super::state::{
    CaseCounts, Phase, RoundStatus, RunStatus, SiteState, SiteStatus, Status, Task, Trouble,
};
use protocol::coordinator::Checkpoint;
use protocol::identity::SiteName;
use protocol::message::{Inventory, Progress, RunId, TaskKind};
use protocol::notification::Notification;
use protocol::outcome::{RoundRecord, RunKind};
use protocol::settings::Federation;
use std::collections::{BTreeMap, VecDeque};

/// How many troubles are kept.
const TROUBLES: usize = 100;

impl Status {
    /// The status of a federation that has not begun.
    #[must_use]
    pub fn new(federation: &Federation, now: f64) -> Self {
        let expected = federation.sites.expected.iter();
        Self {
            federation: federation.name.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            phase: Phase::Gathering,
            paused: false,
            rounds: federation.rounds,
            began: now,
            now,
            runs: Vec::new(),
            sites: expected
                .map(|name| (name.to_string(), SiteStatus::default()))
                .collect(),
            troubles: VecDeque::new(),
            sequences: federation.input.sequences.clone(),
        }
    }

    /// Takes over what a checkpoint says of runs and sites.
    pub fn apply_checkpoint(&mut self, checkpoint: &Checkpoint) {
        self.paused = checkpoint.paused;
        for (id, run) in checkpoint.runs.iter().enumerate() {
            let status = self.run(RunId(id as u16), &run.outcome.name);
            status.finished = run.finished;
            status.totals = run.totals();
            status.rounds = run.outcome.rounds.iter().map(RoundStatus::from).collect();
            status.best_round = run.best.map(|best| best.version.0);
            status.best_validation = run.best.and_then(|best| best.score);
            status.done = run.done;
            if run.done {
                status.task = None;
            }
        }
        for record in &checkpoint.sites {
            self.set_inventory(&record.name, &record.inventory);
            self.site(&record.name).role = Some(record.role);
        }
        for name in &checkpoint.dropped {
            let site = self.site(name);
            site.state = SiteState::Dropped;
            site.connected = false;
        }
    }

    /// Whether a site connects through the TLS fallback.
    pub(crate) fn set_tunnelled(&mut self, site: &SiteName, tunnelled: bool) {
        self.site(site).tunnelled = tunnelled;
    }

    /// The group in which a site's connection exchanged its keys.
    pub(crate) fn set_key_exchange(&mut self, site: &SiteName, group: Option<String>) {
        self.site(site).key_exchange = group;
    }

    pub fn apply(&mut self, notification: &Notification, now: f64) {
        match notification {
            Notification::Joined { site, role } => {
                let site = self.set_state(site, SiteState::Connected, now);
                site.role = Some(*role);
                site.connected = true;
                site.done = 0;
                site.total = 0;
            }
            Notification::Preparing { site, done, total } => {
                let site = self.set_state(site, SiteState::Preparing, now);
                site.done = *done;
                site.total = *total;
            }
            Notification::Ready { site, inventory } => {
                self.set_inventory(site, inventory);
                self.set_state(site, SiteState::Ready, now);
            }
            Notification::Progress { site, progress } => self.progress(site, progress, now),
            Notification::Accepted { site, trained } => {
                let site = self.set_state(site, SiteState::Ready, now);
                site.loss = Some(trained.mean_loss);
                site.done = site.total;
                site.updates += 1;
            }
            Notification::Concluding { site } => {
                self.set_state(site, SiteState::Training, now);
            }
            Notification::Left { site, reason } => {
                self.end_work(site, SiteState::Left, reason, now);
            }
            Notification::Failed { site, reason } => {
                self.site(site).failures += 1;
                self.end_work(site, SiteState::Failed, reason, now);
            }
            Notification::WentBack {
                round, to, reason, ..
            } => {
                let reason = format!(
                    "the model of round {round} is discarded, that of round {to} goes on: {reason}"
                );
                self.trouble(Trouble {
                    at: now,
                    site: "coordinator".into(),
                    reason,
                });
                self.set_task(notification, now);
            }
            Notification::Dropped { site } => {
                self.end_work(site, SiteState::Dropped, "dropped by the operator", now);
            }
            Notification::Paused => self.paused = true,
            Notification::Resumed => self.paused = false,
            Notification::Stopping => self.phase = Phase::Stopping,
            Notification::Finished => self.finish(),
            _ => self.set_task(notification, now),
        }
    }

    /// Notifications about rounds: a run begins or ends a task.
    fn set_task(&mut self, notification: &Notification, now: f64) {
        if self.phase == Phase::Gathering {
            self.phase = Phase::Working;
        }
        match notification {
            Notification::RoundStarted {
                run,
                name,
                round,
                sites,
                ..
            } => {
                self.run(*run, name).task = Some(Task {
                    work: SiteState::Training,
                    round: *round,
                    since: now,
                    sites: sites.iter().map(SiteName::to_string).collect(),
                });
            }
            Notification::Evaluating { run, round, .. } => {
                if let Some(run) = self.runs.get_mut(usize::from(run.0)) {
                    run.task = Some(Task {
                        work: SiteState::Scoring,
                        round: *round,
                        since: now,
                        sites: Vec::new(),
                    });
                }
            }
            Notification::RoundFinished { run, .. }
            | Notification::Validated { run, .. }
            | Notification::WentBack { run, .. } => {
                self.end_scoring();
                if let Some(run) = self.runs.get_mut(usize::from(run.0)) {
                    run.task = None;
                }
            }
            _ => {}
        }
    }

    fn progress(&mut self, site: &SiteName, progress: &Progress, now: f64) {
        let state = match progress.task.kind {
            TaskKind::Train => SiteState::Training,
            TaskKind::Evaluate(_) => SiteState::Scoring,
        };
        let site = self.set_state(site, state, now);
        site.done = progress.done;
        site.total = progress.total;
        if state == SiteState::Training {
            site.loss = progress.loss.or(site.loss);
            site.slices_per_second = Some(progress.slices_per_second);
        }
    }

    fn finish(&mut self) {
        self.phase = Phase::Finished;
        self.end_scoring();
        for run in &mut self.runs {
            run.task = None;
        }
    }

    /// Sites do not report that they have scored their last case. Once the scores are combined, all
    /// of them wait for the next task.
    fn end_scoring(&mut self) {
        for site in self.sites.values_mut() {
            if site.state == SiteState::Scoring {
                site.state = SiteState::Ready;
            }
        }
    }

    /// A site was heard from.
    fn set_state(&mut self, name: &SiteName, state: SiteState, now: f64) -> &mut SiteStatus {
        let site = self.site(name);
        if site.state != SiteState::Dropped {
            site.state = state;
            site.reason = None;
        }
        site.last_progress = Some(now);
        site
    }

    /// A site left, failed or was dropped, with a reason. That is a trouble, unless the federation
    /// is finished or the site was dropped before.
    fn end_work(&mut self, name: &SiteName, state: SiteState, reason: &str, now: f64) {
        let is_finished = self.phase == Phase::Finished;
        let site = self.site(name);
        if state != SiteState::Failed {
            site.connected = false;
        }
        if site.state == SiteState::Dropped {
            return;
        }
        site.state = state;
        site.reason = Some(reason.into());
        if !is_finished {
            self.trouble(Trouble {
                at: now,
                site: name.to_string(),
                reason: format!("{}: {reason}", state.word()),
            });
        }
    }

    fn trouble(&mut self, trouble: Trouble) {
        self.troubles.push_back(trouble);
        let surplus = self.troubles.len().saturating_sub(TROUBLES);
        self.troubles.drain(..surplus);
    }

    fn site(&mut self, name: &SiteName) -> &mut SiteStatus {
        self.sites.entry(name.to_string()).or_default()
    }

    fn run(&mut self, id: RunId, name: &RunKind) -> &mut RunStatus {
        let index = usize::from(id.0);
        while self.runs.len() <= index {
            self.runs.push(RunStatus::new(name.clone()));
        }
        let run = &mut self.runs[index];
        run.name = name.clone();
        run
    }

    fn set_inventory(&mut self, name: &SiteName, inventory: &Inventory) {
        let mut sequences = Vec::new();
        for index in inventory.sequences.iter() {
            sequences.extend(self.sequences.get(index).cloned());
        }
        let site = self.site(name);
        site.sequences = Some(sequences);
        site.cases = Some(CaseCounts {
            training: inventory.training_cases,
            validation: inventory.validation_cases,
            held_out: inventory.held_out_cases,
            skipped: inventory.skipped_cases,
        });
        site.lesions = Some(inventory.lesions());
    }
}

impl From<&RoundRecord> for RoundStatus {
    fn from(record: &RoundRecord) -> Self {
        let mut losses = BTreeMap::new();
        let mut partial = BTreeMap::new();
        for update in &record.updates {
            losses.insert(update.site.to_string(), update.mean_loss);
            if update.steps < update.asked_steps {
                let steps = (update.steps, update.asked_steps);
                partial.insert(update.site.to_string(), steps);
            }
        }
        let mut missing = BTreeMap::new();
        for (site, reason) in &record.missing {
            missing.insert(site.to_string(), reason.clone());
        }
        let mut validation_by_site = BTreeMap::new();
        for (site, dice) in &record.validation_by_site {
            validation_by_site.insert(site.to_string(), *dice);
        }
        Self {
            round: record.round,
            seconds: record.seconds,
            bytes: record.bytes,
            losses,
            missing,
            partial,
            validation: record.validation,
            validation_by_site,
            held_out: record.held_out,
        }
    }
}
