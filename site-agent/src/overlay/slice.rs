//! The slice of a case that is drawn, on the patient's own grid: what the counts are about, so that
//! picture and numbers agree.

use crate::case::Prepared;
use crate::evaluate::called;
use metrics::components::Connectivity;
use metrics::dilate::dilated;
use metrics::voxel::sigmoid;

/// What a voxel is and what it was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// No lesion, and not called one.
    Neither,
    /// Lesion that was found.
    TruePositive,
    /// Called lesion and is none.
    FalsePositive,
    /// Lesion that was missed.
    FalseNegative,
}

impl Call {
    /// From the reference and the prediction.
    pub(super) fn of(lesion: u8, called: u8) -> Self {
        match (lesion != 0, called != 0) {
            (false, false) => Self::Neither,
            (true, true) => Self::TruePositive,
            (false, true) => Self::FalsePositive,
            (true, false) => Self::FalseNegative,
        }
    }
}

/// An axial slice; rows run from the patient's back to the front, columns from left to right.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Slice {
    /// Its place in the volume, counted from 0 at the lowest.
    pub(super) index: usize,
    /// The federation's sequence in the background.
    pub(super) sequence: usize,
    /// Rows and columns.
    pub(super) dims: [usize; 2],
    /// Millimetres between them.
    pub(super) spacing_mm: [f32; 2],
    /// The background from 0, black, to 1, white; black outside the brain.
    pub(super) grey: Vec<f32>,
    /// Brain 1, other 0.
    pub(super) brain: Vec<u8>,
    /// Probability of lesion.
    pub(super) probability: Vec<f32>,
    /// The probability from which a voxel is called lesion.
    pub(super) threshold: f32,
    /// Right and wrong.
    pub(super) calls: Vec<Call>,
}

impl Slice {
    /// A slice with the logits of its voxels; `None` where the case has no such slice, no
    /// reference, or no sequence.
    pub(super) fn of(
        case: &Prepared,
        index: usize,
        logits: &[f32],
        threshold: f32,
    ) -> Option<Self> {
        let native = &case.native;
        let [_, height, width] = native.grid.dims;
        let [_, row_mm, column_mm] = native.grid.spacing_mm;
        let here = index * height * width..(index + 1) * height * width;
        let plane = case.canvas[0] * case.canvas[1];
        let (brain, lesion) = (
            native.brain.get(here.clone())?,
            native.lesion.as_ref()?.get(here)?,
        );
        let sequence = background(case)?;
        let image = case
            .sequences
            .get(sequence)?
            .as_ref()?
            .get(index * plane..(index + 1) * plane)?;
        let image = restore(case, image, f32::NAN);
        let calls = lesion
            .iter()
            .zip(called(logits, threshold))
            .map(|(&lesion, called)| Call::of(lesion, called));
        Some(Self {
            index,
            sequence,
            dims: [height, width],
            spacing_mm: [row_mm, column_mm],
            grey: windowed(&image, brain),
            brain: brain.to_vec(),
            probability: logits.iter().map(|&logit| sigmoid(logit)).collect(),
            threshold,
            calls: calls.collect(),
        })
    }
}

/// Values of one of the case's planes on the patient's own grid; `outside` beyond the plane.
fn restore(case: &Prepared, plane: &[f32], outside: f32) -> Vec<f32> {
    let [_, height, width] = case.native.grid.dims;
    let plane = plane
        .get(..case.canvas[0] * case.canvas[1])
        .unwrap_or_default();
    case.placement
        .restore(plane, case.canvas, [1, height, width], outside)
}

/// The slice with most lesion voxels in the reference, of equal ones the lowest; `None` without a
/// lesion.
pub(super) fn fullest(case: &Prepared) -> Option<usize> {
    let [_, height, width] = case.native.grid.dims;
    let slices = case
        .native
        .lesion
        .as_deref()?
        .chunks_exact((height * width).max(1));
    let counts = slices.map(|slice| slice.iter().filter(|&&voxel| voxel != 0).count());
    let more =
        |best: (usize, usize), next: (usize, usize)| if next.1 > best.1 { next } else { best };
    counts
        .enumerate()
        .reduce(more)
        .filter(|&(_, count)| count > 0)
        .map(|(slice, _)| slice)
}

/// How far around a lesion its surroundings reach, in pixels of the model's plane.
const RIM: usize = 3;

/// The sequence of the case in which its reference lesions are brightest: the highest mean z-score
/// in the lesions minus that of the rim around them, of equal ones the first. If no lesion is on
/// the model's planes, it is the first sequence that the case has.
///
/// For metastases this is a sequence after contrast if there is one, whatever its name. Brightness
/// relative to all of the brain would often choose FLAIR, which oedema makes bright in the lesion
/// and around it.
pub(super) fn background(case: &Prepared) -> Option<usize> {
    let label = case.label.as_deref().unwrap_or_default();
    let rim = rim(label, [case.depth(), case.canvas[0], case.canvas[1]]);
    let contrast = |image: &[f32]| Some(mean(image, label)? - mean(image, &rim).unwrap_or(0.0));
    let contrast = |image: &[f32]| contrast(image).unwrap_or(f64::NEG_INFINITY);
    let images = case
        .sequences
        .iter()
        .enumerate()
        .filter_map(|(at, image)| Some((at, contrast(image.as_deref()?))));
    images
        .reduce(|best, next| if next.1 > best.1 { next } else { best })
        .map(|(at, _)| at)
}

/// The pixels around a mask.
fn rim(mask: &[u8], dims: [usize; 3]) -> Vec<u8> {
    if mask.len() != dims.iter().product::<usize>() {
        return Vec::new();
    }
    let mut rim = mask.to_vec();
    (0..RIM).for_each(|_| rim = dilated(&rim, dims, Connectivity::TwentySix));
    rim.iter_mut()
        .zip(mask)
        .for_each(|(rim, &inside)| *rim &= u8::from(inside == 0));
    rim
}

/// The mean of an image over the brain's part of a mask; an image is zero outside the brain.
fn mean(image: &[f32], mask: &[u8]) -> Option<f64> {
    let inside = image
        .iter()
        .zip(mask)
        .filter(|pair| *pair.0 != 0.0 && *pair.1 != 0);
    let (count, sum) = inside.fold((0u64, 0.0), |(count, sum), (&value, _)| {
        (count + 1, sum + f64::from(value))
    });
    (count > 0).then(|| sum / count as f64)
}

/// The shares of the brain's voxels that turn black and white: a few voxels must not decide how
/// bright a picture is.
const WINDOW: [f64; 2] = [0.01, 0.995];

/// Grey values of an image in the brain; black elsewhere, and where there is no value.
fn windowed(image: &[f32], brain: &[u8]) -> Vec<f32> {
    let inside = |(&value, &brain): (&f32, &u8)| (brain != 0 && value.is_finite()).then_some(value);
    let mut sorted: Vec<f32> = image.iter().zip(brain).filter_map(inside).collect();
    sorted.sort_by(f32::total_cmp);
    let at = |share: f64| {
        sorted
            .get((share * sorted.len() as f64) as usize)
            .or(sorted.last())
            .copied()
            .unwrap_or(0.0)
    };
    let [black, white] = WINDOW.map(at);
    let grey =
        |value: f32| ((value - black) / (white - black).max(f32::MIN_POSITIVE)).clamp(0.0, 1.0);
    image
        .iter()
        .zip(brain)
        .map(|pair| inside(pair).map_or(0.0, grey))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::tests::patient;

    #[test]
    fn every_voxel_is_right_or_wrong_in_one_way() {
        let calls: Vec<Call> = [(0, 0), (1, 1), (0, 1), (1, 0)]
            .map(|(lesion, called)| Call::of(lesion, called))
            .into();
        assert_eq!(
            calls,
            [
                Call::Neither,
                Call::TruePositive,
                Call::FalsePositive,
                Call::FalseNegative
            ]
        );
    }

    #[test]
    fn the_background_is_where_the_lesion_is_brightest() {
        // Lesions are bright in the first sequence and dark in the second, whatever the two are
        // called.
        assert_eq!(background(&patient(1, [true, true])), Some(0));
        assert_eq!(background(&patient(1, [false, true])), Some(1));
        let mut turned = patient(1, [true, true]);
        turned.sequences.reverse();
        assert_eq!(background(&turned), Some(1));
        let mut equal = patient(1, [true, true]);
        equal.sequences[1] = equal.sequences[0].clone();
        assert_eq!(background(&equal), Some(0));
        turned.label = None;
        assert_eq!(background(&turned), Some(0));
    }

    #[test]
    fn a_lesion_in_a_bright_surrounding_does_not_stand_out() {
        let mut patient = patient(1, [true, true]);
        let (label, bright) = (
            patient.label.clone().unwrap(),
            patient.sequences[0].as_mut().unwrap(),
        );
        let around = rim(&label, [5, 32, 32]);
        assert!(
            around
                .iter()
                .zip(&label)
                .all(|(&rim, &lesion)| rim & lesion == 0)
                && around.contains(&1)
        );
        // Oedema: brighter than ever, and so are the surroundings.
        let both = label.iter().zip(&around).map(|(lesion, rim)| lesion | rim);
        bright
            .iter_mut()
            .zip(both)
            .filter(|pair| pair.1 == 1)
            .for_each(|(value, _)| *value = 9.0);
        let dark = patient.sequences[1].as_mut().unwrap();
        dark.iter_mut()
            .zip(&label)
            .filter(|pair| *pair.1 == 1)
            .for_each(|(value, _)| *value = 2.0);
        assert_eq!(background(&patient), Some(1));
    }

    #[test]
    fn the_slice_with_most_lesion_is_drawn() {
        let mut patient = patient(1, [true, true]);
        assert_eq!(fullest(&patient), Some(2), "the first of equal ones");
        let area = 32 * 32;
        let lesion = patient.native.lesion.as_mut().unwrap();
        lesion[4 * area..4 * area + 3].fill(1);
        assert_eq!(fullest(&patient), Some(4));
        patient.native.lesion.as_mut().unwrap().fill(0);
        assert_eq!(fullest(&patient), None);
    }

    #[test]
    fn a_slice_has_the_counts_of_its_voxels() {
        let patient = patient(1, [true, true]);
        let area = 32 * 32;
        let lesion = &patient.native.lesion.as_ref().unwrap()[2 * area..3 * area];
        // Everything is found but for the first lesion voxel, and the first voxel of all is called.
        let missed = lesion.iter().position(|&voxel| voxel == 1).unwrap();
        let logit = |at: usize| {
            if at == 0 || (lesion[at] == 1 && at != missed) {
                3.0
            } else {
                -3.0
            }
        };
        let slice = Slice::of(
            &patient,
            2,
            &(0..area).map(logit).collect::<Vec<f32>>(),
            0.5,
        )
        .unwrap();
        let count = |call| slice.calls.iter().filter(|&&one| one == call).count();
        let voxels = lesion.iter().filter(|&&voxel| voxel == 1).count();
        assert_eq!(
            (count(Call::TruePositive), count(Call::FalsePositive)),
            (voxels - 1, 1)
        );
        assert_eq!(
            (slice.calls[missed], count(Call::FalseNegative)),
            (Call::FalseNegative, 1)
        );
        assert!(
            slice.grey[0] == 0.0 && slice.grey[missed] > 0.7,
            "air is black, the lesion bright"
        );
        assert!(Slice::of(&patient, 5, &[], 0.5).is_none());
    }

    #[test]
    fn a_window_leaves_out_the_few_brightest_and_what_is_no_brain() {
        let image: Vec<f32> = (0..1000)
            .map(|value| if value == 999 { 1e6 } else { value as f32 })
            .collect();
        let grey = windowed(&image, &[vec![0], vec![1; 999]].concat());
        assert_eq!((grey[0], grey[999]), (0.0, 1.0));
        assert!((grey[500] - 0.5).abs() < 0.02, "{}", grey[500]);
        assert_eq!(windowed(&[5.0, f32::NAN], &[1, 1]), [0.0, 0.0]);
    }
}
