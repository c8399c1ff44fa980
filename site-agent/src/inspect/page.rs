//! An inspection as one HTML file, with a picture of each case.

use super::Inspection;
use super::look::{CaseLook, Slice};
use image::ExtendedColorType;
use image::ImageEncoder;
use image::codecs::jpeg::JpegEncoder;
use protocol::jpeg::Picture;

/// Pixels along a picture's longer side.
const SIDE: f32 = 256.0;
const QUALITY: u8 = 85;
/// The outline of lesions.
const OUTLINE: [u8; 3] = [255, 80, 60];

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;margin:2em \
                     auto;max-width:70em;padding:0 \
                     1em;color:#222}table{border-collapse:collapse}td,th{padding:.2em \
                     .7em;border-bottom:1px solid \
                     #ddd;text-align:left}pre{background:#f4f4f4;padding:.8em;overflow-x:auto}article{display:flex;gap:1.2em;margin:1em 0;flex-wrap:wrap}figure{margin:0}figcaption{font-size:.85em;color:#555}";

/// The page.
pub(super) fn html(inspection: &Inspection) -> String {
    let mut text = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>{} \
         cases</title><style>{STYLE}</style>\n<h1>{} cases, layout {}</h1>\n<p>{} can be used, \
         of {} patients. This page names cases and shows slices of heads: it must not leave the \
         site.</p>\n<pre>{}</pre>\n",
        inspection.cases.len(),
        inspection.cases.len(),
        escape(inspection.layout),
        inspection.usable,
        inspection.patients,
        escape(&inspection.table)
    );
    for note in &inspection.notes {
        text += &format!("<p>{}</p>\n", escape(note));
    }
    if !inspection.troubles.is_empty() {
        text += "<h2>Troubles</h2>\n<table><tr><th>case<th>how bad<th>what<th>what to do</tr>\n";
        for row in &inspection.troubles {
            text += &format!(
                "<tr><td>{}<td>{}<td>{}<td>{}</tr>\n",
                escape(&row.case),
                row.how_bad,
                escape(&row.what),
                escape(&row.remedy)
            );
        }
        text += "</table>\n";
    }
    text += "<h2>Cases</h2>\n<p>The axial slice with most lesion, or the middle one; the front \
             above, the patient's left on the right. Lesions are outlined.</p>\n";
    for case in &inspection.cases {
        text += &article(case);
    }
    text += "</html>\n";
    text
}

fn article(case: &CaseLook) -> String {
    let mut text = format!("<h3>{}</h3>\n<article>", escape(&case.case));
    if let Some(slice) = &case.slice
        && let Some(picture) = picture(slice)
    {
        text += &format!(
            "<figure><img src=\"data:image/jpeg;base64,{}\" alt=\"a slice of \
             {}\"><figcaption>{}</figcaption></figure>\n",
            picture.base64(),
            escape(&case.case),
            escape(&slice.sequence)
        );
    }
    text += "<div><table><tr><th>sequence<th>voxels<th>spacing, mm<th>lowest, 1 %, 99 %, \
             highest</tr>\n";
    for image in &case.images {
        let [width, height, depth] = image.voxels;
        let [x, y, z] = image.spacing_mm;
        let [low, first, last, high] = image.intensities;
        text += &format!(
            "<tr><td>{}<td>{width} x {height} x {depth}<td>{x:.2} x {y:.2} x {z:.2}<td>{low:.1}, \
             {first:.1}, {last:.1}, {high:.1}</tr>\n",
            escape(&image.sequence)
        );
    }
    text += "</table>\n";
    if let Some(label) = &case.label {
        text += &format!("<p>{}</p>\n", escape(&label.words()));
    }
    for reason in &case.unreadable {
        text += &format!("<p>{}</p>\n", escape(reason));
    }
    text += "</div></article>\n";
    text
}

/// A slice as radiologists look at it, at one scale along rows and columns. `None` where it cannot
/// be encoded.
fn picture(slice: &Slice) -> Option<Picture> {
    let mm = [
        slice.height as f32 * slice.spacing[0],
        slice.width as f32 * slice.spacing[1],
    ];
    let scale = SIDE / mm[0].max(mm[1]);
    let [rows, columns] = mm.map(|mm| ((mm * scale).round() as usize).clamp(1, SIDE as usize));
    let native = |row: usize, column: usize| {
        let from_front = (row * slice.height / rows).min(slice.height - 1);
        let from_right = (column * slice.width / columns).min(slice.width - 1);
        (slice.height - 1 - from_front) * slice.width + slice.width - 1 - from_right
    };
    let lesion = |row: usize, column: usize| slice.lesion[native(row, column)];
    let mut pixels = Vec::with_capacity(3 * rows * columns);
    for row in 0..rows {
        for column in 0..columns {
            let mut edge = false;
            if lesion(row, column) {
                let around = [
                    (row.wrapping_sub(1), column),
                    (row + 1, column),
                    (row, column.wrapping_sub(1)),
                    (row, column + 1),
                ];
                for (row, column) in around {
                    edge |= row >= rows || column >= columns || !lesion(row, column);
                }
            }
            let grey = (slice.grey[native(row, column)] * 255.0) as u8;
            pixels.extend(if edge { OUTLINE } else { [grey; 3] });
        }
    }
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, QUALITY)
        .write_image(
            &pixels,
            columns as u32,
            rows as u32,
            ExtendedColorType::Rgb8,
        )
        .ok()?;
    Picture::new(bytes).ok()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
