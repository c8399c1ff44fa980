//! The last model that a site could work with, kept for when none can work with a newer one: every
//! update was looked at before it was averaged, and still their average may be a network whose
//! numbers break.

use super::{DiscardReason, Effect, ModelRef, Phase, Plan, TrainingRun, UsableModel};
use crate::identity::Version;
use crate::notification::Notification;

impl TrainingRun {
    /// A site trained from this version, or scored it.
    pub(super) fn worked(&mut self, version: Version) {
        if let Some(parameters) = self
            .progress
            .model
            .filter(|_| version == self.progress.newest())
        {
            self.progress.sound = Some(UsableModel {
                version,
                parameters,
            });
        }
    }

    /// The last version that is known to work; the initial one is taken to.
    fn usable_version(&self) -> Version {
        match self.progress.sound {
            Some(sound) => sound.version,
            None => Version::INITIAL,
        }
    }

    /// Discards the last round's model, unless a site has worked with it or there is none before.
    /// Returns whether it did.
    pub(super) fn discard(&mut self, reason: &DiscardReason) -> bool {
        if self.usable_version() >= self.progress.newest() {
            return false;
        }
        self.progress.discarded = Some(reason.to_string());
        true
    }

    /// Lets the last model that is known to work be stored in the place of the one that was
    /// discarded.
    pub(super) fn restore(&mut self, plan: &Plan, out: &mut Vec<Effect>) {
        let from = match self.progress.sound {
            Some(sound) => ModelRef {
                run: self.id,
                version: sound.version,
                parameters: sound.parameters,
            },
            None => ModelRef {
                run: self.id,
                version: Version::INITIAL,
                parameters: plan.initial,
            },
        };
        out.push(Effect::Restore {
            run: self.id,
            version: self.progress.newest(),
            from,
        });
        self.phase = Phase::Restoring(from);
    }

    /// That is done. Returns what to tell, unless this was not awaited.
    pub(in crate::coordinator) fn restored(&mut self, version: Version) -> Option<Notification> {
        let Phase::Restoring(from) = self.phase else {
            return None;
        };
        let reason = self
            .progress
            .discarded
            .take()
            .filter(|_| version == self.progress.newest())?;
        self.progress.model = Some(from.parameters);
        self.progress.sound = Some(UsableModel {
            version,
            parameters: from.parameters,
        });
        self.progress.validated = true;
        if self
            .progress
            .best
            .is_some_and(|best| best.version == version)
        {
            // It was the best for want of another; nobody had scored it.
            (
                self.progress.best,
                self.best_scores,
                self.progress.outcome.best_round,
            ) = (None, None, 0);
        }
        if let Some(buffer) = &mut self.progress.buffer {
            buffer.models.insert(version, from.parameters);
        }
        self.phase = Phase::Rest(None);
        Some(Notification::WentBack {
            run: self.id,
            round: version.0,
            to: from.version.0,
            reason,
        })
    }
}
