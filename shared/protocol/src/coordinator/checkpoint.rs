//! The facts of a federation that survive a restart.

use super::buffer::Buffer;
use crate::identity::{SiteName, Version};
use crate::message::Trained;
use crate::outcome::{RoundRecord, RunKind, RunOutcome, SiteRecord};
use crate::parameters::ParametersId;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Everything except the models themselves that a coordinator needs to go on after the last
/// finished round.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The sites that took part so far.
    pub sites: Vec<SiteRecord>,
    /// The training runs; the federation's first.
    pub runs: Vec<RunProgress>,
    /// The sites that the operator shut out.
    #[serde(default)]
    pub dropped: Vec<SiteName>,
    /// Whether the operator holds the federation.
    #[serde(default)]
    pub paused: bool,
}

/// How far one training run is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunProgress {
    /// The record so far. `rounds` holds only the last finished round; those before it were given
    /// to [`Effect::Record`](super::Effect::Record), so that checkpoint and memory do not grow.
    pub outcome: RunOutcome,
    /// How many rounds are finished.
    pub finished: u32,
    /// Sums over the rounds before the last one.
    pub before: Totals,
    /// How fast each site was when it last gave an update.
    pub speeds: BTreeMap<SiteName, Speed>,
    /// The model of the last finished round; `None` before the first.
    pub model: Option<ParametersId>,
    /// Whether the last finished round's model was scored on the validation cases.
    pub validated: bool,
    /// The best model so far.
    pub best: Option<Best>,
    /// Whether the final scores are in.
    pub done: bool,
    /// The round that is being trained.
    #[serde(default)]
    pub open: Option<OpenRound>,
    /// What is between two versions, where no round waits for its sites.
    #[serde(default)]
    pub buffer: Option<Buffer>,
    /// The newest model that some site has worked with; `None` while that is the initial one.
    #[serde(default)]
    pub sound: Option<UsableModel>,
    /// Whether some site has scored a model.
    #[serde(default)]
    pub scored: bool,
    /// Why the last finished round's model is discarded, until an earlier one is stored in its
    /// place.
    #[serde(default)]
    pub discarded: Option<String>,
}

/// A model that some site has scored, or trained from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsableModel {
    #[serde(rename = "round")]
    pub version: Version,
    /// The model.
    pub parameters: ParametersId,
}

/// Sums over several rounds.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Seconds that they took.
    pub seconds: f64,
    /// Bytes of parameters moved.
    pub bytes: u64,
    /// The validation score of the newest scored model.
    pub validation: Option<f64>,
}

impl Totals {
    /// With one more round.
    #[must_use]
    pub fn and(self, record: &RoundRecord) -> Self {
        Self {
            seconds: self.seconds + record.seconds,
            bytes: self.bytes + record.bytes,
            validation: record.validation.or(self.validation),
        }
    }
}

/// What a site did in how long.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Speed {
    /// Optimiser steps.
    pub steps: u32,
    /// Seconds of training.
    pub seconds: f32,
}

/// A round that has begun: a restart goes on within it.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct OpenRound {
    /// The round.
    pub round: u32,
    /// The sites that were asked to train, by name.
    pub asked: BTreeSet<SiteName>,
    /// The most steps that a site was asked for, where its speed says so.
    #[serde(default)]
    pub budgets: BTreeMap<SiteName, u32>,
    /// Accepted updates, by site; each is stored.
    pub updates: BTreeMap<SiteName, Trained>,
    /// How far each of them went from the round's model.
    #[serde(default)]
    pub distances: BTreeMap<SiteName, f64>,
    /// Sites whose training ended badly, or whose update was refused; they are missing as well.
    #[serde(default)]
    pub failed: BTreeSet<SiteName>,
    /// Sites that gave nothing, with the reason.
    pub missing: Vec<(SiteName, String)>,
}

impl OpenRound {
    /// The sites that have not answered yet.
    pub(super) fn waiting(&self) -> BTreeSet<SiteName> {
        let mut waiting = self.asked.clone();
        for site in self.updates.keys() {
            waiting.remove(site);
        }
        for (site, _) in &self.missing {
            waiting.remove(site);
        }
        waiting
    }
}

/// The best model of a training run so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    #[serde(rename = "round")]
    pub version: Version,
    /// The model.
    pub parameters: ParametersId,
    /// Its validation score; `None` where there was no lesion to score.
    pub score: Option<f64>,
}

impl RunProgress {
    pub(super) fn new(name: RunKind, members: Vec<SiteName>) -> Self {
        let outcome = RunOutcome {
            name,
            members,
            rounds: Vec::new(),
            best_round: 0,
            threshold: None,
            threshold_pooled: None,
            threshold_dice: None,
            scores: Vec::new(),
        };
        Self {
            outcome,
            finished: 0,
            before: Totals::default(),
            speeds: BTreeMap::new(),
            model: None,
            validated: false,
            best: None,
            done: false,
            open: None,
            buffer: None,
            sound: None,
            scored: false,
            discarded: None,
        }
    }

    /// The newest version of the model: every finished round has made one.
    #[must_use]
    pub fn newest(&self) -> Version {
        Version(self.finished)
    }

    /// One more round is finished. Returns the record of the one before, which no longer changes.
    pub(super) fn finish(&mut self, record: RoundRecord) -> Option<RoundRecord> {
        for update in &record.updates {
            let speed = Speed {
                steps: update.steps,
                seconds: update.seconds,
            };
            self.speeds.insert(update.site.clone(), speed);
        }
        self.finished = record.round;
        let before = std::mem::replace(&mut self.outcome.rounds, vec![record]).pop();
        self.before = before.iter().fold(self.before, Totals::and);
        before
    }

    /// Sums over all finished rounds.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.outcome.rounds.iter().fold(self.before, Totals::and)
    }
}

impl Speed {
    /// How many steps that is in so many seconds, one at least; `None` where nothing was measured.
    /// From the facts alone, never from a clock, so that a restart finds the same.
    pub(super) fn budget(self, seconds: u32) -> Option<u32> {
        let is_measured = self.seconds > 0.0 && self.steps > 0;
        if !is_measured {
            return None;
        }
        // The conversion ends at the type's bounds.
        let steps = f64::from(seconds) * f64::from(self.steps) / f64::from(self.seconds);
        Some((steps as u32).max(1))
    }
}
