//! Scoring a model on a site's cases: counts and histograms, never voxels.

mod truth;

use crate::case::{CachedCase, Prepared};
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
use truth::{Histograms, Truth};

/// Why cases could not be scored. The texts hold no patient data: they go to the coordinator.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EvaluateError {
    /// The parameters do not fit the network.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A prepared case could not be read from the cache.
    #[error("case {case}: {reason}")]
    Unreadable {
        /// Its index in the list, as below.
        case: usize,
        reason: String,
    },
    #[error("case {case} has no reference to score against")]
    NoReference { case: usize },
    #[error(transparent)]
    Device(#[from] DeviceFault),
    /// NaN or infinity, which would count as no lesion.
    #[error("case {case}: the network's output is not a finite number in slice {slice}")]
    NotFinite {
        case: usize,
        /// From 0, the lowest.
        slice: usize,
    },
    #[error("scoring was cancelled after {done} cases")]
    Cancelled { done: usize },
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
    /// The model was shown all sequences that it may be shown of the case.
    Case(CaseScore),
    /// The model was shown some of them.
    Part(SubsetScore),
}

/// Scores a model, or the consensus of several, on cases, one after the other. `each` receives each
/// score as soon as it is counted, and may cancel the rest.
///
/// The model is shown all sequences of a case or, where the federation trains on one fixed subset,
/// those of the subset. Then, if `wanted` says so, it is shown every proper subset of them. A case
/// that has no sequence to show is left out. Each score names its case by the index in `cases`.
/// Blocks until all are scored: run it through [`crate::train::on_own_thread`].
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
    let network = (&federation.model, &federation.input);
    let predictor = Predictor::new(models, network, federation.training.batch, device)?;
    for (index, case) in cases.iter().enumerate() {
        let shown = shown(federation).intersection(case.present());
        if shown.is_empty() {
            continue;
        }
        let prepared = case.load().map_err(|error| EvaluateError::Unreadable {
            case: index,
            reason: error.to_string(),
        })?;
        let truth =
            Truth::of(&prepared.native).ok_or(EvaluateError::NoReference { case: index })?;
        let scoring = CaseScoring {
            index,
            predictor: &predictor,
            prepared: &prepared,
            truth,
            wanted,
        };
        if each(Scored::Case(scoring.case(shown)?)).is_break() {
            return Err(EvaluateError::Cancelled { done: index + 1 });
        }
        if !wanted.subsets {
            continue;
        }
        for subset in shown.proper_subsets() {
            if each(Scored::Part(scoring.subset(subset)?)).is_break() {
                return Err(EvaluateError::Cancelled { done: index + 1 });
            }
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
    let mut scores = 0;
    for case in cases {
        let shown = shown(federation).intersection(case.present());
        if wanted.subsets {
            scores += shown.non_empty_subsets().count();
        } else if !shown.is_empty() {
            scores += 1;
        }
    }
    scores
}

/// One case, and what is counted of it.
struct CaseScoring<'a> {
    index: usize,
    predictor: &'a Predictor,
    prepared: &'a Prepared,
    truth: Truth<'a>,
    wanted: &'a EvaluationRequest,
}

impl CaseScoring<'_> {
    /// The model is shown all of `subset`, which is all that it may be shown.
    fn case(&self, subset: SequenceSet) -> Result<CaseScore, EvaluateError> {
        let logits = self.logits(subset)?;
        let Histograms { brain, outside } = self.truth.histograms(&logits);
        Ok(CaseScore {
            case: self.index as u32,
            subset,
            voxel_mm3: self.truth.voxel_mm3(),
            brain,
            outside,
            at: self.truth.at(&logits, &self.wanted.thresholds),
            sweep: self.truth.sweep(&logits, &self.wanted.sweep),
        })
    }

    fn subset(&self, subset: SequenceSet) -> Result<SubsetScore, EvaluateError> {
        let logits = self.logits(subset)?;
        let Histograms { brain, outside } = self.truth.histograms(&logits);
        Ok(SubsetScore {
            case: self.index as u32,
            subset,
            auc_brain: brain.auc(),
            auc_volume: ScoreHistogram::merged(&[&brain, &outside]).auc(),
            at: self.truth.at(&logits, &self.wanted.thresholds),
        })
    }

    /// The model's logits of every voxel, if it is shown `subset`.
    fn logits(&self, subset: SequenceSet) -> Result<Vec<f32>, EvaluateError> {
        let slices = 0..self.prepared.depth();
        match self
            .predictor
            .logits(self.prepared, slices, subset, |_, _| {})
        {
            Ok(logits) => Ok(logits),
            Err(PredictorError::Device(fault)) => Err(EvaluateError::Device(fault)),
            Err(PredictorError::NotFinite { slice }) => Err(EvaluateError::NotFinite {
                case: self.index,
                slice,
            }),
        }
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

/// The smallest logit whose probability reaches `threshold`. The probability is compared after
/// rounding to `f32`, so that masks, histograms and stored probability maps agree in every voxel.
fn least_logit(threshold: f32) -> f32 {
    // Beyond these, a probability is exactly 0 or 1.
    let mut below = -110.0f32;
    let mut reached = 110.0f32;
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
