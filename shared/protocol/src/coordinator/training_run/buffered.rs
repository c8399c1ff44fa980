//! Buffered asynchronous rounds (FedBuff, Nguyen et al. 2022, arXiv 2106.06639): every site trains
//! from the newest model that it has not answered for, and as soon as enough updates are in, the
//! next model is made of them. No round waits for slow sites; their updates count for less, the
//! older the model is that they started from.

use super::super::buffer::{Asked, Missing};
use super::{
    Advance, Buffering, DiscardReason, Effect, GaveNothing, Moment, Phase, SharedState, StopReason,
    TaskFailure, TaskSpec, TrainingRun, contribution, round_record, update_record,
};
use crate::coordinator::{ModelRef, not_counted};
use crate::identity::{SiteName, Version};
use crate::message::{TaskId, Trained};
use crate::notification::Notification;
use crate::settings::Buffered;
use std::time::Duration;

impl TrainingRun {
    /// The rule by which this run's versions are made, as long as there are some to make. A site
    /// that trains alone for comparison waits for no other.
    pub(super) fn buffered(&self, shared: &SharedState) -> Option<Buffered> {
        let settings = &shared.plan.federation;
        if self.is_federation() && self.progress.finished < settings.rounds {
            settings.buffered
        } else {
            None
        }
    }

    /// The last version is made: the trainings that still run are not needed. Returns whether there
    /// was a buffer.
    pub(super) fn close_buffer(&mut self, shared: &mut SharedState) -> bool {
        let Some(buffer) = self.progress.buffer.take() else {
            return false;
        };
        for (site, asked) in buffer.asked {
            shared
                .task_table
                .withdraw(&site, TaskId::training(self.id, asked.base));
        }
        true
    }

    /// Goes on as far as possible without waiting.
    ///
    /// # Errors
    /// Why the federation cannot go on.
    pub(super) fn advance_buffer(
        &mut self,
        rule: Buffered,
        shared: &mut SharedState,
        moment: &mut Moment<'_>,
    ) -> Result<Advance, StopReason> {
        let buffering = match self.phase {
            Phase::Buffering(buffering) => buffering,
            Phase::Rest { .. } if self.progress.discarded.is_some() => {
                self.restore(&shared.plan, moment);
                return Ok(Advance::Waiting);
            }
            Phase::Rest { .. } => {
                self.begin_version(rule, shared, moment);
                return Ok(Advance::Changed);
            }
            _ => return Ok(Advance::Waiting),
        };
        let minimum = self.minimum(shared);
        if let Some(buffer) = &self.progress.buffer
            && let Some(count) = buffer.complete(rule.size, minimum)
        {
            return Ok(self.make_version(count, rule, buffering.started, shared, moment));
        }
        let asked = self.hand_out(shared, moment.now);
        let is_at_work = match &self.progress.buffer {
            Some(buffer) => !buffer.asked.is_empty(),
            None => false,
        };
        if is_at_work || shared.is_held() {
            self.phase = Phase::Buffering(Buffering {
                stalled: None,
                ..buffering
            });
            return Ok(asked);
        }
        self.go_without(rule, buffering, shared, moment)
    }

    /// A version is made, or a restart happened: takes back what would come too late, and asks
    /// again for the rest.
    fn begin_version(&mut self, rule: Buffered, shared: &mut SharedState, moment: &mut Moment<'_>) {
        let newest = self.progress.newest();
        let model = self.newest_model(&shared.plan);
        let buffer = self.progress.buffer.get_or_insert_default();
        buffer.models.insert(newest, model.parameters);
        for (site, asked) in std::mem::take(&mut buffer.asked) {
            let failure = if newest.since(asked.base) > rule.max_staleness {
                TaskFailure::Stale {
                    max_staleness: rule.max_staleness,
                }
            } else if shared.roster.is_dropped(&site) {
                TaskFailure::Dropped
            } else if !buffer.models.contains_key(&asked.base) {
                TaskFailure::UnknownModel {
                    version: asked.base,
                }
            } else {
                buffer.asked.insert(site, asked);
                continue;
            };
            let reason = failure.to_string();
            shared
                .task_table
                .withdraw(&site, TaskId::training(self.id, asked.base));
            moment.effects.push(Effect::Report(Notification::Failed {
                site: site.clone(),
                reason: reason.clone(),
            }));
            buffer.missing.push(Missing {
                site,
                base: asked.base,
                reason,
            });
        }
        buffer.forget_models(newest);
        for (site, asked) in &buffer.asked {
            let task = TaskId::training(self.id, asked.base);
            let Some(&parameters) = buffer.models.get(&asked.base) else {
                continue;
            };
            if shared.task_table.has(site, task) {
                continue;
            }
            let model = ModelRef {
                run: self.id,
                version: asked.base,
                parameters,
            };
            let spec = TaskSpec {
                models: vec![model],
                steps: asked.steps,
                ..TaskSpec::default()
            };
            shared.task_table.add(site, task, spec, moment.now);
        }
        self.phase = Phase::Buffering(Buffering {
            started: moment.now,
            stalled: None,
        });
        self.hand_out(shared, moment.now);
        let mut sites = Vec::new();
        if let Some(buffer) = &self.progress.buffer {
            sites.extend(buffer.asked.keys().cloned());
        }
        moment
            .effects
            .push(Effect::Report(Notification::RoundStarted {
                run: self.id,
                name: self.progress.outcome.name.clone(),
                round: newest.next().0,
                rounds: shared.plan.federation.rounds,
                sites,
            }));
    }

    /// Gives the newest version to sites that are there and free, as many as may work at once:
    /// those first whose last update is the oldest.
    fn hand_out(&mut self, shared: &mut SharedState, now: Duration) -> Advance {
        let room = if shared.is_held() {
            0
        } else {
            shared.task_table.room(&shared.roster)
        };
        let newest = self.progress.newest();
        let trainers = self.trainers(shared);
        let model = self.newest_model(&shared.plan);
        let seconds = shared.plan.federation.training.round_seconds;
        let Some(buffer) = &mut self.progress.buffer else {
            return Advance::Waiting;
        };
        let mut free: Vec<(Option<Version>, SiteName)> = Vec::new();
        for site in trainers {
            if shared.roster.is_ready(&site) && buffer.may_ask(&site, newest) {
                free.push((buffer.answered.get(&site).copied(), site));
            }
        }
        free.sort_unstable();
        free.truncate(room);
        for (_, site) in &free {
            let steps = seconds.and_then(|seconds| self.progress.speeds.get(site)?.budget(seconds));
            let spec = TaskSpec {
                models: vec![model],
                steps,
                ..TaskSpec::default()
            };
            shared
                .task_table
                .add(site, TaskId::training(self.id, newest), spec, now);
            buffer.asked.insert(
                site.clone(),
                Asked {
                    base: newest,
                    steps,
                },
            );
            let members = &mut self.progress.outcome.members;
            if let Err(place) = members.binary_search(site) {
                members.insert(place, site.clone());
            }
        }
        if free.is_empty() {
            Advance::Waiting
        } else {
            Advance::Changed
        }
    }

    /// No site is at work, and no connected site has anything left to do for this version. Sites
    /// that are away have until the timeout; then the version is made of the updates that are
    /// there, or the federation stops.
    fn go_without(
        &mut self,
        rule: Buffered,
        buffering: Buffering,
        shared: &mut SharedState,
        moment: &mut Moment<'_>,
    ) -> Result<Advance, StopReason> {
        let minimum = self.minimum(shared);
        let mut here = Vec::new();
        let mut away = Vec::new();
        for site in self.trainers(shared) {
            if shared.roster.is_ready(&site) {
                here.push(site);
            } else {
                away.push(site);
            }
        }
        let Some(buffer) = &mut self.progress.buffer else {
            return Ok(Advance::Waiting);
        };
        let found = buffer.sites();
        let since = buffering.stalled.unwrap_or(moment.now);
        let is_timeout = moment.now.saturating_sub(since) > shared.timeout();
        // With too few sites connected, one that was given up may still come back.
        let is_hopeless = away.is_empty() && (found >= minimum || here.len() >= minimum);
        if !is_timeout && !is_hopeless {
            self.phase = Phase::Buffering(Buffering {
                stalled: Some(since),
                ..buffering
            });
            return Ok(Advance::Waiting);
        }
        for site in &away {
            shared.roster.give_up(site);
        }
        if found >= minimum {
            let count = buffer.updates.len();
            return Ok(self.make_version(count, rule, buffering.started, shared, moment));
        }
        let mut missing = Vec::new();
        for one in &buffer.missing {
            missing.push(GaveNothing {
                site: one.site.clone(),
                reason: one.reason.clone(),
            });
        }
        let have_all_failed = found == 0
            && away.is_empty()
            && !here.is_empty()
            && here.iter().all(|site| buffer.failed.contains(site));
        // The next start asks the sites without an update again, and keeps accepted updates.
        buffer.missing.clear();
        buffer.failed.clear();
        self.phase = Phase::Rest {
            too_few_since: None,
        };
        if have_all_failed && self.discard(&DiscardReason::NoTraining(missing.clone())) {
            return Ok(Advance::Changed);
        }
        Err(StopReason::TooFewInBuffer {
            round: self.progress.finished + 1,
            found,
            minimum,
            missing,
        })
    }

    /// Makes the next version of the first `count` updates, unless some of them are far beyond the
    /// others: those are refused, and there may be too few left.
    fn make_version(
        &mut self,
        count: usize,
        rule: Buffered,
        started: Duration,
        shared: &mut SharedState,
        moment: &mut Moment<'_>,
    ) -> Advance {
        let newest = self.progress.newest();
        let Some(buffer) = &mut self.progress.buffer else {
            return Advance::Waiting;
        };
        let most_times = shared.plan.federation.outlier_factor;
        let refused = buffer.refuse_outliers(count, most_times);
        if !refused.is_empty() {
            for Missing { site, base, reason } in refused {
                let task = TaskId::training(self.id, base);
                moment
                    .effects
                    .push(not_counted(&site, task, reason.clone()));
                moment
                    .effects
                    .push(Effect::Report(Notification::Failed { site, reason }));
            }
            return Advance::Changed;
        }
        let mut counted: Vec<(SiteName, Trained)> = buffer.updates[..count].to_vec();
        counted.sort_unstable_by_key(|(site, trained)| (site.clone(), trained.task.round));
        let mut contributions = Vec::new();
        let mut records = Vec::new();
        for (site, trained) in counted {
            contributions.push(contribution(&site, &trained));
            records.push(update_record(site, &trained, newest));
        }
        let mut missing = Vec::new();
        for one in &buffer.missing {
            missing.push((one.site.clone(), one.reason.clone()));
        }
        let version = newest.next();
        moment.effects.push(Effect::Aggregate {
            run: self.id,
            version,
            updates: contributions,
            rate: Some(rule.rate),
        });
        let bytes = shared.task_table.take_bytes_moved(self.id);
        self.phase = Phase::Aggregating {
            started,
            record: round_record(version.0, records, missing, bytes),
        };
        Advance::Waiting
    }
}
