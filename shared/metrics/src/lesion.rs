//! Lesions counted by connected components: a lesion is found when the prediction touches it.

pub use super::components::{Components, Connectivity, components};
use super::confusion::ratio;
pub use crate::score::SizeBinCounts;
use crate::score::{CaseScore, LesionCounts};
use serde::{Deserialize, Serialize};

/// A false positive below this volume is left out where a size limit is asked for (Grøvik et al.
/// 2020).
pub const SIZE_LIMIT_MM3: f64 = 10.0;

/// Whether `voxels` of `voxel_mm3` each reach the size limit. Voxel sizes are stored as `f32`, so a
/// millionth short still counts.
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
    let false_sizes: Vec<u64> = predicted
        .sizes
        .iter()
        .zip(&touching)
        .filter(|(_, touching)| !**touching)
        .map(|(&size, _)| size)
        .collect();
    LesionCounts {
        reference: lesions.count() as u32,
        detected: detected.iter().filter(|&&found| found).count() as u32,
        predicted: predicted.count() as u32,
        false_positive: false_sizes.len() as u32,
        false_positive_10mm3: false_sizes
            .iter()
            .filter(|&&size| reaches_limit(size, voxel_mm3))
            .count() as u32,
    }
}

/// Upper ends of the size bins, mm of the diameter of a sphere of the lesion's volume; the last bin
/// has none.
pub const SIZE_BINS_MM: [f64; 3] = [3.0, 6.0, 10.0];

impl SizeBinCounts {
    /// The share found; `None` without lesions.
    #[must_use]
    pub fn sensitivity(&self) -> Option<f64> {
        ratio(f64::from(self.found), f64::from(self.lesions))
    }
}

/// Reference lesions and those found, below 3 mm, from 3 to below 6, from 6 to 10 and above 10 mm
/// in diameter.
#[must_use]
pub fn by_size(lesions: &Components, prediction: &[u8], voxel_mm3: f64) -> [SizeBinCounts; 4] {
    let mut bins = [SizeBinCounts::default(); 4];
    for (&size, found) in lesions.sizes.iter().zip(lesions.touched(prediction)) {
        let diameter_mm = (6.0 * size as f64 * voxel_mm3 / std::f64::consts::PI).cbrt();
        let [small, medium, large] = SIZE_BINS_MM;
        let bin = match diameter_mm {
            d if d < small => 0,
            d if d < medium => 1,
            d if d <= large => 2,
            _ => 3,
        };
        bins[bin].lesions += 1;
        bins[bin].found += u32::from(found);
    }
    bins
}

/// A point of the free-response ROC curve (Bunch et al. 1977).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrocPoint {
    /// The threshold on the probability.
    pub threshold: f32,
    /// Lesions found, of all patients' lesions together.
    pub sensitivity: f64,
    /// False positive components per patient.
    pub false_positives: f64,
    /// The same, of at least [`SIZE_LIMIT_MM3`].
    pub false_positives_10mm3: f64,
}

/// The free-response curve over patients whose sweeps have the same thresholds, in their order.
/// Thresholds that some patient lacks end it; `None` without patients or lesions.
#[must_use]
pub fn froc(cases: &[&CaseScore]) -> Option<Vec<FrocPoint>> {
    let thresholds = cases.iter().map(|case| case.sweep.len()).min()?;
    let point = |i: usize| {
        let counts: Vec<LesionCounts> = cases.iter().map(|case| case.sweep[i].lesions).collect();
        froc_point(cases[0].sweep[i].threshold, &counts)
    };
    (0..thresholds).map(point).collect()
}

/// The curve at every threshold that lesions of all patients were counted at, sweep or not, from
/// the highest threshold down. Empty without patients or lesions.
#[must_use]
pub fn counted_points(cases: &[&CaseScore]) -> Vec<FrocPoint> {
    let Some(first) = cases.first() else {
        return Vec::new();
    };
    let mut thresholds: Vec<f32> = counted(first).map(|(threshold, _)| threshold).collect();
    thresholds.sort_by(|a, b| b.total_cmp(a));
    thresholds.dedup();
    let mut curve = Vec::new();
    for threshold in thresholds {
        let here = |case: &&CaseScore| {
            counted(case)
                .find(|(other, _)| *other == threshold)
                .map(|(_, lesions)| lesions)
        };
        let counts: Option<Vec<LesionCounts>> = cases.iter().map(here).collect();
        curve.extend(counts.and_then(|counts| froc_point(threshold, &counts)));
    }
    curve
}

/// A case's lesions at each threshold.
fn counted(case: &CaseScore) -> impl Iterator<Item = (f32, LesionCounts)> + '_ {
    let swept = case
        .sweep
        .iter()
        .map(|point| (point.threshold, point.lesions));
    swept.chain(case.at.iter().map(|at| (at.threshold, at.lesions)))
}

/// One threshold, from each patient's counts; `None` without a lesion.
fn froc_point(threshold: f32, counts: &[LesionCounts]) -> Option<FrocPoint> {
    let sum = |count: fn(&LesionCounts) -> u32| {
        counts.iter().map(|one| f64::from(count(one))).sum::<f64>()
    };
    let (found, lesions) = (sum(|one| one.detected), sum(|one| one.reference));
    let (all, large) = (
        sum(|one| one.false_positive),
        sum(|one| one.false_positive_10mm3),
    );
    Some(FrocPoint {
        threshold,
        sensitivity: ratio(found, lesions)?,
        false_positives: all / counts.len() as f64,
        false_positives_10mm3: large / counts.len() as f64,
    })
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

    /// `2 d / (2 d + missed + false positives)` over lesions found `d`, missed and false positive
    /// components; `None` where there is neither a lesion nor a predicted component.
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
        let counts = count_lesions(
            &reference,
            &prediction,
            [1, 1, 12],
            5.0,
            Connectivity::TwentySix,
        );
        let expected = LesionCounts {
            reference: 2,
            detected: 1,
            predicted: 3,
            false_positive: 1,
            false_positive_10mm3: 1,
        };
        assert_eq!(counts, expected);
        assert_eq!(
            (counts.recall(), counts.precision(), counts.f1()),
            (Some(0.5), Some(2.0 / 3.0), Some(0.5))
        );
    }

    #[test]
    fn the_size_limit_counts_volume_and_includes_ten_cubic_millimetres() {
        let prediction = [1; 10];
        let false_ones =
            |mm3| count_lesions(&[0; 10], &prediction, [1, 1, 10], mm3, Connectivity::Six);
        assert_eq!(false_ones(1.0).false_positive_10mm3, 1);
        assert_eq!(false_ones(0.999).false_positive_10mm3, 0);
        assert_eq!(false_ones(0.999).false_positive, 1);
    }

    #[test]
    fn nothing_to_find_and_nothing_found_is_undefined() {
        let none = count_lesions(&[0; 4], &[0; 4], [1, 2, 2], 1.0, Connectivity::TwentySix);
        assert_eq!(
            (none.recall(), none.precision(), none.f1()),
            (None, None, None)
        );
    }

    #[test]
    fn sizes_are_diameters_of_spheres_of_the_same_volume() {
        // 14 mm³ is a sphere of 2.99 mm, 15 mm³ one of 3.06 mm.
        let reference = [1, 0, 1, 1, 1, 0, 1];
        let bins = |mm3| {
            by_size(
                &components(&reference, [1, 1, 7], Connectivity::Six),
                &[1, 0, 0, 1, 0, 0, 0],
                mm3,
            )
        };
        let found = |bins: [SizeBinCounts; 4]| bins.map(|bin| (bin.found, bin.lesions));
        assert_eq!(found(bins(14.0)), [(1, 2), (1, 1), (0, 0), (0, 0)]);
        assert_eq!(found(bins(15.0)), [(0, 0), (2, 3), (0, 0), (0, 0)]);
        assert_eq!(found(bins(500.0)), [(0, 0), (0, 0), (1, 2), (1, 1)]);
        assert_eq!(SizeBinCounts::default().sensitivity(), None);
    }

    #[test]
    fn the_free_response_curve_pools_lesions_and_averages_false_positives() {
        use crate::score::{ScoreHistogram, SweepPoint};
        let case = |found, false_positive| CaseScore {
            case: 0,
            subset: [0].into_iter().collect(),
            voxel_mm3: 1.0,
            brain: ScoreHistogram::default(),
            outside: ScoreHistogram::default(),
            at: Vec::new(),
            sweep: vec![SweepPoint {
                threshold: 0.5,
                lesions: LesionCounts {
                    reference: 4,
                    detected: found,
                    false_positive,
                    ..LesionCounts::default()
                },
            }],
        };
        let curve = froc(&[&case(1, 3), &case(4, 0)]).unwrap();
        assert_eq!(
            (curve.len(), curve[0].sensitivity, curve[0].false_positives),
            (1, 5.0 / 8.0, 1.5)
        );
        assert_eq!(froc(&[]), None);
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
