//! Voxels counted by call and truth.

use crate::score::AtThreshold;

/// Voxels by what they were called and what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Confusion {
    /// Lesion called lesion.
    pub tp: u64,
    /// Other called lesion.
    pub fp: u64,
    /// Lesion called other.
    pub fn_: u64,
    /// Other called other.
    pub tn: u64,
}

impl Confusion {
    /// Counts two masks of equal length, nonzero meaning lesion.
    #[must_use]
    pub fn of_masks(reference: &[u8], prediction: &[u8]) -> Self {
        let (mut both, mut lesion, mut called) = (0, 0, 0);
        for (&truth, &call) in reference.iter().zip(prediction) {
            both += u64::from(truth != 0 && call != 0);
            lesion += u64::from(truth != 0);
            called += u64::from(call != 0);
        }
        let all = reference.len().min(prediction.len()) as u64;
        Self {
            tp: both,
            fp: called - both,
            fn_: lesion - both,
            tn: all + both - lesion - called,
        }
    }

    /// `2 tp / (2 tp + fp + fn)` (Dice 1945); `None` where there is no lesion and none was called.
    #[must_use]
    pub fn dice(&self) -> Option<f64> {
        ratio(
            2.0 * self.tp as f64,
            2.0 * self.tp as f64 + self.fp as f64 + self.fn_ as f64,
        )
    }

    /// `tp / (tp + fp + fn)` (Jaccard 1912); `None` where there is no lesion and none was called.
    #[must_use]
    pub fn iou(&self) -> Option<f64> {
        ratio(
            self.tp as f64,
            self.tp as f64 + self.fp as f64 + self.fn_ as f64,
        )
    }

    /// `tp / (tp + fp)`: the positive predictive value; `None` where nothing was called lesion.
    #[must_use]
    pub fn precision(&self) -> Option<f64> {
        ratio(self.tp as f64, self.tp as f64 + self.fp as f64)
    }

    /// `tp / (tp + fn)`: sensitivity, the true positive rate; `None` where there is no lesion.
    #[must_use]
    pub fn recall(&self) -> Option<f64> {
        ratio(self.tp as f64, self.tp as f64 + self.fn_ as f64)
    }

    /// `tn / (tn + fp)`; `None` where everything is lesion.
    #[must_use]
    pub fn specificity(&self) -> Option<f64> {
        ratio(self.tn as f64, self.tn as f64 + self.fp as f64)
    }

    /// Called volume less true volume, as a share of the true one: `(fp - fn) / (tp + fn)`; `None`
    /// without lesion.
    #[must_use]
    pub fn volume_error(&self) -> Option<f64> {
        ratio(
            self.fp as f64 - self.fn_ as f64,
            self.tp as f64 + self.fn_ as f64,
        )
    }
}

impl AtThreshold {
    /// The voxel counts. A site reports no true negatives at a threshold: `voxels` is how many the
    /// case has.
    #[must_use]
    pub fn confusion(&self, voxels: u64) -> Confusion {
        let called_or_lesion = self
            .true_positive
            .saturating_add(self.false_positive)
            .saturating_add(self.false_negative);
        Confusion {
            tp: self.true_positive,
            fp: self.false_positive,
            fn_: self.false_negative,
            tn: voxels.saturating_sub(called_or_lesion),
        }
    }
}

/// A quotient, undefined over zero.
pub(crate) fn ratio(over: f64, under: f64) -> Option<f64> {
    (under > 0.0).then(|| over / under)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_empty_case_has_no_dice_and_a_missed_lesion_has_zero() {
        let empty = Confusion::of_masks(&[0, 0], &[0, 0]);
        assert_eq!(
            (empty.dice(), empty.iou(), empty.precision(), empty.recall()),
            (None, None, None, None)
        );
        assert_eq!(empty.specificity(), Some(1.0));
        let missed = Confusion::of_masks(&[1, 0], &[0, 0]);
        assert_eq!(
            (missed.dice(), missed.precision(), missed.recall()),
            (Some(0.0), None, Some(0.0))
        );
        assert_eq!(missed.volume_error(), Some(-1.0));
    }

    proptest! {
        #[test]
        fn dice_is_the_harmonic_mean_of_precision_and_recall(tp in 1u64..999, fp in 0u64..999, fn_ in 0u64..999) {
            let counts = Confusion { tp, fp, fn_, tn: 7 };
            let (p, r) = (counts.precision().unwrap(), counts.recall().unwrap());
            prop_assert!((counts.dice().unwrap() - 2.0 * p * r / (p + r)).abs() < 1e-12);
            let iou = counts.iou().unwrap();
            prop_assert!((counts.dice().unwrap() - 2.0 * iou / (1.0 + iou)).abs() < 1e-12);
        }

        #[test]
        fn counting_masks_agrees_with_looking_at_each_voxel(voxels in prop::collection::vec((0u8..2, 0u8..2), 0..200)) {
            let (reference, prediction): (Vec<u8>, Vec<u8>) = voxels.iter().copied().unzip();
            let count = |pair| voxels.iter().filter(|&&v| v == pair).count() as u64;
            let expected = Confusion { tp: count((1, 1)), fp: count((0, 1)), fn_: count((1, 0)), tn: count((0, 0)) };
            prop_assert_eq!(Confusion::of_masks(&reference, &prediction), expected);
        }
    }
}
