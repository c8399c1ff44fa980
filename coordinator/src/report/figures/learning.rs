//! How training went, round by round.

use super::super::plot::{self, Axes, DrawError, Line};
use super::super::schema::{Report, Round, TrainingRun};
use super::{Figure, plain_run};

/// Learning curves, time and traffic.
///
/// # Errors
/// [`DrawError`], which would be a fault of ours.
pub(super) fn curves(report: &Report) -> Result<impl Iterator<Item = Figure> + use<>, DrawError> {
    let figures = [
        validation(report)?,
        validation_by_site(report)?,
        loss(report)?,
        time(report)?,
        traffic(report)?,
    ];
    Ok(figures.into_iter().flatten())
}

fn validation(report: &Report) -> Result<Option<Figure>, DrawError> {
    let of = |training: &TrainingRun| {
        line(training, plain_run(&training.run), |round| {
            round.validation_dice
        })
    };
    Ok(picture(
        report,
        report.training_runs().map(of).collect(),
        Some(1.0),
        "validation Dice",
    )?
    .map(|svg| Figure {
        name: "validation",
        title: "Learning curve",
        caption: "Dice over all validation voxels at its best threshold, after each round. The \
                  round with the highest value gives the reported model. A site that trains \
                  alone is validated on its own patients only.",
        svg,
    }))
}

fn validation_by_site(report: &Report) -> Result<Option<Figure>, DrawError> {
    let of = |site: &String| {
        let own = |round: &Round| {
            round
                .validation_sites
                .iter()
                .find(|one| one.site == *site)?
                .dice
        };
        line(&report.federation, site.clone(), own)
    };
    let lines = report.federation.members.iter().map(of).collect();
    Ok(
        picture(report, lines, Some(1.0), "validation Dice")?.map(|svg| Figure {
            name: "validation-sites",
            title: "Learning curve at each site",
            caption: "The federation's model on each site's own validation patients, at the site's \
                  own best threshold.",
            svg,
        }),
    )
}

fn loss(report: &Report) -> Result<Option<Figure>, DrawError> {
    let of = |site: &String| {
        let own = |round: &Round| {
            round
                .updates
                .iter()
                .find(|one| one.site == *site)
                .map(|one| one.mean_loss.into())
        };
        line(&report.federation, site.clone(), own)
    };
    let lines = report.federation.members.iter().map(of).collect();
    Ok(
        picture(report, lines, None, "training loss")?.map(|svg| Figure {
            name: "loss",
            title: "Training loss at each site",
            caption: "Mean loss of each round at each site. Lower is better; sites differ because \
                  their images do.",
            svg,
        }),
    )
}

fn time(report: &Report) -> Result<Option<Figure>, DrawError> {
    let of = |site: &String| {
        let own = |round: &Round| {
            round
                .updates
                .iter()
                .find(|one| one.site == *site)
                .map(|one| one.seconds.into())
        };
        line(&report.federation, format!("training at {site}"), own)
    };
    let mut lines = vec![line(&report.federation, "whole round".into(), |round| {
        Some(round.seconds)
    })];
    lines.extend(report.federation.members.iter().map(of));
    Ok(picture(report, lines, None, "seconds")?.map(|svg| Figure {
        name: "time",
        title: "Time of each round",
        caption: "From the round's beginning to the averaged model, and the training at each \
                  site in between; sites that share a machine wait for each other.",
        svg,
    }))
}

fn traffic(report: &Report) -> Result<Option<Figure>, DrawError> {
    let federation = line(&report.federation, "federation".into(), |round| {
        Some(round.bytes as f64 / 1e6)
    });
    Ok(picture(report, vec![federation], None, "MB of parameters")?.map(|svg| Figure {
        name: "traffic",
        title: "Parameters sent and received in each round",
        caption: "All sites together, both directions. Scores and messages are small compared with it.",
        svg,
    }))
}

fn line(training: &TrainingRun, name: String, value: impl Fn(&Round) -> Option<f64>) -> Line {
    let points = training
        .rounds
        .iter()
        .filter_map(|round| Some((f64::from(round.round), value(round)?)));
    Line {
        name,
        points: points.collect(),
    }
}

/// Lines over rounds, up to `top` or as far as they reach; `None` without any point above zero.
fn picture(
    report: &Report,
    mut lines: Vec<Line>,
    top: Option<f64>,
    y_name: &'static str,
) -> Result<Option<String>, DrawError> {
    lines.retain(|line| !line.points.is_empty());
    let highest = lines
        .iter()
        .flat_map(|line| &line.points)
        .map(|point| point.1)
        .fold(0.0, f64::max);
    if lines.is_empty() || highest <= 0.0 {
        return Ok(None);
    }
    let axes = Axes {
        x: rounds(report),
        y: (0.0, top.unwrap_or(highest * 1.05)),
        x_name: "round",
        y_name,
    };
    plot::lines(&axes, &lines).map(Some)
}

/// An axis that gives each round's point half a round of air.
fn rounds(report: &Report) -> (f64, f64) {
    let last = report
        .training_runs()
        .flat_map(|training| &training.rounds)
        .map(|round| round.round)
        .max();
    (0.5, f64::from(last.unwrap_or(1)) + 0.5)
}
