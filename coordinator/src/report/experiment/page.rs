//! `experiment.html`, and the summary for a terminal.

use super::super::markup::{Figure, document, escape, figure, table as html_table, words};
use super::super::schema::{
    Arm, Comparison, Experiment, Matrix, MeanSd, Metrics, Model, ModelAtPoint, SeedRun, Test,
};
use super::super::summary::summarise;
use super::super::tables::{self, p_note, p_value};
use super::super::wording::{AT_POINTS, POINTS, counted, mean_sd};
use crate::format::{bytes, duration};
use protocol::outcome::Outcome;

/// The whole page. Sites and sequences are those of the first run; all runs share them.
pub(super) fn page(experiment: &Experiment, first: &Outcome, figures: &[Figure]) -> String {
    let report = summarise(first);
    let named: Vec<String> = experiment
        .models
        .iter()
        .map(|model| model.name.clone())
        .collect();
    let pictures: Vec<String> = figures.iter().map(figure).collect();
    let sections = [
        headlines(experiment),
        tables::cohort(&report),
        tables::sequences(&report),
        comparisons(experiment, &named),
        seeds(experiment),
        subsets(experiment),
        pictures.join("\n"),
        cost(experiment),
    ];
    let footer = "The numbers are in experiment.json next to this file; each run's own full \
                  report is in its folder.";
    document(
        &experiment.name,
        &experiment.software,
        &sections.join("\n"),
        footer,
    )
}

/// Table 3 at each operating point.
fn comparisons(experiment: &Experiment, named: &[String]) -> String {
    let titles = [
        "Table 3a. Models on the held-out patients, at the threshold of the best Dice",
        "Table 3b. The same at Youden's threshold, the publication's",
    ];
    let note = note(experiment);
    let mut tables = String::new();
    for (place, title) in titles.into_iter().enumerate() {
        let comparison = comparison(experiment, place);
        tables += &tables::side_by_side(title, &comparison, named, &note);
    }
    tables
}

/// A model at both operating points, in the order of [`POINTS`].
fn at_points(model: &Model) -> [&ModelAtPoint; 2] {
    [&model.operating_points.dice, &model.operating_points.youden]
}

/// The tests at both operating points, in the order of [`POINTS`].
fn tests_at_points(experiment: &Experiment) -> [&[Test]; 2] {
    [&experiment.tests_at_dice, &experiment.tests]
}

/// All models at an operating point, by its place in [`POINTS`].
fn comparison(experiment: &Experiment, place: usize) -> Comparison {
    let arm = |model: &Model| Arm {
        run: model.name.clone(),
        cases: experiment.cases,
        metrics: at_points(model)[place].metrics,
        intervals: at_points(model)[place].intervals.clone(),
    };
    Comparison {
        arms: experiment.models.iter().map(arm).collect(),
        tests: tests_at_points(experiment)[place].to_vec(),
    }
}

fn note(experiment: &Experiment) -> String {
    let reference = experiment
        .models
        .first()
        .map_or("", |model| model.name.as_str());
    let seeds = experiment
        .models
        .first()
        .map_or(0, |model| model.seeds.len());
    format!(
        " Each patient's value is the mean over {} first.{}",
        counted(seeds, "seed", "seeds"),
        if experiment.tests.is_empty() {
            String::new()
        } else {
            p_note(reference)
        }
    )
}

/// What the first model does, at both operating points.
fn first_sentence(experiment: &Experiment) -> Option<String> {
    let first = experiment.models.first()?;
    let [dice, youden] = at_points(first).map(|at| mean_sd(at.metrics.dice, 3));
    Some(format!(
        "{}: Dice {dice} at the threshold of the best validation Dice and {youden} at Youden's, \
         the publication's, over {} of sites that took no part.",
        first.name,
        counted(experiment.cases, "patient", "patients")
    ))
}

/// A sentence for each model against the first, on Dice at an operating point.
fn sentences(experiment: &Experiment, place: usize) -> Vec<String> {
    let Some(first) = experiment.models.first() else {
        return Vec::new();
    };
    let tests = tests_at_points(experiment)[place];
    let against = |model: &Model| {
        let test = tests
            .iter()
            .find(|test| test.run == model.name && test.metric == "dice")?;
        let (mean, [low, high]) = (test.difference.mean?, test.interval?);
        // Of a handful of patients the bootstrap is too sure of itself: the test must say so too.
        let sure = test.signed_rank_holm.is_some_and(|p| p < 0.05);
        let verdict = match (sure && low > 0.0, sure && high < 0.0) {
            (true, _) => "better than",
            (_, true) => "worse than",
            _ => "not to be told from",
        };
        let dice = at_points(model)[place].metrics.dice.mean;
        Some(format!(
            "{} is {verdict} {}: Dice {:.3}, a difference of {mean:+.3} [{low:+.3}, {high:+.3}].",
            first.name,
            model.name,
            dice.unwrap_or_default()
        ))
    };
    experiment
        .models
        .iter()
        .skip(1)
        .filter_map(against)
        .collect()
}

fn headlines(experiment: &Experiment) -> String {
    let first = first_sentence(experiment).map_or_else(
        || "No held-out patient was scored.".into(),
        |words| escape(&words),
    );
    let mut lists = String::new();
    for (place, point) in AT_POINTS.into_iter().enumerate() {
        let sentences = sentences(experiment, place);
        if sentences.is_empty() {
            continue;
        }
        lists += &format!("<p>{point}:</p><ul>");
        for words in sentences {
            lists += &format!("<li>{}</li>", escape(&words));
        }
        lists += "</ul>";
    }
    format!(
        "<p class=\"headline\">{first}</p>{lists}<p class=\"note\">In brackets the 95 % interval \
         of the mean difference over these patients; it says nothing about other sites. Better \
         or worse is said only where the corrected signed-rank test agrees (p below 0.05).</p>"
    )
}

/// How far the seeds are from each other, at both operating points.
fn seeds(experiment: &Experiment) -> String {
    let mut rows = Vec::new();
    for model in &experiment.models {
        for (place, at) in at_points(model).into_iter().enumerate() {
            let between = &at.between_seeds;
            let links: Vec<String> = model
                .seeds
                .iter()
                .map(|seed| seed_link(seed, [&seed.metrics_at_dice, &seed.metrics][place]))
                .collect();
            let first = place == 0;
            let once = |words: String| if first { words } else { String::new() };
            rows.push(vec![
                once(escape(&model.name)),
                POINTS[place].to_owned(),
                mean_sd(between.dice, 3),
                links.join(" "),
                mean_sd(between.fp_per_patient, 1),
                once(mean_sd(between.auc_brain, 3)),
                once(mean_sd(model.dice_at.youden_pooled, 3)),
            ]);
        }
    }
    let head = words(&[
        "Model",
        "Threshold by",
        "Dice, seeds",
        "each seed's run",
        "False findings per patient",
        "AUC, brain",
        "Dice at the pooled Youden",
    ]);
    format!(
        "<h2>How far the seeds are from each other</h2>\n{}<p class=\"note\">Mean ± standard \
         deviation over seeds of the mean over held-out patients. The last column is each \
         patient's mean over seeds, ± over patients, at Youden's threshold of all validation \
         voxels together. A seed changes the initial weights, the order of examples, dropout and \
         augmentation; patients and split stay.</p>",
        html_table(&head, &rows)
    )
}

fn seed_link(seed: &SeedRun, metrics: &Metrics) -> String {
    let dice = metrics
        .dice
        .mean
        .map_or("–".into(), |dice| format!("{dice:.3}"));
    format!(
        "<a href=\"{}/report.html\" title=\"seed {}\">{dice}</a>",
        escape(&seed.folder),
        seed.seed
    )
}

/// Dice of the arms on every subset of the held-out patients' sequences, at both operating points.
fn subsets(experiment: &Experiment) -> String {
    let arms: Vec<&Model> = experiment
        .models
        .iter()
        .filter(|model| model.name == model.arm)
        .collect();
    let Some(matrix) = arms.first().and_then(|model| model.matrix.as_ref()) else {
        return String::new();
    };
    let mut rows = Vec::new();
    for shown in matrix.rows.iter().filter(|row| row.held_out.cases > 0) {
        for (place, point) in POINTS.into_iter().enumerate() {
            let mut row = if place == 0 {
                let cases = shown.held_out.cases.to_string();
                vec![escape(&shown.sequences.join(" + ")), cases]
            } else {
                words(&["", ""])
            };
            row.push(point.to_owned());
            for model in &arms {
                let matrix = [&model.matrix_at_dice, &model.matrix][place];
                row.push(mean_sd(dice_with(matrix.as_ref(), &shown.sequences), 3));
            }
            rows.push(row);
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    let mut head = words(&["Shown", "Patients", "Threshold by"]);
    head.extend(arms.iter().map(|model| escape(&model.name)));
    format!(
        "<h2>Dice with every subset of sequences, held-out patients</h2>\n{}<p \
         class=\"note\">Mean ± standard deviation over seeds. A model trained on one fixed \
         subset knows its parts only.</p>",
        html_table(&head, &rows)
    )
}

/// The held-out Dice with these sequences.
fn dice_with(matrix: Option<&Matrix>, sequences: &[String]) -> MeanSd {
    let rows = matrix.map_or(&[][..], |matrix| &matrix.rows);
    rows.iter()
        .find(|row| row.sequences == sequences)
        .map(|row| row.held_out.metrics.dice)
        .unwrap_or_default()
}

/// Time and traffic.
fn cost(experiment: &Experiment) -> String {
    let row = |model: &&Model| {
        let mean = |value: fn(&SeedRun) -> f64| {
            MeanSd::of(model.seeds.iter().map(|seed| Some(value(seed))))
                .mean
                .unwrap_or_default()
        };
        vec![
            escape(&model.name),
            duration(mean(|seed| seed.seconds)),
            bytes(mean(|seed| seed.bytes as f64) as u64),
            model
                .seeds
                .iter()
                .map(|seed| seed.best_round.to_string())
                .collect::<Vec<_>>()
                .join(", "),
        ]
    };
    let rows: Vec<_> = experiment
        .models
        .iter()
        .filter(|model| model.name == model.arm)
        .map(|one| row(&one))
        .collect();
    let head = words(&[
        "Arm",
        "Time of a run",
        "Parameters exchanged",
        "Best round of each seed",
    ]);
    format!(
        "<h2>What it cost</h2>\n{}<p class=\"note\">Time with everything that was trained and \
         scored in the run, on this machine.</p>",
        html_table(&head, &rows)
    )
}

/// The summary for a terminal: two lines for each model, one for each operating point.
pub(super) fn table(experiment: &Experiment) -> String {
    let mut lines: Vec<String> = first_sentence(experiment).into_iter().collect();
    for (place, point) in AT_POINTS.into_iter().enumerate() {
        let sentences = sentences(experiment, place);
        if !sentences.is_empty() {
            lines.push(format!("{point}:"));
            lines.extend(sentences);
        }
    }
    lines.push(String::new());
    let width = experiment
        .models
        .iter()
        .map(|model| model.name.chars().count())
        .max()
        .unwrap_or(0)
        .max(5);
    lines.push(format!(
        "{:<width$}  {:<12}  {:>15}  {:>15}  {:>15}  {:>13}  {:>15}",
        "model",
        "threshold by",
        "Dice",
        "between seeds",
        "AUC brain",
        "false/patient",
        "p (signed rank)"
    ));
    for model in &experiment.models {
        for (place, at) in at_points(model).into_iter().enumerate() {
            let test = tests_at_points(experiment)[place]
                .iter()
                .find(|test| test.run == model.name && test.metric == "dice");
            let p = |test: &Test| p_value(test.signed_rank_holm).replace("&lt;", "<");
            lines.push(format!(
                "{:<width$}  {:<12}  {:>15}  {:>15}  {:>15}  {:>13}  {:>15}",
                model.name,
                POINTS[place],
                mean_sd(at.metrics.dice, 3),
                mean_sd(at.between_seeds.dice, 3),
                mean_sd(at.metrics.auc_brain, 3),
                mean_sd(at.metrics.fp_per_patient, 1),
                test.map(p).unwrap_or_default()
            ));
        }
    }
    lines.join("\n")
}
