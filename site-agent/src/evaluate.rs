//! Scoring a model on a site's cases: counts and histograms, never voxels.

use crate::case::{CachedCase, CaseFileError, Native};
use crate::device::Device;
use crate::infer::{NO_LESION, Reader};
use crate::model::ModelError;
use shared::case::Grid;
use shared::dropout::DropOut;
use shared::federation::Federation;
use shared::metrics::lesion::{Components, Connectivity, compare, components};
use shared::metrics::voxel::{HistogramBuilder, sigmoid};
use shared::parameters::Parameters;
use shared::score::{AtThreshold, CaseScore, ScoreHistogram};
use shared::sequence::SequenceSet;
use std::ops::ControlFlow;

/// Why cases could not be scored. The words hold no patient data: they go to the coordinator.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EvaluateError {
    /// The parameters do not fit the network.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A prepared case could not be read back.
    #[error("case {case}: {reason}")]
    Unreadable {
        /// The case's place in the list.
        case: usize,
        /// What went wrong.
        reason: String,
    },
    /// A case without a reference mask.
    #[error("case {case} has no reference to score against")]
    NoReference {
        /// The case's place in the list.
        case: usize,
    },
    /// The caller wanted no more.
    #[error("scoring was cancelled after {done} cases")]
    Cancelled {
        /// Cases scored.
        done: usize,
    },
}

/// Scores a model on cases, one after the other; `each` hears of each one as it is done and may break off.
///
/// `subset` is what the model is shown of each case; `None` shows everything the case has, or, where the federation
/// trains on one fixed subset, what the case has of that. A case that holds nothing to show is passed over. Each
/// score names its case by the place in `cases`. Blocks for as long as it takes: run it through
/// [`crate::train::on_own_thread`].
///
/// # Errors
/// See [`EvaluateError`].
pub fn score_cases(
    cases: &[&CachedCase],
    federation: &Federation,
    parameters: &Parameters,
    thresholds: &[f32],
    subset: Option<SequenceSet>,
    device: &Device,
    each: &mut dyn FnMut(CaseScore) -> ControlFlow<()>,
) -> Result<(), EvaluateError> {
    let (model, input) = (&federation.model, &federation.input);
    let reader = Reader::new(parameters, (model, input), federation.training.batch, device)?;
    for (index, case) in cases.iter().enumerate() {
        let shown = shown(federation, subset).intersection(case.present());
        if shown.is_empty() {
            continue;
        }
        let unreadable = |error: CaseFileError| EvaluateError::Unreadable { case: index, reason: error.to_string() };
        let native = case.native().map_err(unreadable)?;
        let lesion = native.lesion.as_ref().ok_or(EvaluateError::NoReference { case: index })?;
        let read = |slice: usize, slab: &mut [f32]| case.read_slab(slice, input.slices, slab);
        let planes = reader.logits(&brain_slices(&native), shown, read, |_| {}).map_err(unreadable)?;
        let logits = case.restore(&planes, NO_LESION);
        let (brain, outside) = histograms(&logits, &native.brain, lesion);
        let score = CaseScore {
            case: index as u32,
            subset: shown,
            voxel_mm3: native.grid.voxel_mm3(),
            brain,
            outside,
            at: at_thresholds(&logits, lesion, native.grid, thresholds),
        };
        if each(score).is_break() {
            return Err(EvaluateError::Cancelled { done: index + 1 });
        }
    }
    Ok(())
}

/// What the model may be shown.
fn shown(federation: &Federation, subset: Option<SequenceSet>) -> SequenceSet {
    match (subset, federation.dropout) {
        (Some(subset), _) | (None, DropOut::Fixed(subset)) => subset,
        (None, DropOut::Uniform | DropOut::Bernoulli(_) | DropOut::All) => federation.input.all(),
    }
}

/// Which slices show any brain.
pub(crate) fn brain_slices(native: &Native) -> Vec<bool> {
    let [_, height, width] = native.grid.dims;
    native.brain.chunks_exact(height * width).map(|slice| slice.contains(&1)).collect()
}

fn histograms(logits: &[f32], brain: &[u8], lesion: &[u8]) -> (ScoreHistogram, ScoreHistogram) {
    let (mut inside, mut outside) = (HistogramBuilder::new(), HistogramBuilder::new());
    for ((&logit, &brain), &lesion) in logits.iter().zip(brain).zip(lesion) {
        let histogram = if brain != 0 { &mut inside } else { &mut outside };
        histogram.add(logit, lesion != 0);
    }
    (inside.finish(), outside.finish())
}

fn at_thresholds(logits: &[f32], lesion: &[u8], grid: Grid, thresholds: &[f32]) -> Vec<AtThreshold> {
    if thresholds.is_empty() {
        return Vec::new();
    }
    let reference = components(lesion, grid.dims, Connectivity::TwentySix);
    thresholds.iter().map(|&threshold| at_threshold(logits, lesion, &reference, grid, threshold)).collect()
}

fn at_threshold(logits: &[f32], lesion: &[u8], reference: &Components, grid: Grid, threshold: f32) -> AtThreshold {
    let called = called(logits, threshold);
    let count = |lesions: bool, calls: bool| {
        lesion.iter().zip(&called).filter(|&(&lesion, &call)| (lesion != 0) == lesions && (call != 0) == calls).count()
            as u64
    };
    let predicted = components(&called, grid.dims, Connectivity::TwentySix);
    AtThreshold {
        threshold,
        true_positive: count(true, true),
        false_positive: count(false, true),
        false_negative: count(true, false),
        lesions: compare(reference, lesion, &predicted, &called, grid.voxel_mm3()),
    }
}

/// The mask of all voxels with a probability of at least `threshold`.
pub(crate) fn called(logits: &[f32], threshold: f32) -> Vec<u8> {
    let least = least_logit(threshold);
    logits.iter().map(|&logit| u8::from(logit >= least)).collect()
}

/// The smallest logit whose probability reaches `threshold`: the rule is about the rounded probability, so that
/// masks, histograms and stored probability maps agree to the last voxel.
fn least_logit(threshold: f32) -> f32 {
    // Beyond these, a probability is exactly 0 or 1.
    let (mut below, mut reached) = (-110.0f32, 110.0f32);
    if sigmoid(below) >= threshold {
        return f32::NEG_INFINITY;
    }
    if sigmoid(reached) < threshold || threshold.is_nan() {
        return f32::INFINITY;
    }
    loop {
        let middle = below.midpoint(reached);
        if middle <= below || middle >= reached {
            return reached;
        }
        if sigmoid(middle) >= threshold { reached = middle } else { below = middle }
    }
}

#[cfg(test)]
mod tests;
