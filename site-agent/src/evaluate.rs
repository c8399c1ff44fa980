//! Scoring a model on a site's cases: counts and histograms, never voxels.

mod truth;

use crate::case::{CachedCase, CaseFileError};
use crate::device::{Device, DeviceFault};
use crate::model::ModelError;
use crate::predictor::{Predictor, PredictorError};
use metrics::score::{CaseScore, ScoreHistogram, SubsetScore};
use metrics::sequence::SequenceSet;
use metrics::voxel::sigmoid;
use program::{Class, Explain};
use protocol::dropout::DropOut;
use protocol::message::EvaluationRequest;
use protocol::parameters::Parameters;
use protocol::settings::Federation;
use std::borrow::Cow;
use std::ops::ControlFlow;
use truth::Truth;

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
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceFault),
    /// The network gave NaN or infinity, which would read as a healthy patient.
    #[error("case {case}: the network's output is not a finite number in slice {slice}")]
    NotFinite {
        /// The case's place in the list.
        case: usize,
        /// The slice, counted from 0 at the lowest.
        slice: usize,
    },
    /// The caller wanted no more.
    #[error("scoring was cancelled after {done} cases")]
    Cancelled {
        /// Cases scored.
        done: usize,
    },
}

impl Explain for EvaluateError {
    fn class(&self) -> Class {
        match self {
            Self::Device(fault) => fault.class(),
            _ => Class::Data,
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Device(fault) => fault.hint(),
            _ => None,
        }
    }
}

/// What was counted of one case.
#[derive(Clone, Debug, PartialEq)]
pub enum Scored {
    /// With everything that the model may be shown of it.
    Case(CaseScore),
    /// With a part of that.
    Part(SubsetScore),
}

/// Scores a model, or the consensus of several, on cases, one after the other; `each` hears of each
/// score as it is done and may break off.
///
/// The model is shown everything a case has, or, where the federation trains on one fixed subset,
/// what the case has of that; then, where `wanted` says so, every part of that, from planes that
/// are read once. A case that holds nothing to show is passed over. Each score names its case by
/// the place in `cases`. Blocks for as long as it takes: run it through
/// [`crate::train::on_own_thread`].
///
/// # Errors
/// See [`EvaluateError`].
pub fn score_cases(
    cases: &[&CachedCase],
    federation: &Federation,
    models: &[Parameters],
    wanted: &EvaluationRequest,
    device: &Device,
    each: &mut dyn FnMut(Scored) -> ControlFlow<()>,
) -> Result<(), EvaluateError> {
    let (model, input) = (&federation.model, &federation.input);
    let reader = Predictor::new(models, (model, input), federation.training.batch, device)?;
    for (index, case) in cases.iter().enumerate() {
        let shown = shown(federation).intersection(case.present());
        if shown.is_empty() {
            continue;
        }
        let unreadable = |error: CaseFileError| EvaluateError::Unreadable {
            case: index,
            reason: error.to_string(),
        };
        let prepared = case.load().map_err(unreadable)?;
        let truth =
            Truth::of(&prepared.native).ok_or(EvaluateError::NoReference { case: index })?;
        let logits = |kept| {
            let logits = reader.logits(&prepared, 0..prepared.depth(), kept, |_, _| {});
            logits.map_err(|error| match error {
                PredictorError::Device(fault) => EvaluateError::Device(fault),
                PredictorError::NotFinite { slice } => {
                    EvaluateError::NotFinite { case: index, slice }
                }
            })
        };
        let mut tell = |scored| match each(scored) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(EvaluateError::Cancelled { done: index + 1 }),
        };
        tell(Scored::Case(whole(
            index,
            shown,
            &truth,
            &logits(shown)?,
            wanted,
        )))?;
        for part in shown.proper_subsets().filter(|_| wanted.subsets) {
            tell(Scored::Part(in_part(
                index,
                part,
                &truth,
                &logits(part)?,
                wanted,
            )))?;
        }
    }
    Ok(())
}

/// How many scores [`score_cases`] will give.
#[must_use]
pub fn count_scores(
    cases: &[&CachedCase],
    federation: &Federation,
    wanted: &EvaluationRequest,
) -> usize {
    let shown = cases
        .iter()
        .map(|case| shown(federation).intersection(case.present()));
    let count = |shown: SequenceSet| {
        if wanted.subsets {
            shown.non_empty_subsets().count()
        } else {
            1
        }
    };
    shown.filter(|shown| !shown.is_empty()).map(count).sum()
}

fn whole(
    index: usize,
    subset: SequenceSet,
    truth: &Truth,
    logits: &[f32],
    wanted: &EvaluationRequest,
) -> CaseScore {
    let (brain, outside) = truth.histograms(logits);
    CaseScore {
        case: index as u32,
        subset,
        voxel_mm3: truth.voxel_mm3(),
        brain,
        outside,
        at: truth.at(logits, &wanted.thresholds),
        sweep: truth.sweep(logits, &wanted.sweep),
    }
}

fn in_part(
    index: usize,
    subset: SequenceSet,
    truth: &Truth,
    logits: &[f32],
    wanted: &EvaluationRequest,
) -> SubsetScore {
    let (brain, outside) = truth.histograms(logits);
    SubsetScore {
        case: index as u32,
        subset,
        auc_brain: brain.auc(),
        auc_volume: ScoreHistogram::merged(&[&brain, &outside]).auc(),
        at: truth.at(logits, &wanted.thresholds),
    }
}

/// What the model may be shown.
pub(crate) fn shown(federation: &Federation) -> SequenceSet {
    match federation.dropout {
        DropOut::Fixed(subset) => subset,
        DropOut::Uniform | DropOut::Bernoulli(_) | DropOut::All => federation.input.all(),
    }
}

/// The mask of all voxels with a probability of at least `threshold`.
pub(crate) fn called(logits: &[f32], threshold: f32) -> Vec<u8> {
    let least = least_logit(threshold);
    logits
        .iter()
        .map(|&logit| u8::from(logit >= least))
        .collect()
}

/// The smallest logit whose probability reaches `threshold`: the rule is about the rounded
/// probability, so that masks, histograms and stored probability maps agree to the last voxel.
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
        if sigmoid(middle) >= threshold {
            reached = middle
        } else {
            below = middle
        }
    }
}

#[cfg(test)]
mod tests;
