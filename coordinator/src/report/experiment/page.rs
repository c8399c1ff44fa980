//! `experiment.html`, and the summary for a terminal.

use super::super::markup::{Figure, document, escape, figure, table as html_table, words};
use super::super::schema::{Comparison, Experiment, MeanSd, Model, Test};
use super::super::summary::summarise;
use super::super::tables::{self, p_note, p_value};
use super::super::wording::{counted, mean_sd};
use super::pictures::by_subset;
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
        tables::side_by_side(TABLE, &comparison(experiment), &named, &note(experiment)),
        seeds(experiment),
        subsets(experiment),
        pictures.join("\n"),
        cost(experiment),
    ];
    let footer = "The numbers stand in experiment.json beside this file; each run's own full report lies in its folder.";
    document(
        &experiment.name,
        &experiment.software,
        &sections.join("\n"),
        footer,
    )
}

const TABLE: &str = "Table 3. Models on the held-out patients, at Youden's threshold";

fn comparison(experiment: &Experiment) -> Comparison {
    let arm = |model: &Model| super::super::schema::Arm {
        run: model.name.clone(),
        cases: experiment.cases,
        metrics: model.metrics,
        intervals: model.intervals.clone(),
    };
    Comparison {
        arms: experiment.models.iter().map(arm).collect(),
        tests: experiment.tests.clone(),
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

/// A sentence for each model against the first, on Dice.
fn sentences(experiment: &Experiment) -> Vec<String> {
    let Some(first) = experiment.models.first() else {
        return Vec::new();
    };
    let dice = mean_sd(first.metrics.dice, 3);
    let mut all = vec![format!(
        "{}: Dice {dice} over {} of sites that took no part.",
        first.name,
        counted(experiment.cases, "patient", "patients")
    )];
    all.extend(experiment.models.iter().skip(1).filter_map(|model| {
        let test = experiment
            .tests
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
        Some(format!(
            "{} is {verdict} {}: Dice {:.3}, a difference of {mean:+.3} [{low:+.3}, {high:+.3}].",
            first.name,
            model.name,
            model.metrics.dice.mean.unwrap_or_default()
        ))
    }));
    all
}

fn headlines(experiment: &Experiment) -> String {
    let mut sentences = sentences(experiment)
        .into_iter()
        .map(|words| escape(&words));
    let first = sentences
        .next()
        .unwrap_or_else(|| "No held-out patient was scored.".into());
    let rest: String = sentences.map(|words| format!("<li>{words}</li>")).collect();
    format!(
        "<p class=\"headline\">{first}</p><ul>{rest}</ul><p class=\"note\">In brackets the 95 % interval of the mean \
         difference over these patients; it says nothing about other sites. Better or worse is said only where the \
         corrected signed-rank test agrees (p below 0.05). Thresholds are Youden's, the publication's; the Dice at the \
         threshold of the best validation Dice stands with the seeds below.</p>"
    )
}

/// How far the seeds lie apart.
fn seeds(experiment: &Experiment) -> String {
    let row = |model: &Model| {
        let mut row = vec![escape(&model.name), mean_sd(model.between_seeds.dice, 3)];
        row.push(
            model
                .seeds
                .iter()
                .map(seed_link)
                .collect::<Vec<_>>()
                .join(" "),
        );
        row.push(mean_sd(model.between_seeds.auc_brain, 3));
        row.push(mean_sd(model.between_seeds.fp_per_patient, 1));
        row.push(mean_sd(model.dice_at.dice, 3));
        row.push(mean_sd(model.dice_at.youden_pooled, 3));
        row
    };
    let rows: Vec<_> = experiment.models.iter().map(row).collect();
    let head = words(&[
        "Model",
        "Dice, seeds",
        "each seed's run",
        "AUC, brain",
        "False findings per patient",
        "Dice at the best validation Dice",
        "Dice at the pooled Youden",
    ]);
    format!(
        "<h2>How far the seeds lie apart</h2>\n{}<p class=\"note\">Mean ± standard deviation over seeds of the mean over \
         held-out patients; the last two columns are each patient's mean over seeds, ± over patients, at the report's other \
         operating points. A seed changes the initial weights, the order of examples, dropout and augmentation; \
         patients and split stay.</p>",
        html_table(&head, &rows)
    )
}

fn seed_link(seed: &super::super::schema::SeedRun) -> String {
    let dice = seed
        .metrics
        .dice
        .mean
        .map_or("–".into(), |dice| format!("{dice:.3}"));
    format!(
        "<a href=\"{}/report.html\" title=\"seed {}\">{dice}</a>",
        escape(&seed.folder),
        seed.seed
    )
}

/// Dice of the arms on every subset of the held-out patients' sequences.
fn subsets(experiment: &Experiment) -> String {
    let rows = by_subset(experiment, |metrics| metrics.dice);
    if rows.is_empty() {
        return String::new();
    }
    let arms = experiment
        .models
        .iter()
        .filter(|model| model.name == model.arm);
    let mut head = words(&["Shown", "Patients"]);
    head.extend(arms.map(|model| escape(&model.name)));
    let row = |(sequences, cases, values): &(Vec<String>, usize, Vec<MeanSd>)| {
        let mut row = vec![escape(&sequences.join(" + ")), cases.to_string()];
        row.extend(values.iter().map(|value| mean_sd(*value, 3)));
        row
    };
    format!(
        "<h2>Dice with every subset of sequences, held-out patients</h2>\n{}<p class=\"note\">Mean ± standard deviation \
         over seeds. A model trained on one fixed subset knows its parts only.</p>",
        html_table(&head, &rows.iter().map(row).collect::<Vec<_>>())
    )
}

/// Time and traffic.
fn cost(experiment: &Experiment) -> String {
    let row = |model: &&Model| {
        let mean = |value: fn(&super::super::schema::SeedRun) -> f64| {
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
        "<h2>What it cost</h2>\n{}<p class=\"note\">Time with everything that was trained and scored in the run, on this \
         machine.</p>",
        html_table(&head, &rows)
    )
}

/// The summary for a terminal.
pub(super) fn table(experiment: &Experiment) -> String {
    let mut lines = sentences(experiment);
    lines.push(String::new());
    let width = experiment
        .models
        .iter()
        .map(|model| model.name.chars().count())
        .max()
        .unwrap_or(0)
        .max(5);
    lines.push(format!(
        "{:<width$}  {:>15}  {:>15}  {:>15}  {:>15}  {:>13}  {:>15}",
        "model",
        "Dice",
        "between seeds",
        "at best Dice",
        "AUC brain",
        "false/patient",
        "p (signed rank)"
    ));
    for model in &experiment.models {
        let test = experiment
            .tests
            .iter()
            .find(|test| test.run == model.name && test.metric == "dice");
        let p = |test: &Test| p_value(test.signed_rank_holm).replace("&lt;", "<");
        let (m, between) = (&model.metrics, &model.between_seeds);
        lines.push(format!(
            "{:<width$}  {:>15}  {:>15}  {:>15}  {:>15}  {:>13}  {:>15}",
            model.name,
            mean_sd(m.dice, 3),
            mean_sd(between.dice, 3),
            mean_sd(model.dice_at.dice, 3),
            mean_sd(m.auc_brain, 3),
            mean_sd(m.fp_per_patient, 1),
            test.map(p).unwrap_or_default()
        ));
    }
    lines.join("\n")
}
