//! What happens while a federation runs, for those who show it: a progress view, a log, a status
//! page.

use crate::case::{Cases, Role};
use crate::identity::SiteName;
use crate::message::{Inventory, Progress, RunId, Trained};
use crate::outcome::RunKind;

/// One thing that happened. The driver sends these in order; nothing depends on a listener.
#[derive(Clone, Debug, PartialEq)]
pub enum Notification {
    /// A site's connection was accepted.
    Joined {
        /// The site.
        site: SiteName,
        /// Its part.
        role: Role,
    },
    /// A site is preparing its data.
    Preparing {
        /// The site.
        site: SiteName,
        /// Cases prepared.
        done: u32,
        /// Cases in all.
        total: u32,
    },
    /// A site's data is ready.
    Ready {
        /// The site.
        site: SiteName,
        /// What it has.
        inventory: Inventory,
    },
    /// A site's connection ended.
    Left {
        /// The site.
        site: SiteName,
        /// Why, as far as known.
        reason: String,
    },
    /// A round began.
    RoundStarted {
        /// The training run.
        run: RunId,
        /// Whose models it makes.
        name: RunKind,
        /// The round, from 1.
        round: u32,
        /// Rounds in all.
        rounds: u32,
        /// Who takes part.
        sites: Vec<SiteName>,
    },
    /// A site is getting on.
    Progress {
        /// The site.
        site: SiteName,
        /// How far.
        progress: Progress,
    },
    /// A site's time is over: it was told to send what it has.
    Concluding {
        /// The site.
        site: SiteName,
    },
    /// A site's update was checked and stored.
    Accepted {
        /// The site.
        site: SiteName,
        /// Its summary.
        trained: Trained,
    },
    /// A site's task failed, or its update was refused.
    Failed {
        /// The site.
        site: SiteName,
        /// Why.
        reason: String,
    },
    /// A round's aggregate was stored.
    RoundFinished {
        /// The training run.
        run: RunId,
        /// The round.
        round: u32,
        /// Updates averaged.
        updates: usize,
        /// Seconds since the round began.
        seconds: f64,
    },
    /// Scoring of a model began.
    Evaluating {
        /// The training run.
        run: RunId,
        /// The round whose model is scored.
        round: u32,
        /// On which cases.
        cases: Cases,
    },
    /// The validation score of a round's model: the pooled Dice at its best threshold.
    Validated {
        /// The training run.
        run: RunId,
        /// The round whose model was scored.
        round: u32,
        /// The score; `None` without a validation lesion.
        score: Option<f64>,
        /// Whether it is the best so far.
        best: bool,
    },
    /// No site could work with a round's model: an earlier one goes on in its place.
    WentBack {
        /// The training run.
        run: RunId,
        /// The round whose model was discarded.
        round: u32,
        /// The round whose model goes on; 0 for the initial one.
        to: u32,
        /// Why.
        reason: String,
    },
    /// A site was shut out of this run by the operator.
    Dropped {
        /// The site.
        site: SiteName,
    },
    /// No new task is handed out until further notice; what runs goes on.
    Paused,
    /// Tasks are handed out again.
    Resumed,
    /// The coordinator was asked to stop: what is at work in it is finished, nothing new begins.
    Stopping,
    /// Everything is done.
    Finished,
}
