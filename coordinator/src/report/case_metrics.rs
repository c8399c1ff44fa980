//! One patient under one model: each metric's value.

use super::schema::{MeanSd, Metrics};
use metrics::confusion::Confusion;
use metrics::score::{AtThreshold, CaseScore, SubsetScore};

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

/// How many metrics there are.
const METRICS: usize = 13;

/// Their keys in [`Metrics`], in its order.
pub(super) const METRIC_NAMES: [&str; METRICS] = [
    "auc_brain",
    "auc_volume",
    "dice",
    "iou",
    "precision",
    "recall",
    "volume_error",
    "dice_detected",
    "lesion_recall",
    "lesion_precision",
    "lesion_f1",
    "fp_per_patient",
    "fp_per_patient_10mm3",
];

/// A patient's value of each metric, in the order of [`Metrics`]; all but the AUC are undefined
/// where the site did not count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Values([Option<f64>; METRICS]);

impl Values {
    pub(super) fn of(look: &CaseMetrics<'_>, threshold: Option<f32>) -> Self {
        let at = at(look.at, threshold);
        // True negatives play no part in any of these.
        let voxels = |metric: fn(&Confusion) -> Option<f64>| metric(&at?.confusion(0));
        let lesions = at.map(|at| at.lesions);
        Self([
            look.auc_brain,
            look.auc_volume,
            voxels(Confusion::dice),
            voxels(Confusion::iou),
            voxels(Confusion::precision),
            voxels(Confusion::recall),
            voxels(Confusion::volume_error),
            at.and_then(|at| at.dice_detected),
            lesions.and_then(|counts| counts.recall()),
            lesions.and_then(|counts| counts.precision()),
            lesions.and_then(|counts| counts.f1()),
            lesions.map(|counts| f64::from(counts.false_positive)),
            lesions.map(|counts| f64::from(counts.false_positive_10mm3)),
        ])
    }

    /// Those of the same patient under several models, averaged where they are defined.
    pub(super) fn mean(of: &[Self]) -> Self {
        Self(std::array::from_fn(|metric| {
            MeanSd::of(of.iter().map(|values| values.0[metric])).mean
        }))
    }

    /// The value of a metric by its key.
    pub(super) fn named(&self, name: &str) -> Option<f64> {
        METRIC_NAMES
            .iter()
            .position(|&metric| metric == name)
            .and_then(|index| self.0[index])
    }

    /// The Dice.
    pub(super) fn dice(&self) -> Option<f64> {
        self.named("dice")
    }

    /// These less others, where both are defined.
    pub(super) fn less(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|metric| {
            Some(self.0[metric]? - other.0[metric]?)
        }))
    }
}

impl From<&Metrics> for Values {
    /// The means.
    fn from(of: &Metrics) -> Self {
        let means = [
            of.auc_brain,
            of.auc_volume,
            of.dice,
            of.iou,
            of.precision,
            of.recall,
            of.volume_error,
            of.dice_detected,
            of.lesion_recall,
            of.lesion_precision,
            of.lesion_f1,
            of.fp_per_patient,
            of.fp_per_patient_10mm3,
        ];
        Self(means.map(|value| value.mean))
    }
}

impl Metrics {
    /// With the overlap with lesions from other cases: those of sites that have some.
    pub(super) fn with_overlap_of(self, other: &Self) -> Self {
        Self {
            dice: other.dice,
            iou: other.iou,
            precision: other.precision,
            recall: other.recall,
            volume_error: other.volume_error,
            dice_detected: other.dice_detected,
            lesion_recall: other.lesion_recall,
            lesion_precision: other.lesion_precision,
            lesion_f1: other.lesion_f1,
            ..self
        }
    }

    /// Each metric over the patients where it is defined.
    pub(super) fn over(patients: &[Values]) -> Self {
        let columns = std::array::from_fn(|metric| {
            MeanSd::of(patients.iter().map(|values| values.0[metric]))
        });
        let [
            auc_brain,
            auc_volume,
            dice,
            iou,
            precision,
            recall,
            volume_error,
            dice_detected,
            lesion_recall,
            lesion_precision,
            lesion_f1,
            fp_per_patient,
            fp_per_patient_10mm3,
        ]: [MeanSd; METRICS] = columns;
        Self {
            auc_brain,
            auc_volume,
            dice,
            iou,
            precision,
            recall,
            volume_error,
            dice_detected,
            lesion_recall,
            lesion_precision,
            lesion_f1,
            fp_per_patient,
            fp_per_patient_10mm3,
        }
    }

    /// Of these patients at a threshold.
    pub(super) fn at(looks: &[CaseMetrics<'_>], threshold: Option<f32>) -> Self {
        Self::over(
            &looks
                .iter()
                .map(|look| Values::of(look, threshold))
                .collect::<Vec<_>>(),
        )
    }
}
