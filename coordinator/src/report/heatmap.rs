//! A heat map: subsets of sequences as rows, sites as columns.

use super::plot::{Area, DrawError, GREY, TEXT, WIDTH, sheet};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// What is drawn.
pub(super) struct HeatMap {
    /// What a value is, for the scale.
    pub(super) what: &'static str,
    /// Sequences: the columns of dots.
    pub(super) sequences: Vec<String>,
    /// Sites, each with its part below its name.
    pub(super) sites: Vec<[String; 2]>,
    /// From the top down.
    pub(super) rows: Vec<HeatMapRow>,
}

/// One subset.
pub(super) struct HeatMapRow {
    /// Of each sequence, whether the model was shown it.
    pub(super) shown: Vec<bool>,
    /// Of each site; `None` where it cannot show these.
    pub(super) cells: Vec<Option<HeatMapCell>>,
}

/// One site on one subset.
pub(super) struct HeatMapCell {
    /// Between 0 and 1.
    pub(super) value: f64,
    /// Against everything that the patients have.
    pub(super) change: Option<f64>,
    /// Whether this is everything that the site has.
    pub(super) everything: bool,
}

/// Light to dark, by lightness alone, so that no kind of colour vision and no grey printer is left
/// out (Brewer's Blues).
const SCALE: [(u8, u8, u8); 6] = [
    (247, 251, 255),
    (208, 225, 242),
    (148, 196, 223),
    (74, 152, 201),
    (23, 100, 171),
    (8, 48, 107),
];
const ROW: i32 = 62;
/// A column of dots.
const DOTS: i32 = 96;
const HEAD: i32 = 120;
const FOOT: i32 = 120;

/// Where things are, in pixels.
struct Plan {
    left: i32,
    cell: i32,
    /// The darkest colour's value.
    top: f64,
}

/// The value of the darkest colour, for heat maps that are to be compared: the highest value of all
/// of them, rounded up to a tenth.
pub(super) fn darkest(maps: &[HeatMap]) -> f64 {
    let mut highest: f64 = 0.1;
    for row in maps.iter().flat_map(|heat| &heat.rows) {
        for cell in row.cells.iter().flatten() {
            highest = highest.max(cell.value);
        }
    }
    ((highest * 10.0 - 1e-9).ceil() / 10.0).min(1.0)
}

/// Draws it, with [`darkest`] as `top`.
///
/// # Errors
/// [`DrawError`], which would be a fault of ours.
pub(super) fn draw(heat: &HeatMap, top: f64) -> Result<String, DrawError> {
    let left = 30 + DOTS * heat.sequences.len() as i32;
    let cell = ((WIDTH as i32 - left - 20) / heat.sites.len().max(1) as i32).clamp(120, 190);
    let plan = Plan { left, cell, top };
    let width = (left + cell * heat.sites.len() as i32 + 20).max(WIDTH as i32 / 2);
    let height = HEAD + ROW * heat.rows.len() as i32 + FOOT;
    sheet((width as u32, height as u32), |root| {
        head(root, heat, &plan)?;
        for (index, row) in heat.rows.iter().enumerate() {
            let y = HEAD + ROW * index as i32;
            dots(root, row, y)?;
            if index > 0 && count(row) != count(&heat.rows[index - 1]) {
                root.draw(&PathElement::new(
                    [(20, y), (width - 10, y)],
                    GREY.stroke_width(2),
                ))?;
            }
            for (site, cell) in row.cells.iter().enumerate() {
                draw_cell(
                    root,
                    cell.as_ref(),
                    (left + plan.cell * site as i32, y),
                    &plan,
                )?;
            }
        }
        foot(root, heat.what, height - FOOT, &plan)
    })
}

fn text(
    root: &Area<'_>,
    words: &str,
    at: (i32, i32),
    size: u32,
    colour: RGBColor,
) -> Result<(), DrawError> {
    let centre = Pos::new(HPos::Center, VPos::Center);
    let style = ("sans-serif", size)
        .into_text_style(root)
        .color(&colour)
        .pos(centre);
    root.draw(&Text::new(words.to_owned(), at, style))
}

/// Names that fit above their columns.
fn head(root: &Area<'_>, heat: &HeatMap, plan: &Plan) -> Result<(), DrawError> {
    let sequences = size_for(heat.sequences.iter(), DOTS);
    for (index, name) in heat.sequences.iter().enumerate() {
        let x = 30 + DOTS * index as i32 + DOTS / 2;
        text(
            root,
            &shortened(name, DOTS),
            (x, HEAD - 62),
            sequences,
            BLACK,
        )?;
    }
    let sites = size_for(heat.sites.iter().map(|[name, _]| name), plan.cell);
    for (index, [name, part]) in heat.sites.iter().enumerate() {
        let x = plan.left + plan.cell * index as i32 + plan.cell / 2;
        text(
            root,
            &shortened(name, plan.cell),
            (x, HEAD - 62),
            sites,
            BLACK,
        )?;
        text(root, part, (x, HEAD - 26), TEXT - 6, GREY)?;
    }
    Ok(())
}

/// One size for all names of a kind. A sans-serif letter is about 0.58 of its height wide.
fn size_for<'n>(names: impl Iterator<Item = &'n String>, room: i32) -> u32 {
    let longest = names
        .map(|name| name.chars().count())
        .max()
        .unwrap_or(1)
        .max(1);
    ((f64::from(room - 8) / (0.58 * longest as f64)) as u32).clamp(15, TEXT)
}

fn shortened(name: &str, room: i32) -> String {
    let most = (f64::from(room - 8) / (0.58 * 15.0)) as usize;
    let long = name.chars().count() > most;
    if long {
        name.chars().take(most - 1).chain(['…']).collect()
    } else {
        name.to_owned()
    }
}

fn count(row: &HeatMapRow) -> usize {
    row.shown.iter().filter(|&&shown| shown).count()
}

/// Full dots are sequences that the model was shown.
fn dots(root: &Area<'_>, row: &HeatMapRow, y: i32) -> Result<(), DrawError> {
    for (index, &shown) in row.shown.iter().enumerate() {
        let at = (30 + DOTS * index as i32 + DOTS / 2, y + ROW / 2);
        let dot = if shown {
            Circle::new(at, 12, BLACK.filled())
        } else {
            Circle::new(at, 4, GREY.mix(0.5).filled())
        };
        root.draw(&dot)?;
    }
    Ok(())
}

fn draw_cell(
    root: &Area<'_>,
    cell: Option<&HeatMapCell>,
    (x, y): (i32, i32),
    plan: &Plan,
) -> Result<(), DrawError> {
    let Some(cell) = cell else {
        return text(root, "–", (x + plan.cell / 2, y + ROW / 2), TEXT, GREY);
    };
    let fill = shade(cell.value / plan.top);
    let corners = |inset: i32| {
        [
            (x + inset, y + inset),
            (x + plan.cell - inset, y + ROW - inset),
        ]
    };
    root.draw(&Rectangle::new(corners(1), fill.filled()))?;
    let ink = if is_dark(fill) { WHITE } else { BLACK };
    let middle = x + plan.cell / 2;
    if cell.everything {
        let [(left, top), (right, bottom)] = corners(6);
        let around = [
            (left, top),
            (right, top),
            (right, bottom),
            (left, bottom),
            (left, top),
            (right, top),
        ];
        root.draw(&PathElement::new(around, ink.stroke_width(5)))?;
    }
    match cell.change.filter(|_| !cell.everything) {
        Some(change) => {
            text(
                root,
                &format!("{:.2}", cell.value),
                (middle, y + 22),
                TEXT,
                ink,
            )?;
            text(root, &signed(change), (middle, y + 46), TEXT - 6, ink)
        }
        None => text(
            root,
            &format!("{:.2}", cell.value),
            (middle, y + ROW / 2),
            TEXT,
            ink,
        ),
    }
}

/// `+0.03`, with a true minus sign.
pub(super) fn signed(change: f64) -> String {
    let size = format!("{:.2}", change.abs());
    match size.as_str() {
        "0.00" => "±0.00".into(),
        _ => format!("{}{size}", if change < 0.0 { '−' } else { '+' }),
    }
}

/// The colour of a share of the scale.
fn shade(share: f64) -> RGBColor {
    let place = share.clamp(0.0, 1.0) * (SCALE.len() - 1) as f64;
    let below = (place as usize).min(SCALE.len() - 2);
    let ((r, g, b), (r2, g2, b2)) = (SCALE[below], SCALE[below + 1]);
    let mix = |a: u8, b: u8| {
        (f64::from(a) + (f64::from(b) - f64::from(a)) * (place - below as f64)).round() as u8
    };
    RGBColor(mix(r, r2), mix(g, g2), mix(b, b2))
}

/// Whether white letters stand out better, by relative luminance (WCAG 2).
fn is_dark(RGBColor(r, g, b): RGBColor) -> bool {
    let linear = |c: u8| {
        let c = f64::from(c) / 255.0;
        if c <= 0.04045 {
            c / 12.92
        } else {
            ((c + 0.055) / 1.055).powf(2.4)
        }
    };
    let luminance = 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
    1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05
}

/// The scale, and what the frame means.
fn foot(root: &Area<'_>, what: &str, y: i32, plan: &Plan) -> Result<(), DrawError> {
    let (x, width, steps) = (30, 300, 60);
    for step in 0..steps {
        let from = x + width * step / steps;
        let corners = [(from, y + 34), (x + width * (step + 1) / steps, y + 62)];
        root.draw(&Rectangle::new(
            corners,
            shade((f64::from(step) + 0.5) / f64::from(steps)).filled(),
        ))?;
    }
    root.draw(&Rectangle::new(
        [(x, y + 34), (x + width, y + 62)],
        GREY.stroke_width(1),
    ))?;
    text(root, "0", (x, y + 84), TEXT - 4, BLACK)?;
    text(
        root,
        &format!("{:.1}", plan.top),
        (x + width, y + 84),
        TEXT - 4,
        BLACK,
    )?;
    let left = Pos::new(HPos::Left, VPos::Center);
    let style = ("sans-serif", TEXT - 2).into_text_style(root).pos(left);
    root.draw(&Text::new(what.to_owned(), (x + width + 24, y + 48), style))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shades_darken_and_letters_stand_out_on_each() {
        let shades: Vec<RGBColor> = (0..=20).map(|step| shade(f64::from(step) / 20.0)).collect();
        let sum = |RGBColor(r, g, b): RGBColor| u32::from(r) + u32::from(g) + u32::from(b);
        assert!(shades.windows(2).all(|pair| sum(pair[1]) < sum(pair[0])));
        assert!(!is_dark(shades[0]) && is_dark(shades[20]));
        assert_eq!((shade(-1.0), shade(7.0)), (shades[0], shades[20]));
    }

    #[test]
    fn maps_that_are_compared_share_a_scale() {
        let map = |value| HeatMap {
            what: "Dice",
            sequences: Vec::new(),
            sites: Vec::new(),
            rows: vec![HeatMapRow {
                shown: Vec::new(),
                cells: vec![
                    None,
                    Some(HeatMapCell {
                        value,
                        change: None,
                        everything: false,
                    }),
                ],
            }],
        };
        assert_eq!(darkest(&[map(0.31), map(0.72)]), 0.8);
        assert_eq!(darkest(&[map(0.5)]), 0.5);
        assert_eq!(darkest(&[]), 0.1);
    }

    #[test]
    fn changes_carry_their_sign() {
        assert_eq!(
            [0.034, -0.126, -0.001].map(signed),
            ["+0.03", "−0.13", "±0.00"]
        );
    }

    #[test]
    fn long_names_are_cut_and_short_ones_are_not() {
        assert_eq!(shortened("harbour", 120), "harbour");
        assert!(shortened(&"x".repeat(64), 120).chars().count() <= 13);
        let names = ["a-very-long-hospital-name", "harbour"].map(str::to_owned);
        assert!(size_for(names.iter(), 120) < size_for(names[1..].iter(), 120));
    }
}
