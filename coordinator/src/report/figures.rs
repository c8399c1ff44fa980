//! The report's pictures: which numbers each one shows.

mod learning;

use super::ablation;
use super::case_metrics::{self, CaseMetrics, hold_lesions};
use super::markup::Figure;
use super::plot::{self, Axes, Bar, DrawError, Line, Row};
use super::points;
use super::roc;
use super::schema::{Lesions, Report, SizeBin};
use super::summary::{cases_of, federation_run};
use super::wording::{POINTS as NAMES, at_points, plain_run};
use metrics::lesion::{FrocPoint, froc};
use protocol::case::Cases;
use protocol::outcome::{Outcome, RunOutcome};

/// The two operating points of equal rank, and where a run's thresholds of them are.
pub(super) type Point = (&'static str, fn(&RunOutcome) -> Option<f32>);
pub(super) const POINTS: [Point; 2] = [
    (NAMES[0], |run| run.threshold_dice),
    (NAMES[1], |run| run.threshold),
];

/// All pictures that the outcome has data for.
///
/// # Errors
/// [`DrawError`], which would be a fault of ours.
pub(super) fn draw(report: &Report, outcome: &Outcome) -> Result<Vec<Figure>, DrawError> {
    let figures = [
        comparison(outcome)?,
        dice_by_site(outcome)?,
        false_findings(outcome)?,
        roc_curve(outcome)?,
        free_response(outcome)?,
        by_size(report)?,
        points::diagram(report)?,
    ];
    let figures = mean_roc(outcome)?
        .into_iter()
        .chain(figures.into_iter().flatten());
    let figures = figures.chain(learning::curves(report)?);
    Ok(figures.chain(ablation::pictures(report)?).collect())
}

fn roc_curve(outcome: &Outcome) -> Result<Option<Figure>, DrawError> {
    let Some(run) = federation_run(outcome) else {
        return Ok(None);
    };
    let thresholds: Vec<f32> = POINTS
        .iter()
        .filter_map(|(_, threshold)| threshold(run))
        .collect();
    let curves = roc::of(&cases_of(run, Cases::HeldOut), &thresholds);
    if curves.is_empty() {
        return Ok(None);
    }
    Ok(Some(Figure {
        name: "roc",
        title: "ROC of all voxels together",
        caption: "All voxels of all held-out patients together. The circles are the operating \
                  points chosen on validation patients of the training sites: best Dice on the \
                  left, Youden on the right. The whole volume looks better than the brain \
                  because the air around the head is easy.",
        svg: plot::roc(&curves)?,
    }))
}

fn mean_roc(outcome: &Outcome) -> Result<Vec<Figure>, DrawError> {
    let lone = outcome.runs.len() == 1;
    let in_brain = |run: &RunOutcome| {
        let name = if lone {
            "in the brain".into()
        } else {
            plain_run(&run.name)
        };
        roc::mean_in_brain(&name, &cases_of(run, Cases::HeldOut))
    };
    let mut curves: Vec<roc::Mean> = outcome.runs.iter().filter_map(in_brain).collect();
    if let Some(run) = federation_run(outcome).filter(|_| lone) {
        curves.extend(roc::mean_in_volume(
            "whole volume",
            &cases_of(run, Cases::HeldOut),
        ));
    }
    roc_pair(
        &curves,
        "Each held-out patient's own curve, averaged at each false positive rate; in the brain \
         unless it says otherwise. The band is the 95 % interval of the mean over patients.",
    )
}

/// Mean curves as a whole, and closer at low false positive rates where they crowd there.
pub(super) fn roc_pair(
    curves: &[roc::Mean],
    caption: &'static str,
) -> Result<Vec<Figure>, DrawError> {
    let mut pair = Vec::new();
    if !curves.is_empty() {
        pair.push(Figure {
            name: "roc-mean",
            title: "ROC at the sites that took no part, mean over patients",
            caption,
            svg: plot::mean_roc(curves, 1.0)?,
        });
        if let Some(end) = plot::corner(curves) {
            pair.push(Figure {
                name: "roc-mean-corner",
                title: "The same at low false positive rates",
                caption: "The left edge of the picture above.",
                svg: plot::mean_roc(curves, end)?,
            });
        }
    }
    Ok(pair)
}

fn dice_by_site(outcome: &Outcome) -> Result<Option<Figure>, DrawError> {
    let Some(run) = federation_run(outcome) else {
        return Ok(None);
    };
    let mut rows = Vec::new();
    for (cases, part) in [
        (Cases::HeldOut, "held out"),
        (Cases::Validation, "validation"),
    ] {
        for scores in run
            .scores
            .iter()
            .filter(|scores| scores.role.judges() == cases)
        {
            if !hold_lesions(&scores.cases) {
                continue;
            }
            for (colour, (point, threshold)) in POINTS.iter().enumerate() {
                let at = threshold(run);
                let dice = scores
                    .cases
                    .iter()
                    .filter_map(|case| CaseMetrics::from(case).values(at).dice);
                rows.push(Row {
                    name: format!("{} ({part}), {point}", scores.site),
                    values: dice.collect(),
                    colour,
                });
            }
        }
    }
    let svg = plot::boxes("Dice", 1.0, rows)?;
    Ok(svg.map(|svg| Figure {
        name: "dice",
        title: "Dice of each patient, by site",
        caption: "Each point is a patient. The box holds the middle half of a site's patients, \
                  its line is the median, the whiskers reach the lowest and the highest patient. \
                  Both operating points: best Dice and Youden.",
        svg,
    }))
}

fn comparison(outcome: &Outcome) -> Result<Option<Figure>, DrawError> {
    if outcome.runs.len() < 2 {
        return Ok(None);
    }
    let mut rows = Vec::new();
    for run in &outcome.runs {
        for (colour, (point, threshold)) in POINTS.iter().enumerate() {
            let name = format!("{}, {point}", plain_run(&run.name));
            rows.push(held_out(run, "dice", threshold(run), name, colour));
        }
    }
    let svg = plot::boxes("Dice at the sites that took no part", 1.0, rows)?;
    Ok(svg.map(|svg| Figure {
        name: "comparison",
        title: "Training together against training alone",
        caption: "Dice of each patient at the sites that took no part, under the federation's \
                  model and under the model that each site trained by itself with the same \
                  settings, each at both operating points. Each point is a patient.",
        svg,
    }))
}

/// Every model's false findings, without and with the size limit.
fn false_findings(outcome: &Outcome) -> Result<Option<Figure>, DrawError> {
    let mut rows = Vec::new();
    for run in &outcome.runs {
        for (colour, (point, threshold)) in POINTS.iter().enumerate() {
            let (name, at) = (plain_run(&run.name), threshold(run));
            rows.push(held_out(
                run,
                "fp_per_patient",
                at,
                format!("{name}, {point}, all"),
                colour,
            ));
            rows.push(held_out(
                run,
                "fp_per_patient_10mm3",
                at,
                format!("{name}, {point}, ≥ 10 mm³"),
                colour,
            ));
        }
    }
    let svg = plot::boxes("false findings in a patient", 1.0, rows)?;
    Ok(svg.map(|svg| Figure {
        name: "false-findings",
        title: "False findings in each patient, without and with a size limit",
        caption: "Marked regions that touch no lesion, at the sites that took no part: all of \
                  them, and those of at least 10 mm³, at both operating points. Each point is a \
                  patient.",
        svg,
    }))
}

fn held_out(
    run: &RunOutcome,
    metric: &str,
    threshold: Option<f32>,
    name: String,
    colour: usize,
) -> Row {
    let cases = cases_of(run, Cases::HeldOut);
    let values = cases
        .iter()
        .map(|&case| CaseMetrics::from(case).values(threshold));
    let values = values.filter_map(|values| case_metrics::value(&values, metric));
    Row {
        name,
        values: values.collect(),
        colour,
    }
}

fn free_response(outcome: &Outcome) -> Result<Option<Figure>, DrawError> {
    let mut lines = Vec::new();
    for (index, run) in outcome.runs.iter().enumerate() {
        let Some(curve) = froc(&cases_of(run, Cases::HeldOut)).filter(|curve| !curve.is_empty())
        else {
            continue;
        };
        let line = |name: String, x: fn(&FrocPoint) -> f64| Line {
            name,
            points: curve
                .iter()
                .map(|point| (x(point), point.sensitivity))
                .collect(),
        };
        lines.push(line(plain_run(&run.name), |point| point.false_positives));
        let differ = curve
            .iter()
            .any(|point| point.false_positives != point.false_positives_10mm3);
        if index == 0 && differ {
            lines.push(line("the same, ≥ 10 mm³".into(), |point| {
                point.false_positives_10mm3
            }));
        }
    }
    let furthest = lines
        .iter()
        .flat_map(|line| &line.points)
        .map(|point| point.0)
        .fold(1.0, f64::max);
    if lines.is_empty() {
        return Ok(None);
    }
    let (x_name, y_name) = ("false findings per patient", "share of lesions found");
    let axes = Axes {
        x: (0.0, furthest * 1.03),
        y: (0.0, 1.03),
        x_name,
        y_name,
    };
    Ok(Some(Figure {
        name: "froc",
        title: "Lesions found against false findings (FROC)",
        caption: "Each point is a threshold found on validation patients; lesions of all \
                  held-out patients together. Up is more lesions found, left is fewer false \
                  findings. A curve turns back where false regions grow together or into a \
                  lesion. A line for those of at least 10 mm³ is drawn where it differs.",
        svg: plot::lines(&axes, &lines)?,
    }))
}

fn by_size(report: &Report) -> Result<Option<Figure>, DrawError> {
    let [dice, youden] = at_points(&report.federation.pooled.held_out.scores).map(|at| at.lesions);
    let any = |lesions: Option<Lesions>| {
        lesions.is_some_and(|all| all.by_size.iter().any(|bin| bin.reference > 0))
    };
    if !any(dice) && !any(youden) {
        return Ok(None);
    }
    let mut bars = Vec::new();
    for size in 0..4 {
        for (lesions, (point, _)) in [dice, youden].into_iter().zip(POINTS) {
            bars.extend(lesions.map(|lesions| bar(&lesions.by_size[size], point)));
        }
    }
    Ok(Some(Figure {
        name: "sizes",
        title: "Lesions found, by size",
        caption: "Lesions of all held-out patients together. The diameter is that of a ball of \
                  the lesion's volume. At both operating points.",
        svg: plot::bars("share of lesions found", &bars)?,
    }))
}

fn bar(bin: &SizeBin, point: &str) -> Bar {
    let size = match (bin.from_mm, bin.to_mm) {
        (_, None) => format!("above {:.0} mm", bin.from_mm),
        (0.0, Some(to)) => format!("below {to:.0} mm"),
        (from, Some(to)) => format!("{from:.0} to {to:.0} mm"),
    };
    let share = (bin.reference > 0).then(|| bin.detected as f64 / bin.reference as f64);
    let words = if bin.reference > 0 {
        format!("{} of {}", bin.detected, bin.reference)
    } else {
        "none".into()
    };
    Bar {
        name: format!("{size}, {point}"),
        share,
        words,
    }
}
