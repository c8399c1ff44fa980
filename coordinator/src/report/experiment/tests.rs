//! Experiments that never ran, made of the report's own example outcomes.

use super::super::schema::Experiment;
use super::super::tests::{outcome, outcome_of};
use super::*;

fn finished(arm: &str, seed: u64, quality: u64) -> Finished {
    let folder = format!("arms/{arm}/seed-{seed}");
    Finished {
        arm: arm.into(),
        seed,
        folder,
        outcome: outcome_of(quality),
    }
}

fn two_arms() -> Vec<Finished> {
    vec![
        finished("dropout", 1, 80),
        finished("dropout", 2, 70),
        finished("fixed", 1, 60),
        finished("fixed", 2, 60),
    ]
}

fn summary(finished: &[Finished]) -> Experiment {
    models::summary("a <b>", &models(finished), 1)
}

#[test]
fn each_patient_is_averaged_over_seeds_before_patients_are() {
    let experiment = summary(&two_arms());
    let dice = |quality: f64| {
        let of = |(hit, alarms): (f64, f64)| 2.0 * hit / (100.0 + hit + alarms);
        [
            (quality, 10.0),
            (quality - 10.0, 30.0),
            (quality + 5.0, 0.0),
        ]
        .map(of)
    };
    let patients: Vec<f64> = dice(80.0)
        .iter()
        .zip(dice(70.0))
        .map(|(a, b)| f64::midpoint(*a, b))
        .collect();
    let mean = patients.iter().sum::<f64>() / 3.0;
    let spread = (patients
        .iter()
        .map(|value| (value - mean).powi(2))
        .sum::<f64>()
        / 2.0)
        .sqrt();
    let first = &experiment.models[0];
    assert_eq!(
        (first.name.as_str(), first.metrics.dice.n, experiment.cases),
        ("dropout", 3, 3)
    );
    assert!((first.metrics.dice.mean.unwrap() - mean).abs() < 1e-12);
    assert!((first.metrics.dice.sd.unwrap() - spread).abs() < 1e-12);
    let seeds = [dice(80.0), dice(70.0)].map(|dice| dice.iter().sum::<f64>() / 3.0);
    let between = ((seeds[0] - seeds[1]).powi(2) / 2.0).sqrt();
    assert!(
        (first.between_seeds.dice.sd.unwrap() - between).abs() < 1e-12
            && first.between_seeds.dice.n == 2
    );
    assert_eq!(
        first
            .seeds
            .iter()
            .map(|seed| seed.metrics.dice.mean.unwrap())
            .collect::<Vec<_>>(),
        seeds
    );
    assert_eq!(
        experiment.models[1].between_seeds.dice.sd,
        Some(0.0),
        "equal seeds"
    );
    // The helper's cases count the same at every threshold.
    assert_eq!(
        (first.dice_at.dice, first.dice_at.youden_pooled),
        (first.metrics.dice, first.metrics.dice)
    );
}

#[test]
fn every_model_is_tested_against_the_first_on_the_same_patients() {
    let experiment = summary(&two_arms());
    let test = experiment
        .tests
        .iter()
        .find(|test| test.run == "fixed" && test.metric == "dice")
        .unwrap();
    let means = [0, 1].map(|model| experiment.models[model].metrics.dice.mean.unwrap());
    assert!((test.difference.mean.unwrap() - (means[0] - means[1])).abs() < 1e-12);
    assert_eq!(
        test.signed_rank,
        Some(0.25),
        "three pairs, all in one direction"
    );
    let words = page::table(&experiment);
    assert!(
        words.contains("dropout is not to be told from fixed"),
        "three patients prove nothing: {words}"
    );
}

#[test]
fn both_operating_points_are_summed_up_and_tested() {
    let mut finished = two_arms();
    for run in finished.iter_mut().flat_map(|one| &mut one.outcome.runs) {
        for case in run.scores.iter_mut().flat_map(|site| &mut site.cases) {
            // The threshold of the best Dice.
            case.at[2].false_positive = 0;
        }
    }
    let (experiment, before) = (summary(&finished), summary(&two_arms()));
    assert_eq!(experiment.tests, before.tests);
    assert_ne!(experiment.tests_at_dice, before.tests_at_dice);
    for (model, before) in experiment.models.iter().zip(&before.models) {
        let points = &model.operating_points;
        assert_eq!(model.metrics, before.metrics);
        assert_eq!(points.youden.metrics, model.metrics);
        assert_eq!(points.youden.intervals, model.intervals);
        assert_eq!(points.youden.between_seeds, model.between_seeds);
        assert_eq!(points.dice.metrics.dice, model.dice_at.dice);
        assert!(points.dice.metrics.dice.mean > model.metrics.dice.mean);
        assert_eq!(model.seeds[0].threshold_dice, Some(0.75));
    }
    let words = page::table(&experiment);
    let dice = words.find("At the threshold of the best validation Dice:");
    let youden = words.find("At Youden's threshold, the publication's:");
    assert!(dice.is_some() && dice < youden, "{words}");
}

#[test]
fn an_arm_that_also_trained_alone_gives_several_models() {
    let mut local = finished("dropout", 1, 80);
    local.outcome = outcome(true);
    let experiment = summary(&[local, finished("fixed", 1, 60)]);
    let names: Vec<&str> = experiment
        .models
        .iter()
        .map(|model| model.name.as_str())
        .collect();
    assert_eq!(names, ["dropout", "north alone", "south alone", "fixed"]);
    assert_eq!(experiment.models[1].run, "alone:north");
}

#[test]
fn the_report_is_written_whole() {
    let folder = tempfile::tempdir().unwrap();
    let written = write("a <b>", &two_arms(), folder.path()).unwrap().unwrap();
    assert!(serde_json::from_str::<Experiment>(&written.json).is_ok());
    assert_eq!(
        written.json,
        serde_json::to_string_pretty(&summary(&two_arms())).unwrap() + "\n"
    );
    let html = std::fs::read_to_string(folder.path().join("experiment.html")).unwrap();
    for part in [
        "a &lt;b&gt;",
        "Table 1",
        "Table 2",
        "Table 3a",
        "Table 3b",
        "arms/dropout/seed-2/report.html",
        "What it cost",
    ] {
        assert!(html.contains(part), "{part}");
    }
    for figure in ["roc-mean", "dice", "false-findings", "validation"] {
        assert!(
            folder.path().join(format!("figures/{figure}.svg")).exists(),
            "{figure}"
        );
    }
    assert!(write("none", &[], folder.path()).unwrap().is_none());
}
