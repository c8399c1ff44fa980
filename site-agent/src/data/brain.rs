//! Which voxels are brain.
//!
//! What surrounds the brain is known by the volume's eight corners, not by being zero: a mask that
//! was resampled rings around zero, and some programs write another number outside.

use super::CaseError;
use super::plausible::{self, Shown};
use crate::case::Note;

/// Values this far from a whole number are one that was resampled or rescaled.
const WHOLE: f32 = 1e-2;
/// What differs from the surroundings by less than this share of the image's own range is
/// surroundings.
const QUIET: f32 = 1e-3;
/// So many different numbers are shares, where most of them are the greatest.
const GRADES: usize = 8;
/// A share of the volume that no brain fills.
const EVERYTHING: f64 = 0.95;
/// Shares of the volume outside which a person should look.
const USUAL: std::ops::RangeInclusive<f64> = 0.01..=0.75;

/// Brain 1, other 0, from the mask where there is one, else from what is not surroundings in some
/// image.
///
/// # Errors
/// No voxel is brain, or nearly every one is.
pub(super) fn brain(
    voxels: usize,
    dims: [usize; 3],
    images: &[Shown<'_>],
    mask: Option<&[f32]>,
    notes: &mut Vec<Note>,
) -> Result<Vec<u8>, CaseError> {
    let brain = match mask {
        Some(mask) => {
            let mut brain = from_mask(mask, dims, notes);
            plausible::fill_holes(&mut brain, dims, notes);
            brain
        }
        None => from_images(voxels, images),
    };
    let count = brain.iter().filter(|&&voxel| voxel == 1).count();
    let share = count as f64 / voxels.max(1) as f64;
    if count == 0 {
        return Err(CaseError::NoBrain);
    }
    if share > EVERYTHING {
        return Err(CaseError::AllBrain {
            percent: 100.0 * share,
            mask: mask.is_some(),
        });
    }
    if !USUAL.contains(&share) {
        notes.push(Note::new(
            format!(
                "{count} of {voxels} voxels are brain, {:.2} % of the volume",
                100.0 * share
            ),
            "check the brain mask, or set data.brain to one",
        ));
    }
    Ok(brain)
}

/// The middle value of the volume's eight corners.
fn surroundings(values: &[f32], dims: [usize; 3]) -> f32 {
    let [depth, height, width] = dims;
    let mut corners = Vec::with_capacity(8);
    for z in [0, depth - 1] {
        for y in [0, height - 1] {
            for x in [0, width - 1] {
                corners.push(values[(z * height + y) * width + x]);
            }
        }
    }
    corners.sort_by(f32::total_cmp);
    // The lower of the two in the middle, so that it is a value that is there.
    corners[3]
}

/// Brain by a mask of labels, or of shares between the surroundings' value and the brain's.
fn from_mask(mask: &[f32], dims: [usize; 3], notes: &mut Vec<Note>) -> Vec<u8> {
    let outside = surroundings(mask, dims);
    let reach = mask
        .iter()
        .map(|&value| (value - outside).abs())
        .fold(0.0, f32::max);
    let whole = |value: f32| (value - value.round()).abs() <= WHOLE;
    if mask.iter().all(|&value| whole(value))
        && reach > 0.5
        && !is_graded(mask, outside, reach)
        && !is_blurred(mask, dims, outside, reach)
    {
        if outside.round() != 0.0 {
            let count = mask
                .iter()
                .filter(|&&value| value.round() != outside.round())
                .count();
            notes.push(Note::new(
                format!(
                    "the brain mask holds {outside} in its corners, not 0: brain are {count} \
                         voxels that differ"
                ),
                "check that the mask is not inverted",
            ));
        }
        let nearly = mask
            .iter()
            .filter(|&&value| value != 0.0 && value.round() == 0.0)
            .count();
        if nearly > 0 {
            notes.push(Note::new(
                format!(
                    "the brain mask holds {nearly} values that are nearly zero, but not \
                         zero: they are not brain"
                ),
                "resample masks with nearest-neighbour interpolation",
            ));
        }
        return mask
            .iter()
            .map(|&value| u8::from(value.round() != outside.round()))
            .collect();
    }
    if reach == 0.0 {
        // One value throughout: all of it, or nothing.
        return vec![u8::from(outside != 0.0); mask.len()];
    }
    let half = outside + (level(mask, outside, reach) - outside) / 2.0;
    let mut brain = Vec::with_capacity(mask.len());
    for &value in mask {
        let is_brain = if half > outside {
            value >= half
        } else {
            value <= half
        };
        brain.push(u8::from(is_brain));
    }
    let doubtful = mask.iter().zip(&brain).filter(|(value, brain)| {
        **brain == 0 && (**value - outside).abs() > 0.1 * (half - outside).abs()
    });
    notes.push(Note::new(
        format!(
            "the brain mask holds values between none and all: brain are the {} voxels beyond \
             {half}; {} voxels between that and {outside} are not",
            brain.iter().filter(|&&voxel| voxel == 1).count(),
            doubtful.count()
        ),
        "resample masks with nearest-neighbour interpolation",
    ));
    brain
}

/// Whether whole numbers are shares (of 255, for example) and not labels: many different values,
/// most of them near the greatest.
fn is_graded(mask: &[f32], outside: f32, reach: f32) -> bool {
    let mut different = std::collections::BTreeSet::new();
    let mut apart = 0;
    let mut greatest = 0;
    for &value in mask {
        let distance = (value - outside).abs().round();
        if distance > 0.0 {
            apart += 1;
            greatest += usize::from(distance >= 0.95 * reach);
            different.insert(distance as u32);
        }
    }
    different.len() >= GRADES && 2 * greatest > apart
}

/// Whether whole numbers are those of a blurred mask: nearly every number up to the greatest, and
/// small ones next to the surroundings. Labels of regions are there as large as elsewhere.
fn is_blurred(mask: &[f32], dims: [usize; 3], outside: f32, reach: f32) -> bool {
    let distance = |value: f32| (value - outside).abs().round();
    let mut different = std::collections::BTreeSet::new();
    let (mut edge, mut edge_sum) = (0, 0.0);
    for (index, &value) in mask.iter().enumerate() {
        let here = distance(value);
        if here == 0.0 {
            continue;
        }
        different.insert(here as u32);
        // The neighbours in a row are enough.
        let x = index % dims[2];
        let before = x > 0 && distance(mask[index - 1]) == 0.0;
        let after = x + 1 < dims[2] && distance(mask[index + 1]) == 0.0;
        if before || after {
            edge += 1;
            edge_sum += f64::from(here);
        }
    }
    let most = f64::from(reach.round());
    different.len() >= GRADES
        && different.len() as f64 >= 0.5 * most
        && edge > 0
        && edge_sum / f64::from(edge) < 0.25 * most
}

/// The value of a mask in the brain: the median of the values further from the surroundings' than
/// half of the greatest distance.
fn level(mask: &[f32], outside: f32, reach: f32) -> f32 {
    let mut inside: Vec<f32> = mask.to_vec();
    inside.retain(|&value| (value - outside).abs() > reach / 2.0);
    let middle = inside.len() / 2;
    let (_, level, _) = inside.select_nth_unstable_by(middle, f32::total_cmp);
    *level
}

/// Brain by images whose surroundings are one value, exactly (whole numbers) or nearly.
fn from_images(voxels: usize, images: &[Shown<'_>]) -> Vec<u8> {
    let mut brain = vec![0; voxels];
    for image in images {
        for (brain, tissue) in brain.iter_mut().zip(&image.tissue) {
            *brain |= tissue;
        }
    }
    brain
}

/// 1 where a mask or an image differs from its surroundings, else 0.
pub(crate) fn tissue(values: &[f32], dims: [usize; 3]) -> Vec<u8> {
    shown("", values, dims).tissue
}

/// Where an image differs from its surroundings.
pub(super) fn shown<'a>(name: &'a str, image: &'a [f32], dims: [usize; 3]) -> Shown<'a> {
    let outside = surroundings(image, dims);
    let range = range(image, outside);
    let exact = image.iter().all(|value| value.fract() == 0.0);
    let tolerance = if exact { 0.0 } else { QUIET * range };
    let tissue = image
        .iter()
        .map(|&value| u8::from((value - outside).abs() > tolerance))
        .collect();
    Shown {
        name,
        image,
        tissue,
        outside,
        range,
    }
}

/// How far an image's values reach from those around it, but for the one percent that reaches
/// furthest.
fn range(image: &[f32], outside: f32) -> f32 {
    let mut reach: Vec<f32> = image
        .iter()
        .map(|&value| (value - outside).abs())
        .filter(|&r| r > 0.0)
        .collect();
    if reach.is_empty() {
        return 0.0;
    }
    let rank = (reach.len() - 1) * 99 / 100;
    let (_, range, _) = reach.select_nth_unstable_by(rank, f32::total_cmp);
    *range
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIMS: [usize; 3] = [6, 10, 10];

    type Value = fn(usize) -> f32;

    fn inside(at: usize) -> bool {
        let (z, y, x) = (at / 100, at / 10 % 10, at % 10);
        (1..5).contains(&z) && (2..8).contains(&y) && (2..8).contains(&x)
    }

    fn volume(value: impl Fn(usize) -> f32) -> Vec<f32> {
        (0..600).map(value).collect()
    }

    fn wanted() -> Vec<u8> {
        (0..600).map(|at| u8::from(inside(at))).collect()
    }

    /// Small numbers of both signs.
    fn ringing(at: usize) -> f32 {
        ((at * 7919 % 101) as f32 - 50.0) / 50.0
    }

    #[test]
    fn a_mask_is_read_whatever_was_done_to_it() {
        let masks: [(&str, Value, usize); 11] = [
            ("0 and 1", |at| f32::from(u8::from(inside(at))), 0),
            ("0 and 255", |at| 255.0 * f32::from(u8::from(inside(at))), 0),
            (
                "labels",
                |at| {
                    if inside(at) {
                        2.0 + (at % 40) as f32
                    } else {
                        0.0
                    }
                },
                0,
            ),
            (
                "ringing around zero",
                |at| f32::from(u8::from(inside(at))) + 1e-6 * ringing(at),
                1,
            ),
            (
                "nearly one",
                |at| 0.9999 * f32::from(u8::from(inside(at))),
                0,
            ),
            (
                "surroundings of 1",
                |at| 1.0 + f32::from(u8::from(inside(at))),
                1,
            ),
            (
                "surroundings of -1",
                |at| f32::from(u8::from(inside(at))) - 1.0,
                1,
            ),
            (
                "surroundings of 0.05",
                |at| if inside(at) { 1.0 } else { 0.05 },
                1,
            ),
            (
                "shares",
                |at| {
                    if inside(at) {
                        0.9 + 0.1 * ringing(at)
                    } else {
                        0.2 + 0.2 * ringing(at)
                    }
                },
                1,
            ),
            (
                "shares of 255",
                |at| match at {
                    _ if inside(at) => 255.0,
                    _ if at % 13 == 0 => (at % 60) as f32,
                    _ => 0.0,
                },
                1,
            ),
            (
                "values of 1/255",
                |at| f32::from(u8::from(inside(at))) / 255.0,
                1,
            ),
        ];
        for (what, mask, said) in masks {
            let mut notes = Vec::new();
            let brain = brain(600, DIMS, &[], Some(&volume(mask)), &mut notes).unwrap();
            assert_eq!(brain, wanted(), "{what}");
            assert_eq!(notes.len(), said, "{what}: {notes:?}");
        }
    }

    #[test]
    fn nothing_and_everything_are_no_brain() {
        let refused = |image: Vec<f32>, as_mask: bool| {
            let mask = as_mask.then_some(image.as_slice());
            let images = [shown("t1", &image, DIMS)];
            brain(600, DIMS, &images, mask, &mut Vec::new()).unwrap_err()
        };
        for as_mask in [true, false] {
            assert!(matches!(
                refused(volume(|_| 0.0), as_mask),
                CaseError::NoBrain
            ));
        }
        assert!(matches!(
            refused(volume(|_| 1.0), true),
            CaseError::AllBrain { mask: true, .. }
        ));
        // A head in noise: it was never stripped of its skull.
        let head = volume(|at| if inside(at) { 500.0 } else { 20.0 } + (at * 7919 % 101) as f32);
        assert!(matches!(
            refused(head, false),
            CaseError::AllBrain { mask: false, .. }
        ));
    }

    #[test]
    fn images_without_a_mask_may_have_any_surroundings() {
        let images: [(&str, Value); 4] = [
            ("zero", |at| {
                if inside(at) {
                    1.0 + (at % 7) as f32
                } else {
                    0.0
                }
            }),
            (
                "-1024",
                |at| if inside(at) { (at % 7) as f32 } else { -1024.0 },
            ),
            (
                "a tenth",
                |at| if inside(at) { 300.0 + at as f32 } else { 0.1 },
            ),
            ("ringing", |at| {
                if inside(at) {
                    300.5 + at as f32
                } else {
                    1e-4 * ringing(at)
                }
            }),
        ];
        for (what, image) in images {
            let image = volume(image);
            let images = [shown("t1", &image, DIMS)];
            let brain = brain(600, DIMS, &images, None, &mut Vec::new()).unwrap();
            assert_eq!(brain, wanted(), "{what}");
        }
    }
}
