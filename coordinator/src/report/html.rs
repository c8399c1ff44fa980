//! `report.html`: one file that needs nothing else, for people who read images rather than code.

use super::ablation;
use super::markup::*;
use super::overlays;
use super::points;
use super::schema::*;
use super::tables;
use super::wording::*;
use crate::format::{bytes, duration};
use protocol::case::{Cases, Role};
use protocol::outcome::Outcome;
use protocol::settings::Compute;

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
        ablation::section(report, figures),
        pictures(figures),
        points::operating_points(report),
        points::calibration(report, figures),
        rounds(report),
        glossary().to_owned(),
        settings(report),
    ];
    let footer = format!(
        "The numbers are in report.json next to this file. {}",
        left(outcome)
    );
    document(
        &report.name,
        &report.software,
        &sections.join("\n"),
        &footer,
    )
}

/// What left the sites.
fn left(outcome: &Outcome) -> &'static str {
    if overlays::any(outcome) {
        "No patient's name left a site: sites sent model parameters and counts, and pictures \
         where they permit it."
    } else {
        "No image and no patient's name left a site: sites sent model parameters and counts."
    }
}

fn summary(report: &Report) -> String {
    let federation = &report.federation;
    let verdict = verdict(report)
        .map(|words| format!("<p>{}</p>", escape(&words)))
        .unwrap_or_default();
    let both = [&report.worst_held_out_at_dice, &report.worst_held_out];
    let worst = POINTS
        .into_iter()
        .zip(both)
        .filter_map(|(point, worst)| Some((point, worst.as_ref()?)));
    let worst = worst
        .filter(|_| held_out_sites(report) > 1)
        .map(|(point, worst)| {
            format!(
                "<p>The site it serves worst ({point}) is {}, with a mean Dice of {:.3}.</p>",
                escape(&worst.site),
                worst.dice
            )
        });
    let silent = silent(report)
        .map(|words| format!("<p>{}</p>", escape(&words)))
        .unwrap_or_default();
    let training = if federation.rounds.is_empty() {
        "No training: a given model was evaluated".to_owned()
    } else {
        format!(
            "{} training sites · {} rounds, the model of round {} reported",
            federation.members.len(),
            federation.rounds.len(),
            federation.best_round,
        )
    };
    format!(
        "<p class=\"headline\">{}</p>{verdict}{}{silent}<p class=\"facts\">{training} · {} · {} of \
         parameters exchanged</p>",
        escape(&headline(report)),
        worst.collect::<String>(),
        duration(report.seconds),
        bytes(report.training_runs().map(|run| run.bytes).sum()),
    )
}

fn held_out_sites(report: &Report) -> usize {
    report
        .federation
        .sites
        .iter()
        .filter(|site| site.role == Role::Evaluate)
        .count()
}

/// The spread below the mean, so that many columns fit.
fn stacked(value: MeanSd, decimals: usize) -> String {
    let text = mean_sd(value, decimals);
    text.split_once(" ± ").map_or(text.clone(), |(mean, sd)| {
        format!("{mean}<br><small>± {sd}</small>")
    })
}

const SCORE_HEAD: [&str; 12] = [
    "",
    "Patients",
    "Threshold by",
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

/// Two rows, one for each operating point; the AUC does not depend on it.
fn score_rows(name: &str, cases: usize, scores: &Scores) -> Vec<Vec<String>> {
    let row = |(place, at): (usize, &AtPoint)| {
        let (m, first) = (&at.metrics, place == 0);
        let once = |words: String| if first { words } else { String::new() };
        let mut row = vec![
            once(name.to_owned()),
            once(cases.to_string()),
            POINTS[place].to_owned(),
        ];
        row.extend([m.auc_brain, m.auc_volume].map(|value| once(stacked(value, 3))));
        row.extend([m.dice, m.iou, m.precision, m.recall].map(|value| stacked(value, 3)));
        row.extend([m.fp_per_patient, m.fp_per_patient_10mm3].map(|value| stacked(value, 1)));
        row.push(found(at.lesions));
        row
    };
    at_points(scores).into_iter().enumerate().map(row).collect()
}

fn performance(report: &Report) -> String {
    let federation = &report.federation;
    let mut rows = Vec::new();
    for (cases, title, group) in [
        (
            Cases::HeldOut,
            "All held-out sites",
            &federation.pooled.held_out,
        ),
        (
            Cases::Validation,
            "All validation patients",
            &federation.pooled.validation,
        ),
    ] {
        let own = federation
            .sites
            .iter()
            .filter(|site| site.role.judges() == cases && site.cases > 0);
        let own: Vec<&Site> = own.collect();
        if own.len() > 1 {
            rows.extend(score_rows(
                &format!("<strong>{title}</strong>"),
                group.cases,
                &group.scores,
            ));
        }
        for site in own {
            let name = format!("{} ({})", escape(&site.name), use_of(site.role));
            rows.extend(score_rows(&name, site.cases, &site.scores));
        }
    }
    let thresholds = federation.thresholds;
    let [dice, youden] = [thresholds.dice, thresholds.youden]
        .map(|threshold| threshold.map_or("–".into(), |t| format!("{t:.4}")));
    let chosen_by = if federation.rounds.is_empty() && federation.pooled.validation.cases == 0 {
        "both are the given model's own, because no site has validation patients."
    } else {
        "both were chosen on validation patients. Validation patients chose thresholds and \
         model, so their numbers flatter."
    };
    format!(
        "<h2>How it does at each site</h2>\n{}<p class=\"note\">Mean ± standard deviation over \
         patients; a dash where a number is undefined. A voxel counts as lesion where its \
         probability is at least {dice} (the best Dice, for outlines and volumes) or {youden} \
         (Youden, the publication's, which finds the most and marks too much); {chosen_by}</p>",
        table(&words(&SCORE_HEAD), &rows)
    )
}

fn pictures(figures: &[Figure]) -> String {
    let elsewhere = |one: &&Figure| !ablation::is_mine(one) && one.name != points::CALIBRATION;
    figures
        .iter()
        .filter(elsewhere)
        .map(figure)
        .collect::<Vec<_>>()
        .join("\n")
}

fn rounds(report: &Report) -> String {
    let row = |round: &Round| {
        let missing: Vec<_> = round
            .missing
            .iter()
            .map(|m| format!("{}: {}", escape(&m.site), escape(&m.reason)))
            .collect();
        let late = round
            .updates
            .iter()
            .filter(|update| update.steps < update.asked_steps);
        let late = late.map(|one| {
            format!(
                "{}: {} of {} steps",
                escape(&one.site),
                one.steps,
                one.asked_steps
            )
        });
        let mixed = round
            .updates
            .iter()
            .filter(|update| update.compute != Compute::F32);
        let mixed =
            mixed.map(|one| format!("{}: computed in {}", escape(&one.site), one.compute.name()));
        let missing: Vec<_> = missing.into_iter().chain(late).chain(mixed).collect();
        vec![
            round.round.to_string(),
            round.updates.len().to_string(),
            round
                .validation_dice
                .map_or("–".into(), |dice| format!("{dice:.3}")),
            duration(round.seconds),
            bytes(round.bytes),
            if missing.is_empty() {
                "·".into()
            } else {
                missing.join("; ")
            },
        ]
    };
    let rows: Vec<_> = report.federation.rounds.iter().map(row).collect();
    let head = words(&[
        "Round",
        "Updates",
        "Validation Dice",
        "Time",
        "Parameters",
        "Missing, partial, mixed precision",
    ]);
    format!(
        "<details><summary>Rounds</summary>\n{}</details>",
        table(&head, &rows)
    )
}

fn glossary() -> &'static str {
    "<details><summary>What the numbers mean</summary>\n<dl><dt>Dice</dt><dd>Overlap of the \
     marked with the true lesion volume: twice the shared voxels over the sum of both. 1 is \
     perfect, 0 is no overlap. Undefined where there is no lesion and none was \
     marked.</dd><dt>IoU</dt><dd>Shared voxels over voxels in either; Dice / (2 - \
     Dice).</dd><dt>Precision, recall</dt><dd>The share of marked voxels that are lesion; the \
     share of lesion voxels that are marked.</dd><dt>AUC</dt><dd>The chance that a lesion voxel \
     scores higher than another voxel, in the brain or over the whole volume. It does not depend \
     on a threshold.</dd><dt>Best Dice, Youden</dt><dd>The two ways to choose from which \
     probability a voxel is marked. The first gives the best Dice on validation patients and is \
     for outlines and volumes. The second is the publication's: it finds the most and marks far \
     more than the lesions.</dd><dt>Calibration</dt><dd>Whether the probabilities are what they \
     say: of the voxels given 30 %, three in ten should be lesion.</dd><dt>False \
     findings</dt><dd>Connected marked regions that touch no true lesion.</dd><dt>Lesions \
     found</dt><dd>True lesions (connected regions, corners count) that the marking \
     touches.</dd><dt>Held out</dt><dd>A site whose images the model never saw: neither to learn \
     nor to choose anything.</dd></dl></details>"
}

fn settings(report: &Report) -> String {
    // Settings hold numbers, names and options only; they always have a JSON form.
    let text = serde_json::to_string_pretty(&report.settings).unwrap_or_default();
    format!(
        "<details><summary>Settings</summary>\n<pre>{}</pre></details>",
        escape(&text)
    )
}
