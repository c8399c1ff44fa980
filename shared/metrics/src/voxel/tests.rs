use super::*;
use proptest::prelude::*;

fn histogram(voxels: &[(f32, bool)]) -> ScoreHistogram {
    let mut builder = HistogramBuilder::new();
    for &(logit, lesion) in voxels {
        builder.add(logit, lesion);
    }
    builder.finish()
}

/// Logits on bin edges, so that binning loses nothing.
fn voxels() -> impl Strategy<Value = Vec<(f32, bool)>> {
    prop::collection::vec((-600i16..600, any::<bool>()), 1..120).prop_map(|drawn| {
        drawn
            .into_iter()
            .map(|(step, lesion)| (f32::from(step) / 64.0, lesion))
            .collect()
    })
}

fn hostile() -> impl Strategy<Value = ScoreHistogram> {
    prop::collection::vec((any::<u16>(), any::<u64>(), any::<u64>()), 0..20)
        .prop_map(|bins| ScoreHistogram { bins })
}

fn pairs_won(voxels: &[(f32, bool)]) -> Option<f64> {
    let of = |kind| voxels.iter().filter(move |v| v.1 == kind).map(|v| v.0);
    let won: f64 = of(true)
        .flat_map(|lesion| {
            of(false).map(move |other| f64::from(lesion > other) + 0.5 * f64::from(lesion == other))
        })
        .sum();
    let pairs = of(true).count() * of(false).count();
    (pairs > 0).then(|| won / pairs as f64)
}

#[test]
fn the_outermost_bins_take_what_lies_beyond() {
    let logits = [
        f32::NEG_INFINITY,
        -99.0,
        f32::NAN,
        f32::INFINITY,
        16.0,
        99.0,
    ]
    .map(|logit| (logit, true));
    assert_eq!(
        histogram(&logits).bins,
        vec![(0, 3, 0), (BINS as u16 - 1, 3, 0)]
    );
    assert_eq!(
        histogram(&[(0.0, false)]).bins,
        vec![(BINS as u16 / 2, 0, 1)]
    );
}

#[test]
fn one_kind_of_voxel_has_no_curve() {
    for lesion in [true, false] {
        let one = histogram(&[(0.5, lesion), (1.0, lesion)]);
        assert_eq!((one.auc(), one.youden()), (None, None));
    }
    assert_eq!(histogram(&[(0.5, false)]).best_dice(), None);
    assert_eq!(histogram(&[]).auc(), None);
}

#[test]
fn a_perfect_model_has_its_threshold_at_the_lowest_lesion() {
    let perfect = histogram(&[(-2.0, false), (-1.0, false), (1.0, true), (2.0, true)]);
    assert_eq!(perfect.auc(), Some(1.0));
    assert_eq!(
        perfect.youden(),
        Some(Youden {
            threshold: sigmoid(1.0),
            j: 1.0,
            tpr: 1.0,
            fpr: 0.0,
            ties: 1
        })
    );
    assert_eq!(perfect.best_dice(), Some((sigmoid(1.0), 1.0)));
}

#[test]
fn a_hostile_histogram_is_named_for_what_is_wrong() {
    let check = |bins: &[(u16, u64, u64)]| {
        ScoreHistogram {
            bins: bins.to_vec(),
        }
        .check()
    };
    assert_eq!(check(&[]), Ok(()));
    assert_eq!(check(&[(0, 1, 0), (2047, 0, 9)]), Ok(()));
    assert_eq!(check(&[(2048, 1, 0)]), Err(HistogramError::Bin(2048)));
    assert_eq!(
        check(&[(5, 1, 0), (5, 1, 0)]),
        Err(HistogramError::Order(5))
    );
    assert_eq!(
        check(&[(5, 1, 0), (4, 1, 0)]),
        Err(HistogramError::Order(4))
    );
    assert_eq!(check(&[(5, 0, 0)]), Err(HistogramError::Empty(5)));
    assert_eq!(check(&[(5, u64::MAX, 1)]), Err(HistogramError::Voxels));
    assert_eq!(
        check(&[(5, MOST_VOXELS, 0), (6, 1, 0)]),
        Err(HistogramError::Voxels)
    );
}

proptest! {
    #[test]
    fn auc_is_the_share_of_pairs_won(voxels in voxels()) {
        match (histogram(&voxels).auc(), pairs_won(&voxels)) {
            (Some(ours), Some(brute)) => prop_assert!((ours - brute).abs() < 1e-12),
            (ours, brute) => prop_assert_eq!(ours, brute),
        }
    }

    #[test]
    fn auc_and_youden_do_not_care_where_the_scale_starts(voxels in voxels(), bins in -200i16..200) {
        let shift = f32::from(bins) / 64.0;
        let shifted: Vec<_> = voxels.iter().map(|&(logit, lesion)| (logit + shift, lesion)).collect();
        let (here, there) = (histogram(&voxels), histogram(&shifted));
        prop_assert_eq!(here.auc(), there.auc());
        prop_assert_eq!(here.youden().map(|best| best.j), there.youden().map(|best| best.j));
    }

    #[test]
    fn swapping_the_kinds_turns_the_curve_over(voxels in voxels()) {
        let swapped: Vec<_> = voxels.iter().map(|&(logit, lesion)| (logit, !lesion)).collect();
        if let (Some(here), Some(there)) = (histogram(&voxels).auc(), histogram(&swapped).auc()) {
            prop_assert!((here + there - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn the_best_points_are_what_their_thresholds_give_and_no_voxel_offers_better(voxels in voxels()) {
        let all = histogram(&voxels);
        let at = |threshold: f32| {
            let (mut tp, mut fp, mut fn_, mut tn) = (0, 0, 0, 0);
            for &(logit, lesion) in &voxels {
                match (sigmoid(logit) >= threshold, lesion) {
                    (true, true) => tp += 1,
                    (true, false) => fp += 1,
                    (false, true) => fn_ += 1,
                    (false, false) => tn += 1,
                }
            }
            Confusion { tp, fp, fn_, tn }
        };
        let j = |counts: Confusion| Some(counts.recall()? - (1.0 - counts.specificity()?));
        for &(logit, _) in &voxels {
            let threshold = sigmoid(logit);
            prop_assert_eq!(all.confusion(threshold), at(threshold));
            if let Some(best) = all.youden() {
                prop_assert!(j(at(threshold)).unwrap() <= best.j + 1e-12);
                prop_assert!((j(at(best.threshold)).unwrap() - best.j).abs() < 1e-12);
            }
            if let Some((chosen, dice)) = all.best_dice() {
                prop_assert!(at(threshold).dice().unwrap() <= dice + 1e-12);
                prop_assert!((at(chosen).dice().unwrap() - dice).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn merging_is_counting_together(first in voxels(), second in voxels()) {
        let together: Vec<_> = first.iter().chain(&second).copied().collect();
        let merged = ScoreHistogram::merged(&[&histogram(&first), &histogram(&second)]);
        prop_assert_eq!(merged.check(), Ok(()));
        prop_assert_eq!(merged, histogram(&together));
    }

    #[test]
    fn nothing_hostile_breaks_a_metric(first in hostile(), second in hostile(), threshold in any::<f32>()) {
        let merged = ScoreHistogram::merged(&[&first, &second]);
        for all in [&first, &second, &merged] {
            let _ = (all.check(), all.auc(), all.youden(), all.best_dice(), all.confusion(threshold));
        }
    }
}
