//! The metrics of a patient: this list is the only place that names them all.
//!
//! Reports, tables, confidence intervals, tests between models, experiments and `site-agent score`
//! go through [`METRICS`]. Another metric is one more entry below; `docs/developers` has an example.

use crate::confusion::Confusion;
use crate::score::{AtThreshold, LesionCounts};
use serde::{Deserialize, Serialize};

/// What a patient's metrics are computed from.
#[derive(Clone, Copy, Debug)]
pub struct CaseCounts<'a> {
    /// Area under the ROC curve over the voxels of the brain.
    pub auc_brain: Option<f64>,
    /// The same over the whole volume.
    pub auc_volume: Option<f64>,
    /// The counts at a threshold; `None` where there are none.
    pub at: Option<&'a AtThreshold>,
}

impl CaseCounts<'_> {
    /// A metric of the voxels. True negatives play no part in any of them.
    fn voxels(&self, metric: fn(&Confusion) -> Option<f64>) -> Option<f64> {
        metric(&self.at?.confusion(0))
    }

    fn lesions(&self) -> Option<LesionCounts> {
        self.at.map(|at| at.lesions)
    }
}

/// A metric of one patient.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its key in `report.json`.
    pub key: &'static str,
    /// Its name in the output of `site-agent score`.
    pub score_key: &'static str,
    /// Its name in tables.
    pub heading: &'static str,
    /// Decimals that tables show.
    pub decimals: usize,
    /// Whether its values are whole numbers.
    pub whole: bool,
    /// Whether it is computed from probabilities. The others are computed at a threshold.
    pub ranks: bool,
    /// Whether it says something only of patients with lesions.
    pub needs_lesions: bool,
    /// Whether models are compared by it with statistical tests. Each test makes the correction for
    /// many tests stricter, so that only metrics of which the others follow are tested.
    pub tested: bool,
    /// Its value; `None` where it is undefined.
    pub value: fn(&CaseCounts<'_>) -> Option<f64>,
}

/// What most metrics are: a share, of voxels or lesions, at a threshold.
const SHARE: Metric = Metric {
    key: "",
    score_key: "",
    heading: "",
    decimals: 3,
    whole: false,
    ranks: false,
    needs_lesions: true,
    tested: false,
    value: |_| None,
};

/// An area under a ROC curve.
const AREA: Metric = Metric {
    ranks: true,
    needs_lesions: false,
    ..SHARE
};

/// A number of findings.
const FINDINGS: Metric = Metric {
    decimals: 1,
    whole: true,
    needs_lesions: false,
    tested: true,
    ..SHARE
};

/// Makes [`METRICS`] and [`PerMetric`] from one list, so that neither can lack an entry.
macro_rules! case_metrics {
    ($($(#[$doc:meta])* $key:ident: $metric:expr,)*) => {
        /// All metrics, in the order in which they are shown.
        pub const METRICS: &[Metric] = &[$(Metric { key: stringify!($key), ..$metric }),*];

        /// A value for each metric.
        #[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
        pub struct PerMetric<T> {
            $($(#[$doc])* pub $key: T,)*
        }

        impl<T> PerMetric<T> {
            /// The value that `value` gives for each metric.
            pub fn from_fn(mut value: impl FnMut(&'static Metric) -> T) -> Self {
                Self {
                    $($key: value(const { &Metric { key: stringify!($key), ..$metric } }),)*
                }
            }

            /// The value of a metric by its key; `None` for a key that no metric has.
            pub fn by_key(&self, key: &str) -> Option<&T> {
                match key {
                    $(stringify!($key) => Some(&self.$key),)*
                    _ => None,
                }
            }
        }
    };
}

case_metrics! {
    /// Area under the ROC curve over the voxels of the brain.
    auc_brain: Metric {
        heading: "AUC, brain",
        score_key: "auc_in_brain",
        tested: true,
        value: |case| case.auc_brain,
        ..AREA
    },
    /// Area under the ROC curve over all voxels of the volume.
    auc_volume: Metric {
        heading: "AUC, volume",
        score_key: "auc_whole_volume",
        value: |case| case.auc_volume,
        ..AREA
    },
    /// Dice.
    dice: Metric {
        heading: "Dice",
        score_key: "dice",
        tested: true,
        value: |case| case.voxels(Confusion::dice),
        ..SHARE
    },
    /// Intersection over union.
    iou: Metric {
        heading: "IoU",
        score_key: "iou",
        value: |case| case.voxels(Confusion::iou),
        ..SHARE
    },
    /// Precision over voxels.
    precision: Metric {
        heading: "Precision",
        score_key: "precision",
        tested: true,
        value: |case| case.voxels(Confusion::precision),
        ..SHARE
    },
    /// Recall over voxels.
    recall: Metric {
        heading: "Recall",
        score_key: "recall",
        tested: true,
        value: |case| case.voxels(Confusion::recall),
        ..SHARE
    },
    /// Marked volume less true volume, as a share of the true one.
    volume_error: Metric {
        heading: "Volume error",
        score_key: "volume_error",
        decimals: 2,
        value: |case| case.voxels(Confusion::volume_error),
        ..SHARE
    },
    /// Dice of each detected lesion, averaged over the patient's.
    dice_detected: Metric {
        heading: "Dice over detected lesions",
        score_key: "mean_dice_detected_lesions",
        value: |case| case.at?.dice_detected,
        ..SHARE
    },
    /// Share of lesions that are detected.
    lesion_recall: Metric {
        heading: "Lesion recall",
        score_key: "lesion_recall",
        tested: true,
        value: |case| case.lesions()?.recall(),
        ..SHARE
    },
    /// Share of predicted lesions that touch a true one.
    lesion_precision: Metric {
        heading: "Lesion precision",
        score_key: "lesion_precision",
        value: |case| case.lesions()?.precision(),
        ..SHARE
    },
    /// F1 over lesions.
    lesion_f1: Metric {
        heading: "Lesion F1",
        score_key: "lesion_f1",
        value: |case| case.lesions()?.f1(),
        ..SHARE
    },
    /// Predicted lesions that touch none, per patient.
    fp_per_patient: Metric {
        heading: "False findings per patient",
        score_key: "fp_components_no_limit",
        value: |case| Some(f64::from(case.lesions()?.false_positive)),
        ..FINDINGS
    },
    /// The same, of at least 10 mm³.
    fp_per_patient_10mm3: Metric {
        heading: "of ≥ 10 mm³",
        score_key: "fp_components_ge10mm3",
        value: |case| Some(f64::from(case.lesions()?.false_positive_10mm3)),
        ..FINDINGS
    },
}

impl PerMetric<Option<f64>> {
    /// Every metric of a patient.
    #[must_use]
    pub fn of(case: &CaseCounts<'_>) -> Self {
        Self::from_fn(|metric| (metric.value)(case))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_metric_has_a_key_and_names_of_its_own() {
        for name in [
            |metric: &Metric| metric.key,
            |metric: &Metric| metric.score_key,
            |metric: &Metric| metric.heading,
        ] {
            let names: BTreeSet<&str> = METRICS.iter().map(name).collect();
            assert_eq!(names.len(), METRICS.len());
            assert!(!names.contains(""));
        }
    }

    #[test]
    fn values_are_found_by_their_metrics_keys() {
        let keys = PerMetric::from_fn(|metric| metric.key);
        for metric in METRICS {
            assert_eq!(keys.by_key(metric.key), Some(&metric.key));
        }
        assert_eq!(keys.by_key("auc"), None);
        assert_eq!((keys.dice, keys.fp_per_patient), ("dice", "fp_per_patient"));
    }

    #[test]
    fn without_counts_only_areas_are_defined() {
        let case = CaseCounts {
            auc_brain: Some(0.9),
            auc_volume: Some(0.99),
            at: None,
        };
        let values = PerMetric::of(&case);
        for metric in METRICS {
            let value = values.by_key(metric.key).unwrap();
            assert_eq!(value.is_some(), metric.ranks, "{}", metric.key);
        }
    }
}
