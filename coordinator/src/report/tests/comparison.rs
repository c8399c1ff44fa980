//! Models side by side.

use super::*;
use metrics::statistics::{rank_sum, signed_rank};
use schema::{Comparison, Test};

fn compared(outcome: &Outcome) -> Comparison {
    summarise(outcome).comparison.unwrap()
}

fn find<'a>(comparison: &'a Comparison, run: &str, metric: &str) -> &'a Test {
    comparison
        .tests
        .iter()
        .find(|test| test.run == run && test.metric == metric)
        .unwrap()
}

/// The Dice of the helper's three held-out cases under a model of this quality.
fn dice(quality: f64) -> Vec<f64> {
    let of = |(hit, alarms): (f64, f64)| 2.0 * hit / (100.0 + hit + alarms);
    [
        (quality, 10.0),
        (quality - 10.0, 30.0),
        (quality + 5.0, 0.0),
    ]
    .map(of)
    .to_vec()
}

#[test]
fn patients_are_compared_with_themselves_under_the_other_model() {
    let comparison = compared(&outcome(true));
    let runs: Vec<&str> = comparison.arms.iter().map(|arm| arm.run.as_str()).collect();
    assert_eq!(runs, ["federation", "alone:north", "alone:south"]);
    let test = find(&comparison, "alone:north", "dice");
    let (ours, theirs) = (dice(80.0), dice(50.0));
    let mean = ours.iter().zip(&theirs).map(|(a, b)| a - b).sum::<f64>() / 3.0;
    assert!((test.difference.mean.unwrap() - mean).abs() < 1e-12 && test.difference.n == 3);
    assert_eq!(
        test.signed_rank,
        signed_rank(&ours, &theirs).map(|test| test.p)
    );
    assert_eq!(test.rank_sum, rank_sum(&ours, &theirs).map(|test| test.p));
    // Three pairs, all in one direction: 2 / 2^3.
    assert_eq!(test.signed_rank, Some(0.25));
    // False findings are the same under both: nothing to test.
    assert_eq!(
        find(&comparison, "alone:north", "fp_per_patient").signed_rank,
        None
    );
}

#[test]
fn every_p_value_that_is_shown_is_corrected_for_all_of_its_kind() {
    let comparison = compared(&outcome(true));
    let defined = comparison
        .tests
        .iter()
        .filter(|test| test.signed_rank.is_some())
        .count();
    assert!(defined >= 8, "{defined}");
    let corrected = find(&comparison, "alone:south", "dice")
        .signed_rank_holm
        .unwrap();
    assert_eq!(corrected, (0.25 * defined as f64).min(1.0));
    for test in &comparison.tests {
        assert_eq!(test.signed_rank.is_some(), test.signed_rank_holm.is_some());
        assert!(test.rank_sum_holm >= test.rank_sum);
    }
}

#[test]
fn intervals_hold_the_mean_and_repeat_with_the_seed() {
    let outcome = outcome(false);
    let comparison = compared(&outcome);
    assert!(comparison.tests.is_empty() && comparison.arms.len() == 1);
    let arm = &comparison.arms[0];
    let ([low, high], mean) = (
        arm.intervals["dice"].unwrap(),
        arm.metrics.dice.mean.unwrap(),
    );
    let values = dice(80.0);
    let (least, most) = (
        values.iter().copied().fold(1.0, f64::min),
        values.iter().copied().fold(0.0, f64::max),
    );
    // A draw's mean is rounded, so that an end may lie a hair outside.
    assert!(
        least - 1e-9 <= low && low < mean && mean < high && high <= most + 1e-9,
        "{low} {mean} {high}"
    );
    assert_eq!(comparison, compared(&outcome));
    let mut reseeded = outcome.clone();
    reseeded.federation.seed += 1;
    assert_eq!(compared(&reseeded).arms[0].metrics, arm.metrics);
}

#[test]
fn a_patient_without_a_value_under_one_model_is_left_out_of_its_pair() {
    let mut outcome = outcome(true);
    let blind = &mut outcome.runs[1].scores.last_mut().unwrap().cases[0];
    // Nothing called and no lesion: the Dice is undefined, false findings are counted all the same.
    blind.at[0] = AtThreshold {
        threshold: THRESHOLDS[0],
        ..AtThreshold::default()
    };
    let comparison = compared(&outcome);
    assert_eq!(find(&comparison, "alone:north", "dice").difference.n, 2);
    assert_eq!(
        find(&comparison, "alone:north", "fp_per_patient")
            .difference
            .n,
        3
    );
    assert_eq!(find(&comparison, "alone:south", "dice").difference.n, 3);
}

#[test]
fn without_held_out_patients_there_is_nothing_to_compare() {
    let mut outcome = outcome(true);
    outcome
        .runs
        .iter_mut()
        .for_each(|run| run.scores.retain(|site| site.role == Role::Train));
    assert!(summarise(&outcome).comparison.is_none());
}

#[test]
fn the_page_has_the_publications_tables() {
    let folder = tempfile::tempdir().unwrap();
    write(&outcome(true), folder.path()).unwrap();
    let page = std::fs::read_to_string(folder.path().join("report.html")).unwrap();
    for table in [
        "Table 1. Patients",
        "Table 2. Sequences",
        "Table 3a. Models",
        "Table 3b. The same",
    ] {
        assert_eq!(page.matches(table).count(), 1, "{table}");
    }
    // Twelve lesions were trained on at each of two sites, nine are held out.
    assert!(page.contains("<td>24</td><td>6</td><td>9</td>"));
    // Two other models, seven metrics, both operating points; a test that cannot be made shows a
    // dash.
    assert_eq!(page.matches("<small>p ").count(), 28);
    assert!(page.contains("p – / "));
}
