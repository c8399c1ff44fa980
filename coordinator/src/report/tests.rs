//! The report of federations that never ran.

mod comparison;
mod csv;
mod matrix;
mod overlays;

use super::*;
use metrics::score::{
    AtThreshold, CaseScore, LesionCounts, ScoreHistogram, SizeBinCounts, SweepPoint,
};
use metrics::sequence::SequenceSet;
use protocol::case::Role;
use protocol::message::Inventory;
use protocol::outcome::{RoundRecord, RunOutcome, SiteRecord, SiteScores, UpdateRecord};
use protocol::settings::Federation;

const FIGURES: [&str; 13] = [
    "comparison",
    "dice",
    "false-findings",
    "roc-mean",
    "roc",
    "froc",
    "sizes",
    "calibration",
    "validation",
    "validation-sites",
    "loss",
    "time",
    "traffic",
];
const THRESHOLDS: [f32; 3] = [0.5, 0.25, 0.75];

/// A case of 100 lesion voxels of which `hit` are found at every threshold, with `alarms` false
/// voxels among 900.
fn case(hit: u64, alarms: u64, false_lesions: u32) -> CaseScore {
    let at = |threshold| AtThreshold {
        threshold,
        true_positive: hit,
        false_positive: alarms,
        false_negative: 100 - hit,
        lesions: LesionCounts {
            reference: 3,
            detected: 2,
            predicted: 2 + false_lesions,
            false_positive: false_lesions,
            false_positive_10mm3: false_lesions / 2,
        },
        by_size: [
            SizeBinCounts {
                lesions: 2,
                found: 1,
            },
            SizeBinCounts::default(),
            SizeBinCounts {
                lesions: 1,
                found: 1,
            },
            SizeBinCounts::default(),
        ],
        dice_detected: Some(0.75),
    };
    CaseScore {
        case: 0,
        subset: SequenceSet::full(4).without(0),
        voxel_mm3: 1.0,
        brain: ScoreHistogram {
            bins: vec![(900, 100 - hit, 900 - alarms), (1100, hit, alarms)],
        },
        outside: ScoreHistogram {
            bins: vec![(10, 0, 1000)],
        },
        at: THRESHOLDS.map(at).to_vec(),
        sweep: [0.75, 0.25]
            .map(|threshold| SweepPoint {
                threshold,
                lesions: at(threshold).lesions,
            })
            .to_vec(),
    }
}

fn site(name: &str, role: Role, sequences: SequenceSet) -> SiteRecord {
    let counts = if role == Role::Train {
        (4, 1, 0)
    } else {
        (0, 0, 3)
    };
    let inventory = Inventory {
        sequences,
        training_cases: counts.0,
        validation_cases: counts.1,
        held_out_cases: counts.2,
        skipped_cases: 1,
        training_slices: 80,
        training_lesions: 3 * counts.0,
        validation_lesions: 3 * counts.1,
        held_out_lesions: 3 * counts.2,
    };
    SiteRecord {
        name: name.parse().unwrap(),
        role,
        inventory,
    }
}

fn outcome_of_run(name: &str, members: &[&str], quality: u64) -> RunOutcome {
    let round = |round: u32| RoundRecord {
        round,
        updates: members
            .iter()
            .map(|&site| UpdateRecord {
                site: site.parse().unwrap(),
                slices: 64,
                mean_loss: 1.0 / round as f32,
                last_loss: 0.9 / round as f32,
                seconds: 2.0,
                steps: 8,
                asked_steps: 8,
                staleness: 0,
                compute: protocol::settings::Compute::F32,
            })
            .collect(),
        missing: vec![("west".parse().unwrap(), "out of <memory>".into())],
        validation: (round > 1).then(|| 0.5 + 0.1 * f64::from(round)),
        validation_by_site: members
            .iter()
            .map(|&site| (site.parse().unwrap(), Some(0.1 * f64::from(round))))
            .collect(),
        held_out: None,
        seconds: 3.0,
        bytes: 1_000_000,
    };
    let mut held_out = vec![
        case(quality, 10, 1),
        case(quality - 10, 30, 4),
        case(quality + 5, 0, 0),
    ];
    held_out
        .iter_mut()
        .zip(0..)
        .for_each(|(case, place)| case.case = place);
    let validation = members.iter().map(|&site| SiteScores {
        site: site.parse().unwrap(),
        role: Role::Train,
        cases: vec![case(quality + 8, 5, 0)],
        subsets: Vec::new(),
        overlays: Vec::new(),
    });
    let mut scores: Vec<_> = validation.collect();
    scores.push(SiteScores {
        site: "harbour".parse().unwrap(),
        role: Role::Evaluate,
        cases: held_out,
        subsets: Vec::new(),
        overlays: Vec::new(),
    });
    RunOutcome {
        name: name.to_owned().try_into().unwrap(),
        members: members.iter().map(|site| site.parse().unwrap()).collect(),
        rounds: (1..=4).map(round).collect(),
        best_round: 4,
        threshold: Some(THRESHOLDS[0]),
        threshold_pooled: Some(THRESHOLDS[1]),
        threshold_dice: Some(THRESHOLDS[2]),
        scores,
    }
}

/// A federation whose model is of this quality.
pub(super) fn outcome_of(quality: u64) -> Outcome {
    Outcome {
        runs: vec![outcome_of_run("federation", &["north", "south"], quality)],
        ..outcome(false)
    }
}

pub(crate) fn outcome(with_local: bool) -> Outcome {
    let text =
        "name = 'test'\nrounds = 4\n[input]\nsequences = ['bravo', 't1_pre', 't1_post', 'flair']\n";
    let full = SequenceSet::full(4);
    let mut runs = vec![outcome_of_run("federation", &["north", "south"], 80)];
    if with_local {
        runs.extend([
            outcome_of_run("alone:north", &["north"], 50),
            outcome_of_run("alone:south", &["south"], 60),
        ]);
    }
    Outcome {
        federation: Federation::from_toml(text).unwrap(),
        sites: vec![
            site("north", Role::Train, full.without(1)),
            site("south", Role::Train, full.without(3)),
            site("harbour", Role::Evaluate, full.without(0)),
        ],
        runs,
        seconds: 75.0,
    }
}

#[test]
fn each_patient_counts_once_whatever_its_size() {
    let report = summarise(&outcome(false));
    let held_out = &report.federation.pooled.held_out;
    // Dice of the three cases: 2·80/(160+10+20), 2·70/(140+30+30), 2·85/(170+0+15).
    let dice = [160.0 / 190.0, 140.0 / 200.0, 170.0 / 185.0];
    let mean = dice.iter().sum::<f64>() / 3.0;
    assert!((held_out.scores.metrics.dice.mean.unwrap() - mean).abs() < 1e-12);
    assert_eq!(held_out.scores.metrics.dice.n, 3);
    assert_eq!(held_out.scores.metrics.fp_per_patient.mean, Some(5.0 / 3.0));
    assert_eq!(
        held_out.scores.metrics.fp_per_patient_10mm3.mean,
        Some(2.0 / 3.0)
    );
    let lesions = held_out.scores.lesions.unwrap();
    assert_eq!(
        (lesions.reference, lesions.detected, lesions.false_positive),
        (9, 6, 5)
    );
    assert_eq!(
        lesions.by_size.map(|bin| (bin.reference, bin.detected)),
        [(6, 3), (0, 0), (3, 3), (0, 0)]
    );
    assert_eq!(
        (
            lesions.by_size[2].from_mm,
            lesions.by_size[2].to_mm,
            lesions.by_size[3].to_mm
        ),
        (6.0, Some(10.0), None)
    );
    assert_eq!(
        (
            lesions.dice_detected,
            held_out.scores.metrics.dice_detected.mean
        ),
        (Some(0.75), Some(0.75))
    );
    // 90, 100 and 85 voxels marked where 100 are lesion.
    let volume = [-0.1, 0.0, -0.15].iter().sum::<f64>() / 3.0;
    assert!((held_out.scores.metrics.volume_error.mean.unwrap() - volume).abs() < 1e-12);
    // Precision over lesions 2/3, 2/6 and 2/2.
    let precision = (2.0 / 3.0 + 1.0 / 3.0 + 1.0) / 3.0;
    assert!((held_out.scores.metrics.lesion_precision.mean.unwrap() - precision).abs() < 1e-12);
    assert_eq!(report.worst_held_out.unwrap().site, "harbour");
}

#[test]
fn a_lone_patient_has_a_mean_and_no_spread() {
    let report = summarise(&outcome(false));
    let north = &report.federation.sites[0].scores.metrics.dice;
    assert!(
        north.mean.is_some() && north.sd.is_none() && north.n == 1,
        "{north:?}"
    );
}

#[test]
fn the_brain_alone_is_harder_than_the_whole_volume() {
    let scores = summarise(&outcome(false)).federation.pooled.held_out.scores;
    assert!(scores.voxel_auc_brain.unwrap() < scores.voxel_auc_volume.unwrap());
    assert!(scores.metrics.auc_brain.mean.unwrap() < scores.metrics.auc_volume.mean.unwrap());
}

#[test]
fn a_case_without_lesion_is_left_out_of_what_it_cannot_have() {
    let mut outcome = outcome(false);
    let empty = CaseScore {
        brain: ScoreHistogram {
            bins: vec![(3, 0, 1000)],
        },
        at: vec![AtThreshold {
            threshold: THRESHOLDS[0],
            ..AtThreshold::default()
        }],
        ..case(0, 0, 0)
    };
    outcome.runs[0].scores[2]
        .cases
        .push(CaseScore { case: 3, ..empty });
    let held_out = summarise(&outcome).federation.pooled.held_out;
    assert_eq!(held_out.cases, 4);
    let metrics = held_out.scores.metrics;
    assert_eq!(
        (
            metrics.dice.n,
            metrics.auc_brain.n,
            metrics.fp_per_patient.n
        ),
        (3, 3, 4)
    );
    // It was not counted at the other thresholds at all.
    assert_eq!(held_out.scores.alternatives.dice.fp_per_patient.n, 3);
}

#[test]
fn report_json_keeps_its_contract() {
    let report = summarise(&outcome(true));
    let text = json(&report).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["version"], schema::VERSION);
    assert_eq!(value["sites"][2]["name"], "harbour");
    assert_eq!(value["sites"][2]["role"], "evaluate");
    assert_eq!(
        value["sites"][2]["sequences"],
        serde_json::json!(["t1_pre", "t1_post", "flair"])
    );
    assert_eq!(value["sites"][2]["cases"], 3);
    let metrics = value["sites"][2]["metrics"].as_object().unwrap();
    let names = [
        "auc_brain",
        "auc_volume",
        "dice",
        "iou",
        "precision",
        "recall",
        "volume_error",
        "dice_detected",
        "lesion_recall",
        "lesion_precision",
        "lesion_f1",
        "fp_per_patient",
        "fp_per_patient_10mm3",
    ];
    assert_eq!(metrics.len(), names.len());
    for name in names {
        assert!(
            metrics[name]["mean"].is_f64()
                && metrics[name]["sd"].is_f64()
                && metrics[name]["n"] == 3,
            "{name}"
        );
    }
    assert_eq!(
        value["sites"][0]["metrics"]["dice"]["sd"],
        serde_json::Value::Null
    );
    assert_eq!(value["alone"][1]["run"], "alone:south");
    assert_eq!(value["thresholds"]["youden"], 0.5);
    // Both operating points in one shape, here as keys that were there before have them too.
    let site = &value["sites"][2];
    assert_eq!(
        site["operating_points"]["youden"]["metrics"],
        site["metrics"]
    );
    assert_eq!(
        site["operating_points"]["youden"]["lesions"],
        site["lesions"]
    );
    assert_eq!(
        site["operating_points"]["dice"]["metrics"],
        site["alternatives"]["dice"]
    );
    assert_eq!(site["operating_points"]["dice"]["threshold"], 0.75);
    assert_eq!(
        value["comparison_at_dice"]["arms"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    let curve = value["validation_curve"].as_array().unwrap();
    assert_eq!(
        curve
            .iter()
            .map(|point| point["threshold"].as_f64().unwrap())
            .collect::<Vec<_>>(),
        [0.75, 0.5, 0.25]
    );
    let calibration = &value["pooled"]["held_out"]["calibration"];
    assert!(calibration["ece"].as_f64().unwrap() > 0.0 && calibration["bins"].is_array());
    let back: schema::Report = serde_json::from_str(&text).unwrap();
    assert_eq!(back.federation.sites.len(), 3);
    assert_eq!(back.settings, report.settings);
}

#[test]
fn the_page_needs_nothing_else_and_leaks_no_markup() {
    let folder = tempfile::tempdir().unwrap();
    write(&outcome(true), folder.path()).unwrap();
    let page = std::fs::read_to_string(folder.path().join("report.html")).unwrap();
    for forbidden in [
        "src=",
        "href=",
        "@import",
        "url(",
        "<script",
        "out of <memory>",
    ] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    for figure in FIGURES {
        let svg =
            std::fs::read_to_string(folder.path().join(format!("figures/{figure}.svg"))).unwrap();
        assert!(page.contains(&svg), "{figure}");
    }
    assert!(page.contains("out of &lt;memory&gt;"));
    assert!(page.contains(
        "In 3 patients from 1 site that took no part in training, the model found \
                       6 of 9 (67 %) lesions"
    ));
}

/// Two sites with other numbers at each threshold, so that nothing can stand for the other point
/// unseen.
#[test]
fn both_operating_points_are_said_everywhere_with_equal_rank() {
    let mut outcome = outcome(true);
    for run in &mut outcome.runs {
        for case in run.scores.iter_mut().flat_map(|scores| &mut scores.cases) {
            let dice = case
                .at
                .iter_mut()
                .find(|at| at.threshold == THRESHOLDS[2])
                .unwrap();
            (
                dice.lesions.detected,
                dice.false_positive,
                dice.true_positive,
            ) = (1, 0, 40);
            dice.false_negative = 60;
        }
    }
    let report = summarise(&outcome);
    let said = wording::headline(&report);
    assert!(
        said.contains("found 3 of 9 (33 %) lesions") && said.contains("6 of 9 (67 %) with"),
        "{said}"
    );
    assert!(
        said.contains("best validation Dice") && said.contains("publication"),
        "{said}"
    );
    let verdict = wording::verdict(&report).unwrap();
    assert!(
        verdict.contains("(best Dice)") && verdict.contains("(Youden)"),
        "{verdict}"
    );
    let table = terminal::table(&report);
    let harbour: Vec<&str> = table
        .lines()
        .filter(|line| line.starts_with("harbour"))
        .collect();
    assert_eq!(harbour.len(), 2, "{table}");
    assert!(
        harbour[0].contains("best Dice 0.7500") && harbour[0].contains("3 of 9"),
        "{table}"
    );
    assert!(
        harbour[1].contains("Youden 0.5000") && harbour[1].contains("6 of 9"),
        "{table}"
    );
    let page = html::page(
        &report,
        &figures::draw(&report, &outcome).unwrap(),
        &outcome,
    );
    for words in [
        "Table 3a",
        "Table 3b",
        "fp-per-patient=1",
        "Are the probabilities what they say?",
    ] {
        assert!(page.contains(words), "{words}");
    }
}

#[test]
fn a_federation_that_never_scored_anything_still_gets_a_page() {
    let mut outcome = outcome(false);
    outcome.runs.clear();
    let folder = tempfile::tempdir().unwrap();
    write(&outcome, folder.path()).unwrap();
    let page = std::fs::read_to_string(folder.path().join("report.html")).unwrap();
    assert!(page.contains("nothing can be said about new hospitals"));
    assert!(read(folder.path()).is_err());
}
