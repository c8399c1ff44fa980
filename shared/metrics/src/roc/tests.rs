use super::*;
use proptest::prelude::*;

fn kinds() -> impl Strategy<Value = (Vec<f32>, Vec<f32>)> {
    let scores = || prop::collection::vec((-9i8..9).prop_map(f32::from), 0..60);
    (scores(), scores())
}

#[test]
fn every_distinct_score_is_a_threshold_and_zero_has_one_sign() {
    let roc = Roc::of_scores(vec![3.0, 0.0], vec![-0.0, -1.0]);
    let points: Vec<_> = roc
        .points()
        .iter()
        .map(|point| (point.threshold, point.tp, point.fp))
        .collect();
    assert_eq!(points, [(3.0, 1, 0), (0.0, 2, 1), (-1.0, 2, 2)]);
    assert_eq!(roc.auc(), Some(0.875));
    assert_eq!(
        roc.youden(),
        Some(Youden {
            threshold: 3.0,
            j: 0.5,
            tpr: 0.5,
            fpr: 0.0,
            ties: 2
        })
    );
}

#[test]
fn the_curve_is_straight_between_points_and_takes_the_top_of_a_step() {
    let roc = Roc::of_scores(vec![2.0, 1.0], vec![1.0, 0.0]);
    assert_eq!(
        roc.sampled(&[0.0, 0.25, 0.5, 1.0]),
        Some(vec![0.5, 0.75, 1.0, 1.0])
    );
    assert_eq!(Roc::of_scores(vec![1.0], vec![]).sampled(&[0.5]), None);
}

#[test]
fn the_mean_curve_has_a_band_from_two_patients_on() {
    let (perfect, chance) = (
        Roc::of_scores(vec![1.0], vec![0.0]),
        Roc::of_scores(vec![1.0], vec![1.0]),
    );
    let [perfect, chance] = [perfect, chance].map(|roc| roc.sampled(&[0.5]).unwrap());
    let band = mean_curve(&[perfect.clone(), chance], &[0.5]);
    assert_eq!((band.len(), band[0].tpr), (1, 0.75));
    let half = 1.96 * 0.125f64.sqrt() / 2f64.sqrt();
    assert_eq!(band[0].interval, Some([0.75 - half, 1.0]));
    assert_eq!(mean_curve(&[perfect], &[0.5])[0].interval, None);
    assert_eq!(mean_curve(&[], &[0.5]), []);
}

proptest! {
    #[test]
    fn auc_is_the_share_of_pairs_won((lesion, other) in kinds()) {
        let won: f64 = lesion
            .iter()
            .flat_map(|a| other.iter().map(move |b| f64::from(a > b) + 0.5 * f64::from(a == b)))
            .sum();
        let auc = Roc::of_scores(lesion.clone(), other.clone()).auc();
        match auc {
            Some(auc) => prop_assert!((auc - won / (lesion.len() * other.len()) as f64).abs() < 1e-12),
            None => prop_assert!(lesion.is_empty() || other.is_empty()),
        }
    }

    #[test]
    fn the_area_under_the_sampled_curve_is_the_auc((lesion, other) in kinds()) {
        let roc = Roc::of_scores(lesion, other.clone());
        // Between multiples of one over the number of others the curve has no corner.
        let grid: Vec<f64> = (0..=other.len()).map(|i| i as f64 / other.len() as f64).collect();
        if let Some(curve) = roc.sampled(&grid) {
            prop_assert!(curve.windows(2).all(|pair| pair[0] <= pair[1] + 1e-12));
            prop_assert_eq!(curve.last(), Some(&1.0));
            let area: f64 = curve.windows(2).map(|pair| 0.5 * (pair[0] + pair[1]) / other.len() as f64).sum();
            // A vertical step is taken at its top, which only adds area.
            prop_assert!(area + 1e-9 >= roc.auc().unwrap());
        }
    }

    #[test]
    fn merging_is_counting_together((lesion, other) in kinds(), (more_lesion, more_other) in kinds()) {
        let apart = Roc::of_scores(lesion.clone(), other.clone())
            .merged(&Roc::of_scores(more_lesion.clone(), more_other.clone()));
        let together = Roc::of_scores([lesion, more_lesion].concat(), [other, more_other].concat());
        prop_assert_eq!(apart, together);
    }

    #[test]
    fn the_best_point_is_the_best_of_all_thresholds((lesion, other) in kinds()) {
        let roc = Roc::of_scores(lesion.clone(), other.clone());
        if let Some(best) = roc.youden() {
            let share = |scores: &[f32], t: f32| {
                scores.iter().filter(|&&score| score >= t).count() as f64 / scores.len() as f64
            };
            let j = |t: f32| share(&lesion, t) - share(&other, t);
            let mut thresholds = [lesion.clone(), other.clone()].concat();
            thresholds.sort_by(f32::total_cmp);
            thresholds.dedup();
            let highest = thresholds.iter().map(|&t| j(t)).fold(f64::NEG_INFINITY, f64::max);
            prop_assert_eq!(best.j, highest);
            prop_assert_eq!(best.ties, thresholds.iter().filter(|&&t| j(t) == highest).count());
            prop_assert_eq!(thresholds.iter().rev().find(|&&t| j(t) == highest), Some(&best.threshold));
        }
    }
}
