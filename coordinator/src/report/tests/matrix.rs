//! What missing sequences cost, in a federation that never ran.

use super::*;
use crate::report::schema::Matrix;
use metrics::score::SubsetScore;

/// Every part of every case: without `t1_post` half of what was found is missed, any other missing
/// sequence costs five voxels, and one sequence alone adds a false finding.
fn with_parts(mut outcome: Outcome) -> Outcome {
    for site in outcome.runs.iter_mut().flat_map(|run| &mut run.scores) {
        for (index, whole) in site.cases.iter_mut().enumerate() {
            whole.case = index as u32;
            site.subsets.extend(
                whole
                    .subset
                    .proper_subsets()
                    .map(|subset| part(whole, subset)),
            );
        }
    }
    outcome
}

fn part(whole: &CaseScore, subset: SequenceSet) -> SubsetScore {
    let missing = whole.subset.len() - subset.len();
    let mut hit = whole.at[0].true_positive;
    if whole.subset.contains(2) && !subset.contains(2) {
        hit = hit / 2 + 5;
    }
    hit -= 5 * missing as u64;
    let seen = case(
        hit,
        whole.at[0].false_positive,
        u32::from(subset.len() == 1),
    );
    SubsetScore {
        case: whole.case,
        subset,
        auc_brain: seen.brain.auc(),
        auc_volume: seen.whole().auc(),
        at: seen.at,
    }
}

fn dice(hit: f64, alarms: f64) -> f64 {
    2.0 * hit / (hit + alarms + 100.0)
}

#[test]
fn each_patient_is_compared_with_himself_on_every_subset_he_has() {
    let matrix = summarise(&with_parts(outcome(false)))
        .federation
        .matrix
        .unwrap();
    assert_eq!(matrix.rows.len(), 15);
    assert_eq!(
        matrix.rows[0].sequences,
        ["bravo", "t1_pre", "t1_post", "flair"]
    );
    assert_eq!(
        matrix.rows[0].held_out.cases, 0,
        "no patient has the gradient echo"
    );
    assert_eq!(matrix.rows[0].held_out.metrics.dice.mean, None);
    let row = |names: &[&str]| {
        matrix
            .rows
            .iter()
            .find(|row| row.sequences == names)
            .unwrap()
    };
    let everything = row(&["t1_pre", "t1_post", "flair"]);
    assert_eq!(
        (everything.held_out.cases, everything.validation.cases),
        (3, 2)
    );
    assert_eq!(everything.held_out.change.dice.mean, Some(0.0));
    let whole = summarise(&outcome(false))
        .federation
        .pooled
        .held_out
        .scores
        .metrics;
    assert_eq!(everything.held_out.metrics, whole);

    let without_contrast = row(&["t1_pre", "flair"]);
    let harbour = without_contrast
        .sites
        .iter()
        .find(|site| site.site == "harbour")
        .unwrap();
    // Of 80, 70 and 85 voxels 40, 35 and 42 are found.
    let pairs = [(80.0, 40.0, 10.0), (70.0, 35.0, 30.0), (85.0, 42.0, 0.0)];
    let change = pairs
        .map(|(all, part, alarms)| dice(part, alarms) - dice(all, alarms))
        .iter()
        .sum::<f64>()
        / 3.0;
    assert!((harbour.cell.change.dice.mean.unwrap() - change).abs() < 1e-12);
    assert_eq!(harbour.cell.change.dice.n, 3);
    assert_eq!(
        row(&["flair"]).held_out.metrics.fp_per_patient.mean,
        Some(1.0)
    );
}

#[test]
fn the_worst_site_and_the_worst_missing_sequence_are_named() {
    let mut outcome = with_parts(outcome(false));
    outcome.runs[0].scores[1].cases[0].at = case(20, 0, 0).at;
    let report = summarise(&outcome);
    let matrix = report.federation.matrix.as_ref().unwrap();
    assert_eq!(matrix.worst_missing.as_deref(), Some("t1_post"));
    assert_eq!(matrix.worst_site.as_ref().unwrap().site, "south");
    let contrast = &matrix.without[2];
    assert_eq!(
        (contrast.cases, contrast.sites.join(" ")),
        (5, "north south harbour".into())
    );
    assert_eq!(
        (matrix.without[0].cases, matrix.without[0].change.mean),
        (0, None)
    );
    let worst = matrix.worst_cell.as_ref().unwrap();
    let lowest = matrix
        .rows
        .iter()
        .flat_map(|row| &row.sites)
        .filter_map(|site| site.cell.metrics.dice.mean);
    assert_eq!(Some(worst.dice), lowest.min_by(f64::total_cmp));
    let words = ablation::headline(&report).unwrap();
    assert!(
        words.contains("without is t1_post: Dice falls from")
            && words.contains("south is served worst"),
        "{words}"
    );
}

/// A fifth of what the cases and their parts find is missed at the threshold of the best Dice.
fn stricter_at_best_dice(mut outcome: Outcome) -> Outcome {
    let stricter = |at: &mut AtThreshold| {
        let missed = at.true_positive / 5;
        at.true_positive -= missed;
        at.false_negative += missed;
    };
    for site in outcome.runs.iter_mut().flat_map(|run| &mut run.scores) {
        for case in &mut site.cases {
            stricter(&mut case.at[2]);
        }
        for part in &mut site.subsets {
            stricter(&mut part.at[2]);
        }
    }
    outcome
}

#[test]
fn both_operating_points_have_a_matrix() {
    let same = summarise(&with_parts(outcome(false))).federation;
    let report = summarise(&stricter_at_best_dice(with_parts(outcome(false))));
    let federation = &report.federation;
    let (matrix, at_dice) = (
        federation.matrix.as_ref().unwrap(),
        federation.matrix_at_dice.as_ref().unwrap(),
    );
    assert_eq!(same.matrix_at_dice, same.matrix);
    for (youden, before) in matrix.rows.iter().zip(&same.matrix.unwrap().rows) {
        assert_eq!(youden.held_out.metrics, before.held_out.metrics);
    }
    for (dice, youden) in at_dice.rows.iter().zip(&matrix.rows) {
        assert_eq!(dice.sequences, youden.sequences);
        assert_eq!(dice.held_out.metrics.dice, youden.held_out.dice_at.dice);
    }
    let points = &federation.pooled.held_out.scores.operating_points;
    let everything = |matrix: &Matrix| {
        let row = matrix.rows.iter().find(|row| row.held_out.cases > 0);
        row.unwrap().held_out.metrics
    };
    assert_eq!(everything(at_dice), points.dice.metrics);
    assert_eq!(everything(matrix), points.youden.metrics);
    assert!(points.dice.metrics.dice.mean < points.youden.metrics.dice.mean);

    let words = ablation::headline(&report).unwrap();
    let dice = words.find("At the threshold of the best validation Dice: The hardest sequence");
    let youden = words.find("At Youden's threshold, the publication's: The hardest sequence");
    assert!(dice == Some(0) && youden > dice, "{words}");
    let pictures: Vec<&str> = ablation::pictures(&report)
        .unwrap()
        .iter()
        .map(|one| one.name)
        .collect();
    assert_eq!(
        pictures,
        [
            "matrix-dice-at-dice",
            "matrix-dice",
            "matrix-lesions-at-dice",
            "matrix-lesions"
        ]
    );
    let folder = tempfile::tempdir().unwrap();
    write(
        &stricter_at_best_dice(with_parts(outcome(false))),
        folder.path(),
    )
    .unwrap();
    let page = std::fs::read_to_string(folder.path().join("report.html")).unwrap();
    for picture in pictures {
        assert!(page.contains(&format!("id=\"{picture}\"")), "{picture}");
    }
}

#[test]
fn a_site_without_lesions_has_no_dice_at_either_operating_point() {
    let report = summarise(&north_without_lesions(with_parts(outcome(false))));
    let north = &report.federation.sites[0].scores;
    let validation = &report.federation.pooled.validation.scores;
    for scores in [north, validation] {
        let points = &scores.operating_points;
        assert_eq!(points.youden.metrics, scores.metrics);
        assert_eq!(points.dice.metrics, scores.alternatives.dice);
    }
    assert_eq!(north.operating_points.dice.metrics.dice.mean, None);
    assert_eq!(validation.operating_points.dice.metrics.dice.n, 1);
}

/// North has controls only, and the model calls some of their voxels lesion.
fn north_without_lesions(mut outcome: Outcome) -> Outcome {
    let inventory = &mut outcome.sites[0].inventory;
    (inventory.training_lesions, inventory.validation_lesions) = (0, 0);
    let healthy = |at: &mut AtThreshold| {
        let lesions = LesionCounts {
            predicted: 2,
            false_positive: 2,
            ..LesionCounts::default()
        };
        *at = AtThreshold {
            threshold: at.threshold,
            false_positive: 40,
            lesions,
            ..AtThreshold::default()
        };
    };
    let north = &mut outcome.runs[0].scores[0];
    for case in &mut north.cases {
        case.brain = ScoreHistogram {
            bins: vec![(900, 0, 960), (1100, 0, 40)],
        };
        case.at.iter_mut().for_each(healthy);
    }
    north
        .subsets
        .iter_mut()
        .flat_map(|part| &mut part.at)
        .for_each(healthy);
    outcome
}

#[test]
fn a_site_without_lesions_is_named_and_ranked_nowhere() {
    let report = summarise(&north_without_lesions(with_parts(outcome(false))));
    let matrix = report.federation.matrix.as_ref().unwrap();
    assert_ne!(matrix.worst_site.as_ref().unwrap().site, "north");
    assert_ne!(matrix.worst_cell.as_ref().unwrap().site, "north");
    assert!(
        matrix
            .without
            .iter()
            .all(|one| !one.sites.contains(&"north".to_string()))
    );
    let table = super::terminal::table(&report);
    assert!(
        table.contains("north's labels hold no lesion in any case: its Dice says nothing"),
        "{table}"
    );
    assert!(!table.contains("north is served worst"), "{table}");
    let north = &report.federation.sites[0];
    assert_eq!(
        (
            north.cases,
            north.scores.metrics.dice.mean,
            north.scores.metrics.fp_per_patient.mean
        ),
        (1, None, Some(2.0))
    );
    let validation = &report.federation.pooled.validation;
    assert_eq!(
        (
            validation.cases,
            validation.scores.metrics.dice.n,
            validation.scores.metrics.fp_per_patient.n
        ),
        (2, 1, 2)
    );
    let html = tempfile::tempdir().unwrap();
    write(
        &north_without_lesions(with_parts(outcome(false))),
        html.path(),
    )
    .unwrap();
    let page = std::fs::read_to_string(html.path().join("report.html")).unwrap();
    assert!(page.contains("labels hold no lesion in any case"));
    // With lesions to train on, but none among the scored cases.
    let mut some = north_without_lesions(outcome(false));
    some.sites[0].inventory.training_lesions = 4;
    let words = super::wording::silent(&summarise(&some)).unwrap();
    assert_eq!(
        words,
        "The cases of north that were scored hold no lesion: its Dice says nothing."
    );
    assert_eq!(super::wording::silent(&summarise(&outcome(false))), None);
}

#[test]
fn the_page_shows_the_matrix_only_where_there_is_one() {
    let folder = tempfile::tempdir().unwrap();
    write(&with_parts(outcome(true)), folder.path()).unwrap();
    let page = std::fs::read_to_string(folder.path().join("report.html")).unwrap();
    let svg = std::fs::read_to_string(folder.path().join("figures/matrix-dice.svg")).unwrap();
    assert!(page.contains(&svg) && page.matches("id=\"matrix-dice\"").count() == 1);
    // Fifteen rows of three sites; the eight with the gradient echo are dashes.
    assert_eq!(svg.matches("\n–\n").count(), 8 * 3);
    write(&outcome(false), folder.path()).unwrap();
    let page = std::fs::read_to_string(folder.path().join("report.html")).unwrap();
    assert!(!page.contains("matrix-dice") && !page.contains("missing sequence costs"));
}

#[test]
fn a_snapshot_from_before_the_matrix_is_still_read() {
    let mut value = serde_json::to_value(outcome(false)).unwrap();
    let evaluation = value["federation"]["evaluation"].as_object_mut().unwrap();
    assert!(evaluation.remove("subsets").is_some());
    for site in value["runs"][0]["scores"].as_array_mut().unwrap() {
        assert!(site.as_object_mut().unwrap().remove("subsets").is_some());
        for case in site["cases"].as_array_mut().unwrap() {
            assert!(case.as_object_mut().unwrap().remove("sweep").is_some());
            for at in case["at"].as_array_mut().unwrap() {
                let at = at.as_object_mut().unwrap();
                assert!(at.remove("by_size").is_some() && at.remove("dice_detected").is_some());
            }
        }
    }
    let older: Outcome = serde_json::from_value(value).unwrap();
    assert!(summarise(&older).federation.matrix.is_none() && !older.federation.evaluation.subsets);
}
