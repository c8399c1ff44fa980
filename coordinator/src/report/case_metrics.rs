//! Patients' metrics under one model, and their means.

use super::schema::{MeanSd, Metrics};
use metrics::case_metrics::{CaseCounts, PerMetric};
use metrics::score::{AtThreshold, CaseScore, SubsetScore};

/// A patient's value of each metric; all but the AUC are undefined where the site did not count.
pub(super) type Values = PerMetric<Option<f64>>;

/// What a patient's numbers come from, with all of his sequences or with a part.
#[derive(Clone, Copy, Debug)]
pub(super) struct CaseMetrics<'a> {
    auc_brain: Option<f64>,
    auc_volume: Option<f64>,
    at: &'a [AtThreshold],
}

impl<'a> From<&'a CaseScore> for CaseMetrics<'a> {
    fn from(case: &'a CaseScore) -> Self {
        Self {
            auc_brain: case.brain.auc(),
            auc_volume: case.whole().auc(),
            at: &case.at,
        }
    }
}

impl<'a> From<&'a SubsetScore> for CaseMetrics<'a> {
    fn from(part: &'a SubsetScore) -> Self {
        Self {
            auc_brain: part.auc_brain,
            auc_volume: part.auc_volume,
            at: &part.at,
        }
    }
}

impl CaseMetrics<'_> {
    /// Every metric at a threshold.
    pub(super) fn values(&self, threshold: Option<f32>) -> Values {
        Values::of(&CaseCounts {
            auc_brain: self.auc_brain,
            auc_volume: self.auc_volume,
            at: at(self.at, threshold),
        })
    }
}

/// Whether any of these cases holds a lesion. A site without says nothing by its Dice, which is 0
/// wherever a voxel is called.
pub(super) fn hold_lesions(cases: &[CaseScore]) -> bool {
    cases
        .iter()
        .any(|case| case.brain.totals().0 + case.outside.totals().0 > 0)
}

/// The counts at an operating point, if the site was asked for it.
pub(super) fn at(counts: &[AtThreshold], threshold: Option<f32>) -> Option<&AtThreshold> {
    let threshold = threshold?;
    counts
        .iter()
        .find(|at| (at.threshold - threshold).abs() <= threshold * 1e-6)
}

/// A patient's value of a metric.
pub(super) fn value(values: &Values, key: &str) -> Option<f64> {
    values.by_key(key).copied().flatten()
}

/// Each metric over the patients where it is defined.
pub(super) fn means(patients: &[Values]) -> Metrics {
    Metrics::from_fn(|metric| MeanSd::of(patients.iter().map(|values| value(values, metric.key))))
}

/// The means of these patients at a threshold.
pub(super) fn means_at(cases: &[CaseMetrics<'_>], threshold: Option<f32>) -> Metrics {
    let mut patients = Vec::with_capacity(cases.len());
    for case in cases {
        patients.push(case.values(threshold));
    }
    means(&patients)
}

/// The same patient under several models: each metric's mean where it is defined.
pub(super) fn averaged(models: &[Values]) -> Values {
    only_means(&means(models))
}

/// Means without their deviations.
pub(super) fn only_means(metrics: &Metrics) -> Values {
    Values::from_fn(|metric| metrics.by_key(metric.key)?.mean)
}

/// Values less others, where both are defined.
pub(super) fn difference(values: &Values, others: &Values) -> Values {
    Values::from_fn(|metric| Some(value(values, metric.key)? - value(others, metric.key)?))
}

/// The metrics of all cases, but those that need lesions from the cases that have some.
pub(super) fn with_overlap_of(all: &Metrics, with_lesions: &Metrics) -> Metrics {
    Metrics::from_fn(|metric| {
        let from = if metric.needs_lesions {
            with_lesions
        } else {
            all
        };
        from.by_key(metric.key).copied().unwrap_or_default()
    })
}
