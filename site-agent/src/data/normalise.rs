//! Images as z-scores over the brain, after outliers were clipped.

use super::CaseError;
use crate::case::Note;

/// Values further beyond the percentiles than this many times the distance between them are
/// clipped.
const CLIP_DISTANCE: f32 = 3.0;
/// Values further beyond them than this many times the distance are not tissue: a warning.
const OUTLIER_DISTANCE: f32 = 10.0;
/// Percentiles further apart than this many times the distance between the quartiles are not those
/// of tissue: a warning.
const MAX_PERCENTILE_RATIO: f32 = 30.0;
/// Z-scores above this are not tissue: a warning.
const MAX_SCORE: f64 = 25.0;

/// Turns an image into z-scores over the brain (population standard deviation), zero outside.
/// `clip` are two percentiles; without them nothing is clipped.
///
/// # Errors
/// The image has the same value everywhere in the brain.
pub(super) fn normalise(
    name: &str,
    image: &mut [f32],
    brain: &[u8],
    clip: Option<[f32; 2]>,
    notes: &mut Vec<Note>,
) -> Result<(), CaseError> {
    if let Some(percentiles) = clip {
        clip_beyond(name, image, brain, percentiles, notes);
    }
    let Some((mean, deviation)) = statistics(image, brain) else {
        return Err(CaseError::Constant(name.into()));
    };
    let mut furthest: f64 = 0.0;
    for (value, &brain) in image.iter_mut().zip(brain) {
        let score = (f64::from(*value) - mean) / deviation;
        *value = if brain == 1 { score as f32 } else { 0.0 };
        if brain == 1 {
            furthest = furthest.max(score.abs());
        }
    }
    if furthest > MAX_SCORE {
        notes.push(Note::new(
            format!(
                "{name}: its brightest or darkest voxels are {furthest:.0} standard \
                     deviations from its mean"
            ),
            "check for an implant or a broken export: such values leave tissue with almost no \
             contrast",
        ));
    }
    Ok(())
}

/// Clips the values in the brain that are further beyond two percentiles than [`CLIP_DISTANCE`]
/// times the distance between them, and warns where some are too far to be tissue. It does not clip
/// at the percentiles themselves: a small lesion may be all of the brightest voxels.
fn clip_beyond(
    name: &str,
    image: &mut [f32],
    brain: &[u8],
    percentiles: [f32; 2],
    notes: &mut Vec<Note>,
) {
    let mut inside: Vec<f32> = Vec::new();
    for (&value, &brain) in image.iter().zip(brain) {
        if brain == 1 {
            inside.push(value);
        }
    }
    let Some([low, high]) = ranks(inside.len(), percentiles) else {
        return;
    };
    let count = inside.len();
    let low = value_of_rank(&mut inside, low);
    let high = value_of_rank(&mut inside, high);
    let quartiles =
        value_of_rank(&mut inside, 3 * count / 4) - value_of_rank(&mut inside, count / 4);
    let span = high - low;
    if quartiles > 0.0 && span > MAX_PERCENTILE_RATIO * quartiles {
        notes.push(Note::new(
            format!(
                "{name}: many voxels are far from the rest (percentiles {low} and {high}, while \
                 the middle half of the voxels is within {quartiles}): tissue has almost no \
                 contrast"
            ),
            "check for an implant, padding inside the brain mask, or a broken export",
        ));
    }
    if span <= 0.0 || !span.is_finite() {
        return;
    }
    let mut outliers = 0;
    for &value in &inside {
        if value < low - OUTLIER_DISTANCE * span || value > high + OUTLIER_DISTANCE * span {
            outliers += 1;
        }
    }
    if outliers > 0 {
        let [lowest, highest] = range(&inside);
        notes.push(Note::new(
            format!(
                "{name}: {outliers} of {} voxels are far beyond the rest ({lowest} to {highest}, \
                 the rest about {low} to {high}); they are clipped",
                inside.len()
            ),
            "check for an implant or a broken export",
        ));
    }
    let least = low - CLIP_DISTANCE * span;
    let most = high + CLIP_DISTANCE * span;
    let dark = inside.iter().filter(|&&value| value < least).count();
    if dark > 0 && outliers == 0 {
        notes.push(Note::new(
            format!(
                "{name}: {dark} of {} voxels are far darker than the rest (down to {}, the rest \
                 from about {low}); they are clipped",
                inside.len(),
                range(&inside)[0]
            ),
            "check for bright voxels that became negative because the file's type holds no \
             larger numbers",
        ));
    }
    for (value, &brain) in image.iter_mut().zip(brain) {
        if brain == 1 {
            *value = value.clamp(least, most);
        }
    }
}

/// The value at an index of the sorted values.
fn value_of_rank(values: &mut [f32], rank: usize) -> f32 {
    *values.select_nth_unstable_by(rank, f32::total_cmp).1
}

/// The least and the greatest value.
fn range(values: &[f32]) -> [f32; 2] {
    let mut range = [f32::INFINITY, f32::NEG_INFINITY];
    for &value in values {
        range = [range[0].min(value), range[1].max(value)];
    }
    range
}

/// The indices of two percentiles among `count` sorted values, rounded inwards, so that a single
/// outlier of few values is not a percentile; `None` where the second is not above the first.
fn ranks(count: usize, percentiles: [f32; 2]) -> Option<[usize; 2]> {
    let last = count.checked_sub(1)? as f64;
    let low = (f64::from(percentiles[0]) / 100.0 * last).ceil() as usize;
    let high = (f64::from(percentiles[1]) / 100.0 * last).floor() as usize;
    if low < high { Some([low, high]) } else { None }
}

/// Mean and population standard deviation over the brain; `None` where all values are the same.
fn statistics(image: &[f32], brain: &[u8]) -> Option<(f64, f64)> {
    let mut count = 0u64;
    let mut sum = 0.0;
    for (&value, &brain) in image.iter().zip(brain) {
        if brain == 1 {
            count += 1;
            sum += f64::from(value);
        }
    }
    let mean = sum / count as f64;
    let mut squares = 0.0;
    for (&value, &brain) in image.iter().zip(brain) {
        if brain == 1 {
            let difference = f64::from(value) - mean;
            squares += difference * difference;
        }
    }
    let deviation = (squares / count as f64).sqrt();
    // The mean of a constant is rounded, so its deviation may be slightly above 0.
    if deviation > 1e-9 * mean.abs().max(f64::MIN_POSITIVE) {
        Some((mean, deviation))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_of_the_population_inside_the_brain() {
        let (mean, deviation) = statistics(&[100.0, 1.0, 3.0, 5.0], &[0, 1, 1, 1]).unwrap();
        assert_eq!(mean, 3.0);
        assert!((deviation - (8f64 / 3.0).sqrt()).abs() < 1e-12);
        assert_eq!(statistics(&[7.3; 5], &[1; 5]), None);
    }

    /// 5000 voxels of brain, a hundred around it.
    fn image(odd: &[(usize, f32)]) -> (Vec<f32>, Vec<u8>) {
        let mut image: Vec<f32> = (0..5100)
            .map(|at| 500.0 + (at * 7919 % 101) as f32)
            .collect();
        for &(at, value) in odd {
            image[at] = value;
        }
        (image, (0..5100).map(|at| u8::from(at < 5000)).collect())
    }

    const USUAL: Option<[f32; 2]> = Some([1.0, 99.0]);

    /// The score of one sound voxel, and what is said.
    fn score(odd: &[(usize, f32)], clip: Option<[f32; 2]>) -> (f32, Vec<Note>) {
        let ((mut image, brain), mut notes) = (image(odd), Vec::new());
        normalise("t1", &mut image, &brain, clip, &mut notes).unwrap();
        (image[100], notes)
    }

    #[test]
    fn a_few_broken_voxels_do_not_flatten_an_image_and_are_said() {
        let (plain, silent) = score(&[], USUAL);
        assert!(silent.is_empty() && plain.abs() > 0.3, "{plain} {silent:?}");
        for odd in [
            &[(7, 1e6)][..],
            &[(7, -1e6)],
            &[(7, 1e30)],
            &[(7, 32767.0), (8, 32767.0), (4000, -32768.0)],
        ] {
            let (clipped, said) = score(odd, USUAL);
            assert!((clipped - plain).abs() < 0.05, "{odd:?}: {clipped} {plain}");
            assert!(
                said.len() == 1
                    && said[0]
                        .what
                        .starts_with(&format!("t1: {} of 5000", odd.len())),
                "{said:?}"
            );
            let (flat, said) = score(odd, None);
            assert!(
                flat.abs() < 0.1 && said[0].what.contains("standard deviations"),
                "{flat} {said:?}"
            );
        }
        // More of them than the percentiles cover.
        let many: Vec<(usize, f32)> = (0..60).map(|at| (at, 1e6)).collect();
        assert!(score(&many, USUAL).1[0].what.starts_with("t1: many voxels"));
    }

    #[test]
    fn an_image_of_tissue_is_not_changed_and_a_small_bright_lesion_stays_the_brightest() {
        let lesion = [(7, 800.0), (8, 830.0)];
        assert_eq!(score(&lesion, USUAL), score(&lesion, None));
        // So bright that it is clipped, it is still three times the tissue's range above it.
        let (mut image, brain) = image(&[(7, 1500.0)]);
        normalise("t1", &mut image, &brain, USUAL, &mut Vec::new()).unwrap();
        let tissue = image[8..5000]
            .iter()
            .copied()
            .fold(f32::NEG_INFINITY, f32::max);
        assert!(image[7] > 5.0 * tissue, "{} {tissue}", image[7]);
    }

    #[test]
    fn one_odd_voxel_of_few_is_clipped_and_two_voxels_are_left_alone() {
        assert_eq!(ranks(1001, [1.0, 99.0]), Some([10, 990]));
        assert_eq!(ranks(20, [1.0, 99.0]), Some([1, 18]));
        assert_eq!(ranks(1001, [0.0, 99.0]), Some([0, 990]));
        assert_eq!((ranks(2, [1.0, 99.0]), ranks(0, [1.0, 99.0])), (None, None));
    }
}
