use super::*;
use crate::case::Prepared;
use crate::train::tests::{cohort, federation, fresh, patient, spread_out};
use proptest::prelude::*;

fn all_scores(
    patients: &[Prepared],
    federation: &Federation,
    wanted: &EvaluationRequest,
) -> Vec<Scored> {
    let (_folder, cases) = cohort(patients);
    let cases: Vec<&CachedCase> = cases.iter().collect();
    let mut scores = Vec::new();
    score_cases(
        &cases,
        federation,
        &[fresh(federation)],
        wanted,
        &Device::flex(),
        &mut |score| {
            scores.push(score);
            ControlFlow::Continue(())
        },
    )
    .unwrap();
    assert_eq!(scores.len(), count_scores(&cases, federation, wanted));
    scores
}

/// Scores of whole cases.
fn scores(patients: &[Prepared], federation: &Federation, thresholds: &[f32]) -> Vec<CaseScore> {
    let wanted = EvaluationRequest {
        thresholds: thresholds.to_vec(),
        ..EvaluationRequest::default()
    };
    let whole = |scored| match scored {
        Scored::Case(score) => score,
        Scored::Part(part) => panic!("no test asked for {part:?}"),
    };
    all_scores(patients, federation, &wanted)
        .into_iter()
        .map(whole)
        .collect()
}

/// The patient as he would be with his first sequence alone.
fn first_alone() -> Prepared {
    let mut patient = patient(1, [true, true]);
    patient.sequences[0]
        .iter_mut()
        .flatten()
        .for_each(|value| *value *= 2.0);
    patient.sequences[1]
        .iter_mut()
        .flatten()
        .for_each(|value| *value = 0.0);
    patient
}

#[test]
fn a_part_is_the_same_as_zeroing_and_scaling_by_hand() {
    let settings = federation("");
    let thresholds = [0.01, 0.3, 0.5, 0.7];
    let wanted = EvaluationRequest {
        thresholds: thresholds.to_vec(),
        sweep: vec![0.4],
        subsets: true,
    };
    let found = all_scores(
        &[patient(1, [true, true]), patient(1, [true, false])],
        &settings,
        &wanted,
    );
    let [
        Scored::Case(both),
        Scored::Part(first),
        Scored::Part(second),
        Scored::Case(lone),
    ] = &found[..]
    else {
        panic!("{found:?}");
    };
    let expected = &scores(&[first_alone()], &settings, &thresholds)[0];
    assert_eq!(
        (first.auc_brain, first.auc_volume),
        (expected.brain.auc(), expected.whole().auc())
    );
    assert_eq!(first.at, expected.at);
    assert_eq!((first.case, first.subset), (0, SequenceSet::EMPTY.with(0)));
    assert_eq!(
        (second.case, second.subset),
        (0, SequenceSet::EMPTY.with(1))
    );
    // And the same again as a patient who never had the other sequence, and who has no part to be
    // shown.
    assert_eq!(
        (lone.case, lone.subset, &lone.brain, &lone.at),
        (1, first.subset, &expected.brain, &expected.at)
    );
    assert!(
        both.brain != lone.brain && first.auc_brain != second.auc_brain,
        "the parts must differ to be told apart"
    );
    assert_eq!(
        (both.sweep[0].threshold, both.sweep[0].lesions.reference),
        (0.4, 1)
    );
}

#[test]
fn counts_at_a_threshold_agree_with_the_histogram() {
    let settings = federation("");
    let case = [patient(1, [true, true])];
    let plain = &scores(&case, &settings, &[])[0];
    let whole = plain.whole();
    // Lower edges of the bins that hold voxels, but for the lowest, which has none.
    let edge = |bin: u16| sigmoid(f32::from(bin) / 64.0 - 16.0);
    let thresholds: Vec<f32> = whole
        .bins
        .iter()
        .skip(1)
        .map(|&(bin, ..)| edge(bin))
        .collect();
    assert!(thresholds.len() > 3);
    for at in &scores(&case, &settings, &thresholds)[0].at {
        let expected = whole.confusion(at.threshold);
        assert_eq!(
            (at.true_positive, at.false_positive, at.false_negative),
            (expected.tp, expected.fp, expected.fn_),
            "at {}",
            at.threshold
        );
        assert_eq!(
            (
                at.lesions.reference,
                at.by_size.iter().map(|bin| bin.lesions).sum::<u32>()
            ),
            (1, 1)
        );
        // One lesion, and whatever touches it: with no false component the lesion's Dice is the
        // patient's.
        if at.lesions.false_positive == 0 {
            assert_eq!(
                at.dice_detected,
                expected.dice().filter(|_| at.lesions.detected > 0)
            );
        }
    }
    let voxels: u64 = plain
        .outside
        .bins
        .iter()
        .chain(&plain.brain.bins)
        .map(|&(_, lesion, other)| lesion + other)
        .sum();
    assert_eq!(voxels as usize, case[0].native.grid.voxels());
}

#[test]
fn a_slice_without_brain_is_never_called_lesion() {
    let score = &scores(&[patient(1, [true, true])], &federation(""), &[])[0];
    assert_eq!(
        score.outside.bins[0].0, 0,
        "the blank slice fills the lowest bin"
    );
    assert_eq!(score.outside.bins[0].2, 32 * 32);
}

#[test]
fn a_fixed_subset_is_all_that_its_model_is_shown() {
    let mut settings = federation("");
    settings.dropout = DropOut::Fixed(SequenceSet::EMPTY.with(1));
    let patients = [patient(1, [true, true]), patient(2, [true, false])];
    let scores = scores(&patients, &settings, &[]);
    assert_eq!(scores.len(), 1, "the second has nothing to show");
    assert_eq!(
        (scores[0].case, scores[0].subset),
        (0, SequenceSet::EMPTY.with(1))
    );
}

#[test]
fn a_case_without_a_reference_is_refused_by_its_place() {
    let mut bare = patient(1, [true, true]);
    (bare.label, bare.native.lesion) = (None, None);
    let (_folder, cases) = cohort(&[patient(2, [true, true]), bare]);
    let cases: Vec<&CachedCase> = cases.iter().collect();
    let settings = federation("");
    let outcome = score_cases(
        &cases,
        &settings,
        &[fresh(&settings)],
        &EvaluationRequest::default(),
        &Device::flex(),
        &mut |_| ControlFlow::Continue(()),
    );
    assert_eq!(outcome, Err(EvaluateError::NoReference { case: 1 }));
}

#[test]
fn a_brain_larger_than_the_plane_is_scored_whole() {
    let settings = federation("");
    let large = spread_out();
    let (case, device) = (std::slice::from_ref(&large), Device::flex());
    let score = &scores(case, &settings, &[0.0])[0];
    let lesion = large
        .native
        .lesion
        .as_ref()
        .unwrap()
        .iter()
        .filter(|&&voxel| voxel != 0)
        .count() as u64;
    assert_eq!(
        score.at[0].true_positive, lesion,
        "called at every probability, and none is out of sight"
    );
    let reader = Predictor::new(
        &[fresh(&settings)],
        (&settings.model, &settings.input),
        4,
        &device,
    )
    .unwrap();
    let logits = reader
        .logits(&large, 0..large.depth(), large.present(), |_, _| {})
        .unwrap();
    for (at, (&logit, &brain)) in logits.iter().zip(&large.native.brain).enumerate() {
        assert!(
            brain == 0 || logit > crate::predictor::NO_LESION,
            "voxel {at} of the brain was not looked at"
        );
    }
    // A part without any brain is not asked about.
    assert_eq!(logits[logits.len() - 1], crate::predictor::NO_LESION);
}

#[test]
fn an_output_that_is_no_number_fails_the_case_and_is_no_healthy_patient() {
    let mut broken = patient(1, [true, true]);
    // As a cache holds it: more than 16 bits can.
    broken.sequences[0].as_mut().unwrap()[2 * 32 * 32 + 500] = f32::INFINITY;
    let (_folder, cases) = cohort(&[patient(2, [true, true]), broken]);
    let cases: Vec<&CachedCase> = cases.iter().collect();
    let settings = federation("");
    let outcome = score_cases(
        &cases,
        &settings,
        &[fresh(&settings)],
        &EvaluationRequest::default(),
        &Device::flex(),
        &mut |_| ControlFlow::Continue(()),
    );
    // The slice below shows the voxel as a neighbour.
    assert_eq!(outcome, Err(EvaluateError::NotFinite { case: 1, slice: 1 }));
}

#[test]
fn thresholds_beyond_every_probability_call_all_or_nothing() {
    let logits = [f32::MIN, -3.0, 40.0, f32::MAX];
    assert_eq!(called(&logits, 0.0), [1; 4]);
    assert_eq!(called(&logits, 1.1), [0; 4]);
    assert_eq!(called(&logits, f32::NAN), [0; 4]);
    assert_eq!(called(&[f32::NAN], 0.5), [0]);
}

proptest! {
    #[test]
    fn the_mask_is_where_the_probability_reaches_the_threshold(
        logits in proptest::collection::vec(-40.0f32..40.0, 1..50), threshold in 0.0f32..=1.0,
    ) {
        let called = called(&logits, threshold);
        prop_assert_eq!(called.len(), logits.len());
        for (&logit, &called) in logits.iter().zip(&called) {
            prop_assert_eq!(called == 1, sigmoid(logit) >= threshold);
        }
    }
}
