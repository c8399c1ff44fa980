//! One training run: the federation's, one site's alone, or the consensus of those. What comes next
//! follows from the durable facts.

mod buffered;
mod rollback;
mod scoring;

use super::checkpoint::{Best, OpenRound, RunProgress, UsableModel};
use super::outliers::{Outlier, outliers};
use super::rejection::DiscardReason;
use super::scores::{Scores, choose_sweep, choose_thresholds, has_no_cases, keep_thresholds};
use super::task_table::{TaskResult, TaskSpec};
use super::{Contribution, Effect, ModelRef, Plan, SharedState, not_counted};
use super::{GaveNothing, StopReason, TaskFailure};
use crate::case::{Cases, Role};
use crate::identity::{SiteName, Version};
use crate::message::{EvaluationRequest, RunId, TaskId, TaskKind, Trained};
use crate::notification::Notification;
use crate::outcome::{RoundRecord, RunKind, UpdateRecord};
use crate::parameters::ParametersId;
use random::{Purpose, stream};
use scoring::{Scoring, ScoringGoal};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What a training run is doing. It is not stored; after a restart the sites are asked again.
#[derive(Debug)]
enum Phase {
    /// Between phases.
    Rest {
        /// Since when too few sites are there.
        too_few_since: Option<Duration>,
    },
    /// The durable facts say which sites were asked, and which have answered.
    Training {
        started: Duration,
    },
    Buffering(Buffering),
    Aggregating {
        started: Duration,
        record: RoundRecord,
    },
    /// An earlier model is being put in the place of the last round's.
    Restoring(ModelRef),
    Scoring(Scoring),
}

/// The work on a version, where no round waits for its sites.
#[derive(Clone, Copy, Debug)]
struct Buffering {
    /// When the version before it was made.
    started: Duration,
    /// Since when no site has work.
    stalled: Option<Duration>,
}

/// The time at which the machine handles an event, and the effects of that so far.
pub(super) struct Moment<'a> {
    pub(super) now: Duration,
    pub(super) effects: &'a mut Vec<Effect>,
}

/// What [`TrainingRun::advance`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Advance {
    /// It waits for sites, for the shell or for time.
    Waiting,
    /// There are new facts to store. It may be able to go on at once.
    Changed,
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
    /// The models whose consensus this is; empty for a run that trains.
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
            phase: Phase::Rest {
                too_few_since: None,
            },
            best_scores: None,
            given_up: false,
            consensus_models: Vec::new(),
        }
    }

    /// There is no round: the report is about the model that the federation starts from.
    pub(super) fn reports_initial_model(&mut self, initial: ParametersId) {
        self.progress.best = Some(Best {
            version: Version::INITIAL,
            parameters: initial,
            score: None,
        });
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
    pub(super) fn awaits_update(&self, site: &SiteName, task: TaskId) -> bool {
        if let Some(open) = &self.progress.open
            && let Some(trained) = open.updates.get(site)
            && trained.task == task
        {
            return true;
        }
        let Some(buffer) = &self.progress.buffer else {
            return false;
        };
        let mut updates = buffer.updates.iter();
        updates.any(|(other, trained)| other == site && trained.task == task)
    }

    /// The model that the report is about; `None` before there is one.
    pub(super) fn best(&self) -> Option<ModelRef> {
        self.progress.best.map(|best| ModelRef {
            run: self.id,
            version: best.version,
            parameters: best.parameters,
        })
    }

    /// A task of this training run ended. Returns whether there are new facts to store.
    pub(super) fn answered(&mut self, site: &SiteName, task: TaskId, answer: TaskResult) -> bool {
        match task.kind {
            TaskKind::Train => self.training_answered(site, task, answer),
            TaskKind::Evaluate(cases) => {
                self.scoring_answered(site, cases, answer);
                // Scores become facts to store when the scoring is complete.
                false
            }
        }
    }

    /// Returns whether there are new facts to store.
    fn training_answered(&mut self, site: &SiteName, task: TaskId, answer: TaskResult) -> bool {
        if matches!(answer, TaskResult::Update { .. }) {
            self.mark_usable(task.base());
        }
        if let Some(buffer) = &mut self.progress.buffer {
            return buffer.settle(site, task, answer);
        }
        if !matches!(self.phase, Phase::Training { .. }) {
            return false;
        }
        let Some(open) = &mut self.progress.open else {
            return false;
        };
        if !open.waiting().contains(site) {
            return false;
        }
        match answer {
            TaskResult::Update { trained, distance } => {
                open.updates.insert(site.clone(), trained);
                open.distances.insert(site.clone(), distance);
            }
            TaskResult::CountsAgainstModel(reason) => {
                open.failed.insert(site.clone());
                open.missing.push((site.clone(), reason.to_string()));
            }
            TaskResult::Missing(reason) => {
                open.missing.push((site.clone(), reason.to_string()));
            }
            TaskResult::Scores(_) => return false,
        }
        true
    }

    fn scoring_answered(&mut self, site: &SiteName, cases: Cases, answer: TaskResult) {
        let Phase::Scoring(scoring) = &mut self.phase else {
            return;
        };
        scoring.open.remove(&(site.clone(), cases));
        let scores = match cases {
            Cases::Validation => &mut scoring.validation,
            Cases::HeldOut => &mut scoring.held_out,
        };
        match answer {
            TaskResult::Scores(counted) => {
                scores.insert(site.clone(), counted);
            }
            TaskResult::CountsAgainstModel(reason) => scoring.failed.push(GaveNothing {
                site: site.clone(),
                reason: reason.to_string(),
            }),
            // A missing site is left out of the scores.
            TaskResult::Missing(_) | TaskResult::Update { .. } => {}
        }
    }

    /// A new version is stored. Returns the notification, or `None` for a version that was not
    /// awaited.
    pub(super) fn aggregated(
        &mut self,
        version: Version,
        parameters: ParametersId,
        moment: &mut Moment<'_>,
    ) -> Option<Notification> {
        let Phase::Aggregating { started, record } = &mut self.phase else {
            return None;
        };
        if record.round != version.0 {
            return None;
        }
        record.seconds = moment.now.saturating_sub(*started).as_secs_f64();
        let (updates, seconds) = (record.updates.len(), record.seconds);
        if let Some(buffer) = &mut self.progress.buffer {
            buffer.counted(updates, record.missing.len());
        }
        // `finish` returns the record of the round before, which can now be written.
        if let Some(before) = self.progress.finish(record.clone()) {
            moment.effects.push(Effect::Record {
                run: self.id,
                record: Box::new(before),
            });
        }
        self.progress.model = Some(parameters);
        self.progress.open = None;
        self.progress.validated = false;
        self.phase = Phase::Rest {
            too_few_since: None,
        };
        Some(Notification::RoundFinished {
            run: self.id,
            round: version.0,
            updates,
            seconds,
        })
    }

    /// Goes on as far as possible without waiting.
    ///
    /// # Errors
    /// Why the federation cannot go on.
    pub(super) fn advance(
        &mut self,
        shared: &mut SharedState,
        moment: &mut Moment<'_>,
    ) -> Result<Advance, StopReason> {
        if let Some(rule) = self.buffered(shared) {
            return self.advance_buffer(rule, shared, moment);
        }
        if self.close_buffer(shared) {
            return Ok(Advance::Changed);
        }
        match &self.phase {
            Phase::Training { started } if self.all_have_answered() => {
                let started = *started;
                self.finish_training(started, shared, moment)
            }
            Phase::Rest { .. } if self.progress.discarded.is_some() => {
                self.restore(&shared.plan, moment);
                Ok(Advance::Waiting)
            }
            Phase::Rest { .. } if shared.is_held() => {
                self.phase = Phase::Rest {
                    too_few_since: None,
                };
                Ok(Advance::Waiting)
            }
            Phase::Rest { too_few_since } if !self.progress.done => {
                let since = *too_few_since;
                self.begin_next(shared, since, moment)?;
                let began = matches!(self.phase, Phase::Training { .. });
                // A run that never had a model is over at once, and so is a scoring for which no
                // site has cases.
                if began || self.progress.done {
                    return Ok(Advance::Changed);
                }
                Ok(self.finish_scoring(shared, moment))
            }
            _ => Ok(self.finish_scoring(shared, moment)),
        }
    }

    /// Whether every site that was asked in this round has answered.
    fn all_have_answered(&self) -> bool {
        match &self.progress.open {
            Some(open) => open.waiting().is_empty(),
            None => true,
        }
    }

    /// Begins what comes after the last durable fact: the scoring of a new model, else the next
    /// round. After the last round: the best model's scores for choosing thresholds, the report,
    /// and then the run is done.
    fn begin_next(
        &mut self,
        shared: &mut SharedState,
        since: Option<Duration>,
        moment: &mut Moment<'_>,
    ) -> Result<(), StopReason> {
        let rounds_done = self.progress.finished;
        if let Some(parameters) = self.progress.model
            && !self.progress.validated
        {
            let held_out = match shared.plan.federation.evaluation.held_out_every {
                Some(every) => self.is_federation() && rounds_done.is_multiple_of(every),
                None => false,
            };
            let goal = ScoringGoal::Validate { held_out };
            let model = ModelRef {
                run: self.id,
                version: self.progress.newest(),
                parameters,
            };
            let wanted = EvaluationRequest::default();
            self.ask_to_score(shared, vec![model], goal, &wanted, moment);
        } else if rounds_done < shared.plan.federation.rounds
            && !self.given_up
            && !self.is_consensus()
        {
            self.ask_to_train(shared, since, moment)?;
        } else if let Some(models) = self.reported() {
            match self.best_scores.take() {
                // `None` after a restart: ask for them again (`Choose`), then report.
                None => {
                    let wanted = EvaluationRequest::default();
                    self.ask_to_score(shared, models, ScoringGoal::Choose, &wanted, moment);
                }
                Some(scores) => {
                    let outcome = &mut self.progress.outcome;
                    let thresholds = if shared.only_evaluates() && has_no_cases(&scores) {
                        keep_thresholds(&shared.plan.initial_points, outcome)
                    } else {
                        choose_thresholds(&scores, outcome)
                    };
                    let wanted = EvaluationRequest {
                        thresholds,
                        sweep: choose_sweep(&scores),
                        subsets: shared.plan.federation.evaluation.subsets,
                    };
                    self.ask_to_score(shared, models, ScoringGoal::Report, &wanted, moment);
                }
            }
        } else {
            self.progress.done = true;
        }
        Ok(())
    }

    /// The models that the report is about: the best one, or all whose consensus it is.
    fn reported(&self) -> Option<Vec<ModelRef>> {
        if !self.is_consensus() {
            let best = self.best()?;
            return Some(vec![best]);
        }
        if self.consensus_models.is_empty() {
            return None;
        }
        Some(self.consensus_models.clone())
    }

    /// Asks the sites of a round to train, or waits for enough of them.
    fn ask_to_train(
        &mut self,
        shared: &mut SharedState,
        since: Option<Duration>,
        moment: &mut Moment<'_>,
    ) -> Result<(), StopReason> {
        let round = self.progress.finished + 1;
        let is_open = match &self.progress.open {
            Some(open) => open.round == round,
            None => false,
        };
        if !is_open {
            let Some(asked) = self.sample(shared, round, since, moment)? else {
                return Ok(());
            };
            let mut budgets = BTreeMap::new();
            for site in &asked {
                if let Some(steps) = self.budget(shared, site) {
                    budgets.insert(site.clone(), steps);
                }
            }
            self.progress.open = Some(OpenRound {
                round,
                asked,
                budgets,
                ..OpenRound::default()
            });
        }
        let model = self.newest_model(&shared.plan);
        let Some(open) = &mut self.progress.open else {
            return Ok(());
        };
        // Sites that were asked before a restart and dropped since.
        for site in open.waiting() {
            if shared.roster.is_dropped(&site) {
                let reason = TaskFailure::Dropped.to_string();
                open.missing.push((site, reason));
            }
        }
        let members = &mut self.progress.outcome.members;
        members.extend(open.asked.iter().cloned());
        members.sort_unstable();
        members.dedup();
        let waiting = open.waiting();
        let task = TaskId::training(self.id, model.version);
        for site in &waiting {
            let spec = TaskSpec {
                models: vec![model],
                steps: open.budgets.get(site).copied(),
                ..TaskSpec::default()
            };
            shared.task_table.add(site, task, spec, moment.now);
        }
        moment
            .effects
            .push(Effect::Report(Notification::RoundStarted {
                run: self.id,
                name: self.progress.outcome.name.clone(),
                round,
                rounds: shared.plan.federation.rounds,
                sites: waiting.into_iter().collect(),
            }));
        self.phase = Phase::Training {
            started: moment.now,
        };
        Ok(())
    }

    /// The most steps that a site may do, where the settings say how long a training takes and the
    /// site's speed is known.
    fn budget(&self, shared: &SharedState, site: &SiteName) -> Option<u32> {
        let seconds = shared.plan.federation.training.round_seconds?;
        self.progress.speeds.get(site)?.budget(seconds)
    }

    /// Chooses the sites of a round; `None` while there are too few.
    fn sample(
        &mut self,
        shared: &SharedState,
        round: u32,
        since: Option<Duration>,
        moment: &mut Moment<'_>,
    ) -> Result<Option<BTreeSet<SiteName>>, StopReason> {
        let settings = &shared.plan.federation;
        let mut candidates = self.trainers(shared);
        let minimum = self.minimum(shared);
        if candidates.len() < minimum {
            let since = since.unwrap_or(moment.now);
            self.phase = Phase::Rest {
                too_few_since: Some(since),
            };
            if moment.now.saturating_sub(since) <= shared.timeout() {
                return Ok(None);
            }
            let reason = StopReason::TooFewSites {
                round,
                found: candidates.len(),
                minimum,
            };
            self.stop(reason, moment)?;
            return Ok(None);
        }
        if let Some(count) = settings.sites.per_round
            && count < candidates.len()
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
    fn newest_model(&self, plan: &Plan) -> ModelRef {
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

    /// The federation trains all sites, a site's own run only that site.
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

    /// Ends the federation; a site's own run only ends itself, with the rounds it has.
    fn stop(&mut self, reason: StopReason, moment: &mut Moment<'_>) -> Result<(), StopReason> {
        if self.is_federation() {
            return Err(reason);
        }
        self.given_up = true;
        self.progress.open = None;
        self.phase = Phase::Rest {
            too_few_since: None,
        };
        if let Some(site) = self.progress.outcome.members.first() {
            moment.effects.push(Effect::Report(Notification::Failed {
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
        moment: &mut Moment<'_>,
    ) -> Result<Advance, StopReason> {
        self.refuse_outliers(shared.plan.federation.outlier_factor, moment);
        self.phase = Phase::Rest {
            too_few_since: None,
        };
        let Some(OpenRound {
            round,
            asked,
            updates,
            missing,
            failed,
            ..
        }) = self.progress.open.clone()
        else {
            return Ok(Advance::Waiting);
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
                return Ok(Advance::Changed);
            }
            let reason = StopReason::TooFewUpdates {
                round,
                found: updates.len(),
                minimum: self.minimum(shared),
                missing: gave_nothing,
            };
            // The next start asks the sites without an update again, and keeps accepted updates.
            if let Some(open) = &mut self.progress.open {
                open.missing.clear();
                open.failed.clear();
            }
            self.stop(reason, moment)?;
            return Ok(Advance::Changed);
        }
        let newest = self.progress.newest();
        let mut contributions = Vec::new();
        let mut records = Vec::new();
        for (site, trained) in updates {
            contributions.push(contribution(&site, &trained));
            records.push(update_record(site, &trained, newest));
        }
        moment.effects.push(Effect::Aggregate {
            run: self.id,
            version: newest.next(),
            updates: contributions,
            rate: None,
        });
        let bytes = shared.task_table.take_bytes_moved(self.id);
        let record = round_record(round, records, missing, bytes);
        self.phase = Phase::Aggregating { started, record };
        Ok(Advance::Waiting)
    }

    /// All updates of the round are in: those far beyond the others count as missing.
    fn refuse_outliers(&mut self, most_times: f64, moment: &mut Moment<'_>) {
        let task = TaskId::training(self.id, self.progress.newest());
        let Some(open) = &mut self.progress.open else {
            return;
        };
        let sites: Vec<SiteName> = open.updates.keys().cloned().collect();
        let mut distances = Vec::new();
        for site in &sites {
            distances.push(open.distances.get(site).copied());
        }
        for Outlier { index, reason } in outliers(&distances, most_times) {
            let site = sites[index].clone();
            let reason = TaskFailure::Update(reason).to_string();
            open.updates.remove(&site);
            open.distances.remove(&site);
            open.failed.insert(site.clone());
            moment
                .effects
                .push(not_counted(&site, task, reason.clone()));
            moment.effects.push(Effect::Report(Notification::Failed {
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

/// The record of a round whose model is not scored yet.
fn round_record(
    round: u32,
    updates: Vec<UpdateRecord>,
    missing: Vec<(SiteName, String)>,
    bytes: u64,
) -> RoundRecord {
    RoundRecord {
        round,
        updates,
        missing,
        validation: None,
        validation_by_site: Vec::new(),
        held_out: None,
        seconds: 0.0,
        bytes,
    }
}

/// The entry of an update in the record of the round that follows `newest`.
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
