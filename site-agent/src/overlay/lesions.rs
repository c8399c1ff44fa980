//! The lesions that a model found in one patient, on slices of that patient.

use super::encode;
use super::paint::{Canvas, GAP, SIDE, panels};
use super::slice::Slice;
use crate::case::Prepared;
use crate::evaluate::called;
use image::ImageResult;
use metrics::components::Components;

/// The most slices in a picture.
const MOST_SLICES: usize = 6;

/// A PNG with the slices in which the largest lesions are largest, one below the other: the
/// probabilities on the left, the lesions on the right. `None` where nothing was called lesion.
///
/// `logits` and `regions` are on the patient's own grid.
///
/// # Errors
/// The picture cannot be encoded.
pub(crate) fn picture_of_lesions(
    mut case: Prepared,
    logits: &[f32],
    threshold: f32,
    regions: &Components,
) -> ImageResult<Option<Vec<u8>>> {
    let [_, height, width] = case.native.grid.dims;
    let area = height * width;
    // The pictures of evaluation show what agrees with a reference. Here that is the result
    // itself, so that all of it is drawn as found.
    let mask = called(logits, threshold);
    let planes = case
        .placement
        .place_nearest(&mask, case.native.grid.dims, case.canvas);
    case.label = Some(planes);
    case.native.lesion = Some(mask);
    let mut canvases = Vec::new();
    for index in fullest_slices(regions, area) {
        let here = logits.get(index * area..(index + 1) * area);
        let slice = here.and_then(|logits| Slice::of(&case, index, logits, threshold));
        if let Some(slice) = slice {
            canvases.push(panels(&slice, SIDE));
        }
    }
    if canvases.is_empty() {
        return Ok(None);
    }
    encode::png(&stacked(&canvases)).map(Some)
}

/// For each of the largest regions the slice that shows most of it, each slice once.
fn fullest_slices(regions: &Components, area: usize) -> Vec<usize> {
    let slices = regions.labels.len() / area.max(1);
    let mut voxels = vec![vec![0u64; slices]; regions.count()];
    for (slice, labels) in regions.labels.chunks_exact(area.max(1)).enumerate() {
        for &label in labels {
            if label != 0 {
                voxels[label as usize - 1][slice] += 1;
            }
        }
    }
    let mut order: Vec<usize> = (0..regions.count()).collect();
    order.sort_by_key(|region| std::cmp::Reverse(regions.sizes[*region]));
    let mut chosen = Vec::new();
    for region in order {
        let mut fullest = 0;
        for (slice, count) in voxels[region].iter().enumerate() {
            if *count > voxels[region][fullest] {
                fullest = slice;
            }
        }
        if !chosen.contains(&fullest) && chosen.len() < MOST_SLICES {
            chosen.push(fullest);
        }
    }
    chosen
}

/// One canvas below the other, with white between and to the right.
fn stacked(canvases: &[Canvas]) -> Canvas {
    let width = canvases.iter().map(|one| one.width).max().unwrap_or(0);
    let mut height = 0;
    let mut pixels = Vec::new();
    for (place, canvas) in canvases.iter().enumerate() {
        if place > 0 {
            pixels.resize(pixels.len() + 3 * GAP * width, 255);
            height += GAP;
        }
        for row in canvas.pixels.chunks_exact(3 * canvas.width.max(1)) {
            pixels.extend(row);
            pixels.resize(pixels.len() + 3 * (width - canvas.width), 255);
        }
        height += canvas.height;
    }
    Canvas {
        width,
        height,
        pixels,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::tests::patient;
    use metrics::components::{Connectivity, components};

    #[test]
    fn the_slices_of_the_largest_lesions_come_first_and_once() {
        // Two regions share slice 1; a third, larger one is largest in slice 2.
        let area = 12;
        let mut mask = vec![0; 4 * area];
        mask[area] = 1;
        mask[area + 5] = 1;
        mask[area + 6] = 1;
        mask[3 * area + 10] = 1;
        for at in [8, 9, 10, 11] {
            mask[2 * area + at] = 1;
        }
        let regions = components(&mask, [4, 1, area], Connectivity::Six);
        assert_eq!(fullest_slices(&regions, area), [2, 1]);
        assert_eq!(
            fullest_slices(&components(&[0; 4], [1, 2, 2], Connectivity::Six), 4),
            [0; 0]
        );
    }

    #[test]
    fn canvases_of_different_widths_are_stacked_on_white() {
        let one = |width: usize, height: usize, value: u8| Canvas {
            width,
            height,
            pixels: vec![value; 3 * width * height],
        };
        let all = stacked(&[one(2, 1, 7), one(1, 2, 9)]);
        assert_eq!((all.width, all.height), (2, 3 + GAP));
        assert_eq!(all.pixels.len(), 3 * all.width * all.height);
        assert_eq!(all.pixels[..6], [7; 6]);
        assert_eq!(all.pixels[6..12], [255; 6]);
        let last = &all.pixels[all.pixels.len() - 6..];
        assert_eq!(last, [9, 9, 9, 255, 255, 255]);
    }

    #[test]
    fn a_patient_without_lesions_has_no_picture() {
        let case = patient(1, [true, true]);
        let none = vec![-9.0; case.native.grid.voxels()];
        let empty = called(&none, 0.5);
        let regions = components(&empty, case.native.grid.dims, Connectivity::TwentySix);
        assert!(
            picture_of_lesions(case, &none, 0.5, &regions)
                .unwrap()
                .is_none()
        );

        let case = patient(1, [true, true]);
        let mut some = none;
        some[40..44].fill(3.0);
        let mask = called(&some, 0.5);
        let regions = components(&mask, case.native.grid.dims, Connectivity::TwentySix);
        let picture = picture_of_lesions(case, &some, 0.5, &regions)
            .unwrap()
            .unwrap();
        assert!(picture.starts_with(b"\x89PNG"));
    }
}
