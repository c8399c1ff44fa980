//! Curves with bands, and curves with marks.

use super::{Axes, DrawError, GREY, Line, NAMES, canvas, colour, legend, mesh};
use crate::report::roc::{Curve, Mean};
use plotters::prelude::*;

const ROC: Axes = Axes {
    x: (0.0, 1.0),
    y: (0.0, 1.0),
    x_name: "false positive rate (1 - specificity)",
    y_name: "true positive rate (sensitivity)",
};

/// ROC curves with their operating points.
pub(in crate::report) fn roc(curves: &[Curve]) -> Result<String, DrawError> {
    canvas(860, |root| {
        let mut chart = square(root, ROC)?;
        for (index, curve) in curves.iter().enumerate() {
            chart.draw_series(LineSeries::new(
                curve.points.iter().copied(),
                colour(index).stroke_width(5),
            ))?;
            chart.draw_series(
                curve
                    .marks
                    .iter()
                    .map(|&at| Circle::new(at, 13, WHITE.filled())),
            )?;
            chart.draw_series(
                curve
                    .marks
                    .iter()
                    .map(|&at| Circle::new(at, 13, colour(index).stroke_width(5))),
            )?;
        }
        legend(root, curves.iter().map(|curve| curve.name.as_str()))
    })
}

/// The least false positive rate by which all curves have all but reached the top, where it is
/// worth a closer look.
pub(in crate::report) fn corner(curves: &[Mean]) -> Option<f64> {
    let there = |end: &f64| {
        curves.iter().all(|curve| {
            curve
                .bands
                .iter()
                .find(|band| band.fpr >= *end)
                .is_some_and(|band| band.tpr >= 0.95)
        })
    };
    [0.02, 0.05, 0.1, 0.2].into_iter().find(there)
}

/// Mean ROC curves up to a false positive rate, each in its band.
pub(in crate::report) fn mean_roc(curves: &[Mean], end: f64) -> Result<String, DrawError> {
    canvas(860, |root| {
        let mut chart = square(
            root,
            Axes {
                x: (0.0, end),
                ..ROC
            },
        )?;
        for (index, curve) in curves.iter().enumerate() {
            let ends = || {
                let shown = curve.bands.iter().filter(|band| band.fpr <= end);
                shown.filter_map(|band| Some((band.fpr, band.interval?)))
            };
            let low = ends().map(|(fpr, [low, _])| (fpr, low));
            let outline: Vec<(f64, f64)> = low
                .chain(ends().rev().map(|(fpr, [_, high])| (fpr, high)))
                .collect();
            if !outline.is_empty() {
                chart.draw_series([Polygon::new(outline, colour(index).mix(0.18))])?;
            }
        }
        for (index, curve) in curves.iter().enumerate() {
            let points = curve
                .bands
                .iter()
                .filter(|band| band.fpr <= end)
                .map(|band| (band.fpr, band.tpr));
            chart.draw_series(LineSeries::new(points, colour(index).stroke_width(5)))?;
        }
        legend(root, curves.iter().map(|curve| curve.name.as_str()))
    })
}

const RELIABILITY: Axes = Axes {
    x: (0.0, 1.0),
    y: (0.0, 1.0),
    x_name: "mean probability of the range",
    y_name: "share of voxels that are lesion",
};

/// Shares against probabilities, a point for each range.
pub(in crate::report) fn reliability(lines: &[Line]) -> Result<String, DrawError> {
    canvas(860, |root| {
        let mut chart = square(root, RELIABILITY)?;
        for (index, line) in lines.iter().enumerate() {
            chart.draw_series(LineSeries::new(
                line.points.iter().copied(),
                colour(index).stroke_width(5),
            ))?;
            chart.draw_series(
                line.points
                    .iter()
                    .map(|&point| Circle::new(point, 9, colour(index).filled())),
            )?;
        }
        legend(root, lines.iter().map(|line| line.name.as_str()))
    })
}

/// Axes for shares, with the diagonal on which both are equal.
fn square<'a, 'b>(
    root: &'a super::Area<'b>,
    axes: Axes,
) -> Result<super::Chart<'a, 'b>, DrawError> {
    let end = axes.x.1;
    let mut chart = ChartBuilder::on(root)
        .margin(20)
        .margin_right(NAMES + 100)
        .x_label_area_size(80)
        .y_label_area_size(120)
        .build_cartesian_2d(axes.x.0..end, axes.y.0..axes.y.1)?;
    mesh(&mut chart, &axes, (6, 6))?;
    chart.draw_series(LineSeries::new(
        [(0.0, 0.0), (end, end)],
        GREY.mix(0.6).stroke_width(2),
    ))?;
    Ok(chart)
}
