//! Scoring a training run's models at the sites, and what follows from the scores.

use super::super::scores::{Scores, dice_by_site, pooled_dice};
use super::{
    Advance, Best, DiscardReason, Effect, GaveNothing, ModelRef, Moment, Phase, SharedState,
    TaskSpec, TrainingRun,
};
use crate::case::{Cases, Role};
use crate::identity::{SiteName, Version};
use crate::message::{EvaluationRequest, TaskId, TaskKind};
use crate::notification::Notification;
use crate::outcome::SiteScores;
use std::collections::{BTreeMap, BTreeSet};

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

/// Goes before the reason of a site that could not score a model which was then discarded.
const UNSCORED: &str = "could not score the round's model, which was discarded";

impl ScoringGoal {
    /// Counts at thresholds are another task than the histograms of the same model.
    fn pass(self) -> u8 {
        u8::from(self == Self::Report)
    }

    fn needs_held_out(self) -> bool {
        match self {
            Self::Validate { held_out } => held_out,
            Self::Choose => false,
            Self::Report => true,
        }
    }
}

impl TrainingRun {
    /// Asks for the scores of a model, or of a consensus.
    pub(super) fn ask_to_score(
        &mut self,
        shared: &mut SharedState,
        models: Vec<ModelRef>,
        goal: ScoringGoal,
        wanted: &EvaluationRequest,
        moment: &mut Moment<'_>,
    ) {
        let version = match models.first() {
            Some(model) if !self.is_consensus() => model.version,
            _ => Version::INITIAL,
        };
        let mut asked: Vec<(SiteName, Cases)> = Vec::new();
        for site in self.trainers(shared) {
            asked.push((site, Cases::Validation));
        }
        for site in shared.roster.available(Role::Validate) {
            asked.push((site, Cases::Validation));
        }
        if goal.needs_held_out() {
            for site in shared.roster.available(Role::Evaluate) {
                asked.push((site, Cases::HeldOut));
            }
        }
        asked.retain(|(site, cases)| shared.roster.cases(site, TaskKind::Evaluate(*cases)) > 0);
        let mut kinds = BTreeSet::new();
        for (site, cases) in &asked {
            kinds.insert(*cases);
            let task = TaskId {
                run: self.id,
                round: version.0,
                kind: TaskKind::Evaluate(*cases),
                pass: goal.pass(),
            };
            let spec = TaskSpec {
                models: models.clone(),
                wanted: wanted.clone(),
                steps: None,
            };
            shared.task_table.add(site, task, spec, moment.now);
        }
        for cases in kinds {
            moment
                .effects
                .push(Effect::Report(Notification::Evaluating {
                    run: self.id,
                    round: version.0,
                    cases,
                }));
        }
        self.phase = Phase::Scoring(Scoring {
            version,
            models,
            goal,
            open: asked.into_iter().collect(),
            validation: BTreeMap::new(),
            held_out: BTreeMap::new(),
            failed: Vec::new(),
        });
    }

    /// Completes a scoring once every site has answered.
    pub(super) fn finish_scoring(
        &mut self,
        shared: &mut SharedState,
        moment: &mut Moment<'_>,
    ) -> Advance {
        if !matches!(&self.phase, Phase::Scoring(scoring) if scoring.open.is_empty()) {
            return Advance::Waiting;
        }
        let Phase::Scoring(scoring) = std::mem::replace(
            &mut self.phase,
            Phase::Rest {
                too_few_since: None,
            },
        ) else {
            return Advance::Waiting;
        };
        match scoring.goal {
            ScoringGoal::Validate { .. } => self.validated(scoring, shared, moment),
            ScoringGoal::Choose => self.best_scores = Some(scoring.validation),
            ScoringGoal::Report => {
                let outcome = &mut self.progress.outcome;
                outcome.scores = Vec::new();
                for (site, result) in scoring.validation.into_iter().chain(scoring.held_out) {
                    outcome.scores.push(SiteScores {
                        role: shared.roster.role(&site),
                        site,
                        cases: result.cases,
                        subsets: result.subsets,
                        overlays: result.overlays,
                    });
                }
                outcome.best_round = scoring.version.0;
                self.progress.done = true;
            }
        }
        Advance::Changed
    }

    fn validated(&mut self, scoring: Scoring, shared: &mut SharedState, moment: &mut Moment<'_>) {
        let Scoring {
            models,
            validation,
            held_out,
            failed,
            ..
        } = scoring;
        let score = pooled_dice(&validation);
        let is_unscored = validation.is_empty() && held_out.is_empty();
        if let Some(record) = self.progress.outcome.rounds.last_mut() {
            record.validation = score;
            record.validation_by_site = dice_by_site(&validation);
            record.held_out = pooled_dice(&held_out);
            record.bytes += shared.task_table.take_bytes_moved(self.id);
        }
        self.progress.validated = true;
        // Where the sites never scored any model, the fault may be theirs.
        if is_unscored
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
        if !is_unscored {
            self.progress.scored = true;
            self.mark_usable(self.progress.newest());
        }
        // An undefined score is below any other. Of equal scores the later round wins: it has seen
        // more.
        let Some(model) = models.first() else { return };
        let best = match self.progress.best {
            Some(before) => score.unwrap_or(-1.0) >= before.score.unwrap_or(-1.0),
            None => true,
        };
        if best {
            self.progress.best = Some(Best {
                version: model.version,
                parameters: model.parameters,
                score,
            });
            self.progress.outcome.best_round = model.version.0;
            self.best_scores = Some(validation);
        }
        moment.effects.push(Effect::Report(Notification::Validated {
            run: self.id,
            round: model.version.0,
            score,
            best,
        }));
    }
}
