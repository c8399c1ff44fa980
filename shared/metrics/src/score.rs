//! What a site reports about one case: counts, never voxels.
//!
//! Probabilities are counted in bins of equal width in the logit, because lesion voxels are rare
//! and background probabilities crowd towards zero: 2048 bins over ±16 keep ROC curves, AUC and
//! thresholds exact to 1/64 of a logit over the whole range of an `f32` sigmoid that matters.

use crate::components::Components;
use crate::confusion::Confusion;
use crate::lesion::{by_size, compare};
use crate::overlap::{dice_of_detected, overlaps};
use crate::sequence::SequenceSet;
use crate::statistics::mean;
use serde::{Deserialize, Serialize};

/// How many bins a [`ScoreHistogram`] has.
pub const BINS: usize = 2048;
/// The largest logit that gets a bin of its own; beyond it everything falls in the outermost bin.
pub const LOGIT_LIMIT: f32 = 16.0;

/// Voxels counted by predicted logit and true label. Sparse: only bins that hold a voxel,
/// ascending.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ScoreHistogram {
    /// `(bin, lesion voxels, other voxels)`, bins strictly ascending and below [`BINS`].
    pub bins: Vec<(u16, u64, u64)>,
}

/// Lesions of one case at one threshold, by connected components.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LesionCounts {
    /// Lesions in the reference.
    pub reference: u32,
    /// Reference lesions that the prediction touches.
    pub detected: u32,
    /// Connected components of the prediction.
    pub predicted: u32,
    /// Predicted components that touch no reference lesion.
    pub false_positive: u32,
    /// The same, of at least 10 mm³.
    pub false_positive_10mm3: u32,
}

/// Lesions of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SizeBinCounts {
    /// How many there are.
    pub lesions: u32,
    /// How many of them the prediction touches.
    pub found: u32,
}

/// One case at one threshold, by the rule `probability >= threshold`.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct AtThreshold {
    /// The threshold, a probability.
    pub threshold: f32,
    /// Lesion voxels called lesion.
    pub true_positive: u64,
    /// Other voxels called lesion.
    pub false_positive: u64,
    /// Lesion voxels missed.
    pub false_negative: u64,
    /// The same by lesion, 26-connected.
    pub lesions: LesionCounts,
    /// The lesions by diameter, see [`crate::lesion::SIZE_BINS_MM`].
    #[serde(default)]
    pub by_size: [SizeBinCounts; 4],
    /// The mean over detected lesions of each one's Dice with the predicted components that touch
    /// it; `None` where no lesion is detected.
    #[serde(default)]
    pub dice_detected: Option<f64>,
}

/// A case's reference and one prediction of it, with the lesions of both, 26-connected.
#[derive(Clone, Copy, Debug)]
pub struct Compared<'a> {
    /// Not zero where there is lesion.
    pub reference: &'a [u8],
    /// Those of the reference.
    pub lesions: &'a Components,
    /// Not zero where lesion is predicted.
    pub prediction: &'a [u8],
    /// Those of the prediction.
    pub predicted: &'a Components,
    /// The volume of one voxel, mm³.
    pub voxel_mm3: f64,
}

impl AtThreshold {
    /// Counts a prediction that was made at a threshold.
    #[must_use]
    pub fn of(compared: &Compared<'_>, threshold: f32) -> Self {
        let Compared {
            reference,
            lesions,
            prediction,
            predicted,
            voxel_mm3,
        } = *compared;
        let voxels = Confusion::of_masks(reference, prediction);
        let shared = overlaps(&lesions.labels, &predicted.labels);
        Self {
            threshold,
            true_positive: voxels.tp,
            false_positive: voxels.fp,
            false_negative: voxels.fn_,
            lesions: compare(lesions, reference, predicted, prediction, voxel_mm3),
            by_size: by_size(lesions, prediction, voxel_mm3),
            dice_detected: mean(&dice_of_detected(lesions, predicted, &shared)),
        }
    }
}

/// What a site reports about one case under one model. Holds no voxel and no name: the site alone
/// knows which patient a number means.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CaseScore {
    /// The case's place in the site's list.
    pub case: u32,
    /// The sequences the model was given.
    pub subset: SequenceSet,
    /// The volume of one voxel, mm³.
    pub voxel_mm3: f64,
    /// Voxels inside the brain.
    pub brain: ScoreHistogram,
    /// Voxels outside the brain (the whole volume is both together).
    pub outside: ScoreHistogram,
    /// Counts at each threshold that was asked for, in that order.
    pub at: Vec<AtThreshold>,
    /// Lesions at each threshold of the sweep that was asked for, in that order: the points of a
    /// free-response curve.
    #[serde(default)]
    pub sweep: Vec<SweepPoint>,
}

/// Lesions of one case at one threshold of a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct SweepPoint {
    /// The threshold, a probability.
    pub threshold: f32,
    /// Lesions, 26-connected.
    pub lesions: LesionCounts,
}

/// One case under one model that was shown only a part of the case's sequences: what a missing
/// sequence costs. Without histograms, because there are up to `2^n - 2` such parts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubsetScore {
    /// The case's place in the site's list, as in its [`CaseScore`].
    pub case: u32,
    /// The sequences the model was given.
    pub subset: SequenceSet,
    /// Area under the ROC curve over the brain's voxels; `None` without both kinds of voxel.
    pub auc_brain: Option<f64>,
    /// The same over the whole volume.
    pub auc_volume: Option<f64>,
    /// Counts at each threshold that was asked for, in that order.
    pub at: Vec<AtThreshold>,
}
