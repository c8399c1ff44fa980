//! How the report's pictures are drawn: SVG text by `plotters`.

use super::roc::Curve;
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

/// One box: a name, its values between 0 and 1, and which colour.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) values: Vec<f64>,
    pub(super) colour: usize,
}

/// Okabe and Ito's colours without the yellow, which paper swallows: apart for every common colour blindness.
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
/// Pictures are drawn at twice the size they are shown at, because the backend rounds to whole pixels.
pub(super) const WIDTH: u32 = 1440;
pub(super) const TEXT: u32 = 26;
/// Room for the names beside a picture.
const NAMES: u32 = 380;
/// A box's height.
const ROW: u32 = 84;

pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<
    'a,
    SVGBackend<'b>,
    Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::types::RangedCoordf64>,
>;

fn colour(index: usize) -> RGBColor {
    COLOURS[index % COLOURS.len()]
}

fn canvas(height: u32, draw: impl FnOnce(&Area<'_>) -> Result<(), DrawError>) -> Result<String, DrawError> {
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
    let x_label = |x: &f64| if rounds { whole(*x) } else { format!("{x:.1}") };
    let decimals = if axes.y.1 > 0.5 { 1 } else { 3 };
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
    if (x - x.round()).abs() < 1e-6 { format!("{x:.0}") } else { String::new() }
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
        let rounds = (axes.x.1 - axes.x.0).round() as usize;
        mesh(&mut chart, axes, (rounds.clamp(2, 12), 6))?;
        for (index, line) in lines.iter().enumerate() {
            chart.draw_series(LineSeries::new(line.points.iter().copied(), colour(index).stroke_width(5)))?;
            chart.draw_series(line.points.iter().map(|&point| Circle::new(point, 7, colour(index).filled())))?;
        }
        legend(root, lines.iter().map(|line| line.name.as_str()))
    })
}

/// ROC curves with their operating points.
pub(super) fn roc(curves: &[Curve]) -> Result<String, DrawError> {
    let axes = Axes {
        x: (0.0, 1.0),
        y: (0.0, 1.0),
        x_name: "false positive rate (1 - specificity)",
        y_name: "true positive rate (sensitivity)",
    };
    canvas(860, |root| {
        let mut chart = ChartBuilder::on(root)
            .margin(20)
            .margin_right(NAMES + 100)
            .x_label_area_size(80)
            .y_label_area_size(120)
            .build_cartesian_2d(axes.x.0..axes.x.1, axes.y.0..axes.y.1)?;
        mesh(&mut chart, &axes, (6, 6))?;
        chart.draw_series(LineSeries::new([(0.0, 0.0), (1.0, 1.0)], GREY.mix(0.6).stroke_width(2)))?;
        for (index, curve) in curves.iter().enumerate() {
            chart.draw_series(LineSeries::new(curve.points.iter().copied(), colour(index).stroke_width(5)))?;
            chart.draw_series(curve.mark.iter().map(|&at| Circle::new(at, 13, WHITE.filled())))?;
            chart.draw_series(curve.mark.iter().map(|&at| Circle::new(at, 13, colour(index).stroke_width(5))))?;
        }
        legend(root, curves.iter().map(|curve| curve.name.as_str()))
    })
}

/// Names beside their colours, at the picture's right.
fn legend<'n>(root: &Area<'_>, names: impl Iterator<Item = &'n str>) -> Result<(), DrawError> {
    let left = (WIDTH - NAMES) as i32 + 30;
    let style = ("sans-serif", TEXT).into_text_style(root).pos(Pos::new(HPos::Left, VPos::Center));
    for (index, name) in names.enumerate() {
        let y = 50 + 44 * index as i32;
        root.draw(&PathElement::new([(left, y), (left + 44, y)], colour(index).stroke_width(6)))?;
        root.draw(&Circle::new((left + 22, y), 8, colour(index).filled()))?;
        root.draw(&Text::new(name.to_owned(), (left + 60, y), style.clone()))?;
    }
    Ok(())
}

/// A horizontal box plot with each value as a point. `None` without any value.
pub(super) fn boxes(what: &'static str, mut rows: Vec<Row>) -> Result<Option<String>, DrawError> {
    rows.retain(|row| !row.values.is_empty());
    if rows.is_empty() {
        return Ok(None);
    }
    let axes = Axes { x: (0.0, 1.0), y: (0.0, rows.len() as f64), x_name: what, y_name: "" };
    let drawn = canvas(ROW * rows.len() as u32 + 130, |root| {
        let mut chart = ChartBuilder::on(root)
            .margin(20)
            .margin_right(40)
            .x_label_area_size(90)
            .y_label_area_size(NAMES)
            .build_cartesian_2d(axes.x.0..axes.x.1, axes.y.0..axes.y.1)?;
        mesh(&mut chart, &axes, (11, 0))?;
        for (index, row) in rows.iter().enumerate() {
            let y = (rows.len() - index) as f64 - 0.5;
            let at = chart.backend_coord(&(0.0, y));
            let style = ("sans-serif", TEXT).into_text_style(root).pos(Pos::new(HPos::Right, VPos::Center));
            root.draw(&Text::new(row.name.clone(), (at.0 - 16, at.1), style))?;
            draw_box(&mut chart, row, y)?;
        }
        Ok(())
    })?;
    Ok(Some(drawn))
}

fn draw_box(chart: &mut Chart<'_, '_>, row: &Row, y: f64) -> Result<(), DrawError> {
    let mut sorted = row.values.clone();
    sorted.sort_by(f64::total_cmp);
    let [low, first, median, third, high] = [0.0, 0.25, 0.5, 0.75, 1.0].map(|share| quantile(&sorted, share));
    let (ink, thick) = (colour(row.colour), 0.32);
    let frame = [(first, y - thick), (third, y + thick)];
    chart.draw_series([Rectangle::new(frame, ink.mix(0.15).filled()), Rectangle::new(frame, ink.stroke_width(3))])?;
    let line = |from: (f64, f64), to: (f64, f64), width: u32| PathElement::new([from, to], ink.stroke_width(width));
    chart.draw_series([
        line((median, y - thick), (median, y + thick), 7),
        line((low, y), (first, y), 3),
        line((third, y), (high, y), 3),
    ])?;
    let points = row.values.iter().enumerate().map(|(index, &value)| {
        // Neighbours in the list are set apart, always the same way, so that equal patients all show.
        let height = y + [0.0, 0.12, -0.12, 0.22, -0.22][index % 5];
        Circle::new((value, height), 7, ink.mix(0.8).filled())
    });
    chart.draw_series(points)?;
    Ok(())
}

/// The value below which this share of sorted values lies, linear between neighbours (NumPy's default, R's type 7).
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_neighbours() {
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.5), 2.0);
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.75), 3.0);
        assert_eq!(quantile(&[7.0], 0.25), 7.0);
    }

    #[test]
    fn a_box_plot_names_its_rows_and_shows_each_patient() {
        let row = Row { name: "north".into(), values: vec![0.2, 0.9, 0.6], colour: 0 };
        let empty = Row { name: "south".into(), values: Vec::new(), colour: 0 };
        let svg = boxes("Dice", vec![row, empty]).unwrap().unwrap();
        assert!(svg.contains("north") && !svg.contains("south"), "{svg}");
        assert_eq!(svg.matches("<circle").count(), 3);
    }
}
