//! The shape of `experiment.json`: a contract like that of `report.json`.

use super::{DiceAt, Intervals, Matrix, Metrics, Test};
use serde::{Deserialize, Serialize};

/// The contract's version. Keys may be added within a version; none is renamed, removed or given
/// another meaning.
pub const EXPERIMENT_VERSION: u32 = 1;

/// Everything in `experiment.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Experiment {
    /// [`EXPERIMENT_VERSION`].
    pub version: u32,
    /// The coordinator's version.
    pub software: String,
    /// The experiment's name.
    pub name: String,
    /// Held-out patients, scored by every model.
    pub cases: usize,
    /// Every model, in the order of the arms; the first is what the others are compared with.
    pub models: Vec<Model>,
    /// Every other model against the first, metric by metric, on each patient's mean over the
    /// seeds, at [`super::Thresholds::youden`].
    pub tests: Vec<Test>,
    /// The same at [`super::Thresholds::dice`].
    pub tests_at_dice: Vec<Test>,
}

/// A model at the two points of equal rank.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelPoints {
    /// At [`super::Thresholds::dice`].
    pub dice: ModelAtPoint,
    /// At [`super::Thresholds::youden`].
    pub youden: ModelAtPoint,
}

/// A model at one operating point; the keys mean what they mean in [`Model`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelAtPoint {
    /// Each patient's mean over the seeds, averaged over patients.
    pub metrics: Metrics,
    /// The 95 % interval of each of these means, by bootstrap over patients.
    pub intervals: Intervals,
    /// Each seed's mean over patients, averaged over seeds.
    pub between_seeds: Metrics,
}

/// One way to get a model, with every seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// For people: the arm's name, and which training run of it.
    pub name: String,
    /// The arm.
    pub arm: String,
    /// `federation`, `alone:SITE`, or `consensus`.
    pub run: String,
    /// The two points of equal rank, in one shape.
    pub operating_points: ModelPoints,
    /// Each patient's mean over the seeds, averaged over patients, at
    /// [`super::Thresholds::youden`].
    pub metrics: Metrics,
    /// The 95 % interval of each of these means, by bootstrap over patients.
    pub intervals: Intervals,
    /// Dice at the other operating points, likewise.
    pub dice_at: DiceAt,
    /// Each seed's mean over patients, averaged over seeds: `sd` is between seeds and `n` counts
    /// them.
    pub between_seeds: Metrics,
    /// What missing sequences cost at [`super::Thresholds::youden`]: every `mean` is over seeds of
    /// means over patients, `sd` between seeds.
    pub matrix: Option<Matrix>,
    /// The same at [`super::Thresholds::dice`].
    pub matrix_at_dice: Option<Matrix>,
    /// Each seed's run.
    pub seeds: Vec<SeedRun>,
}

/// A model of one seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeedRun {
    /// The seed.
    pub seed: u64,
    /// The run's folder, below the experiment's, with its own full report.
    pub folder: String,
    /// Seconds that the whole run took, with every training run in it.
    pub seconds: f64,
    /// Bytes of parameters that this training run sent and received.
    pub bytes: u64,
    /// The round whose model is reported.
    pub best_round: u32,
    /// [`super::Thresholds::youden`].
    pub threshold: Option<f32>,
    /// Over the held-out patients.
    pub metrics: Metrics,
    /// [`super::Thresholds::dice`].
    pub threshold_dice: Option<f32>,
    /// Over the held-out patients, at this one.
    pub metrics_at_dice: Metrics,
}
