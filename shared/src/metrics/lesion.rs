//! Lesions counted by connected components: a lesion is found when the prediction touches it.

pub use super::components::{Components, Connectivity, components};
use super::confusion::ratio;
use crate::score::LesionCounts;

/// A false positive below this volume is left out where a size limit is asked for (Grøvik et al. 2020).
pub const SIZE_LIMIT_MM3: f64 = 10.0;

/// Whether `voxels` of `voxel_mm3` each reach the size limit. Voxel sizes are stored as `f32`, so a millionth short
/// still counts.
#[must_use]
pub fn reaches_limit(voxels: u64, voxel_mm3: f64) -> bool {
    voxels as f64 * voxel_mm3 >= SIZE_LIMIT_MM3 * (1.0 - 1e-6)
}

/// Counts the lesions of two masks on one grid of `dims` (width fastest), nonzero meaning lesion.
///
/// # Panics
/// If a mask does not have as many voxels as `dims`.
#[must_use]
pub fn count_lesions(
    reference: &[u8],
    prediction: &[u8],
    dims: [usize; 3],
    voxel_mm3: f64,
    connectivity: Connectivity,
) -> LesionCounts {
    let lesions = components(reference, dims, connectivity);
    let predicted = components(prediction, dims, connectivity);
    compare(&lesions, reference, &predicted, prediction, voxel_mm3)
}

/// The same, from the components of both masks.
#[must_use]
pub fn compare(
    lesions: &Components,
    reference: &[u8],
    predicted: &Components,
    prediction: &[u8],
    voxel_mm3: f64,
) -> LesionCounts {
    let detected = lesions.touched(prediction);
    let touching = predicted.touched(reference);
    let false_sizes: Vec<u64> =
        predicted.sizes.iter().zip(&touching).filter(|(_, touching)| !**touching).map(|(&size, _)| size).collect();
    LesionCounts {
        reference: lesions.count() as u32,
        detected: detected.iter().filter(|&&found| found).count() as u32,
        predicted: predicted.count() as u32,
        false_positive: false_sizes.len() as u32,
        false_positive_10mm3: false_sizes.iter().filter(|&&size| reaches_limit(size, voxel_mm3)).count() as u32,
    }
}

impl LesionCounts {
    /// The share of reference lesions found; `None` without lesions.
    #[must_use]
    pub fn recall(&self) -> Option<f64> {
        ratio(f64::from(self.detected), f64::from(self.reference))
    }

    /// The share of predicted components that touch a lesion; `None` where nothing was predicted.
    #[must_use]
    pub fn precision(&self) -> Option<f64> {
        let touching = self.predicted.saturating_sub(self.false_positive);
        ratio(f64::from(touching), f64::from(self.predicted))
    }

    /// `2 d / (2 d + missed + false positives)` over lesions found `d`, missed and false positive components; `None`
    /// where there is neither a lesion nor a predicted component.
    #[must_use]
    pub fn f1(&self) -> Option<f64> {
        let twice = 2.0 * f64::from(self.detected);
        let missed = f64::from(self.reference.saturating_sub(self.detected));
        ratio(twice, twice + missed + f64::from(self.false_positive))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_lesion_in_two_pieces_is_found_once_and_a_stray_piece_is_false() {
        //              lesion        lesion         stray
        let reference = [0, 1, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0];
        let prediction = [0, 1, 0, 1, 0, 0, 0, 0, 0, 1, 1, 0];
        let counts = count_lesions(&reference, &prediction, [1, 1, 12], 5.0, Connectivity::TwentySix);
        let expected =
            LesionCounts { reference: 2, detected: 1, predicted: 3, false_positive: 1, false_positive_10mm3: 1 };
        assert_eq!(counts, expected);
        assert_eq!((counts.recall(), counts.precision(), counts.f1()), (Some(0.5), Some(2.0 / 3.0), Some(0.5)));
    }

    #[test]
    fn the_size_limit_counts_volume_and_includes_ten_cubic_millimetres() {
        let prediction = [1; 10];
        let false_ones = |mm3| count_lesions(&[0; 10], &prediction, [1, 1, 10], mm3, Connectivity::Six);
        assert_eq!(false_ones(1.0).false_positive_10mm3, 1);
        assert_eq!(false_ones(0.999).false_positive_10mm3, 0);
        assert_eq!(false_ones(0.999).false_positive, 1);
    }

    #[test]
    fn nothing_to_find_and_nothing_found_is_undefined() {
        let none = count_lesions(&[0; 4], &[0; 4], [1, 2, 2], 1.0, Connectivity::TwentySix);
        assert_eq!((none.recall(), none.precision(), none.f1()), (None, None, None));
    }

    proptest! {
        #[test]
        fn swapping_reference_and_prediction_swaps_found_and_false(
            voxels in prop::collection::vec((0u8..2, 0u8..2), 60)
        ) {
            let (reference, prediction): (Vec<u8>, Vec<u8>) = voxels.into_iter().unzip();
            let count = |a: &[u8], b: &[u8]| count_lesions(a, b, [3, 4, 5], 1.0, Connectivity::TwentySix);
            let (here, there) = (count(&reference, &prediction), count(&prediction, &reference));
            prop_assert_eq!((here.reference, here.predicted), (there.predicted, there.reference));
            prop_assert_eq!(here.false_positive, there.reference - there.detected);
        }
    }
}
