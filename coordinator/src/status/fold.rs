//! How the picture follows from what happens, and from the checkpoint that are kept. Rounds come
//! from the checkpoint alone, so that they look the same while the federation runs, after a
//! restart, and when nobody runs it.

use super::state::{
    CaseCounts, Phase, RoundStatus, RunStatus, SiteState, SiteStatus, Status, Task, Trouble,
};
use protocol::coordinator::Checkpoint;
use protocol::message::{Inventory, Progress, RunId, TaskKind};
use protocol::notification::Notification;
use protocol::outcome::RoundRecord;
use protocol::settings::Federation;
use std::collections::{BTreeMap, VecDeque};

/// How many troubles are remembered.
const TROUBLES: usize = 100;

impl Status {
    /// A federation of which nothing is known but its settings.
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
                .map(|name| (name.clone(), SiteStatus::default()))
                .collect(),
            troubles: VecDeque::new(),
            sequences: federation.input.sequences.clone(),
        }
    }

    /// These checkpoint are kept from now on.
    pub fn keep(&mut self, checkpoint: &Checkpoint) {
        self.paused = checkpoint.paused;
        for (id, run) in checkpoint.runs.iter().enumerate() {
            let status = self.run(RunId(id as u16), &run.outcome.name);
            (status.finished, status.totals) = (run.finished, run.totals());
            status.rounds = run.outcome.rounds.iter().map(RoundStatus::from).collect();
            status.best_round = run.best.map(|best| best.round);
            status.best_validation = run.best.and_then(|best| best.score);
            status.done = run.done;
            if run.done {
                status.task = None;
            }
        }
        for record in &checkpoint.sites {
            let (sequences, cases) = self.holds(&record.inventory);
            let site = self.site(&record.name);
            (site.role, site.sequences, site.cases) =
                (Some(record.role), Some(sequences), Some(cases));
            site.lesions = Some(record.inventory.lesions());
        }
        for name in &checkpoint.dropped {
            let site = self.site(name);
            (site.state, site.connected) = (SiteState::Dropped, false);
        }
    }

    /// A site comes, through the TLS fallback or by QUIC alone.
    pub(crate) fn comes(&mut self, site: &str, tunnelled: bool) {
        self.site(site).tunnelled = tunnelled;
    }

    /// Something happened.
    pub fn hear(&mut self, notification: &Notification, now: f64) {
        match notification {
            Notification::Joined { site, role } => {
                let site = self.enters(site, SiteState::Connected, now);
                (site.role, site.connected, site.done, site.total) = (Some(*role), true, 0, 0);
            }
            Notification::Preparing { site, done, total } => {
                let site = self.enters(site, SiteState::Preparing, now);
                (site.done, site.total) = (*done, *total);
            }
            Notification::Ready { site, inventory } => {
                let (sequences, cases) = self.holds(inventory);
                let site = self.enters(site, SiteState::Ready, now);
                (site.sequences, site.cases, site.lesions) =
                    (Some(sequences), Some(cases), Some(inventory.lesions()));
            }
            Notification::Progress { site, progress } => self.progress(site, progress, now),
            Notification::Accepted { site, trained } => {
                let site = self.enters(site, SiteState::Ready, now);
                (site.loss, site.done) = (Some(trained.mean_loss), site.total);
                site.updates += 1;
            }
            Notification::Concluding { site } => drop(self.enters(site, SiteState::Training, now)),
            Notification::Left { site, reason } => self.parts(site, SiteState::Left, reason, now),
            Notification::Failed { site, reason } => {
                self.site(site).failures += 1;
                self.parts(site, SiteState::Failed, reason, now);
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
                self.turns(notification, now);
            }
            Notification::Dropped { site } => {
                self.parts(site, SiteState::Dropped, "dropped by the operator", now)
            }
            Notification::Paused => self.paused = true,
            Notification::Resumed => self.paused = false,
            Notification::Stopping => self.phase = Phase::Stopping,
            Notification::Finished => self.finished(),
            _ => self.turns(notification, now),
        }
    }

    /// A lineage goes on to its next task.
    fn turns(&mut self, notification: &Notification, now: f64) {
        if self.phase == Phase::Gathering {
            self.phase = Phase::Working;
        }
        let (run, task) = match notification {
            Notification::RoundStarted {
                run,
                name,
                round,
                sites,
                ..
            } => {
                self.run(*run, name);
                (
                    run,
                    Some(Task {
                        work: SiteState::Training,
                        round: *round,
                        since: now,
                        sites: sites.clone(),
                    }),
                )
            }
            Notification::Evaluating { run, round, .. } => (
                run,
                Some(Task {
                    work: SiteState::Scoring,
                    round: *round,
                    since: now,
                    sites: Vec::new(),
                }),
            ),
            Notification::RoundFinished { run, .. }
            | Notification::Validated { run, .. }
            | Notification::WentBack { run, .. } => (run, None),
            _ => return,
        };
        if task.is_none() {
            self.rest();
        }
        if let Some(run) = self.runs.get_mut(usize::from(run.0)) {
            run.task = task;
        }
    }

    fn progress(&mut self, site: &str, progress: &Progress, now: f64) {
        let training = progress.task.kind == TaskKind::Train;
        let site = self.enters(
            site,
            if training {
                SiteState::Training
            } else {
                SiteState::Scoring
            },
            now,
        );
        (site.done, site.total) = (progress.done, progress.total);
        if training {
            (site.loss, site.slices_per_second) = (
                progress.loss.or(site.loss),
                Some(progress.slices_per_second),
            );
        }
    }

    fn finished(&mut self) {
        self.phase = Phase::Finished;
        self.rest();
        self.runs.iter_mut().for_each(|run| run.task = None);
    }

    /// Nobody says that he has scored his last case: whoever did so waits when the scores are drawn
    /// together.
    fn rest(&mut self) {
        let scoring = self
            .sites
            .values_mut()
            .filter(|site| site.state == SiteState::Scoring);
        scoring.for_each(|site| site.state = SiteState::Ready);
    }

    /// A site is heard of.
    fn enters(&mut self, name: &str, state: SiteState, now: f64) -> &mut SiteStatus {
        let site = self.site(name);
        if site.state != SiteState::Dropped {
            (site.state, site.reason) = (state, None);
        }
        site.last_progress = Some(now);
        site
    }

    /// Something ends for a site, with a reason. Who leaves a finished federation, or is out
    /// already, is no trouble.
    fn parts(&mut self, name: &str, state: SiteState, reason: &str, now: f64) {
        let over = self.phase == Phase::Finished;
        let site = self.site(name);
        if state != SiteState::Failed {
            site.connected = false;
        }
        if site.state == SiteState::Dropped {
            return;
        }
        (site.state, site.reason) = (state, Some(reason.into()));
        if !over {
            let reason = format!("{}: {reason}", state.word());
            self.trouble(Trouble {
                at: now,
                site: name.into(),
                reason,
            });
        }
    }

    fn trouble(&mut self, trouble: Trouble) {
        self.troubles.push_back(trouble);
        let surplus = self.troubles.len().saturating_sub(TROUBLES);
        self.troubles.drain(..surplus);
    }

    fn site(&mut self, name: &str) -> &mut SiteStatus {
        self.sites.entry(name.into()).or_default()
    }

    fn run(&mut self, id: RunId, name: &str) -> &mut RunStatus {
        let index = usize::from(id.0);
        if self.runs.len() <= index {
            self.runs.resize(index + 1, RunStatus::default());
        }
        let run = &mut self.runs[index];
        run.name = name.into();
        run
    }

    fn holds(&self, inventory: &Inventory) -> (Vec<String>, CaseCounts) {
        let names = inventory
            .sequences
            .iter()
            .filter_map(|index| self.sequences.get(index).cloned());
        let cases = CaseCounts {
            training: inventory.training_cases,
            validation: inventory.validation_cases,
            held_out: inventory.held_out_cases,
            skipped: inventory.skipped_cases,
        };
        (names.collect(), cases)
    }
}

impl From<&RoundRecord> for RoundStatus {
    fn from(record: &RoundRecord) -> Self {
        let losses: BTreeMap<String, f32> = record
            .updates
            .iter()
            .map(|update| (update.site.clone(), update.mean_loss))
            .collect();
        let partial = record
            .updates
            .iter()
            .filter(|update| update.steps < update.asked_steps);
        Self {
            round: record.round,
            seconds: record.seconds,
            bytes: record.bytes,
            losses,
            missing: record.missing.iter().cloned().collect(),
            partial: partial
                .map(|update| (update.site.clone(), (update.steps, update.asked_steps)))
                .collect(),
            validation: record.validation,
            validation_by_site: record.validation_by_site.iter().cloned().collect(),
            held_out: record.held_out,
        }
    }
}
