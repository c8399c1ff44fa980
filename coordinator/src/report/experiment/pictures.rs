//! The experiment's pictures.

use super::super::case_metrics;
use super::super::figures::{POINTS, Point, roc_pair};
use super::super::markup::Figure;
use super::super::plot::{self, Axes, DrawError, Line, Row};
use super::super::schema::{Experiment, MeanSd};
use super::super::summary::summarise;
use super::super::{ablation, roc};
use super::models::ArmModel;
use protocol::case::Cases;
use protocol::outcome::RunKind;
use std::collections::BTreeMap;

/// All pictures that there is data for.
///
/// # Errors
/// [`DrawError`], which would be a fault of ours.
pub(super) fn draw(
    experiment: &Experiment,
    models: &[ArmModel<'_>],
) -> Result<Vec<Figure>, DrawError> {
    let figures = [dice(models)?, false_findings(models)?, learning(models)?]
        .into_iter()
        .flatten();
    let missing = subsets(experiment, models)?;
    Ok(mean_roc(models)?
        .into_iter()
        .chain(figures)
        .chain(missing)
        .collect())
}

/// The first model on every subset of sequences, at the sites of its first run.
fn subsets(experiment: &Experiment, models: &[ArmModel<'_>]) -> Result<Vec<Figure>, DrawError> {
    let (Some(model), Some(arm_model)) = (experiment.models.first(), models.first()) else {
        return Ok(Vec::new());
    };
    let Some((finished, _)) = arm_model.runs.first() else {
        return Ok(Vec::new());
    };
    let mut report = summarise(&finished.outcome);
    report.federation.matrix = model.matrix.clone();
    report.federation.matrix_at_dice = model.matrix_at_dice.clone();
    ablation::pictures(&report)
}

/// The arms' own models and the consensus: with the sites alone there would be too many bands.
fn mean_roc(models: &[ArmModel<'_>]) -> Result<Vec<Figure>, DrawError> {
    let alone = |model: &&ArmModel<'_>| {
        model
            .runs
            .iter()
            .any(|(_, run)| matches!(run.name, RunKind::Alone { .. }))
    };
    let curves = models
        .iter()
        .filter(|model| !alone(model))
        .filter_map(|model| {
            let sites = model.runs.iter().flat_map(|(_, run)| &run.scores);
            let held_out = sites.filter(|site| site.role.judges() == Cases::HeldOut);
            let cases = held_out.flat_map(|site| {
                site.cases
                    .iter()
                    .map(|case| ((site.site.as_str(), case.case), case))
            });
            roc::mean_over_seeds(&model.name, cases)
        });
    roc_pair(
        &curves.collect::<Vec<_>>(),
        "In the brain. Each held-out patient's own curves, averaged over seeds and then over \
         patients at each false positive rate. The band is the 95 % interval of the mean over \
         patients.",
    )
}

fn dice(models: &[ArmModel<'_>]) -> Result<Option<Figure>, DrawError> {
    let mut rows = Vec::new();
    for model in models {
        for (colour, point) in POINTS.iter().enumerate() {
            let name = format!("{}, {}", model.name, point.0);
            rows.push(row(model, "dice", point, name, colour));
        }
    }
    let svg = plot::boxes("Dice at the sites that took no part", 1.0, rows)?;
    Ok(svg.map(|svg| Figure {
        name: "dice",
        title: "Dice of each held-out patient",
        caption: "Each point is a patient, averaged over seeds. The box holds the middle half of \
                  the patients, its line is the median, the whiskers reach the lowest and the \
                  highest. Both operating points: best Dice is blue; Youden, the publication's, \
                  is orange.",
        svg,
    }))
}

fn false_findings(models: &[ArmModel<'_>]) -> Result<Option<Figure>, DrawError> {
    let mut rows = Vec::new();
    for model in models {
        for (colour, point) in POINTS.iter().enumerate() {
            let name = format!("{}, {}", model.name, point.0);
            let all = format!("{name}, all");
            let large = format!("{name}, ≥ 10 mm³");
            rows.push(row(model, "fp_per_patient", point, all, colour));
            rows.push(row(model, "fp_per_patient_10mm3", point, large, colour));
        }
    }
    let svg = plot::boxes("false findings in a patient", 1.0, rows)?;
    Ok(svg.map(|svg| Figure {
        name: "false-findings",
        title: "False findings in each held-out patient, without and with a size limit",
        caption: "Marked regions that touch no lesion: all of them, and those of at least 10 \
                  mm³. Each point is a patient, averaged over seeds. Best Dice is blue; Youden, \
                  the publication's, is orange.",
        svg,
    }))
}

fn row(model: &ArmModel<'_>, metric: &str, point: &Point, name: String, colour: usize) -> Row {
    let values = model
        .patients_at(point.1)
        .into_values()
        .filter_map(|values| case_metrics::value(&values, metric));
    Row {
        name,
        values: values.collect(),
        colour,
    }
}

/// Validation Dice after each round, the mean over seeds, of the arms' own models.
fn learning(models: &[ArmModel<'_>]) -> Result<Option<Figure>, DrawError> {
    let line = |model: &ArmModel<'_>| {
        let mut rounds: BTreeMap<u32, Vec<Option<f64>>> = BTreeMap::new();
        for round in model.runs.iter().flat_map(|(_, run)| &run.rounds) {
            rounds
                .entry(round.round)
                .or_default()
                .push(round.validation);
        }
        let mean = |(round, values)| Some((f64::from(round), MeanSd::of(values).mean?));
        Line {
            name: model.name.clone(),
            points: rounds.into_iter().filter_map(mean).collect(),
        }
    };
    let lines: Vec<Line> = models
        .iter()
        .filter(|model| model.is_federation())
        .map(line)
        .collect();
    let lines: Vec<Line> = lines
        .into_iter()
        .filter(|line| !line.points.is_empty())
        .collect();
    let last = lines
        .iter()
        .flat_map(|line| &line.points)
        .map(|point| point.0)
        .fold(1.0, f64::max);
    if lines.is_empty() {
        return Ok(None);
    }
    let axes = Axes {
        x: (0.5, last + 0.5),
        y: (0.0, 1.0),
        x_name: "round",
        y_name: "validation Dice",
    };
    Ok(Some(Figure {
        name: "validation",
        title: "Learning curves",
        caption: "Dice over all validation voxels at its best threshold, after each round; the \
                  mean over seeds. Arms that pool their data or set another dropout see other \
                  inputs, so compare shapes rather than heights.",
        svg: plot::lines(&axes, &lines)?,
    }))
}
