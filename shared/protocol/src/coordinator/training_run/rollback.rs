//! The last model that a site could work with, kept for when none can work with a newer one: every
//! update was looked at before it was averaged, and still their average may be a network whose
//! numbers break.

use super::{DiscardReason, Effect, ModelRef, Phase, Plan, TrainingRun, UsableModel};
use crate::notification::Notification;

impl TrainingRun {
    /// A site trained from the model of this round.
    pub(super) fn worked(&mut self, round: u32) {
        if let Some(parameters) = self
            .progress
            .model
            .filter(|_| round == self.progress.finished)
        {
            self.progress.sound = Some(UsableModel { round, parameters });
        }
    }

    /// The round of the last model that is known to work; the initial one is taken to.
    fn usable_round(&self) -> u32 {
        self.progress.sound.map_or(0, |sound| sound.round)
    }

    /// Discards the last round's model, unless a site has worked with it or there is none before.
    /// Returns whether it did.
    pub(super) fn discard(&mut self, reason: &DiscardReason) -> bool {
        if self.usable_round() >= self.progress.finished {
            return false;
        }
        self.progress.discarded = Some(reason.to_string());
        true
    }

    /// Lets the last model that is known to work be stored in the place of the one that was
    /// discarded.
    pub(super) fn restore(&mut self, plan: &Plan, out: &mut Vec<Effect>) {
        let from = match self.progress.sound {
            Some(UsableModel { round, parameters }) => ModelRef {
                run: self.id,
                round,
                parameters,
            },
            None => ModelRef {
                run: self.id,
                round: 0,
                parameters: plan.initial,
            },
        };
        out.push(Effect::Restore {
            run: self.id,
            round: self.progress.finished,
            from,
        });
        self.phase = Phase::Restoring(from);
    }

    /// That is done. Returns what to tell, unless this was not awaited.
    pub(in crate::coordinator) fn restored(&mut self, round: u32) -> Option<Notification> {
        let Phase::Restoring(from) = self.phase else {
            return None;
        };
        let reason = self
            .progress
            .discarded
            .take()
            .filter(|_| round == self.progress.finished)?;
        self.progress.model = Some(from.parameters);
        self.progress.sound = Some(UsableModel {
            round,
            parameters: from.parameters,
        });
        self.progress.validated = true;
        if self.progress.best.is_some_and(|best| best.round == round) {
            // It was the best for want of another; nobody had scored it.
            (
                self.progress.best,
                self.best_scores,
                self.progress.outcome.best_round,
            ) = (None, None, 0);
        }
        if let Some(buffer) = &mut self.progress.buffer {
            buffer.models.insert(round, from.parameters);
        }
        self.phase = Phase::Rest(None);
        Some(Notification::WentBack {
            run: self.id,
            round,
            to: from.round,
            reason,
        })
    }
}
