//! The report's pictures: which numbers each one shows.

use super::contract::{Lineage, Report};
use super::missing;
use super::plot::{self, Axes, DrawError, Line, Row};
use super::roc;
use super::summary::{cases_of, confusion, federation_run};
use crate::outcome::{Outcome, RunOutcome};
use shared::case::Role;

/// One picture.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Figure {
    /// Its file's name without the ending.
    pub(super) name: &'static str,
    /// A heading.
    pub(super) title: &'static str,
    /// What to see.
    pub(super) caption: &'static str,
    /// The picture.
    pub(super) svg: String,
}

/// All pictures that the outcome has data for.
///
/// # Errors
/// [`DrawError`], which would be a fault of ours.
pub(super) fn draw(report: &Report, outcome: &Outcome) -> Result<Vec<Figure>, DrawError> {
    let figures = [
        comparison(report, outcome)?,
        dice_by_site(outcome)?,
        roc_curve(outcome)?,
        validation_curve(report)?,
        loss_curve(report)?,
    ];
    Ok(figures.into_iter().flatten().chain(missing::pictures(report)?).collect())
}

fn loss_curve(report: &Report) -> Result<Option<Figure>, DrawError> {
    let lines: Vec<Line> = report.federation.members.iter().map(|site| loss_of(&report.federation, site)).collect();
    let highest = lines.iter().flat_map(|line| &line.points).map(|point| point.1).fold(0.0, f64::max);
    if highest <= 0.0 {
        return Ok(None);
    }
    let axes = Axes { x: rounds(report), y: (0.0, highest * 1.05), x_name: "round", y_name: "training loss" };
    Ok(Some(Figure {
        name: "loss",
        title: "Training loss at each site",
        caption: "Mean loss of each round at each site. Lower is better; sites differ because their images do.",
        svg: plot::lines(&axes, &lines)?,
    }))
}

fn loss_of(lineage: &Lineage, site: &str) -> Line {
    let points = lineage.rounds.iter().filter_map(|round| {
        let update = round.updates.iter().find(|update| update.site == site)?;
        Some((f64::from(round.round), f64::from(update.mean_loss)))
    });
    Line { name: site.into(), points: points.collect() }
}

fn validation_curve(report: &Report) -> Result<Option<Figure>, DrawError> {
    let lines: Vec<Line> = report.lineages().map(validation_of).filter(|line| !line.points.is_empty()).collect();
    if lines.is_empty() {
        return Ok(None);
    }
    let axes = Axes { x: rounds(report), y: (0.0, 1.0), x_name: "round", y_name: "validation Dice" };
    Ok(Some(Figure {
        name: "validation",
        title: "Learning curve",
        caption: "Dice over all validation voxels at its best threshold, after each round. The round with the highest \
                  value gives the reported model. A site that trains alone is validated on its own patients only.",
        svg: plot::lines(&axes, &lines)?,
    }))
}

fn validation_of(lineage: &Lineage) -> Line {
    let points = lineage.rounds.iter().filter_map(|r| Some((f64::from(r.round), r.validation_dice?)));
    Line { name: plain_run(&lineage.run), points: points.collect() }
}

/// A run's name for people: `alone:north` is "north alone".
pub(super) fn plain_run(run: &str) -> String {
    run.strip_prefix("alone:").map_or_else(|| run.to_owned(), |site| format!("{site} alone"))
}

/// An axis that gives each round's point half a round of air.
fn rounds(report: &Report) -> (f64, f64) {
    let last = report.lineages().flat_map(|lineage| &lineage.rounds).map(|round| round.round).max();
    (0.5, f64::from(last.unwrap_or(1)) + 0.5)
}

fn roc_curve(outcome: &Outcome) -> Result<Option<Figure>, DrawError> {
    let Some(run) = federation_run(outcome) else { return Ok(None) };
    let curves = roc::of(&cases_of(run, Role::Evaluate), run.threshold);
    if curves.is_empty() {
        return Ok(None);
    }
    Ok(Some(Figure {
        name: "roc",
        title: "ROC at the sites that took no part",
        caption: "All voxels of all held-out patients together. The circle is the operating point: the threshold \
                  chosen on validation patients of the training sites. The whole volume looks better than the brain \
                  because the air around the head is easy.",
        svg: plot::roc(&curves)?,
    }))
}

fn dice_by_site(outcome: &Outcome) -> Result<Option<Figure>, DrawError> {
    let Some(run) = federation_run(outcome) else { return Ok(None) };
    let mut rows = Vec::new();
    for (role, part, colour) in [(Role::Evaluate, "held out", 1), (Role::Train, "validation", 0)] {
        for scores in run.scores.iter().filter(|scores| scores.role == role) {
            let dice = scores.cases.iter().filter_map(|case| confusion(case, run.threshold)?.dice());
            rows.push(Row { name: format!("{} ({part})", scores.site), values: dice.collect(), colour });
        }
    }
    let svg = plot::boxes("Dice", rows)?;
    Ok(svg.map(|svg| Figure {
        name: "dice",
        title: "Dice of each patient, by site",
        caption: "Each point is a patient. The box holds the middle half of a site's patients, its line is the \
                  median, the whiskers reach the lowest and the highest patient.",
        svg,
    }))
}

fn comparison(report: &Report, outcome: &Outcome) -> Result<Option<Figure>, DrawError> {
    if report.alone.is_empty() {
        return Ok(None);
    }
    let rows = outcome.runs.iter().enumerate().map(|(index, run)| held_out_dice(run, usize::from(index == 0)));
    let svg = plot::boxes("Dice at the sites that took no part", rows.collect())?;
    Ok(svg.map(|svg| Figure {
        name: "comparison",
        title: "Training together against training alone",
        caption: "Dice of each patient at the sites that took no part, under the federation's model and under the \
                  model that each site trained by itself with the same settings. Each point is a patient.",
        svg,
    }))
}

fn held_out_dice(run: &RunOutcome, colour: usize) -> Row {
    let cases = cases_of(run, Role::Evaluate);
    let dice = cases.iter().filter_map(|case| confusion(case, run.threshold)?.dice());
    Row { name: plain_run(&run.name), values: dice.collect(), colour }
}
