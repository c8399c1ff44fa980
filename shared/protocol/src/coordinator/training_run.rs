//! One training_run of models: the federation's, one site's alone, or the consensus of those. What
//! comes next follows from the durable facts.

mod buffered;
mod rollback;
mod scoring;

use super::checkpoint::{Best, OpenRound, RunProgress, UsableModel};
use super::outliers::{Outlier, outliers};
use super::rejection::DiscardReason;
use super::scores::{Scores, choose_sweep, choose_thresholds};
use super::task_table::{TaskResult, TaskSpec};
use super::{Contribution, Effect, ModelRef, Plan, SharedState};
use super::{GaveNothing, StopReason, TaskFailure};
use crate::case::{Cases, Role};
use crate::identity::{SiteName, Version};
use crate::message::{EvaluationRequest, RunId, TaskId, TaskKind, Trained};
use crate::notification::Notification;
use crate::outcome::{RoundRecord, RunKind, UpdateRecord};
use crate::parameters::ParametersId;
use random::{Purpose, stream};
use scoring::{Scoring, ScoringGoal};
use std::collections::BTreeSet;
use std::time::Duration;

/// What a training_run is doing; lost in a restart and asked for again.
#[derive(Debug)]
enum Phase {
    /// Between phases; with the time since when too few sites are there.
    Rest(Option<Duration>),
    /// What is asked and answered stands among the durable facts.
    Training {
        started: Duration,
    },
    /// The same without rounds: since when the newest model is there, and since when nobody has
    /// anything to do.
    Buffering {
        started: Duration,
        stalled: Option<Duration>,
    },
    Aggregating {
        started: Duration,
        record: RoundRecord,
    },
    /// An earlier model is being put in the place of the last round's.
    Restoring(ModelRef),
    Scoring(Scoring),
}

#[derive(Debug)]
pub(super) struct TrainingRun {
    id: RunId,
    pub(super) progress: RunProgress,
    phase: Phase,
    /// The best model's validation scores.
    best_scores: Option<Scores>,
    /// No further round: too few of its sites are left.
    given_up: bool,
    /// The models whose consensus this is; empty for a training_run that trains.
    pub(super) consensus_models: Vec<ModelRef>,
}

impl TrainingRun {
    pub(super) fn new(id: RunId, name: RunKind, members: Vec<SiteName>) -> Self {
        Self::resumed(id, RunProgress::new(name, members))
    }

    pub(super) fn resumed(id: RunId, progress: RunProgress) -> Self {
        Self {
            id,
            progress,
            phase: Phase::Rest(None),
            best_scores: None,
            given_up: false,
            consensus_models: Vec::new(),
        }
    }

    /// The consensus of what these sites learn alone.
    pub(super) fn consensus(id: RunId, members: Vec<SiteName>) -> Self {
        Self::new(id, RunKind::Consensus, members)
    }

    pub(super) fn is_consensus(&self) -> bool {
        self.progress.outcome.name == RunKind::Consensus
    }

    fn is_federation(&self) -> bool {
        self.progress.outcome.name == RunKind::Federation
    }

    pub(super) fn is_done(&self) -> bool {
        self.progress.done
    }

    /// Whether an accepted update waits to be averaged.
    pub(super) fn counts_on(&self, site: &SiteName, task: TaskId) -> bool {
        let open = self
            .progress
            .open
            .as_ref()
            .and_then(|open| open.updates.get(site));
        let buffered = self
            .progress
            .buffer
            .iter()
            .flat_map(|buffer| &buffer.updates);
        let mut buffered = buffered
            .filter(|(name, _)| name == site)
            .map(|(_, trained)| trained);
        open.is_some_and(|trained| trained.task == task)
            || buffered.any(|trained| trained.task == task)
    }

    /// The model that the report is about; `None` before there is one.
    pub(super) fn best(&self) -> Option<ModelRef> {
        self.progress.best.map(|best| ModelRef {
            run: self.id,
            version: best.version,
            parameters: best.parameters,
        })
    }

    /// A task of this training_run ended. Returns whether there are facts to keep.
    pub(super) fn answered(&mut self, site: &SiteName, task: TaskId, answer: TaskResult) -> bool {
        if task.kind == TaskKind::Train && matches!(answer, TaskResult::Update(..)) {
            self.worked(task.base());
        }
        if let Some(buffer) = self
            .progress
            .buffer
            .as_mut()
            .filter(|_| task.kind == TaskKind::Train)
        {
            return buffer.settle(site, task, answer);
        }
        match (&mut self.phase, task.kind) {
            (Phase::Training { .. }, TaskKind::Train) => {
                let open = self
                    .progress
                    .open
                    .as_mut()
                    .filter(|open| open.waiting().contains(site));
                let Some(open) = open else { return false };
                match answer {
                    TaskResult::Update(trained, distance) => {
                        open.updates.insert(site.clone(), trained);
                        open.distances.insert(site.clone(), distance);
                    }
                    TaskResult::Failed(reason) => {
                        open.failed.insert(site.clone());
                        open.missing.push((site.clone(), reason.to_string()));
                    }
                    TaskResult::Nothing(reason) => {
                        open.missing.push((site.clone(), reason.to_string()));
                    }
                    TaskResult::Scores(_) => return false,
                }
                return true;
            }
            (Phase::Scoring(scoring), TaskKind::Evaluate(cases)) => {
                scoring.open.remove(&(site.clone(), cases));
                let scores = match cases {
                    Cases::Validation => &mut scoring.validation,
                    Cases::HeldOut => &mut scoring.held_out,
                };
                match answer {
                    TaskResult::Scores(counted) => drop(scores.insert(site.clone(), counted)),
                    TaskResult::Failed(reason) => scoring.failed.push(GaveNothing {
                        site: site.clone(),
                        reason: reason.to_string(),
                    }),
                    TaskResult::Nothing(_) | TaskResult::Update(..) => {}
                }
            }
            _ => {}
        }
        false
    }

    /// A round's aggregate is stored. Returns what to tell, unless this was not awaited; what to
    /// record goes to `out`.
    pub(super) fn aggregated(
        &mut self,
        version: Version,
        parameters: ParametersId,
        now: Duration,
        out: &mut Vec<Effect>,
    ) -> Option<Notification> {
        let Phase::Aggregating { started, record } = &mut self.phase else {
            return None;
        };
        if record.round != version.0 {
            return None;
        }
        record.seconds = now.saturating_sub(*started).as_secs_f64();
        let (updates, seconds) = (record.updates.len(), record.seconds);
        if let Some(buffer) = &mut self.progress.buffer {
            buffer.counted(updates, record.missing.len());
        }
        let before = self.progress.finish(record.clone());
        out.extend(before.map(|record| Effect::Record {
            run: self.id,
            record: Box::new(record),
        }));
        self.progress.model = Some(parameters);
        self.progress.open = None;
        self.progress.validated = false;
        self.phase = Phase::Rest(None);
        Some(Notification::RoundFinished {
            run: self.id,
            round: version.0,
            updates,
            seconds,
        })
    }

    /// Goes on as far as possible without waiting. Returns whether there is more to do at once, and
    /// facts to keep.
    ///
    /// # Errors
    /// Why the whole federation cannot go on.
    pub(super) fn advance(
        &mut self,
        shared: &mut SharedState,
        now: Duration,
        out: &mut Vec<Effect>,
    ) -> Result<bool, StopReason> {
        if let Some(rule) = self.buffered(shared) {
            return self.advance_buffer(rule, shared, now, out);
        }
        if self.close_buffer(shared) {
            return Ok(true);
        }
        match &self.phase {
            Phase::Training { started } if self.nobody_waits() => {
                let started = *started;
                self.finish_training(started, shared, out)
            }
            Phase::Rest(_) if self.progress.discarded.is_some() => {
                self.restore(&shared.plan, out);
                Ok(false)
            }
            Phase::Rest(_) if shared.is_held() => {
                self.phase = Phase::Rest(None);
                Ok(false)
            }
            Phase::Rest(since) if !self.progress.done => {
                let since = *since;
                self.begin_next(shared, since, now, out)?;
                let began = matches!(self.phase, Phase::Training { .. });
                // A scoring that nobody has cases for is over at once; so is a training_run that
                // never had a model.
                Ok(began || self.progress.done || self.finish_scoring(shared, out))
            }
            _ => Ok(self.finish_scoring(shared, out)),
        }
    }

    fn nobody_waits(&self) -> bool {
        self.progress
            .open
            .as_ref()
            .is_none_or(|open| open.waiting().is_empty())
    }

    fn begin_next(
        &mut self,
        shared: &mut SharedState,
        since: Option<Duration>,
        now: Duration,
        out: &mut Vec<Effect>,
    ) -> Result<(), StopReason> {
        let done = self.progress.finished;
        let unscored = self.progress.model.filter(|_| !self.progress.validated);
        if let Some(parameters) = unscored {
            let every = shared
                .plan
                .federation
                .evaluation
                .held_out_every
                .filter(|_| self.is_federation());
            let goal = ScoringGoal::Validate {
                held_out: every.is_some_and(|every| done.is_multiple_of(every)),
            };
            let model = ModelRef {
                run: self.id,
                version: self.progress.newest(),
                parameters,
            };
            self.score(
                shared,
                vec![model],
                goal,
                &EvaluationRequest::default(),
                (now, out),
            );
        } else if done < shared.plan.federation.rounds && !self.given_up && !self.is_consensus() {
            self.train(shared, done + 1, since, (now, out))?;
        } else if let Some(models) = self.reported() {
            match self.best_scores.take() {
                None => self.score(
                    shared,
                    models,
                    ScoringGoal::Choose,
                    &EvaluationRequest::default(),
                    (now, out),
                ),
                Some(scores) => {
                    let thresholds = choose_thresholds(&scores, &mut self.progress.outcome);
                    let subsets = shared.plan.federation.evaluation.subsets;
                    let wanted = EvaluationRequest {
                        thresholds,
                        sweep: choose_sweep(&scores),
                        subsets,
                    };
                    self.score(shared, models, ScoringGoal::Report, &wanted, (now, out));
                }
            }
        } else {
            self.progress.done = true;
        }
        Ok(())
    }

    /// The models that the report is about: the best one, or all whose consensus it is.
    fn reported(&self) -> Option<Vec<ModelRef>> {
        let models = if self.is_consensus() {
            self.consensus_models.clone()
        } else {
            self.best().into_iter().collect()
        };
        (!models.is_empty()).then_some(models)
    }

    /// Asks the sites of a round to train, or waits for enough of them.
    fn train(
        &mut self,
        shared: &mut SharedState,
        round: u32,
        since: Option<Duration>,
        (now, out): (Duration, &mut Vec<Effect>),
    ) -> Result<(), StopReason> {
        if self
            .progress
            .open
            .as_ref()
            .is_none_or(|open| open.round != round)
        {
            let Some(asked) = self.sample(shared, round, since, now, out)? else {
                return Ok(());
            };
            let seconds = shared.plan.federation.training.round_seconds;
            let budget = |site: &SiteName| {
                Some((
                    site.clone(),
                    self.progress.speeds.get(site)?.budget(seconds?)?,
                ))
            };
            let budgets = asked.iter().filter_map(budget).collect();
            self.progress.open = Some(OpenRound {
                round,
                asked,
                budgets,
                ..OpenRound::default()
            });
        }
        let Some(open) = &mut self.progress.open else {
            return Ok(());
        };
        // Those who were asked before a restart and shut out since.
        let gone = open
            .waiting()
            .into_iter()
            .filter(|site| shared.roster.is_dropped(site));
        open.missing
            .extend(gone.map(|site| (site, TaskFailure::Dropped.to_string())));
        let members = &mut self.progress.outcome.members;
        members.extend(open.asked.iter().cloned());
        members.sort_unstable();
        members.dedup();
        let model = self.start(&shared.plan);
        let Some(open) = &self.progress.open else {
            return Ok(());
        };
        let waiting = open.waiting();
        let task = TaskId::training(self.id, model.version);
        for site in &waiting {
            let steps = open.budgets.get(site).copied();
            shared.task_table.add(
                site,
                task,
                TaskSpec {
                    models: vec![model],
                    steps,
                    ..TaskSpec::default()
                },
                now,
            );
        }
        out.push(Effect::Report(Notification::RoundStarted {
            run: self.id,
            name: self.progress.outcome.name.clone(),
            round,
            rounds: shared.plan.federation.rounds,
            sites: waiting.into_iter().collect(),
        }));
        self.phase = Phase::Training { started: now };
        Ok(())
    }

    /// Chooses the sites of a round; `None` while there are too few.
    fn sample(
        &mut self,
        shared: &SharedState,
        round: u32,
        since: Option<Duration>,
        now: Duration,
        out: &mut Vec<Effect>,
    ) -> Result<Option<BTreeSet<SiteName>>, StopReason> {
        let settings = &shared.plan.federation;
        let mut candidates = self.trainers(shared);
        if candidates.len() < self.minimum(shared) {
            let since = since.unwrap_or(now);
            self.phase = Phase::Rest(Some(since));
            if now.saturating_sub(since) <= shared.timeout() {
                return Ok(None);
            }
            let (found, minimum) = (candidates.len(), self.minimum(shared));
            let reason = StopReason::TooFewSites {
                round,
                found,
                minimum,
            };
            self.stop(reason, out)?;
            return Ok(None);
        }
        if let Some(count) = settings
            .sites
            .per_round
            .filter(|&count| count < candidates.len())
        {
            let mut random = stream(
                settings.seed,
                round,
                &self.progress.outcome.name.to_string(),
                Purpose::Sampling,
            );
            let mut picks =
                rand::seq::index::sample(&mut random, candidates.len(), count).into_vec();
            picks.sort_unstable();
            candidates = picks
                .into_iter()
                .map(|index| candidates[index].clone())
                .collect();
        }
        Ok(Some(candidates.into_iter().collect()))
    }

    /// The newest model, which the next training starts from.
    fn start(&self, plan: &Plan) -> ModelRef {
        match self.progress.model {
            Some(parameters) => ModelRef {
                run: self.id,
                version: self.progress.newest(),
                parameters,
            },
            None => ModelRef {
                run: RunId::FEDERATION,
                version: Version::INITIAL,
                parameters: plan.initial,
            },
        }
    }

    /// The federation trains everybody, a site's own training_run that site.
    fn trainers(&self, shared: &SharedState) -> Vec<SiteName> {
        let mut sites = shared.roster.available(Role::Train);
        sites.retain(|site| self.is_federation() || self.progress.outcome.members.contains(site));
        sites
    }

    fn minimum(&self, shared: &SharedState) -> usize {
        if self.is_federation() {
            shared.plan.federation.sites.minimum
        } else {
            1
        }
    }

    /// Ends the federation; a site's own training_run only ends itself, with the rounds it has.
    fn stop(&mut self, reason: StopReason, out: &mut Vec<Effect>) -> Result<(), StopReason> {
        if self.is_federation() {
            return Err(reason);
        }
        self.given_up = true;
        self.progress.open = None;
        self.phase = Phase::Rest(None);
        if let Some(site) = self.progress.outcome.members.first() {
            out.push(Effect::Report(Notification::Failed {
                site: site.clone(),
                reason: reason.to_string(),
            }));
        }
        Ok(())
    }

    fn finish_training(
        &mut self,
        started: Duration,
        shared: &mut SharedState,
        out: &mut Vec<Effect>,
    ) -> Result<bool, StopReason> {
        self.refuse_outliers(out);
        self.phase = Phase::Rest(None);
        let Some(OpenRound {
            round,
            asked,
            updates,
            missing,
            failed,
            ..
        }) = self.progress.open.clone()
        else {
            return Ok(false);
        };
        if updates.len() < self.minimum(shared) {
            let mut gave_nothing = Vec::new();
            for (site, reason) in missing {
                gave_nothing.push(GaveNothing { site, reason });
            }
            if updates.is_empty()
                && failed == asked
                && self.discard(&DiscardReason::NoTraining(gave_nothing.clone()))
            {
                self.progress.open = None;
                return Ok(true);
            }
            let reason = StopReason::TooFewUpdates {
                round,
                found: updates.len(),
                minimum: self.minimum(shared),
                missing: gave_nothing,
            };
            // A later start asks once more those that gave nothing, and keeps what was accepted.
            if let Some(open) = &mut self.progress.open {
                open.missing.clear();
                open.failed.clear();
            }
            self.stop(reason, out)?;
            return Ok(true);
        }
        let contributions = updates
            .iter()
            .map(|(site, trained)| contribution(site, trained))
            .collect();
        out.push(Effect::Aggregate {
            run: self.id,
            version: Version(round),
            updates: contributions,
            rate: None,
        });
        let bytes = shared.task_table.take_moved(self.id);
        let updates = updates
            .into_iter()
            .map(|(site, trained)| update_record(site, &trained, self.progress.newest()))
            .collect();
        let record = round_record(round, updates, missing, bytes);
        self.phase = Phase::Aggregating { started, record };
        Ok(false)
    }

    /// The round is whole: those of its updates that are far beyond the others count as missing.
    fn refuse_outliers(&mut self, out: &mut Vec<Effect>) {
        let Some(open) = &mut self.progress.open else {
            return;
        };
        let sites: Vec<SiteName> = open.updates.keys().cloned().collect();
        let distances: Vec<Option<f64>> = sites
            .iter()
            .map(|site| open.distances.get(site).copied())
            .collect();
        for Outlier { index, reason } in outliers(&distances) {
            let site = sites[index].clone();
            let reason = TaskFailure::Update(reason).to_string();
            open.updates.remove(&site);
            open.distances.remove(&site);
            open.failed.insert(site.clone());
            out.push(Effect::Report(Notification::Failed {
                site: site.clone(),
                reason: reason.clone(),
            }));
            open.missing.push((site, reason));
        }
    }
}

/// What an accepted update counts for.
fn contribution(site: &SiteName, trained: &Trained) -> Contribution {
    Contribution {
        site: site.clone(),
        parameters: trained.parameters,
        slices: trained.slices,
        sequences: trained.sequences,
        base: trained.task.base(),
    }
}

/// The record of a round that nobody has scored yet.
fn round_record(
    round: u32,
    updates: Vec<UpdateRecord>,
    missing: Vec<(SiteName, String)>,
    bytes: u64,
) -> RoundRecord {
    let (validation, validation_by_site, held_out) = (None, Vec::new(), None);
    RoundRecord {
        round,
        updates,
        missing,
        validation,
        validation_by_site,
        held_out,
        seconds: 0.0,
        bytes,
    }
}

/// What the record of the version after `newest` says of an update.
fn update_record(site: SiteName, trained: &Trained, newest: Version) -> UpdateRecord {
    let Trained {
        slices,
        mean_loss,
        last_loss,
        seconds,
        steps,
        asked_steps,
        compute,
        ..
    } = *trained;
    UpdateRecord {
        site,
        slices,
        mean_loss,
        last_loss,
        seconds,
        steps,
        asked_steps,
        staleness: newest.since(trained.task.base()),
        compute,
    }
}
