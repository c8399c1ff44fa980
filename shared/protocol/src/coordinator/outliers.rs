//! Updates that went much further from their model than the others did: a training that diverged, a
//! file that was damaged before it was hashed, or malice. One of them would outweigh all others in
//! the average.

use super::rejection::UpdateRejection;

/// With fewer updates it is unknown which of them is wrong. On arrival each of them was compared
/// with the size of its model: `MOST_TIMES_MODEL` in the aggregation's check.
const FEWEST_UPDATES: usize = 3;

/// An update to refuse.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Outlier {
    /// Its place among the updates.
    pub(super) index: usize,
    /// How far it went, and how far the others did.
    pub(super) reason: UpdateRejection,
}

/// The updates that went more than `most_times` as far as the median, which is the setting
/// `outlier_factor`, by their place; the distance is `None` where it is not known.
pub(super) fn outliers(distances: &[Option<f64>], most_times: f64) -> Vec<Outlier> {
    let mut known: Vec<f64> = distances.iter().flatten().copied().collect();
    if known.len() < FEWEST_UPDATES {
        return Vec::new();
    }
    known.sort_by(f64::total_cmp);
    // The lower one of an even number, so that half of them may be bad.
    let median = known[(known.len() - 1) / 2];
    let mut refused = Vec::new();
    for (index, distance) in distances.iter().enumerate() {
        let Some(distance) =
            distance.filter(|&distance| median > 0.0 && distance > most_times * median)
        else {
            continue;
        };
        let reason = UpdateRejection::Outlier {
            distance,
            median,
            updates: known.len(),
            most_times,
        };
        refused.push(Outlier { index, reason });
    }
    refused
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(distances: &[f64]) -> Vec<usize> {
        let known: Vec<Option<f64>> = distances.iter().copied().map(Some).collect();
        outliers(&known, 100.0)
            .into_iter()
            .map(|outlier| outlier.index)
            .collect()
    }

    #[test]
    fn only_what_is_far_beyond_the_others_is_refused() {
        assert!(refused(&[1.0, 99.0, 1.0]).is_empty());
        assert_eq!(refused(&[1.0, 101.0, 1.0]), [1]);
        assert_eq!(refused(&[1e9, 1.0, 2.0, 1e9]), [0, 3]);
        assert!(
            refused(&[1.0, 1e9]).is_empty(),
            "which of two is wrong is not known"
        );
        assert!(
            refused(&[0.0, 0.0, 1.0]).is_empty(),
            "nothing is far from a model that did not move"
        );
    }

    #[test]
    fn the_reason_names_both_distances() {
        let outlier = outliers(&[Some(1.0), None, Some(1.5), Some(3e38)], 100.0).remove(0);
        let reason = outlier.reason.to_string();
        assert!(
            reason.contains("3.000e38") && reason.contains("of 3 updates, 1.500e0"),
            "{reason}"
        );
    }
}
