//! Images as z-scores over the brain, after values far beyond the rest were clipped.

use super::CaseError;
use crate::case::Note;

/// So many times the distance between two percentiles a value may lie beyond them.
const ROOM: f32 = 3.0;
/// A value so many times that distance beyond them is no tissue.
const NO_TISSUE: f32 = 10.0;
/// Percentiles so many times further apart than quartiles are none of tissue.
const BROKEN: f32 = 30.0;
/// A z-score that no tissue has.
const EXTREME: f64 = 25.0;

/// Makes an image z-scores over the brain (population standard deviation), zero outside.
///
/// # Errors
/// One value throughout the brain.
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
    if furthest > EXTREME {
        notes.push(Note::new(
            format!("{name}: its brightest or darkest voxels lie {furthest:.0} standard deviations from its mean"),
            "look for an implant or a broken export: values like these flatten all tissue",
        ));
    }
    Ok(())
}

/// Clips an image's values in the brain that lie further beyond two percentiles than [`ROOM`] times
/// the distance between them, and says so where some lie so far that they are no tissue. Small
/// lesions may be all of the brightest voxels, so the percentiles themselves clip nothing.
fn clip_beyond(
    name: &str,
    image: &mut [f32],
    brain: &[u8],
    percentiles: [f32; 2],
    notes: &mut Vec<Note>,
) {
    let inside = image.iter().zip(brain).filter(|(_, brain)| **brain == 1);
    let mut inside: Vec<f32> = inside.map(|(&value, _)| value).collect();
    let Some([low, high]) = ranks(inside.len(), percentiles) else {
        return;
    };
    let count = inside.len();
    let mut at = |rank: usize| *inside.select_nth_unstable_by(rank, f32::total_cmp).1;
    let (low, high) = (at(low), at(high));
    let middle = at(3 * count / 4) - at(count / 4);
    let span = high - low;
    if middle > 0.0 && span > BROKEN * middle {
        notes.push(Note::new(
            format!(
                "{name}: many voxels lie far from the rest (percentiles {low} and {high}, where the middle half \
                 of the voxels lies within {middle}): tissue is flattened"
            ),
            "look for an implant, padding inside the brain mask, or a broken export",
        ));
    }
    if span <= 0.0 || !span.is_finite() {
        return;
    }
    let far = |value: f32| value < low - NO_TISSUE * span || value > high + NO_TISSUE * span;
    let beyond = inside.iter().filter(|&&value| far(value)).count();
    if beyond > 0 {
        let [lowest, highest] = ends(&inside);
        notes.push(Note::new(
            format!(
                "{name}: {beyond} of {} voxels lie far beyond the rest ({lowest} to {highest}, where the rest lies around \
                 {low} to {high}); they are clipped",
                inside.len()
            ),
            "look for an implant or a broken export",
        ));
    }
    let (least, most) = (low - ROOM * span, high + ROOM * span);
    for (value, _) in image
        .iter_mut()
        .zip(brain)
        .filter(|(_, brain)| **brain == 1)
    {
        *value = value.clamp(least, most);
    }
}

/// The least and the greatest value.
fn ends(values: &[f32]) -> [f32; 2] {
    let mut ends = [f32::INFINITY, f32::NEG_INFINITY];
    for &value in values {
        ends = [ends[0].min(value), ends[1].max(value)];
    }
    ends
}

/// The places of two percentiles among so many sorted values, rounded inwards, so that one odd
/// voxel of few is none of them; `None` where nothing would be left between them.
fn ranks(count: usize, [low, high]: [f32; 2]) -> Option<[usize; 2]> {
    let last = count.checked_sub(1)? as f64;
    let low = (f64::from(low) / 100.0 * last).ceil() as usize;
    let high = (f64::from(high) / 100.0 * last).floor() as usize;
    (low < high).then_some([low, high])
}

/// Mean and population standard deviation over the brain; `None` where nothing varies.
fn statistics(image: &[f32], brain: &[u8]) -> Option<(f64, f64)> {
    let inside = || {
        image
            .iter()
            .zip(brain)
            .filter(|(_, brain)| **brain == 1)
            .map(|(&value, _)| f64::from(value))
    };
    let (count, sum) = inside().fold((0u64, 0.0), |(count, sum), value| (count + 1, sum + value));
    let mean = sum / count as f64;
    let deviation = (inside()
        .map(|value| (value - mean) * (value - mean))
        .sum::<f64>()
        / count as f64)
        .sqrt();
    // What is left of a constant after rounding its mean.
    (deviation > 1e-9 * mean.abs().max(f64::MIN_POSITIVE)).then_some((mean, deviation))
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
        // So bright that it is clipped, it still lies three times the tissue's range above it.
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
