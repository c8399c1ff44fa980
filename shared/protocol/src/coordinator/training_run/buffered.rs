//! Buffered asynchronous rounds (FedBuff, Nguyen et al. 2022, arXiv 2106.06639): every site trains
//! from the newest model that it has not answered for, and as soon as enough updates are in the
//! next model is made of them. Nobody waits for the slow; what they send counts for less the older
//! the model is that they started from.

use super::super::buffer::{Asked, Missing};
use super::{
    DiscardReason, Effect, GaveNothing, Phase, SharedState, StopReason, TaskFailure, TaskSpec,
    TrainingRun, contribution, round_record, update_record,
};
use crate::coordinator::ModelRef;
use crate::identity::{SiteName, Version};
use crate::message::{TaskId, Trained};
use crate::notification::Notification;
use crate::settings::Buffered;
use std::time::Duration;

impl TrainingRun {
    /// The rule by which this training_run's versions are made, as long as there are some to make.
    /// Sites that train alone for comparison have nobody to wait for.
    pub(super) fn buffered(&self, shared: &SharedState) -> Option<Buffered> {
        let settings = &shared.plan.federation;
        settings
            .buffered
            .filter(|_| self.is_federation() && self.progress.finished < settings.rounds)
    }

    /// The last version is made: whoever still trains does it for nobody. Returns whether there was
    /// a buffer.
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

    /// Goes on as far as possible without waiting. Returns whether there are facts to keep, and
    /// maybe more to do at once.
    ///
    /// # Errors
    /// Why the federation cannot go on.
    pub(super) fn advance_buffer(
        &mut self,
        rule: Buffered,
        shared: &mut SharedState,
        now: Duration,
        out: &mut Vec<Effect>,
    ) -> Result<bool, StopReason> {
        let Phase::Buffering { started, stalled } = self.phase else {
            let rests = matches!(self.phase, Phase::Rest(_));
            if rests && self.progress.discarded.is_some() {
                self.restore(&shared.plan, out);
                return Ok(false);
            }
            if rests {
                self.begin_version(rule, shared, now, out);
            }
            return Ok(rests);
        };
        let minimum = self.minimum(shared);
        if let Some(count) = self
            .progress
            .buffer
            .as_ref()
            .and_then(|buffer| buffer.whole(rule.size, minimum))
        {
            if self.refuse_far(count, out) {
                return Ok(true);
            }
            self.count(count, rule, started, shared, out);
            return Ok(false);
        }
        let asked = self.hand_out(shared, now);
        let at_work = self
            .progress
            .buffer
            .as_ref()
            .is_some_and(|buffer| !buffer.asked.is_empty());
        if at_work || shared.is_held() {
            self.phase = Phase::Buffering {
                started,
                stalled: None,
            };
            return Ok(asked);
        }
        self.go_without(rule, (started, stalled.unwrap_or(now)), shared, now, out)
    }

    /// A version is made, or a restart happened: takes back what would come too late, and asks
    /// again for the rest.
    fn begin_version(
        &mut self,
        rule: Buffered,
        shared: &mut SharedState,
        now: Duration,
        out: &mut Vec<Effect>,
    ) {
        let newest = self.progress.newest();
        let model = self.start(&shared.plan);
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
            out.push(Effect::Report(Notification::Failed {
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
            if let Some(&parameters) = buffer
                .models
                .get(&asked.base)
                .filter(|_| !shared.task_table.has(site, task))
            {
                let models = vec![ModelRef {
                    run: self.id,
                    version: asked.base,
                    parameters,
                }];
                shared.task_table.add(
                    site,
                    task,
                    TaskSpec {
                        models,
                        steps: asked.steps,
                        ..TaskSpec::default()
                    },
                    now,
                );
            }
        }
        self.phase = Phase::Buffering {
            started: now,
            stalled: None,
        };
        self.hand_out(shared, now);
        let sites = self
            .progress
            .buffer
            .iter()
            .flat_map(|buffer| buffer.asked.keys().cloned())
            .collect();
        out.push(Effect::Report(Notification::RoundStarted {
            run: self.id,
            name: self.progress.outcome.name.clone(),
            round: newest.next().0,
            rounds: shared.plan.federation.rounds,
            sites,
        }));
    }

    /// Gives the newest version to sites that are there and free, as many as may work at once:
    /// those first whose last update is the oldest. Returns whether there were any.
    fn hand_out(&mut self, shared: &mut SharedState, now: Duration) -> bool {
        let room = if shared.is_held() {
            0
        } else {
            shared.task_table.room(&shared.roster)
        };
        let (newest, trainers) = (self.progress.newest(), self.trainers(shared));
        let model = self.start(&shared.plan);
        let seconds = shared.plan.federation.training.round_seconds;
        let Some(buffer) = &mut self.progress.buffer else {
            return false;
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
            let order = TaskSpec {
                models: vec![model],
                steps,
                ..TaskSpec::default()
            };
            shared
                .task_table
                .add(site, TaskId::training(self.id, newest), order, now);
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
        !free.is_empty()
    }

    /// Nobody is at work, and nobody who is there has anything left to do for this version. Whoever
    /// is away is waited for with timeout; then the version is made of what there is, or the
    /// federation stops. Returns whether there are facts to keep.
    fn go_without(
        &mut self,
        rule: Buffered,
        (started, since): (Duration, Duration),
        shared: &mut SharedState,
        now: Duration,
        out: &mut Vec<Effect>,
    ) -> Result<bool, StopReason> {
        let minimum = self.minimum(shared);
        let (here, away): (Vec<_>, Vec<_>) = self
            .trainers(shared)
            .into_iter()
            .partition(|site| shared.roster.is_ready(site));
        let Some(buffer) = &mut self.progress.buffer else {
            return Ok(false);
        };
        let (found, count) = (buffer.sites(), buffer.updates.len());
        let waited = now.saturating_sub(since) > shared.timeout();
        // With too few sites there, one that was given up may still come back.
        let hopeless = away.is_empty() && (found >= minimum || here.len() >= minimum);
        if !waited && !hopeless {
            self.phase = Phase::Buffering {
                started,
                stalled: Some(since),
            };
            return Ok(false);
        }
        away.iter().for_each(|site| shared.roster.give_up(site));
        if found >= minimum {
            if self.refuse_far(count, out) {
                return Ok(true);
            }
            self.count(count, rule, started, shared, out);
            return Ok(false);
        }
        let mut missing = Vec::new();
        for one in &buffer.missing {
            missing.push(GaveNothing {
                site: one.site.clone(),
                reason: one.reason.clone(),
            });
        }
        let nobody =
            found == 0 && away.is_empty() && here.iter().all(|site| buffer.failed.contains(site));
        // A later start asks once more those that gave nothing, and keeps what was accepted.
        buffer.missing.clear();
        buffer.failed.clear();
        self.phase = Phase::Rest(None);
        if nobody && !here.is_empty() && self.discard(&DiscardReason::NoTraining(missing.clone())) {
            return Ok(true);
        }
        Err(StopReason::TooFewInBuffer {
            round: self.progress.finished + 1,
            found,
            minimum,
            missing,
        })
    }

    /// Refuses those of the first `count` updates that went far beyond the others. Returns whether
    /// there were any.
    fn refuse_far(&mut self, count: usize, out: &mut Vec<Effect>) -> bool {
        let Some(buffer) = &mut self.progress.buffer else {
            return false;
        };
        let refused = buffer.refuse_outliers(count);
        for (site, reason) in &refused {
            out.push(Effect::Report(Notification::Failed {
                site: site.clone(),
                reason: reason.clone(),
            }));
        }
        !refused.is_empty()
    }

    /// Makes the next version of the first `count` updates.
    fn count(
        &mut self,
        count: usize,
        rule: Buffered,
        started: Duration,
        shared: &mut SharedState,
        out: &mut Vec<Effect>,
    ) {
        let newest = self.progress.newest();
        let Some(buffer) = &self.progress.buffer else {
            return;
        };
        let mut counted: Vec<(SiteName, Trained)> = buffer.updates[..count].to_vec();
        counted.sort_unstable_by(|(a, one), (b, other)| {
            (a, one.task.round).cmp(&(b, other.task.round))
        });
        let contributions = counted
            .iter()
            .map(|(site, trained)| contribution(site, trained))
            .collect();
        let (run, version, rate) = (self.id, newest.next(), Some(rule.rate));
        out.push(Effect::Aggregate {
            run,
            version,
            updates: contributions,
            rate,
        });
        let updates = counted
            .into_iter()
            .map(|(site, trained)| update_record(site, &trained, newest))
            .collect();
        let missing = buffer
            .missing
            .iter()
            .map(|one| (one.site.clone(), one.reason.clone()))
            .collect();
        let record = round_record(
            version.0,
            updates,
            missing,
            shared.task_table.take_moved(self.id),
        );
        self.phase = Phase::Aggregating { started, record };
    }
}
