use super::*;
use crate::case::Prepared;
use crate::train::tests::{cohort, federation, fresh, patient};
use proptest::prelude::*;

fn scores(
    patients: &[Prepared],
    federation: &Federation,
    thresholds: &[f32],
    subset: Option<SequenceSet>,
) -> Vec<CaseScore> {
    let (_folder, cases) = cohort(patients);
    let cases: Vec<&CachedCase> = cases.iter().collect();
    let mut scores = Vec::new();
    score_cases(&cases, federation, &fresh(federation), thresholds, subset, &Device::flex(), &mut |score| {
        scores.push(score);
        ControlFlow::Continue(())
    })
    .unwrap();
    scores
}

#[test]
fn a_subset_is_the_same_as_zeroing_and_scaling_by_hand() {
    let by_hand = |patient: &mut Prepared| {
        patient.sequences[0].iter_mut().flatten().for_each(|value| *value *= 2.0);
        patient.sequences[1].iter_mut().flatten().for_each(|value| *value = 0.0);
    };
    let mut zeroed = patient(1, [true, true]);
    by_hand(&mut zeroed);
    let settings = federation("");
    let first = SequenceSet::EMPTY.with(0);
    let expected = scores(&[zeroed], &settings, &[0.01], None);
    let found = scores(&[patient(1, [true, true])], &settings, &[0.01], Some(first));
    assert_eq!(found[0].brain, expected[0].brain);
    assert_eq!(found[0].outside, expected[0].outside);
    assert_eq!(found[0].at, expected[0].at);
    assert_eq!(found[0].subset, first);
    // And the same again as a patient who never had the other sequence.
    assert_eq!(found, scores(&[patient(1, [true, false])], &settings, &[0.01], None));
    assert_ne!(found[0].brain, scores(&[patient(1, [true, true])], &settings, &[], None)[0].brain);
}

#[test]
fn counts_at_a_threshold_agree_with_the_histogram() {
    let settings = federation("");
    let case = [patient(1, [true, true])];
    let plain = &scores(&case, &settings, &[], None)[0];
    let whole = plain.whole();
    // Lower edges of the bins that hold voxels, but for the lowest, which has none.
    let edge = |bin: u16| sigmoid(f32::from(bin) / 64.0 - 16.0);
    let thresholds: Vec<f32> = whole.bins.iter().skip(1).map(|&(bin, ..)| edge(bin)).collect();
    assert!(thresholds.len() > 3);
    for at in &scores(&case, &settings, &thresholds, None)[0].at {
        let expected = whole.confusion(at.threshold);
        assert_eq!(
            (at.true_positive, at.false_positive, at.false_negative),
            (expected.tp, expected.fp, expected.fn_),
            "at {}",
            at.threshold
        );
        assert_eq!(at.lesions.reference, 1);
    }
    let voxels: u64 =
        plain.outside.bins.iter().chain(&plain.brain.bins).map(|&(_, lesion, other)| lesion + other).sum();
    assert_eq!(voxels as usize, case[0].native.grid.voxels());
}

#[test]
fn a_slice_without_brain_is_never_called_lesion() {
    let score = &scores(&[patient(1, [true, true])], &federation(""), &[], None)[0];
    assert_eq!(score.outside.bins[0].0, 0, "the blank slice fills the lowest bin");
    assert_eq!(score.outside.bins[0].2, 32 * 32);
}

#[test]
fn a_fixed_subset_is_all_that_its_model_is_shown() {
    let mut settings = federation("");
    settings.dropout = DropOut::Fixed(SequenceSet::EMPTY.with(1));
    let patients = [patient(1, [true, true]), patient(2, [true, false])];
    let scores = scores(&patients, &settings, &[], None);
    assert_eq!(scores.len(), 1, "the second has nothing to show");
    assert_eq!((scores[0].case, scores[0].subset), (0, SequenceSet::EMPTY.with(1)));
}

#[test]
fn a_case_without_a_reference_is_refused_by_its_place() {
    let mut bare = patient(1, [true, true]);
    (bare.label, bare.native.lesion) = (None, None);
    let (_folder, cases) = cohort(&[patient(2, [true, true]), bare]);
    let cases: Vec<&CachedCase> = cases.iter().collect();
    let settings = federation("");
    let outcome = score_cases(&cases, &settings, &fresh(&settings), &[], None, &Device::flex(), &mut |_| {
        ControlFlow::Continue(())
    });
    assert_eq!(outcome, Err(EvaluateError::NoReference { case: 1 }));
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
        let expected: Vec<u8> = logits.iter().map(|&logit| u8::from(sigmoid(logit) >= threshold)).collect();
        prop_assert_eq!(called(&logits, threshold), expected);
    }
}
