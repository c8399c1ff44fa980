//! Drawing the examples of a round: views of slices, the sequences they keep, and their
//! augmentation.

use super::augment::Change;
use super::{TrainError, TrainingTask};
use crate::case::{CachedCase, CaseFileError};
use metrics::sequence::SequenceSet;
use protocol::architecture;
use protocol::dropout::{self, DropOut};
use protocol::settings::Federation;
use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;
use random::{Purpose, stream};

/// Draws at most for one example, where views without any signal are drawn again.
const BLANK_DRAWS: usize = 64;

/// The examples of one step.
pub(super) struct Batch {
    /// `[examples, sequences * slices, plane, plane]`.
    pub(super) images: Vec<f32>,
    /// `[examples, 1, plane, plane]`, lesion 1.
    pub(super) labels: Vec<f32>,
    /// The factors of the head's features, where some are dropped.
    pub(super) features: Option<Features>,
    /// Sequences that some example kept.
    pub(super) kept: SequenceSet,
}

/// Dropout of the head's features in one step: the factor of each, 0 for those dropped.
pub(super) struct Features {
    pub(super) factors: Vec<f32>,
    /// `[examples, side, side, channels]`.
    pub(super) shape: [usize; 4],
}

/// The stream of batches of one round: the same for the same seed, round, site and cases.
pub(super) struct Batches<'a> {
    cases: Vec<&'a CachedCase>,
    federation: &'a Federation,
    slices: Slices,
    left_out: usize,
    slice_draws: ChaCha8Rng,
    dropout_draws: ChaCha8Rng,
    change_draws: ChaCha8Rng,
    feature_draws: ChaCha8Rng,
    scratch: Vec<f32>,
    label: Vec<u8>,
}

impl<'a> Batches<'a> {
    /// # Errors
    /// When there is no usable case.
    pub(super) fn new(training: &TrainingTask<'a>) -> Result<Self, TrainError> {
        let federation = training.federation;
        let mut cases: Vec<&CachedCase> = Vec::new();
        for case in training.cases {
            if case.has_label() && trainable(federation.dropout, case.present()) {
                cases.push(case);
            }
        }
        let lesion_views: Vec<&[bool]> = cases.iter().map(|case| case.lesion_views()).collect();
        let slices = Slices::new(&lesion_views, federation.training.lesion_oversampling);
        let left_out = training.cases.len() - cases.len();
        if slices.len() == 0 {
            return Err(TrainError::NothingToTrainOn { left_out });
        }
        let seed = federation.seed;
        let round = training.id.round;
        let site = training.site;
        Ok(Self {
            cases,
            federation,
            slices,
            left_out,
            slice_draws: stream(seed, round, site, Purpose::Slices),
            dropout_draws: stream(seed, round, site, Purpose::DropOut),
            change_draws: stream(seed, round, site, Purpose::Augmentation),
            feature_draws: stream(seed, round, site, Purpose::Features),
            scratch: Vec::new(),
            label: vec![0; federation.input.plane.pow(2)],
        })
    }

    /// How many examples the draws are from: all views of all usable cases.
    pub(super) fn slices(&self) -> usize {
        self.slices.len()
    }

    /// Cases without a reference, or without any sequence of a fixed subset.
    pub(super) fn left_out(&self) -> usize {
        self.left_out
    }

    /// # Errors
    /// When a case cannot be read.
    pub(super) fn next(&mut self) -> Result<Batch, TrainError> {
        let input = &self.federation.input;
        let examples = self.federation.training.batch;
        let pixels = input.plane.pow(2);
        let mut images = vec![0.0; examples * input.channels() * pixels];
        let mut labels = vec![0.0; examples * pixels];
        let mut kept = SequenceSet::EMPTY;
        let slabs = images.chunks_exact_mut(input.channels() * pixels);
        for (slab, label) in slabs.zip(labels.chunks_exact_mut(pixels)) {
            kept = kept.union(self.example(slab, label)?);
        }
        Ok(Batch {
            images,
            labels,
            features: self.features(examples),
            kept,
        })
    }

    /// Draws which features of the head are dropped: each with the federation's probability, and
    /// the others are multiplied so that their sum stays the same on average (Srivastava et al.
    /// 2014).
    fn features(&mut self, examples: usize) -> Option<Features> {
        let model = &self.federation.model;
        if model.head_dropout == 0.0 {
            return None;
        }
        let side = architecture::feature_side(model, self.federation.input.plane);
        let shape = [examples, side, side, architecture::head_channels(model)];
        let kept = 1.0 / (1.0 - model.head_dropout);
        let mut factors = vec![0.0; shape.iter().product()];
        for factor in &mut factors {
            if self.feature_draws.random::<f32>() >= model.head_dropout {
                *factor = kept;
            }
        }
        Some(Features { factors, shape })
    }

    /// Fills one example and returns the sequences that it keeps.
    fn example(&mut self, slab: &mut [f32], label: &mut [f32]) -> Result<SequenceSet, TrainError> {
        let input = &self.federation.input;
        let training = &self.federation.training;
        let drawn = self.draw_slice(slab)?;
        let case = self.cases[drawn.case];
        let kept = self
            .federation
            .dropout
            .draw(case.present(), &mut self.dropout_draws)
            .unwrap_or_default();
        let sequences = input.sequences.len();
        let change = Change::draw(
            &training.augmentation,
            input.plane,
            sequences,
            &mut self.change_draws,
        );
        for (sequence, slices) in slab.chunks_exact_mut(slab.len() / sequences).enumerate() {
            if kept.contains(sequence) {
                change.image(sequence, slices, &mut self.scratch);
            }
        }
        dropout::apply(slab, sequences, kept);
        case.read_label(drawn.view, &mut self.label)
            .map_err(unreadable(drawn.case))?;
        change.label(&mut self.label);
        for (to, &from) in label.iter_mut().zip(&self.label) {
            *to = f32::from(from);
        }
        Ok(kept)
    }

    /// Draws a view with some brain and reads its slab. The network is never shown views without
    /// brain, so training on them would only shift the running statistics of batch normalisation.
    fn draw_slice(&mut self, slab: &mut [f32]) -> Result<Example, TrainError> {
        let input = &self.federation.input;
        let pixels = input.plane.pow(2);
        let mut drawn = Example { case: 0, view: 0 };
        for _ in 0..BLANK_DRAWS {
            drawn = self.slices.draw(&mut self.slice_draws);
            self.cases[drawn.case]
                .read_slab(drawn.view, input.slices, slab)
                .map_err(unreadable(drawn.case))?;
            let mut centres = slab
                .chunks_exact(pixels)
                .skip(input.slices / 2)
                .step_by(input.slices);
            if centres.any(|plane| plane.iter().any(|&value| value != 0.0)) {
                break;
            }
        }
        Ok(drawn)
    }
}

fn unreadable(case: usize) -> impl Fn(CaseFileError) -> TrainError {
    move |error| TrainError::Unreadable {
        case,
        reason: error.to_string(),
    }
}

/// Whether sequence dropout can keep any of a case's sequences.
fn trainable(dropout: DropOut, present: SequenceSet) -> bool {
    match dropout {
        DropOut::Fixed(subset) => !subset.intersection(present).is_empty(),
        DropOut::Uniform | DropOut::Bernoulli(_) | DropOut::All => !present.is_empty(),
    }
}

/// One view of one case, by their indices. A slice has one view, or several where the brain is
/// larger than the model's plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Example {
    case: usize,
    view: usize,
}

/// All examples, those with lesion separate.
struct Slices {
    lesion: Vec<Example>,
    other: Vec<Example>,
    /// The probability of drawing one with lesion.
    lesion_share: f64,
}

impl Slices {
    /// `cases[c][v]` is whether view `v` of case `c` shows lesion; such views are drawn with
    /// `oversampling` times the probability of others.
    fn new(cases: &[&[bool]], oversampling: f32) -> Self {
        let mut lesion = Vec::new();
        let mut other = Vec::new();
        for (case, views) in cases.iter().enumerate() {
            for (view, &has_lesion) in views.iter().enumerate() {
                if has_lesion {
                    lesion.push(Example { case, view });
                } else {
                    other.push(Example { case, view });
                }
            }
        }
        let weight = f64::from(oversampling) * lesion.len() as f64;
        Self {
            lesion_share: weight / (weight + other.len() as f64).max(1.0),
            lesion,
            other,
        }
    }

    fn len(&self) -> usize {
        self.lesion.len() + self.other.len()
    }

    /// Must not be called when there is no example.
    fn draw(&self, random: &mut impl Rng) -> Example {
        let group = if random.random::<f64>() < self.lesion_share {
            &self.lesion
        } else {
            &self.other
        };
        group[random.random_range(0..group.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random() -> ChaCha8Rng {
        stream(3, 1, "north", Purpose::Slices)
    }

    #[test]
    fn lesion_slices_are_as_much_likelier_as_told() {
        let slices = Slices::new(&[&[false, true, false], &[false, false]], 4.0);
        let mut random = random();
        let with_lesion = Example { case: 0, view: 1 };
        let mut lesion = 0;
        for _ in 0..8000 {
            if slices.draw(&mut random) == with_lesion {
                lesion += 1;
            }
        }
        // Half of the draws expected, standard deviation about 45.
        assert!((3775..4225).contains(&lesion), "{lesion}");
    }

    #[test]
    fn a_cohort_of_one_kind_of_slice_is_drawn_from_all_the_same() {
        for kind in [true, false] {
            let slices = Slices::new(&[&[kind; 3]], 10.0);
            let mut random = random();
            let mut seen = std::collections::BTreeSet::new();
            for _ in 0..100 {
                seen.insert(slices.draw(&mut random));
            }
            assert_eq!(seen.len(), 3);
        }
    }

    #[test]
    fn a_fixed_subset_leaves_out_cases_without_any_of_it() {
        let fixed = DropOut::Fixed(SequenceSet::EMPTY.with(0));
        assert!(!trainable(fixed, SequenceSet::full(4).without(0)));
        assert!(trainable(fixed, SequenceSet::full(2)));
        assert!(trainable(DropOut::Uniform, SequenceSet::EMPTY.with(3)));
        assert!(!trainable(DropOut::All, SequenceSet::EMPTY));
    }
}
