//! Scoring a training_run's models at the sites, and what follows from the scores.

use super::super::scores::{Scores, SiteResult, dice_by_site, pooled_dice};
use super::{
    Best, DiscardReason, Effect, GaveNothing, ModelRef, Phase, SharedState, TaskSpec, TrainingRun,
};
use crate::case::{Cases, Role};
use crate::identity::{SiteName, Version};
use crate::message::{EvaluationRequest, TaskId, TaskKind};
use crate::notification::Notification;
use crate::outcome::SiteScores;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Sites scoring one model, and what the scores are for.
#[derive(Debug)]
pub(super) struct Scoring {
    pub(super) version: Version,
    pub(super) models: Vec<ModelRef>,
    pub(super) goal: ScoringGoal,
    pub(super) open: BTreeSet<(SiteName, Cases)>,
    pub(super) validation: Scores,
    pub(super) held_out: Scores,
    /// Sites whose scoring ended badly, and why.
    pub(super) failed: Vec<GaveNothing>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScoringGoal {
    /// The score of a round's new model.
    Validate {
        /// Score the held-out sites too.
        held_out: bool,
    },
    /// The best model's validation scores once more, because a restart lost them.
    Choose,
    /// The report: at the chosen thresholds, on held-out cases too.
    Report,
}

/// What stands before the reason of a site that could not score a model which was discarded for
/// that.
const UNSCORED: &str = "could not score the round's model, which was discarded";

impl ScoringGoal {
    /// Counts at thresholds are another task than the histograms of the same model.
    fn pass(self) -> u8 {
        u8::from(self == Self::Report)
    }
}

impl TrainingRun {
    /// Asks for the scores of a model, or of a consensus.
    pub(super) fn score(
        &mut self,
        shared: &mut SharedState,
        models: Vec<ModelRef>,
        goal: ScoringGoal,
        wanted: &EvaluationRequest,
        (now, out): (Duration, &mut Vec<Effect>),
    ) {
        let version = match models.first() {
            Some(model) if !self.is_consensus() => model.version,
            _ => Version::INITIAL,
        };
        let judges = self
            .trainers(shared)
            .into_iter()
            .chain(shared.roster.available(Role::Validate));
        let mut asked: Vec<(SiteName, Cases)> =
            judges.map(|site| (site, Cases::Validation)).collect();
        if matches!(
            goal,
            ScoringGoal::Report | ScoringGoal::Validate { held_out: true }
        ) {
            asked.extend(
                shared
                    .roster
                    .available(Role::Evaluate)
                    .into_iter()
                    .map(|site| (site, Cases::HeldOut)),
            );
        }
        asked.retain(|(site, cases)| shared.roster.cases(site, TaskKind::Evaluate(*cases)) > 0);
        for (site, cases) in &asked {
            let task = TaskId {
                run: self.id,
                round: version.0,
                kind: TaskKind::Evaluate(*cases),
                pass: goal.pass(),
            };
            let order = TaskSpec {
                models: models.clone(),
                wanted: wanted.clone(),
                steps: None,
            };
            shared.task_table.add(site, task, order, now);
        }
        for cases in asked
            .iter()
            .map(|(_, cases)| *cases)
            .collect::<BTreeSet<_>>()
        {
            out.push(Effect::Report(Notification::Evaluating {
                run: self.id,
                round: version.0,
                cases,
            }));
        }
        let open = asked.into_iter().collect();
        let (validation, held_out, failed) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        self.phase = Phase::Scoring(Scoring {
            version,
            models,
            goal,
            open,
            validation,
            held_out,
            failed,
        });
    }

    /// Draws the conclusions of a scoring that everybody has answered; `false` while somebody has
    /// not.
    pub(super) fn finish_scoring(
        &mut self,
        shared: &mut SharedState,
        out: &mut Vec<Effect>,
    ) -> bool {
        if !matches!(&self.phase, Phase::Scoring(scoring) if scoring.open.is_empty()) {
            return false;
        }
        let Phase::Scoring(scoring) = std::mem::replace(&mut self.phase, Phase::Rest(None)) else {
            return false;
        };
        match scoring.goal {
            ScoringGoal::Validate { .. } => self.validated(scoring, shared, out),
            ScoringGoal::Choose => self.best_scores = Some(scoring.validation),
            ScoringGoal::Report => {
                let outcome = &mut self.progress.outcome;
                let all = scoring.validation.into_iter().chain(scoring.held_out);
                let sites = all.map(
                    |(
                        site,
                        SiteResult {
                            cases,
                            subsets,
                            overlays,
                        },
                    )| {
                        let role = shared.roster.role(&site);
                        SiteScores {
                            site,
                            role,
                            cases,
                            subsets,
                            overlays,
                        }
                    },
                );
                outcome.scores = sites.collect();
                outcome.best_round = scoring.version.0;
                self.progress.done = true;
            }
        }
        true
    }

    fn validated(&mut self, scoring: Scoring, shared: &mut SharedState, out: &mut Vec<Effect>) {
        let Scoring {
            models,
            validation,
            held_out,
            failed,
            ..
        } = scoring;
        let score = pooled_dice(&validation);
        let nobody = validation.is_empty() && held_out.is_empty();
        if let Some(record) = self.progress.outcome.rounds.last_mut() {
            record.validation = score;
            record.validation_by_site = dice_by_site(&validation);
            record.held_out = pooled_dice(&held_out);
            record.bytes += shared.task_table.take_moved(self.id);
        }
        self.progress.validated = true;
        // Where no model was ever scored the fault may be the sites'.
        if nobody
            && !failed.is_empty()
            && self.progress.scored
            && self.discard(&DiscardReason::NoScore(failed.clone()))
        {
            if let Some(record) = self.progress.outcome.rounds.last_mut() {
                for one in failed {
                    let reason = format!("{UNSCORED}: {}", one.reason);
                    record.missing.push((one.site, reason));
                }
            }
            return;
        }
        if !nobody {
            self.progress.scored = true;
            self.worked(self.progress.newest());
        }
        // An undefined score loses against any other; of equals the later round, which has seen
        // more, wins.
        let rank = |score: Option<f64>| score.unwrap_or(-1.0);
        let Some(model) = models.first() else { return };
        let best = self
            .progress
            .best
            .is_none_or(|best| rank(score) >= rank(best.score));
        if best {
            self.progress.best = Some(Best {
                version: model.version,
                parameters: model.parameters,
                score,
            });
            self.progress.outcome.best_round = model.version.0;
            self.best_scores = Some(validation);
        }
        out.push(Effect::Report(Notification::Validated {
            run: self.id,
            round: model.version.0,
            score,
            best,
        }));
    }
}
