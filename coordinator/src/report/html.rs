//! `report.html`: one file that needs nothing else, for people who read images rather than code.

use super::contract::*;
use super::markup::*;
use super::missing;
use super::overlays;
use super::tables;
use super::words::*;
use crate::format::{bytes, duration};
use protocol::case::{Cases, Role};
use protocol::federation::Compute;
use protocol::outcome::Outcome;

/// The whole page.
#[must_use]
pub(super) fn page(report: &Report, figures: &[Figure], outcome: &Outcome) -> String {
    let sections = [
        summary(report),
        tables::cohort(report),
        tables::sequences(report),
        tables::arms(report),
        performance(report),
        overlays::section(outcome),
        missing::section(report, figures),
        pictures(figures),
        operating_points(report),
        rounds(report),
        glossary().to_owned(),
        settings(report),
    ];
    let footer = format!("The numbers stand in report.json beside this file. {}", left(outcome));
    document(&report.name, &report.software, &sections.join("\n"), &footer)
}

/// What left the sites.
fn left(outcome: &Outcome) -> &'static str {
    if overlays::any(outcome) {
        "No patient's name left a site: sites sent model parameters and counts, and pictures where they permit it."
    } else {
        "No image and no patient's name left a site: sites sent model parameters and counts."
    }
}

fn summary(report: &Report) -> String {
    let federation = &report.federation;
    let verdict = verdict(report).map(|words| format!("<p>{}</p>", escape(&words))).unwrap_or_default();
    let worst = report.worst_held_out.as_ref().filter(|_| held_out_sites(report) > 1);
    let worst = worst.map(|worst| {
        format!("<p>The site it serves worst is {}, with a mean Dice of {:.3}.</p>", escape(&worst.site), worst.dice)
    });
    let silent = silent(report).map(|words| format!("<p>{}</p>", escape(&words))).unwrap_or_default();
    format!(
        "<p class=\"headline\">{}</p>{verdict}{}{silent}<p class=\"facts\">{} training sites · {} rounds, the model of round {} \
         reported · {} · {} of parameters exchanged</p>",
        escape(&headline(report)),
        worst.unwrap_or_default(),
        federation.members.len(),
        federation.rounds.len(),
        federation.best_round,
        duration(report.seconds),
        bytes(report.lineages().map(|lineage| lineage.bytes).sum()),
    )
}

fn held_out_sites(report: &Report) -> usize {
    report.federation.sites.iter().filter(|site| site.role == Role::Evaluate).count()
}

/// The spread below the mean, so that many columns fit.
fn stacked(value: MeanSd, decimals: usize) -> String {
    let text = mean_sd(value, decimals);
    text.split_once(" ± ").map_or(text.clone(), |(mean, sd)| format!("{mean}<br><small>± {sd}</small>"))
}

const SCORE_HEAD: [&str; 11] = [
    "",
    "Patients",
    "AUC, brain",
    "AUC, volume",
    "Dice",
    "IoU",
    "Precision",
    "Recall",
    "False findings per patient",
    "of ≥ 10 mm³",
    "Lesions found",
];

fn score_row(name: String, cases: usize, scores: &Scores) -> Vec<String> {
    let m = &scores.metrics;
    let mut row = vec![name, cases.to_string()];
    row.extend([m.auc_brain, m.auc_volume, m.dice, m.iou, m.precision, m.recall].map(|value| stacked(value, 3)));
    row.extend([m.fp_per_patient, m.fp_per_patient_10mm3].map(|value| stacked(value, 1)));
    row.push(found(scores.lesions));
    row
}

fn performance(report: &Report) -> String {
    let federation = &report.federation;
    let mut rows = Vec::new();
    for (cases, title, group) in [
        (Cases::HeldOut, "All held-out sites", &federation.pooled.held_out),
        (Cases::Validation, "All validation patients", &federation.pooled.validation),
    ] {
        let own = federation.sites.iter().filter(|site| site.role.judges() == cases && site.cases > 0);
        let own: Vec<_> = own
            .map(|site| score_row(format!("{} ({})", escape(&site.name), use_of(site.role)), site.cases, &site.scores))
            .collect();
        if own.len() > 1 {
            rows.push(score_row(format!("<strong>{title}</strong>"), group.cases, &group.scores));
        }
        rows.extend(own);
    }
    let threshold = federation.thresholds.youden.map_or("–".into(), |t| format!("{t:.3}"));
    format!(
        "<h2>How it does at each site</h2>\n{}<p class=\"note\">Mean ± standard deviation over patients; a dash where a \
         number is undefined. A voxel counts as lesion where its probability is at least {threshold}, the threshold chosen \
         on validation patients of the training sites (Youden). Validation patients chose threshold and model, so their \
         numbers flatter.</p>",
        table(&words(&SCORE_HEAD), &rows)
    )
}

fn pictures(figures: &[Figure]) -> String {
    figures.iter().filter(|one| !missing::is_mine(one)).map(figure).collect::<Vec<_>>().join("\n")
}

fn operating_points(report: &Report) -> String {
    let scores = &report.federation.pooled.held_out.scores;
    let thresholds = report.federation.thresholds;
    let points = [
        ("Youden, mean over validation patients (used above)", thresholds.youden, &scores.metrics),
        ("Youden, all validation voxels together", thresholds.youden_pooled, &scores.alternatives.youden_pooled),
        ("Best validation Dice", thresholds.dice, &scores.alternatives.dice),
    ];
    let rows: Vec<_> = points
        .into_iter()
        .map(|(name, threshold, m)| {
            let mut row = vec![name.to_owned(), threshold.map_or("–".into(), |t| format!("{t:.4}"))];
            row.extend([m.dice, m.precision, m.recall].map(|value| mean_sd(value, 3)));
            row.extend([m.fp_per_patient, m.fp_per_patient_10mm3].map(|value| mean_sd(value, 1)));
            row
        })
        .collect();
    let head = words(&["Threshold by", "Probability", "Dice", "Precision", "Recall", "False findings", "≥ 10 mm³"]);
    format!(
        "<h2>Other operating points</h2>\n{}<p class=\"note\">Held-out patients. Youden weighs sensitivity and \
         specificity alike, and lesions are rare: it finds much and calls too much. The Dice threshold calls less.</p>",
        table(&head, &rows)
    )
}

fn rounds(report: &Report) -> String {
    let row = |round: &Round| {
        let missing: Vec<_> =
            round.missing.iter().map(|m| format!("{}: {}", escape(&m.site), escape(&m.reason))).collect();
        let late = round.updates.iter().filter(|update| update.steps < update.asked_steps);
        let late = late.map(|one| format!("{}: {} of {} steps", escape(&one.site), one.steps, one.asked_steps));
        let mixed = round.updates.iter().filter(|update| update.compute != Compute::F32);
        let mixed = mixed.map(|one| format!("{}: computed in {}", escape(&one.site), one.compute.name()));
        let missing: Vec<_> = missing.into_iter().chain(late).chain(mixed).collect();
        vec![
            round.round.to_string(),
            round.updates.len().to_string(),
            round.validation_dice.map_or("–".into(), |dice| format!("{dice:.3}")),
            duration(round.seconds),
            bytes(round.bytes),
            if missing.is_empty() { "·".into() } else { missing.join("; ") },
        ]
    };
    let rows: Vec<_> = report.federation.rounds.iter().map(row).collect();
    let head =
        words(&["Round", "Updates", "Validation Dice", "Time", "Parameters", "Missing, partial, mixed precision"]);
    format!("<details><summary>Rounds</summary>\n{}</details>", table(&head, &rows))
}

fn glossary() -> &'static str {
    "<details><summary>What the numbers mean</summary>\n<dl>\
     <dt>Dice</dt><dd>Overlap of the marked with the true lesion volume: twice the shared voxels over the sum of both. \
     1 is perfect, 0 is no overlap. Undefined where there is no lesion and none was marked.</dd>\
     <dt>IoU</dt><dd>Shared voxels over voxels in either; Dice / (2 - Dice).</dd>\
     <dt>Precision, recall</dt><dd>The share of marked voxels that are lesion; the share of lesion voxels that are \
     marked.</dd>\
     <dt>AUC</dt><dd>The chance that a lesion voxel scores higher than another voxel, in the brain or over the whole \
     volume. It does not depend on a threshold.</dd>\
     <dt>False findings</dt><dd>Connected marked regions that touch no true lesion.</dd>\
     <dt>Lesions found</dt><dd>True lesions (connected regions, corners count) that the marking touches.</dd>\
     <dt>Held out</dt><dd>A site whose images the model never saw: neither to learn nor to choose anything.</dd>\
     </dl></details>"
}

fn settings(report: &Report) -> String {
    // Settings hold numbers, names and options only; they always have a JSON form.
    let text = serde_json::to_string_pretty(&report.settings).unwrap_or_default();
    format!("<details><summary>Settings</summary>\n<pre>{}</pre></details>", escape(&text))
}
