//! Going back to an earlier model when no site can work with the newest one: every update was
//! checked before it was averaged, and still the average may be a network that gives no numbers.

use super::{DiscardReason, Effect, ModelRef, Moment, Phase, Plan, TrainingRun, UsableModel};
use crate::identity::Version;
use crate::notification::Notification;

impl TrainingRun {
    /// A site trained from this version, or scored it.
    pub(super) fn mark_usable(&mut self, version: Version) {
        if let Some(parameters) = self.progress.model
            && version == self.progress.newest()
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

    /// Asks to store the last model that is known to work in the place of the discarded one.
    pub(super) fn restore(&mut self, plan: &Plan, moment: &mut Moment<'_>) {
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
        moment.effects.push(Effect::Restore {
            run: self.id,
            version: self.progress.newest(),
            from,
        });
        self.phase = Phase::Restoring(from);
    }

    /// The earlier model is stored. Returns what to report, unless this was not awaited.
    pub(in crate::coordinator) fn restored(&mut self, version: Version) -> Option<Notification> {
        let Phase::Restoring(from) = self.phase else {
            return None;
        };
        let reason = self.progress.discarded.take()?;
        if version != self.progress.newest() {
            return None;
        }
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
            // It was the best only because there was no other; no site had scored it.
            self.progress.best = None;
            self.progress.outcome.best_round = 0;
            self.best_scores = None;
        }
        if let Some(buffer) = &mut self.progress.buffer {
            buffer.models.insert(version, from.parameters);
        }
        self.phase = Phase::Rest {
            too_few_since: None,
        };
        Some(Notification::WentBack {
            run: self.id,
            round: version.0,
            to: from.version.0,
            reason,
        })
    }
}
