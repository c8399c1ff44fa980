//! The picture itself: plain data, readable by programs as `status.json`.

use protocol::case::Role;
use protocol::coordinator::Totals;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// A federation as it is now. All times are seconds since 1970, UTC.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The federation's name.
    pub federation: String,
    /// The coordinator's version.
    pub version: String,
    /// What the whole is at.
    pub phase: Phase,
    /// Whether no new task is handed out, until `coordinator resume`.
    pub paused: bool,
    /// Rounds that each run is to have.
    pub rounds: u32,
    /// When this coordinator started.
    pub began: f64,
    /// When this picture was taken.
    pub now: f64,
    /// The lineages: the federation's first, then each site's own where they are trained too.
    pub runs: Vec<RunStatus>,
    /// Every site that is expected or was here, by name.
    pub sites: BTreeMap<String, SiteStatus>,
    /// What went wrong of late, the newest last.
    pub troubles: VecDeque<Trouble>,
    /// The sequences that the model sees, in its order.
    pub sequences: Vec<String>,
}

/// What the whole federation is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Sites are awaited.
    Gathering,
    /// Rounds run, models are scored.
    Working,
    /// It was asked to stop and finishes what is at work.
    Stopping,
    /// All is done.
    Finished,
    /// No coordinator runs: this is what the run folder says.
    Away,
}

/// One lineage of models.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct RunStatus {
    /// `federation`, or `alone:SITE`.
    pub name: String,
    /// What it is at; nothing between two tasks, and at the end.
    pub task: Option<Task>,
    /// How many rounds are finished.
    pub finished: u32,
    /// What they came to together.
    pub totals: Totals,
    /// The finished rounds. The picture in memory holds the last alone; those before come from the
    /// run folder when somebody looks (`history`).
    pub rounds: Vec<RoundStatus>,
    /// The round with the best model so far.
    pub best_round: Option<u32>,
    /// That model's validation score.
    pub best_validation: Option<f64>,
    /// Whether the final scores are in.
    pub done: bool,
}

/// What a lineage is at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// `training` or `scoring`.
    pub work: SiteState,
    /// The round, or the round whose model is scored.
    pub round: u32,
    /// Since when.
    pub since: f64,
    /// Who was asked; empty where scoring asks whoever has cases.
    pub sites: Vec<String>,
}

/// One finished round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoundStatus {
    /// The round, from 1.
    pub round: u32,
    /// How long it took.
    pub seconds: f64,
    /// Bytes of parameters moved.
    pub bytes: u64,
    /// The mean training loss of each site that gave an update.
    pub losses: BTreeMap<String, f32>,
    /// Who gave none, and why.
    pub missing: BTreeMap<String, String>,
    /// Steps done and steps asked for, of sites that the deadline made conclude.
    #[serde(default)]
    pub partial: BTreeMap<String, (u32, u32)>,
    /// The pooled validation Dice; nothing before it is scored, and without a validation lesion.
    pub validation: Option<f64>,
    /// The same on each site's own cases.
    pub validation_by_site: BTreeMap<String, Option<f64>>,
    /// The pooled Dice on the held-out sites, in rounds that scored them.
    pub held_out: Option<f64>,
}

/// One site.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct SiteStatus {
    /// Its part; unknown until it was here.
    pub role: Option<Role>,
    /// What it is at.
    pub state: SiteState,
    /// Why it left, failed or was dropped.
    pub reason: Option<String>,
    /// Whether its connection stands.
    pub connected: bool,
    /// Whether it comes, or last came, through the TLS fallback, because its network lets no UDP
    /// through.
    #[serde(default)]
    pub tunnelled: bool,
    /// Cases prepared, steps trained or cases scored of the task at hand.
    pub done: u32,
    /// The same in all.
    pub total: u32,
    /// When it last got on.
    pub last_progress: Option<f64>,
    /// Slices trained a second, of late.
    pub slices_per_second: Option<f32>,
    /// Mean training loss, of late.
    pub loss: Option<f32>,
    /// The sequences that its cases have.
    pub sequences: Option<Vec<String>>,
    /// Cases to train on, to validate on, held out, and left out.
    pub cases: Option<CaseCounts>,
    /// The lesions of all these cases: with none its Dice says nothing.
    #[serde(default)]
    pub lesions: Option<u64>,
    /// Updates taken from it since this coordinator started.
    pub updates: u64,
    /// Tasks that failed and updates that were refused since then.
    pub failures: u64,
}

/// How many cases a site has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseCounts {
    /// To train on.
    pub training: u32,
    /// Kept back for validation.
    pub validation: u32,
    /// Of a site that never trains.
    pub held_out: u32,
    /// That could not be used.
    pub skipped: u32,
}

/// What a site is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SiteState {
    /// It was not here since this coordinator started.
    #[default]
    Expected,
    /// It is here and has not said more.
    Connected,
    /// It reads its cases.
    Preparing,
    /// It waits to be asked.
    Ready,
    /// It trains.
    Training,
    /// It scores a model.
    Scoring,
    /// Its last task failed, or it was refused.
    Failed,
    /// Its connection ended.
    Left,
    /// The operator shut it out.
    Dropped,
}

impl SiteState {
    /// All of them.
    pub(super) const ALL: [Self; 9] = [
        Self::Expected,
        Self::Connected,
        Self::Preparing,
        Self::Ready,
        Self::Training,
        Self::Scoring,
        Self::Failed,
        Self::Left,
        Self::Dropped,
    ];

    /// The word, as in `status.json`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Expected => "expected",
            Self::Connected => "connected",
            Self::Preparing => "preparing",
            Self::Ready => "ready",
            Self::Training => "training",
            Self::Scoring => "scoring",
            Self::Failed => "failed",
            Self::Left => "left",
            Self::Dropped => "dropped",
        }
    }
}

/// Something that went wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trouble {
    /// When.
    pub at: f64,
    /// Whose.
    pub site: String,
    /// What, for people.
    pub reason: String,
}
