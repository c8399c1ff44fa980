//! Bars of shares.

use super::boxes::name;
use super::{Axes, DrawError, NAMES, TEXT, canvas, colour, mesh};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// One bar between 0 and 1, with words at its end.
pub(in crate::report) struct Bar {
    pub(in crate::report) name: String,
    /// `None` draws no bar, only the words.
    pub(in crate::report) share: Option<f64>,
    pub(in crate::report) words: String,
}

/// Horizontal bars.
pub(in crate::report) fn bars(what: &'static str, bars: &[Bar]) -> Result<String, DrawError> {
    // The words need room beyond a full bar.
    let axes = Axes {
        x: (0.0, 1.0),
        y: (0.0, bars.len() as f64),
        x_name: what,
        y_name: "",
    };
    canvas(72 * bars.len() as u32 + 130, |root| {
        let mut chart = ChartBuilder::on(root)
            .margin(20)
            .margin_right(230)
            .x_label_area_size(90)
            .y_label_area_size(NAMES)
            .build_cartesian_2d(axes.x.0..axes.x.1, axes.y.0..axes.y.1)?;
        mesh(&mut chart, &axes, (6, 0))?;
        let style = ("sans-serif", TEXT)
            .into_text_style(root)
            .pos(Pos::new(HPos::Left, VPos::Center));
        for (index, bar) in bars.iter().enumerate() {
            let y = (bars.len() - index) as f64 - 0.5;
            let share = bar.share.unwrap_or(0.0);
            chart.draw_series([Rectangle::new(
                [(0.0, y - 0.3), (share, y + 0.3)],
                colour(0).mix(0.85).filled(),
            )])?;
            name(root, &bar.name, chart.backend_coord(&(0.0, y)))?;
            let end = chart.backend_coord(&(share, y));
            root.draw(&Text::new(
                bar.words.clone(),
                (end.0 + 12, end.1),
                style.clone(),
            ))?;
        }
        Ok(())
    })
}
