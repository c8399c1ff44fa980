//! Whether a case's images and its brain belong together and look like MRI. What does not is a
//! warning, and the case is used all the same. Only [`fill_holes`] changes something: the brain
//! mask.

use crate::case::Note;

/// Brains outside of this range of volumes, in millilitres, are hardly a patient's.
const BRAIN_ML: std::ops::RangeInclusive<f64> = 50.0..=5000.0;
/// The share of a brain mask that may be surroundings in every image.
const MOST_EMPTY: f64 = 0.01;
/// The share of tissue that a brain mask may leave out where the images show little else.
const MOST_LEFT_OUT: f64 = 0.1;
/// Images whose tissue is up to this many times the brain mask are skull-stripped. A head is at
/// least twice its brain.
const STRIPPED: f64 = 1.5;
/// How far the middle of a brain mask may be from the middle of the tissue, from left to right, as
/// a share of the tissue's width: a head is symmetric.
const MOST_ASIDE: f64 = 0.1;
/// The share of the brain in which an image may have the value of its surroundings.
const MOST_BLANK: f64 = 0.2;
/// Images whose tissue differs by more than this many times in size are not compared: one shows a
/// head and the other a brain, or only a part of it.
const ALIKE_SIZE: f64 = 1.2;
/// The overlap, as Dice, of the tissue of two skull-stripped images of one patient.
const LEAST_OVERLAP: f64 = 0.85;
/// The share of the brain that may be the image's greatest value.
const MOST_GREATEST: f64 = 0.005;
/// Values this near to the greatest are compared with it, as a share of its distance from the mean.
const NEAR_GREATEST: f64 = 0.1;
/// The fewest different values of an image in the brain.
const FEWEST_VALUES: usize = 9;
/// What differs from the surroundings by less than this share of an image's range is hardly tissue.
const DARK: f32 = 0.02;
/// The share of a brain without a mask that may be hardly tissue.
const MOST_DARK: f64 = 0.05;

/// An image, and where it differs from its surroundings.
pub(super) struct Shown<'a> {
    pub(super) name: &'a str,
    pub(super) image: &'a [f32],
    /// 1 where the image differs from what surrounds the head, else 0.
    pub(super) tissue: Vec<u8>,
    /// The value around the head.
    pub(super) outside: f32,
    /// How far the image's values reach from that, but for the furthest percent.
    pub(super) range: f32,
}

/// Fills holes of a mask, in place: voxels from which no path leads to the volume's border. Lesions
/// or ventricles were cut out of such a mask, and the network would not be shown them.
pub(super) fn fill_holes(mask: &mut [u8], dims: [usize; 3], notes: &mut Vec<Note>) {
    let filled = imaging::mask::fill_holes(mask, dims);
    if filled > 0 {
        notes.push(Note::new(
            format!(
                "the brain mask has holes of {filled} voxels inside the brain: they are \
                     taken as brain"
            ),
            "check that the mask was not made without lesions or ventricles",
        ));
    }
}

/// Compares the brain with the images. `masked` says whether it is from a mask of its own.
pub(super) fn warn_about_brain_and_images(
    brain: &[u8],
    masked: bool,
    dims: [usize; 3],
    voxel_mm3: f64,
    images: &[Shown<'_>],
    notes: &mut Vec<Note>,
) {
    let brain_voxels = brain.iter().filter(|&&voxel| voxel != 0).count();
    let ml = brain_voxels as f64 * voxel_mm3 / 1000.0;
    if !BRAIN_ML.contains(&ml) {
        notes.push(Note::new(
            format!("the volume of the brain is {ml:.3} ml"),
            "check the units of the spacing, and the brain mask",
        ));
    }
    if masked {
        warn_about_mask(brain, brain_voxels, dims, images, notes);
    } else {
        warn_about_surroundings(brain, brain_voxels, images, notes);
    }
    for shown in images {
        warn_about_coverage(brain, brain_voxels, dims, shown, notes);
        warn_about_values(brain, brain_voxels, shown, notes);
    }
    warn_about_places(images, notes);
}

/// A brain mask of another patient, or one that was shifted or cut.
fn warn_about_mask(
    brain: &[u8],
    brain_voxels: usize,
    dims: [usize; 3],
    images: &[Shown<'_>],
    notes: &mut Vec<Note>,
) {
    let mut tissue = 0;
    let mut left_out = 0;
    let mut empty = 0;
    let [_, _, width] = dims;
    let (mut brain_sum, mut tissue_sum) = (0.0, 0.0);
    let (mut first, mut last) = (width, 0);
    for (index, &inside) in brain.iter().enumerate() {
        let is_tissue = images.iter().any(|shown| shown.tissue[index] != 0);
        let x = index % width;
        if is_tissue {
            tissue += 1;
            tissue_sum += x as f64;
            first = first.min(x);
            last = last.max(x);
        }
        if inside != 0 {
            brain_sum += x as f64;
        }
        left_out += usize::from(is_tissue && inside == 0);
        empty += usize::from(!is_tissue && inside != 0);
    }
    let remedy = "check that the brain mask and the images belong together";
    if empty as f64 > MOST_EMPTY * brain_voxels as f64 {
        notes.push(Note::new(
            format!("{empty} of {brain_voxels} voxels of the brain mask show nothing in any image"),
            remedy,
        ));
    }
    let stripped = (tissue as f64) <= STRIPPED * brain_voxels as f64;
    if stripped && left_out as f64 > MOST_LEFT_OUT * tissue as f64 {
        notes.push(Note::new(
            format!(
                "the brain mask leaves out {left_out} of the {tissue} voxels that the images show"
            ),
            remedy,
        ));
    }
    if tissue > 0 && brain_voxels > 0 {
        let aside = (brain_sum / brain_voxels as f64 - tissue_sum / tissue as f64).abs();
        if aside > MOST_ASIDE * (last + 1 - first) as f64 {
            notes.push(Note::new(
                format!(
                    "the middle of the brain mask is {aside:.0} voxels away from the middle of \
                         the head"
                ),
                remedy,
            ));
        }
    }
}

/// Where the brain is everything that is not surroundings: surroundings that are not one value.
fn warn_about_surroundings(
    brain: &[u8],
    brain_voxels: usize,
    images: &[Shown<'_>],
    notes: &mut Vec<Note>,
) {
    let mut dark = 0;
    for (index, &inside) in brain.iter().enumerate() {
        let is_dark =
            |shown: &Shown<'_>| (shown.image[index] - shown.outside).abs() <= DARK * shown.range;
        dark += usize::from(inside != 0 && images.iter().all(is_dark));
    }
    if dark as f64 > MOST_DARK * brain_voxels as f64 {
        notes.push(Note::new(
            format!(
                "{dark} of {brain_voxels} voxels that are taken as brain are as dark as what \
                 surrounds it"
            ),
            "set data.brain to a brain mask, or set what is not brain to one value",
        ));
    }
}

/// A sequence that shows only a part of the brain.
fn warn_about_coverage(
    brain: &[u8],
    brain_voxels: usize,
    dims: [usize; 3],
    shown: &Shown<'_>,
    notes: &mut Vec<Note>,
) {
    let slice = dims[1] * dims[2];
    let (mut slices, mut empty_slices, mut blank, mut in_empty) = (0, 0, 0, 0);
    for (brain, tissue) in brain.chunks(slice).zip(shown.tissue.chunks(slice)) {
        let here = brain.iter().filter(|&&voxel| voxel != 0).count();
        if here == 0 {
            continue;
        }
        slices += 1;
        if tissue.iter().all(|&voxel| voxel == 0) {
            empty_slices += 1;
            in_empty += here;
        }
        for (&inside, &tissue) in brain.iter().zip(tissue) {
            blank += usize::from(inside != 0 && tissue == 0);
        }
    }
    let name = shown.name;
    let remedy = "check that the image covers the whole brain and was copied whole; leave the \
                  sequence out of the case if not";
    if in_empty as f64 > MOST_EMPTY * brain_voxels as f64 {
        notes.push(Note::new(
            format!("{name} shows nothing in {empty_slices} of the {slices} slices with brain"),
            remedy,
        ));
    } else if blank as f64 > MOST_BLANK * brain_voxels as f64 {
        notes.push(Note::new(
            format!("{name} shows nothing in {blank} of {brain_voxels} voxels of the brain"),
            remedy,
        ));
    }
}

/// Values that no MRI has: cut off at the top, or only a few different ones.
fn warn_about_values(brain: &[u8], brain_voxels: usize, shown: &Shown<'_>, notes: &mut Vec<Note>) {
    let (mut greatest, mut sum) = (f32::NEG_INFINITY, 0.0);
    let mut different: Vec<f32> = Vec::with_capacity(FEWEST_VALUES);
    for (&value, &inside) in shown.image.iter().zip(brain) {
        if inside == 0 {
            continue;
        }
        greatest = greatest.max(value);
        sum += f64::from(value);
        if different.len() < FEWEST_VALUES && !different.contains(&value) {
            different.push(value);
        }
    }
    let name = shown.name;
    if different.len() < FEWEST_VALUES {
        // `normalise` refuses an image of one value (`CaseError::Constant`).
        if different.len() > 1 {
            notes.push(Note::new(
                format!(
                    "{name} has only {} different values in the brain",
                    different.len()
                ),
                "check that the file is an image and not a mask",
            ));
        }
        return;
    }
    let mean = sum / brain_voxels as f64;
    let near = f64::from(greatest) - NEAR_GREATEST * (f64::from(greatest) - mean);
    let (mut at_greatest, mut below) = (0, 0);
    for (&value, &inside) in shown.image.iter().zip(brain) {
        if inside != 0 && value == greatest {
            at_greatest += 1;
        } else if inside != 0 && f64::from(value) >= near {
            below += 1;
        }
    }
    // Where nothing was cut off, the greatest values are not more frequent than those below them.
    if at_greatest as f64 > MOST_GREATEST * brain_voxels as f64 && at_greatest > below {
        notes.push(Note::new(
            format!(
                "{name}: {at_greatest} of {brain_voxels} voxels of the brain have the \
                     greatest value, {greatest}: it was cut off there"
            ),
            "export the image again with all of its values",
        ));
    }
}

/// Two skull-stripped images that are shifted against each other.
fn warn_about_places(images: &[Shown<'_>], notes: &mut Vec<Note>) {
    let sizes: Vec<usize> = images
        .iter()
        .map(|shown| shown.tissue.iter().filter(|&&voxel| voxel != 0).count())
        .collect();
    for (index, one) in images.iter().enumerate() {
        for (other, &size) in images.iter().zip(&sizes).skip(index + 1) {
            let (small, large) = (sizes[index].min(size), sizes[index].max(size));
            if small == 0 || large as f64 > ALIKE_SIZE * small as f64 {
                continue;
            }
            let mut both = 0;
            for (&in_one, &in_other) in one.tissue.iter().zip(&other.tissue) {
                both += usize::from(in_one != 0 && in_other != 0);
            }
            let overlap = 2.0 * both as f64 / (small + large) as f64;
            if overlap < LEAST_OVERLAP {
                notes.push(Note::new(
                    format!(
                        "{} and {} show different places: their tissue overlaps by {:.0} % only",
                        one.name,
                        other.name,
                        100.0 * overlap
                    ),
                    "register the images to one another",
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIMS: [usize; 3] = [20, 40, 40];

    fn ball([z, y, x]: [f64; 3], radius: f64) -> Vec<u8> {
        let mut voxels = Vec::with_capacity(DIMS.iter().product());
        for index in 0..DIMS.iter().product::<usize>() {
            let at = [index / 1600, index / 40 % 40, index % 40].map(|axis| axis as f64);
            let apart = ((at[0] - z) * 2.0).powi(2) + (at[1] - y).powi(2) + (at[2] - x).powi(2);
            voxels.push(u8::from(apart < radius * radius));
        }
        voxels
    }

    /// An image that is 0 outside of a place and of many values inside.
    fn image(tissue: &[u8]) -> Vec<f32> {
        tissue
            .iter()
            .enumerate()
            .map(|(index, &inside)| {
                f32::from(inside) * (500.0 + (index * 7919 % 10_007) as f32 / 100.0)
            })
            .collect()
    }

    fn shown<'a>(name: &'a str, image: &'a [f32]) -> Shown<'a> {
        Shown {
            name,
            image,
            tissue: image.iter().map(|&value| u8::from(value != 0.0)).collect(),
            outside: 0.0,
            range: 600.0,
        }
    }

    /// The warnings about a brain of these images.
    fn warnings(brain: &[u8], masked: bool, images: &[&[f32]]) -> Vec<String> {
        let names = ["t1", "flair"];
        let images: Vec<Shown<'_>> = names
            .iter()
            .zip(images)
            .map(|(name, image)| shown(name, image))
            .collect();
        let mut notes = Vec::new();
        warn_about_brain_and_images(brain, masked, DIMS, 100.0, &images, &mut notes);
        notes.into_iter().map(|note| note.what).collect()
    }

    #[test]
    fn a_sound_case_has_no_warning_with_a_mask_and_without() {
        let brain = ball([10.0, 20.0, 20.0], 15.0);
        let image = image(&brain);
        assert_eq!(warnings(&brain, true, &[&image, &image]), [""; 0]);
        assert_eq!(warnings(&brain, false, &[&image]), [""; 0]);
        // A whole head around the brain.
        let head = self::image(&ball([10.0, 20.0, 20.0], 19.0));
        assert_eq!(warnings(&brain, true, &[&head]), [""; 0]);
    }

    #[test]
    fn holes_of_a_mask_are_filled_with_a_warning() {
        let brain = ball([10.0, 20.0, 20.0], 15.0);
        let lesion = ball([10.0, 24.0, 20.0], 3.0);
        let mut mask: Vec<u8> = brain.iter().zip(&lesion).map(|(b, l)| b & !l & 1).collect();
        let mut notes = Vec::new();
        fill_holes(&mut mask, DIMS, &mut notes);
        assert_eq!(mask, brain);
        assert!(notes[0].what.contains("holes of"), "{notes:?}");
        notes.clear();
        fill_holes(&mut mask, DIMS, &mut notes);
        assert!(notes.is_empty());
    }

    #[test]
    fn a_mask_of_another_place_is_warned_of() {
        let brain = ball([10.0, 20.0, 20.0], 15.0);
        let image = image(&brain);
        let shifted = ball([10.0, 24.0, 20.0], 15.0);
        let words = warnings(&shifted, true, &[&image]).join("; ");
        assert!(words.contains("show nothing in any image"), "{words}");
        assert!(words.contains("leaves out"), "{words}");
        let mut half = brain.clone();
        for (index, voxel) in half.iter_mut().enumerate() {
            *voxel &= u8::from(index % 40 < 20);
        }
        let words = warnings(&half, true, &[&image]).join("; ");
        assert!(words.contains("away from the middle"), "{words}");
    }

    #[test]
    fn an_image_of_a_part_of_the_brain_or_of_another_place_is_warned_of() {
        let brain = ball([10.0, 20.0, 20.0], 15.0);
        let whole = image(&brain);
        let mut part = whole.clone();
        part[14 * 1600..].fill(0.0);
        let words = warnings(&brain, true, &[&whole, &part]).join("; ");
        assert!(words.contains("flair shows nothing in 4 of the"), "{words}");
        let moved = image(&ball([10.0, 20.0, 26.0], 15.0));
        let words = warnings(&brain, true, &[&whole, &moved]).join("; ");
        assert!(
            words.contains("t1 and flair show different places"),
            "{words}"
        );
    }

    #[test]
    fn values_that_no_mri_has_are_warned_of() {
        let brain = ball([10.0, 20.0, 20.0], 15.0);
        let mut image = image(&brain);
        for value in &mut image {
            *value = value.min(550.0);
        }
        assert!(warnings(&brain, true, &[&image])[0].contains("it was cut off there"));
        let mask: Vec<f32> = (0..image.len())
            .map(|index| f32::from(brain[index]) * (1.0 + (index % 2) as f32))
            .collect();
        assert!(warnings(&brain, true, &[&mask])[0].contains("only 2 different values"));
    }

    #[test]
    fn a_brain_of_another_size_and_surroundings_that_are_not_one_value_are_warned_of() {
        let brain = ball([10.0, 20.0, 20.0], 15.0);
        let sound = image(&brain);
        let images = [shown("t1", &sound)];
        let mut notes = Vec::new();
        warn_about_brain_and_images(&brain, true, DIMS, 0.1, &images, &mut notes);
        assert!(notes[0].what.contains("ml"), "{notes:?}");
        let ringing: Vec<f32> = sound
            .iter()
            .enumerate()
            .map(|(index, &value)| value + (index % 3) as f32)
            .collect();
        let everywhere: Vec<u8> = ringing.iter().map(|&v| u8::from(v != 0.0)).collect();
        let words = warnings(&everywhere, false, &[&ringing]).join("; ");
        assert!(words.contains("as dark as what surrounds it"), "{words}");
    }
}
