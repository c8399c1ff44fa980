//! Pooled ROC curves from the sites' counts.

use super::summary::{merged, whole_volume};
use metrics::roc::{Band, Roc, mean_curve};
use metrics::score::{CaseScore, ScoreHistogram};
use std::collections::BTreeMap;

/// A ROC curve from (0, 0) to (1, 1) as `(false positive rate, true positive rate)`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Curve {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
    /// The operating points.
    pub(super) marks: Vec<(f64, f64)>,
}

/// The mean of patients' own curves.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mean {
    pub(super) name: String,
    pub(super) bands: Vec<Band>,
}

/// The patients' mean curve in the brain; `None` where it is defined for no patient.
pub(super) fn mean_in_brain(name: &str, cases: &[&CaseScore]) -> Option<Mean> {
    mean(name, cases.iter().map(|case| case.brain.roc()).collect())
}

/// The same over the whole volume.
pub(super) fn mean_in_volume(name: &str, cases: &[&CaseScore]) -> Option<Mean> {
    mean(name, cases.iter().map(|case| case.whole().roc()).collect())
}

/// The patients' mean curve in the brain under models that differ in their seed: each patient's
/// curves are averaged first. Patients are named by site and place.
pub(super) fn mean_over_seeds<'c>(
    name: &str,
    cases: impl Iterator<Item = ((&'c str, u32), &'c CaseScore)>,
) -> Option<Mean> {
    let grid = grid();
    let mut patients: BTreeMap<(&str, u32), Vec<Vec<f64>>> = BTreeMap::new();
    for (patient, case) in cases {
        patients
            .entry(patient)
            .or_default()
            .extend(case.brain.roc().sampled(&grid));
    }
    let average = |curves: &Vec<Vec<f64>>| {
        let at = |place: usize| {
            curves.iter().map(|curve| curve[place]).sum::<f64>() / curves.len() as f64
        };
        (!curves.is_empty()).then(|| (0..grid.len()).map(at).collect())
    };
    banded(
        name.to_owned(),
        &patients.values().filter_map(average).collect::<Vec<_>>(),
    )
}

/// Curves rise fastest near zero, so the grid is densest there.
fn grid() -> Vec<f64> {
    (0..=200)
        .map(|step| (f64::from(step) / 200.0).powi(3))
        .collect()
}

fn mean(name: &str, curves: Vec<Roc>) -> Option<Mean> {
    let grid = grid();
    let sampled: Vec<Vec<f64>> = curves
        .iter()
        .filter_map(|curve| curve.sampled(&grid))
        .collect();
    banded(format!("{name} ({} patients)", sampled.len()), &sampled)
}

fn banded(name: String, curves: &[Vec<f64>]) -> Option<Mean> {
    let bands = mean_curve(curves, &grid());
    (!bands.is_empty()).then_some(Mean { name, bands })
}

/// The curves in the brain and over the whole volume, where they are defined.
pub(super) fn of(cases: &[&CaseScore], thresholds: &[f32]) -> Vec<Curve> {
    let brain = merged(cases.iter().map(|case| &case.brain));
    [
        ("in the brain", brain),
        ("whole volume", whole_volume(cases)),
    ]
    .into_iter()
    .filter_map(|(name, histogram)| curve(name, &histogram, thresholds))
    .collect()
}

fn curve(name: &str, histogram: &ScoreHistogram, thresholds: &[f32]) -> Option<Curve> {
    let auc = histogram.auc()?;
    let (lesions, others) = histogram.totals();
    let rate =
        |hits: u64, alarms: u64| (alarms as f64 / others as f64, hits as f64 / lesions as f64);
    let reached = histogram
        .roc()
        .points()
        .into_iter()
        .map(|point| rate(point.tp, point.fp));
    let points = std::iter::once((0.0, 0.0)).chain(reached).collect();
    let counts = thresholds
        .iter()
        .map(|&threshold| histogram.confusion(threshold));
    let marks = counts.map(|counts| rate(counts.tp, counts.fp)).collect();
    Some(Curve {
        name: format!("{name} (AUC {auc:.3})"),
        points,
        marks,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_splits_at_the_threshold() {
        // Logit 0 is the middle bin's lower edge: half of the lesion and a quarter of the rest lie
        // at or above it.
        let histogram = ScoreHistogram {
            bins: vec![(1000, 1, 3), (1024, 1, 1)],
        };
        let curve = curve("brain", &histogram, &[0.5]).unwrap();
        assert_eq!(curve.points, [(0.0, 0.0), (0.25, 0.5), (1.0, 1.0)]);
        assert_eq!(curve.marks, [(0.25, 0.5)]);
    }

    #[test]
    fn without_a_lesion_there_is_no_curve() {
        assert_eq!(
            curve(
                "brain",
                &ScoreHistogram {
                    bins: vec![(3, 0, 9)]
                },
                &[]
            ),
            None
        );
    }
}
