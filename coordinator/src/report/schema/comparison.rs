//! The part of the contract that sets models side by side.

use super::{MeanSd, Metrics};
use serde::{Deserialize, Serialize};

/// All models on the same held-out cases.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The federation's model first.
    pub arms: Vec<Arm>,
    /// Every other model against the federation's, metric by metric.
    pub tests: Vec<Test>,
}

/// One model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Arm {
    /// `federation`, `alone:SITE`, or `consensus`.
    pub run: String,
    /// Held-out cases that it was scored on.
    pub cases: usize,
    /// At its own headline threshold.
    pub metrics: Metrics,
    /// The 95 % interval of each mean, by bootstrap over patients.
    pub intervals: Intervals,
}

/// 95 % intervals; null where no patient has a value.
pub type Intervals = std::collections::BTreeMap<String, Option<[f64; 2]>>;

/// One model against the federation's on the cases that both have a value for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Test {
    /// The other model.
    pub run: String,
    /// The metric, by its key in `metrics`.
    pub metric: String,
    /// The federation's value less the other's, patient by patient.
    pub difference: MeanSd,
    /// The 95 % interval of its mean, by bootstrap over patients.
    pub interval: Option<[f64; 2]>,
    /// P of Wilcoxon's signed-rank test, which knows that the patients are the same.
    pub signed_rank: Option<f64>,
    /// The same, corrected for all that the table shows (Holm).
    pub signed_rank_holm: Option<f64>,
    /// P of Wilcoxon's rank-sum test, which takes the patients as two groups: the publication's.
    pub rank_sum: Option<f64>,
    /// The same, corrected for all that the table shows (Holm).
    pub rank_sum_holm: Option<f64>,
}
