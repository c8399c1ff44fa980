//! Lesions as contours for radiotherapy planning: a DICOM RT structure set (PS3.3 A.19).

use super::placed::SliceMasks;
use super::segmentation::reference;
use super::series::Series;
use super::write::{DataSet, Making, ObjectError};
use dicom_core::VR;
use dicom_dictionary_std::tags;
use std::path::Path;

const STRUCTURE_SET_STORAGE: &str = "1.2.840.10008.5.1.4.1.1.481.3";
/// The detached study management class: what a referenced study has always been called.
const STUDY_CLASS: &str = "1.2.840.10008.3.1.2.3.1";

/// One structure: the pixels of one label.
#[derive(Clone, Debug, PartialEq)]
pub struct Structure {
    pub name: String,
    pub label: u32,
}

/// Writes structures as closed contours along pixels' edges, so that the pixels inside are exactly
/// the marked ones. Holes are contours of their own within the outer one.
///
/// # Errors
/// See [`ObjectError`].
pub fn write(
    path: &Path,
    series: &Series,
    masks: &SliceMasks,
    structures: &[Structure],
    making: &Making<'_>,
) -> Result<(), ObjectError> {
    let frame = series.frame_of_reference_uid.as_str();
    let study = DataSet::new()
        .text(tags::REFERENCED_SOP_CLASS_UID, VR::UI, STUDY_CLASS)
        .text(tags::REFERENCED_SOP_INSTANCE_UID, VR::UI, &series.study_uid)
        .item(
            tags::RT_REFERENCED_SERIES_SEQUENCE,
            DataSet::new()
                .text(tags::SERIES_INSTANCE_UID, VR::UI, &series.series_uid)
                .items(
                    tags::CONTOUR_IMAGE_SEQUENCE,
                    series.slices.iter().map(reference).collect(),
                ),
        );
    let mut rois = Vec::new();
    let mut contours = Vec::new();
    let mut observations = Vec::new();
    for (number, structure) in (1_u32..).zip(structures) {
        let number = number.to_string();
        rois.push(
            DataSet::new()
                .text(tags::ROI_NUMBER, VR::IS, &number)
                .text(tags::REFERENCED_FRAME_OF_REFERENCE_UID, VR::UI, frame)
                .text(tags::ROI_NAME, VR::LO, &structure.name)
                .text(tags::ROI_GENERATION_ALGORITHM, VR::CS, "AUTOMATIC"),
        );
        contours.push(
            DataSet::new()
                .text(tags::ROI_DISPLAY_COLOR, VR::IS, "255\\64\\64")
                .items(
                    tags::CONTOUR_SEQUENCE,
                    contours_of(series, masks, structure.label),
                )
                .text(tags::REFERENCED_ROI_NUMBER, VR::IS, &number),
        );
        observations.push(
            DataSet::new()
                .text(tags::OBSERVATION_NUMBER, VR::IS, &number)
                .text(tags::REFERENCED_ROI_NUMBER, VR::IS, &number)
                .text(tags::RTROI_INTERPRETED_TYPE, VR::CS, "GTV")
                .empty(tags::ROI_INTERPRETER, VR::PN),
        );
    }
    DataSet::head(
        series,
        making,
        STRUCTURE_SET_STORAGE,
        "RTSTRUCT",
        "Brain metastases, automatic",
    )
    .text(tags::STRUCTURE_SET_LABEL, VR::SH, "LESIONS")
    .text(tags::STRUCTURE_SET_DATE, VR::DA, making.date)
    .text(tags::STRUCTURE_SET_TIME, VR::TM, making.time)
    .text(tags::APPROVAL_STATUS, VR::CS, "UNAPPROVED")
    .empty(tags::OPERATORS_NAME, VR::PN)
    .item(
        tags::REFERENCED_FRAME_OF_REFERENCE_SEQUENCE,
        DataSet::new()
            .text(tags::FRAME_OF_REFERENCE_UID, VR::UI, frame)
            .item(tags::RT_REFERENCED_STUDY_SEQUENCE, study),
    )
    .items(tags::STRUCTURE_SET_ROI_SEQUENCE, rois)
    .items(tags::ROI_CONTOUR_SEQUENCE, contours)
    .items(tags::RTROI_OBSERVATIONS_SEQUENCE, observations)
    .text(
        tags::STRUCTURE_SET_DESCRIPTION,
        VR::ST,
        &format!("Found by {}, not reviewed", making.model),
    )
    .write(path)
}

fn contours_of(series: &Series, masks: &SliceMasks, label: u32) -> Vec<DataSet> {
    let mut contours = Vec::new();
    for (slice, labels) in masks.slices.iter().enumerate() {
        if !labels.contains(&label) {
            continue;
        }
        let mask: Vec<bool> = labels.iter().map(|&other| other == label).collect();
        for outline in outlines(&mask, series.columns) {
            let mut points = Vec::with_capacity(3 * outline.len());
            for &(row, column) in &outline {
                // Corners are half a pixel before the centre of the pixel with their number.
                points.extend(series.place(slice, row as f64 - 0.5, column as f64 - 0.5));
            }
            contours.push(
                DataSet::new()
                    .item(
                        tags::CONTOUR_IMAGE_SEQUENCE,
                        reference(&series.slices[slice]),
                    )
                    .text(tags::CONTOUR_GEOMETRIC_TYPE, VR::CS, "CLOSED_PLANAR")
                    .text(
                        tags::NUMBER_OF_CONTOUR_POINTS,
                        VR::IS,
                        &outline.len().to_string(),
                    )
                    .decimals(tags::CONTOUR_DATA, &points),
            );
        }
    }
    contours
}

/// Closed outlines of the marked pixels of one slice, as corners (row, column) where they turn.
///
/// The marked side is on the right of each step, so outer outlines run clockwise and holes the other
/// way. Pixels that touch at a corner only get outlines of their own.
pub(super) fn outlines(mask: &[bool], columns: usize) -> Vec<Vec<(usize, usize)>> {
    let rows = mask.len() / columns.max(1);
    let marked = |row: isize, column: isize| {
        let inside = row >= 0 && column >= 0 && row < rows as isize && column < columns as isize;
        inside && mask[row as usize * columns + column as usize]
    };
    // A step to the right along the top of each marked pixel that has none above it: every outline
    // has such steps.
    let mut waiting = vec![false; mask.len()];
    for row in 0..rows as isize {
        for column in 0..columns as isize {
            let starts = marked(row, column) && !marked(row - 1, column);
            waiting[row as usize * columns + column as usize] = starts;
        }
    }
    let mut found = Vec::new();
    for start in 0..mask.len() {
        if !waiting[start] {
            continue;
        }
        let (first_row, first_column) = ((start / columns) as isize, (start % columns) as isize);
        let (mut row, mut column) = (first_row, first_column);
        // (0, 1) right, (1, 0) down, (0, -1) left, (-1, 0) up; `row`, `column` is a corner.
        let mut step = (0_isize, 1_isize);
        let mut outline = Vec::new();
        loop {
            if step == (0, 1) {
                waiting[row as usize * columns + column as usize] = false;
            }
            (row, column) = (row + step.0, column + step.1);
            let next = turn(step, row, column, &marked);
            if next != step {
                outline.push((row as usize, column as usize));
            }
            step = next;
            if (row, column) == (first_row, first_column) && step == (0, 1) {
                break;
            }
        }
        found.push(outline);
    }
    found
}

/// The direction in which an outline goes on from a corner: to the right before straight on, so that
/// pixels that touch at a corner are kept apart.
fn turn(
    step: (isize, isize),
    row: isize,
    column: isize,
    marked: &impl Fn(isize, isize) -> bool,
) -> (isize, isize) {
    let right = (step.1, -step.0);
    let left = (-step.1, step.0);
    for next in [right, step, left] {
        let (inside, outside) = sides(next, row, column);
        if marked(inside.0, inside.1) && !marked(outside.0, outside.1) {
            return next;
        }
    }
    (-step.0, -step.1)
}

/// The pixels on the right and on the left of a step from a corner.
fn sides(step: (isize, isize), row: isize, column: isize) -> ((isize, isize), (isize, isize)) {
    match step {
        (0, 1) => ((row, column), (row - 1, column)),
        (1, 0) => ((row, column - 1), (row, column)),
        (0, -1) => ((row - 1, column - 1), (row, column - 1)),
        _ => ((row - 1, column), (row - 1, column - 1)),
    }
}
