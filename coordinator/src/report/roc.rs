//! Pooled ROC curves from the sites' counts.

use super::summary::{merged, whole_volume};
use shared::score::{BINS, CaseScore, LOGIT_LIMIT, ScoreHistogram};

/// A ROC curve from (0, 0) to (1, 1) as `(false positive rate, true positive rate)`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Curve {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
    /// The operating point.
    pub(super) mark: Option<(f64, f64)>,
}

/// The curves in the brain and over the whole volume, where they are defined.
pub(super) fn of(cases: &[&CaseScore], threshold: Option<f32>) -> Vec<Curve> {
    let brain = merged(cases.iter().map(|case| &case.brain));
    [("in the brain", brain), ("whole volume", whole_volume(cases))]
        .into_iter()
        .filter_map(|(name, histogram)| curve(name, &histogram, threshold))
        .collect()
}

fn curve(name: &str, histogram: &ScoreHistogram, threshold: Option<f32>) -> Option<Curve> {
    let (lesion, other) = histogram.bins.iter().fold((0, 0), |sum, bin| (sum.0 + bin.1, sum.1 + bin.2));
    let auc = histogram.auc().filter(|_| lesion > 0 && other > 0)?;
    let rate = |(hits, alarms): (u64, u64)| (alarms as f64 / other as f64, hits as f64 / lesion as f64);
    let (mut seen, mut points, mut mark) = ((0, 0), vec![(0.0, 0.0)], None);
    let lowest = threshold.map(bin_of);
    for &(bin, hits, alarms) in histogram.bins.iter().rev() {
        if lowest.is_some_and(|lowest| bin < lowest) && mark.is_none() {
            mark = Some(rate(seen));
        }
        seen = (seen.0 + hits, seen.1 + alarms);
        points.push(rate(seen));
    }
    let mark = mark.or(lowest.map(|_| rate(seen)));
    Some(Curve { name: format!("{name} (AUC {auc:.3})"), points, mark })
}

/// The bin whose lower edge a threshold is.
fn bin_of(threshold: f32) -> u16 {
    let logit = (f64::from(threshold) / (1.0 - f64::from(threshold))).ln();
    let limit = f64::from(LOGIT_LIMIT);
    let bin = (logit + limit) / (2.0 * limit) * BINS as f64;
    // A threshold is a rounded edge: half a bin of slack finds the edge it was.
    bin.round().clamp(0.0, BINS as f64) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_splits_at_the_threshold() {
        // Logit 0 is the middle bin's lower edge: half of the lesion and a quarter of the rest lie at or above it.
        let histogram = ScoreHistogram { bins: vec![(1000, 1, 3), (1024, 1, 1)] };
        let curve = curve("brain", &histogram, Some(0.5)).unwrap();
        assert_eq!(curve.points, [(0.0, 0.0), (0.25, 0.5), (1.0, 1.0)]);
        assert_eq!(curve.mark, Some((0.25, 0.5)));
    }

    #[test]
    fn without_a_lesion_there_is_no_curve() {
        assert_eq!(curve("brain", &ScoreHistogram { bins: vec![(3, 0, 9)] }, None), None);
    }
}
