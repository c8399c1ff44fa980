//! Box plots.

use super::{Area, Axes, Chart, DrawError, NAMES, TEXT, canvas, colour, fitting, mesh};
use metrics::statistics::quantile;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// One box: a name, its values from 0 up, and which colour.
pub(in crate::report) struct Row {
    pub(in crate::report) name: String,
    pub(in crate::report) values: Vec<f64>,
    pub(in crate::report) colour: usize,
}

/// A box's height.
const ROW: u32 = 84;

/// A horizontal box plot with each value as a point, from 0 to `top` or as far as the values reach.
/// `None` without any value.
pub(in crate::report) fn boxes(
    what: &'static str,
    top: f64,
    mut rows: Vec<Row>,
) -> Result<Option<String>, DrawError> {
    rows.retain(|row| !row.values.is_empty());
    if rows.is_empty() {
        return Ok(None);
    }
    let highest = rows
        .iter()
        .flat_map(|row| &row.values)
        .copied()
        .fold(0.0, f64::max);
    let end = if highest > top { highest * 1.04 } else { top };
    let axes = Axes {
        x: (0.0, end),
        y: (0.0, rows.len() as f64),
        x_name: what,
        y_name: "",
    };
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
            name(root, &row.name, chart.backend_coord(&(0.0, y)))?;
            draw_box(&mut chart, row, y)?;
        }
        Ok(())
    })?;
    Ok(Some(drawn))
}

/// A name left of a row whose axis crosses at `at`.
pub(super) fn name(root: &Area<'_>, name: &str, at: (i32, i32)) -> Result<(), DrawError> {
    let style = ("sans-serif", TEXT)
        .into_text_style(root)
        .pos(Pos::new(HPos::Right, VPos::Center));
    root.draw(&Text::new(
        fitting(name, at.0 - 30),
        (at.0 - 16, at.1),
        style,
    ))
}

fn draw_box(chart: &mut Chart<'_, '_>, row: &Row, y: f64) -> Result<(), DrawError> {
    let mut sorted = row.values.clone();
    let five = [0.0, 0.25, 0.5, 0.75, 1.0].map(|share| quantile(&mut sorted, share));
    let [
        Some(low),
        Some(first),
        Some(median),
        Some(third),
        Some(high),
    ] = five
    else {
        return Ok(());
    };
    let (ink, thick) = (colour(row.colour), 0.32);
    let frame = [(first, y - thick), (third, y + thick)];
    chart.draw_series([
        Rectangle::new(frame, ink.mix(0.15).filled()),
        Rectangle::new(frame, ink.stroke_width(3)),
    ])?;
    let line = |from: (f64, f64), to: (f64, f64), width: u32| {
        PathElement::new([from, to], ink.stroke_width(width))
    };
    chart.draw_series([
        line((median, y - thick), (median, y + thick), 7),
        line((low, y), (first, y), 3),
        line((third, y), (high, y), 3),
    ])?;
    let points = row.values.iter().enumerate().map(|(index, &value)| {
        // Neighbours in the list are set apart, always the same way, so that equal patients all
        // show.
        let height = y + [0.0, 0.12, -0.12, 0.22, -0.22][index % 5];
        Circle::new((value, height), 7, ink.mix(0.8).filled())
    });
    chart.draw_series(points)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_plot_names_its_rows_and_shows_each_patient() {
        let row = Row {
            name: "north".into(),
            values: vec![0.2, 0.9, 0.6],
            colour: 0,
        };
        let empty = Row {
            name: "south".into(),
            values: Vec::new(),
            colour: 0,
        };
        let svg = boxes("Dice", 1.0, vec![row, empty]).unwrap().unwrap();
        assert!(svg.contains("north") && !svg.contains("south"), "{svg}");
        assert_eq!(svg.matches("<circle").count(), 3);
    }
}
