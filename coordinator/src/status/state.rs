//! The status itself: plain data, which programs read as `status.json`.

use protocol::case::Role;
use protocol::coordinator::Totals;
use protocol::outcome::RunKind;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// A federation as it is now. All times are seconds since 1970, UTC.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub federation: String,
    /// The coordinator's version.
    pub version: String,
    pub phase: Phase,
    /// No new task is handed out, until `coordinator resume`.
    pub paused: bool,
    /// Rounds planned for each run.
    pub rounds: u32,
    /// When this coordinator started.
    pub began: f64,
    /// When this status was taken.
    pub now: f64,
    /// The federation's run first, then each site's own where sites are also trained alone.
    pub runs: Vec<RunStatus>,
    /// Every site that is expected or has connected, by name.
    pub sites: BTreeMap<String, SiteStatus>,
    /// The latest troubles, the newest last.
    pub troubles: VecDeque<Trouble>,
    /// The sequences that the model sees, in channel order.
    pub sequences: Vec<String>,
}

/// The phase of the federation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Waiting for sites.
    Gathering,
    /// Rounds run and models are scored.
    Working,
    /// It was asked to stop, and finishes its current tasks.
    Stopping,
    Finished,
    /// No coordinator runs: the status comes from the run folder.
    Away,
}

/// One run of training: a sequence of models.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunStatus {
    /// Whose models it makes.
    pub name: RunKind,
    /// `None` between two tasks, and at the end.
    pub task: Option<Task>,
    /// Finished rounds.
    pub finished: u32,
    /// Sums over the finished rounds.
    pub totals: Totals,
    /// The finished rounds. In memory only the last one is kept; those before it are read from the
    /// run folder when they are shown (`history`).
    pub rounds: Vec<RoundStatus>,
    /// The round with the best model so far.
    pub best_round: Option<u32>,
    /// That model's validation score.
    pub best_validation: Option<f64>,
    /// Whether the final scores are in.
    pub done: bool,
}

impl RunStatus {
    /// A run that has not begun.
    pub(super) fn new(name: RunKind) -> Self {
        Self {
            name,
            task: None,
            finished: 0,
            totals: Totals::default(),
            rounds: Vec::new(),
            best_round: None,
            best_validation: None,
            done: false,
        }
    }
}

/// What a run is doing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// `training` or `scoring`.
    pub work: SiteState,
    /// The round of training, or the round whose model is scored.
    pub round: u32,
    pub since: f64,
    /// The sites that train; empty while scoring, which all sites with such cases do.
    pub sites: Vec<String>,
}

/// One finished round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoundStatus {
    /// The round, from 1.
    pub round: u32,
    pub seconds: f64,
    /// Bytes of parameters transferred.
    pub bytes: u64,
    /// The mean training loss of each site that gave an update.
    pub losses: BTreeMap<String, f32>,
    /// The sites without an update, and why.
    pub missing: BTreeMap<String, String>,
    /// Steps done and steps asked for, of sites that sent what they had at the deadline.
    #[serde(default)]
    pub partial: BTreeMap<String, (u32, u32)>,
    /// The pooled validation Dice; `None` until it is scored, and without a validation lesion.
    pub validation: Option<f64>,
    /// The same for each site's own cases.
    pub validation_by_site: BTreeMap<String, Option<f64>>,
    /// The pooled Dice on the held-out sites, in rounds that scored them.
    pub held_out: Option<f64>,
}

/// One site.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct SiteStatus {
    /// Unknown until it has connected.
    pub role: Option<Role>,
    pub state: SiteState,
    /// Why it left, failed or was dropped.
    pub reason: Option<String>,
    pub connected: bool,
    /// Its present or last connection goes through the TLS fallback, because its network blocks
    /// UDP.
    #[serde(default)]
    pub tunnelled: bool,
    /// The group in which its present or last connection exchanged its keys, such as
    /// `X25519MLKEM768`.
    #[serde(default)]
    pub key_exchange: Option<String>,
    /// Cases prepared, steps trained or cases scored in the current task.
    pub done: u32,
    /// How many of them the task has.
    pub total: u32,
    /// When it last reported progress.
    pub last_progress: Option<f64>,
    /// Slices trained per second, lately.
    pub slices_per_second: Option<f32>,
    /// Mean training loss, lately.
    pub loss: Option<f32>,
    /// The sequences that its cases have.
    pub sequences: Option<Vec<String>>,
    pub cases: Option<CaseCounts>,
    /// Lesions in all these cases. Without any, its Dice is meaningless.
    #[serde(default)]
    pub lesions: Option<u64>,
    /// Updates accepted from it since this coordinator started.
    pub updates: u64,
    /// Failed tasks and refused updates since then.
    pub failures: u64,
}

/// How many cases a site has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseCounts {
    pub training: u32,
    pub validation: u32,
    /// Of a site that does not train.
    pub held_out: u32,
    pub skipped: u32,
}

/// What a site is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SiteState {
    /// It has not connected since this coordinator started.
    #[default]
    Expected,
    /// It has connected and not reported anything else.
    Connected,
    Preparing,
    /// It waits for a task.
    Ready,
    Training,
    Scoring,
    /// Its last task failed, or it was refused.
    Failed,
    Left,
    Dropped,
}

impl SiteState {
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
    pub at: f64,
    pub site: String,
    /// For people.
    pub reason: String,
}
