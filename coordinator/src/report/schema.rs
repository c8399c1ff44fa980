//! The shape of `report.json`: a contract, described in `docs/users/REPORT.md`. A change that a
//! reader could trip over raises [`VERSION`].

mod comparison;
mod experiment;
mod matrix;

pub use comparison::{Arm, Comparison, Intervals, Test};
pub use experiment::{EXPERIMENT_VERSION, Experiment, Model, ModelAtPoint, ModelPoints, SeedRun};
pub use matrix::{Cell, DiceAt, Matrix, MatrixRow, SiteCell, Without, WorstCell};
pub use metrics::lesion::FrocPoint;
pub use metrics::reliability::{Reliability, ReliabilityBin};
use protocol::case::Role;
use protocol::outcome::RunKind;
use protocol::settings::{Compute, Federation};
use serde::{Deserialize, Serialize};

/// The contract's version. Keys may be added within a version; none is renamed, removed or given
/// another meaning.
pub const VERSION: u32 = 2;

/// Everything in `report.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`VERSION`].
    pub version: u32,
    /// The coordinator's version.
    pub software: String,
    /// The federation's name.
    pub name: String,
    /// Seconds from start to end.
    pub seconds: f64,
    /// The federation's own model; its keys are at the top level.
    #[serde(flatten)]
    pub federation: TrainingRun,
    /// The held-out site with the lowest mean Dice.
    pub worst_held_out: Option<Worst>,
    /// The same at the other point of equal rank, [`Thresholds::dice`].
    pub worst_held_out_at_dice: Option<Worst>,
    /// All models on the same held-out cases, at [`Thresholds::youden`]; null without any.
    pub comparison: Option<Comparison>,
    /// The same at [`Thresholds::dice`].
    pub comparison_at_dice: Option<Comparison>,
    /// Each training site's model trained without the others, when asked for: the comparison.
    pub alone: Vec<TrainingRun>,
    /// The consensus of those: the mean of their probabilities, without any federation; null where
    /// no site trained alone.
    pub consensus: Option<TrainingRun>,
    /// The settings everything ran with.
    pub settings: Federation,
}

/// One training run of models and how the best of them does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainingRun {
    /// `federation`, `alone:SITE`, or `consensus`.
    pub run: RunKind,
    /// The sites that trained it.
    pub members: Vec<String>,
    /// The round whose model is reported; 0 for the consensus.
    pub best_round: u32,
    /// Bytes of parameters sent and received, all rounds.
    pub bytes: u64,
    /// The operating points: `youden`, at which `metrics` are, and `dice` have equal rank.
    pub thresholds: Thresholds,
    /// Lesions found and false findings on the validation cases, from the highest counted threshold
    /// down.
    pub validation_curve: Vec<FrocPoint>,
    /// Each site that took part, by name.
    pub sites: Vec<Site>,
    /// All cases of a kind together, each patient counting once.
    pub pooled: Pooled,
    /// What missing sequences cost, at [`Thresholds::youden`]; null with `evaluation.subsets` off.
    pub matrix: Option<Matrix>,
    /// The same at [`Thresholds::dice`].
    pub matrix_at_dice: Option<Matrix>,
    /// What each round did.
    pub rounds: Vec<Round>,
}

/// Operating points, as probabilities: a voxel is called lesion where its probability is at least
/// this.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Thresholds {
    /// The mean of the validation patients' own Youden thresholds: the publication's.
    pub youden: Option<f32>,
    /// The Youden threshold of all validation voxels together.
    pub youden_pooled: Option<f32>,
    /// Where the pooled validation Dice is best: for outlines and volumes.
    pub dice: Option<f32>,
}

/// One site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Site {
    /// Its name.
    pub name: String,
    /// Its part.
    pub role: Role,
    /// The sequences that at least one of its cases has.
    pub sequences: Vec<String>,
    /// Cases that were scored: the validation cases of a training site, all cases of a held-out
    /// one.
    pub cases: usize,
    /// What the site's cases were used for.
    pub inventory: Inventory,
    /// The scores of these cases.
    #[serde(flatten)]
    pub scores: Scores,
}

/// What a site's cases were used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// Cases trained on.
    pub training: u32,
    /// Cases kept back.
    pub validation: u32,
    /// Cases of a site that never trains.
    pub held_out: u32,
    /// Cases that could not be used.
    pub skipped: u32,
    /// Lesions of the cases trained on.
    pub training_lesions: u32,
    /// Lesions of the cases kept back.
    pub validation_lesions: u32,
    /// Lesions of the cases of a site that never trains.
    pub held_out_lesions: u32,
}

/// Cases of several sites together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pooled {
    /// All cases of the sites that took no part.
    pub held_out: Group,
    /// All validation cases of the training sites.
    pub validation: Group,
}

/// Cases and their scores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// How many cases.
    pub cases: usize,
    /// Their scores.
    #[serde(flatten)]
    pub scores: Scores,
}

/// Scores of one group of cases.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// At [`Thresholds::youden`].
    pub metrics: Metrics,
    /// The same at the other operating points.
    pub alternatives: Alternatives,
    /// Lesions, summed over the cases, at [`Thresholds::youden`].
    pub lesions: Option<Lesions>,
    /// The two points of equal rank, in one shape.
    pub operating_points: OperatingScores,
    /// Whether the probabilities in the brain are what they say; null without a voxel.
    pub calibration: Option<Reliability>,
    /// AUC of all voxels of all cases taken as one volume, in the brain.
    pub voxel_auc_brain: Option<f64>,
    /// The same over the whole volume.
    pub voxel_auc_volume: Option<f64>,
}

/// Scores at the two points of equal rank.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OperatingScores {
    /// At [`Thresholds::dice`].
    pub dice: AtPoint,
    /// At [`Thresholds::youden`].
    pub youden: AtPoint,
}

/// Scores at one threshold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AtPoint {
    /// The threshold; null where none was found.
    pub threshold: Option<f32>,
    /// Every metric.
    pub metrics: Metrics,
    /// Lesions, summed over the cases.
    pub lesions: Option<Lesions>,
}

/// Scores at operating points other than [`Thresholds::youden`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alternatives {
    /// At [`Thresholds::youden_pooled`].
    pub youden_pooled: Metrics,
    /// At [`Thresholds::dice`].
    pub dice: Metrics,
}

/// Every metric is computed per patient and averaged over the patients where it is defined. The
/// keys are those of [`metrics::case_metrics::METRICS`].
pub type Metrics = metrics::case_metrics::PerMetric<MeanSd>;

/// A mean over patients.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct MeanSd {
    /// The mean; null where no patient has a value.
    pub mean: Option<f64>,
    /// The sample standard deviation; null below two patients.
    pub sd: Option<f64>,
    /// Patients with a value.
    pub n: usize,
}

impl MeanSd {
    /// Mean and sample standard deviation of the values that are defined.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = Option<f64>>) -> Self {
        let values: Vec<f64> = values.into_iter().flatten().collect();
        let n = values.len();
        let mean = (n > 0).then(|| values.iter().sum::<f64>() / n as f64);
        let spread = |mean: f64| {
            (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1) as f64).sqrt()
        };
        Self {
            mean,
            sd: mean.filter(|_| n > 1).map(spread),
            n,
        }
    }
}

/// Lesions, 26-connected, summed over cases.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Lesions {
    /// In the references.
    pub reference: u64,
    /// Of these, touched by a prediction.
    pub detected: u64,
    /// Predicted.
    pub predicted: u64,
    /// Of these, touching no reference lesion.
    pub false_positive: u64,
    /// Of these, at least 10 mm³.
    pub false_positive_10mm3: u64,
    /// Mean Dice over all detected lesions of all cases.
    pub dice_detected: Option<f64>,
    /// Reference lesions by diameter.
    pub by_size: [SizeBin; 4],
}

/// Reference lesions of one range of diameters: that of a sphere of the lesion's volume.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct SizeBin {
    /// The range's lower end, mm.
    pub from_mm: f64,
    /// Its upper end, mm; null where there is none.
    pub to_mm: Option<f64>,
    /// Lesions in the references.
    pub reference: u64,
    /// Of these, touched by a prediction.
    pub detected: u64,
}

/// One round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// From 1.
    pub round: u32,
    /// Pooled validation Dice at its best threshold.
    pub validation_dice: Option<f64>,
    /// The same for each site, on its own cases and at its own best threshold.
    pub validation_sites: Vec<SiteDice>,
    /// Seconds.
    pub seconds: f64,
    /// Bytes of parameters sent and received.
    pub bytes: u64,
    /// Sites whose update was averaged.
    pub updates: Vec<Update>,
    /// Sites that were asked and gave nothing.
    pub missing: Vec<Missing>,
}

/// A site's validation Dice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SiteDice {
    /// The site.
    pub site: String,
    /// Null without a lesion to find.
    pub dice: Option<f64>,
}

/// One site's part in a round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Update {
    /// The site.
    pub site: String,
    /// Slices seen: its weight in the average.
    pub slices: u64,
    /// Mean training loss over the round.
    pub mean_loss: f32,
    /// Mean training loss over the last tenth of the steps.
    pub last_loss: f32,
    /// Seconds of training.
    pub seconds: f32,
    /// Optimiser steps done.
    #[serde(default)]
    pub steps: u32,
    /// Optimiser steps that the site was to do: more than were done where the deadline struck.
    #[serde(default)]
    pub asked_steps: u32,
    /// How many versions older than the newest the model was that it started from.
    #[serde(default)]
    pub staleness: u32,
    /// What the network computed in at the site: `f32`, or `bf16` for mixed precision.
    #[serde(default)]
    pub compute: Compute,
}

/// A site that gave nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Missing {
    /// The site.
    pub site: String,
    /// Why.
    pub reason: String,
}

/// The held-out site that the model serves worst.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Worst {
    /// The site.
    pub site: String,
    /// Its mean per-patient Dice.
    pub dice: f64,
}
