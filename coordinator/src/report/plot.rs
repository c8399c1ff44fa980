//! How the report's pictures are drawn: SVG text by `plotters`.

mod bars;
mod boxes;
mod curves;

pub(super) use bars::{Bar, bars};
pub(super) use boxes::{Row, boxes};
pub(super) use curves::{corner, mean_roc, reliability, roc};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// A drawing that failed: the picture's text is written to memory, so this is a fault of ours.
pub type DrawError = DrawingAreaErrorKind<std::io::Error>;

/// A named line.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// A line's axes: from, to, and what they say.
pub(super) struct Axes {
    pub(super) x: (f64, f64),
    pub(super) y: (f64, f64),
    pub(super) x_name: &'static str,
    pub(super) y_name: &'static str,
}

/// Okabe and Ito's colours without the yellow, which paper swallows: apart for every common colour
/// blindness.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(0, 0, 0),
];
pub(super) const GREY: RGBColor = RGBColor(110, 110, 110);
/// Pictures are drawn at twice the size they are shown at, because the backend rounds to whole
/// pixels.
pub(super) const WIDTH: u32 = 1440;
pub(super) const TEXT: u32 = 26;
/// Room for the names next to a picture.
const NAMES: u32 = 380;
pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<
    'a,
    SVGBackend<'b>,
    Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::types::RangedCoordf64>,
>;

fn colour(index: usize) -> RGBColor {
    COLOURS[index % COLOURS.len()]
}

fn canvas(
    height: u32,
    draw: impl FnOnce(&Area<'_>) -> Result<(), DrawError>,
) -> Result<String, DrawError> {
    sheet((WIDTH, height), draw)
}

/// A white picture of any size.
pub(super) fn sheet(
    size: (u32, u32),
    draw: impl FnOnce(&Area<'_>) -> Result<(), DrawError>,
) -> Result<String, DrawError> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        root.fill(&WHITE)?;
        draw(&root)?;
        root.present()?;
    }
    Ok(svg)
}

fn mesh(chart: &mut Chart<'_, '_>, axes: &Axes, labels: (usize, usize)) -> Result<(), DrawError> {
    let rounds = axes.x_name == "round";
    let x_decimals = match axes.x.1 {
        end if end > 20.0 => 0,
        end if end > 0.5 => 1,
        end if end > 0.1 => 2,
        _ => 3,
    };
    let x_label = |x: &f64| {
        if rounds {
            whole(*x)
        } else {
            format!("{x:.x_decimals$}")
        }
    };
    let decimals = match axes.y.1 {
        top if top > 20.0 => 0,
        top if top > 0.5 => 1,
        _ => 3,
    };
    chart
        .configure_mesh()
        .x_desc(axes.x_name)
        .y_desc(axes.y_name)
        .x_labels(labels.0)
        .y_labels(labels.1)
        .x_label_formatter(&x_label)
        .y_label_formatter(&|y| format!("{y:.decimals$}"))
        .light_line_style(WHITE)
        .bold_line_style(GREY.mix(0.25))
        .label_style(("sans-serif", TEXT))
        .axis_desc_style(("sans-serif", TEXT + 2))
        .draw()
}

/// Rounds are whole: a tick between two has no label.
fn whole(x: f64) -> String {
    if (x - x.round()).abs() < 1e-6 {
        format!("{x:.0}")
    } else {
        String::new()
    }
}

/// Lines with a point at each value.
pub(super) fn lines(axes: &Axes, lines: &[Line]) -> Result<String, DrawError> {
    canvas(640, |root| {
        let mut chart = ChartBuilder::on(root)
            .margin(20)
            .margin_right(NAMES)
            .x_label_area_size(80)
            .y_label_area_size(120)
            .build_cartesian_2d(axes.x.0..axes.x.1, axes.y.0..axes.y.1)?;
        let ticks = if axes.x_name == "round" {
            (axes.x.1 - axes.x.0).round() as usize
        } else {
            8
        };
        mesh(&mut chart, axes, (ticks.clamp(2, 12), 6))?;
        for (index, line) in lines.iter().enumerate() {
            chart.draw_series(LineSeries::new(
                line.points.iter().copied(),
                colour(index).stroke_width(5),
            ))?;
            chart.draw_series(
                line.points
                    .iter()
                    .map(|&point| Circle::new(point, 7, colour(index).filled())),
            )?;
        }
        legend(root, lines.iter().map(|line| line.name.as_str()))
    })
}

/// A name that fits into so many pixels: words in a sans-serif take about 0.42 of their height for
/// each letter.
fn fitting(name: &str, room: i32) -> String {
    let most = (f64::from(room) / (0.42 * f64::from(TEXT))) as usize;
    if name.chars().count() <= most {
        name.to_owned()
    } else {
        name.chars().take(most - 1).chain(['…']).collect()
    }
}

/// Names next to their colours, at the picture's right.
fn legend<'n>(root: &Area<'_>, names: impl Iterator<Item = &'n str>) -> Result<(), DrawError> {
    let left = (WIDTH - NAMES) as i32 + 30;
    let style = ("sans-serif", TEXT)
        .into_text_style(root)
        .pos(Pos::new(HPos::Left, VPos::Center));
    for (index, name) in names.enumerate() {
        let y = 50 + 44 * index as i32;
        root.draw(&PathElement::new(
            [(left, y), (left + 44, y)],
            colour(index).stroke_width(6),
        ))?;
        root.draw(&Circle::new((left + 22, y), 8, colour(index).filled()))?;
        root.draw(&Text::new(
            fitting(name, NAMES as i32 - 90),
            (left + 60, y),
            style.clone(),
        ))?;
    }
    Ok(())
}
