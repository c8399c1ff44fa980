//! Input-level dropout of whole MRI sequences (Grøvik, Yi et al. 2019, arXiv 1912.11966,
//! "DropOut").
//!
//! Of `n` sequences `k` stay; the others are zeroed after normalisation and what stays is
//! multiplied by `n/k`, so that the expected input of the first layer does not depend on how many
//! sequences there are. The one function [`factor`] serves training, evaluation and prediction.

use metrics::sequence::SequenceSet;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

/// How the subset of sequences is drawn for one training example.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum DropOut {
    /// Uniform over the non-empty subsets of what the case has.
    ///
    /// The same as a uniform draw over all `2^n - 1` non-empty subsets, intersected with what the
    /// case has and drawn again while empty: each subset of the case's sequences has `2^missing`
    /// preimages.
    #[default]
    Uniform,
    /// Each sequence the case has stays with this probability; drawn again while nothing stays.
    Bernoulli(f32),
    /// Always this subset (the baseline: plain DeepLabV3 trained on one fixed subset).
    Fixed(SequenceSet),
    /// Everything the case has, always (no dropout).
    All,
}

impl DropOut {
    /// Draws the sequences that one example keeps. `None` when the case has nothing to keep.
    pub fn draw(self, present: SequenceSet, random: &mut impl Rng) -> Option<SequenceSet> {
        if present.is_empty() {
            return None;
        }
        match self {
            Self::Uniform => present
                .non_empty_subsets()
                .nth(random.random_range(0..(1usize << present.len()) - 1)),
            Self::Bernoulli(keep) => Some(bernoulli(keep, present, random)),
            Self::Fixed(subset) => {
                Some(subset.intersection(present)).filter(|kept| !kept.is_empty())
            }
            Self::All => Some(present),
        }
    }
}

/// A draw by independent coin tosses, conditional on one head at least; a keep probability too
/// small to get there in reasonable time falls back to one sequence, its limit.
fn bernoulli(keep: f32, present: SequenceSet, random: &mut impl Rng) -> SequenceSet {
    for _ in 0..64 {
        let kept: SequenceSet = present
            .iter()
            .filter(|_| random.random::<f32>() < keep)
            .collect();
        if !kept.is_empty() {
            return kept;
        }
    }
    let lone = random.random_range(0..present.len());
    present.iter().nth(lone).into_iter().collect()
}

/// What the kept sequences are multiplied by: `total / kept`. `None` when nothing is kept.
#[must_use]
pub fn factor(total: usize, kept: usize) -> Option<f32> {
    (kept > 0 && kept <= total).then(|| total as f32 / kept as f32)
}

/// Zeroes the sequences outside `kept` and scales the others, in place.
///
/// `input` is one example, `[sequences * slices, height, width]` with a sequence's slices
/// contiguous, normalised. Returns `false`, with the input untouched, when `kept` names none of the
/// `total` sequences.
pub fn apply(input: &mut [f32], total: usize, kept: SequenceSet) -> bool {
    let kept = kept.intersection(SequenceSet::full(total));
    let Some(factor) = factor(total, kept.len()) else {
        return false;
    };
    let block = input.len() / total;
    for (index, values) in input.chunks_exact_mut(block.max(1)).enumerate().take(total) {
        if kept.contains(index) {
            values.iter_mut().for_each(|value| *value *= factor);
        } else {
            values.fill(0.0);
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use random::{Purpose, stream};
    use std::collections::HashMap;

    #[test]
    fn the_factor_of_the_paper_is_four_over_k() {
        assert_eq!(
            [4, 3, 2, 1].map(|k| factor(4, k)),
            [Some(1.0), Some(4.0 / 3.0), Some(2.0), Some(4.0)]
        );
        assert_eq!(factor(4, 0), None);
    }

    #[test]
    fn uniform_visits_all_fifteen_subsets_equally() {
        let mut random = stream(1, 0, "site", Purpose::DropOut);
        let mut seen: HashMap<u16, usize> = HashMap::new();
        for _ in 0..15_000 {
            let kept = DropOut::Uniform
                .draw(SequenceSet::full(4), &mut random)
                .unwrap();
            *seen.entry(kept.bits()).or_default() += 1;
        }
        assert_eq!(seen.len(), 15);
        // 1000 expected each, standard deviation about 31: five of them.
        assert!(seen.values().all(|&n| (845..1155).contains(&n)), "{seen:?}");
    }

    #[test]
    fn zeroes_whole_sequences_and_scales_the_rest() {
        let mut input = vec![1.0; 4 * 5 * 2 * 2];
        assert!(apply(&mut input, 4, SequenceSet::EMPTY.with(2)));
        assert!(input[..40].iter().chain(&input[60..]).all(|&v| v == 0.0));
        assert!(input[40..60].iter().all(|&v| v == 4.0));
    }

    #[test]
    fn keeping_nothing_is_refused_and_changes_nothing() {
        let mut input = vec![1.0; 8];
        assert!(!apply(&mut input, 4, SequenceSet::EMPTY));
        assert_eq!(input, vec![1.0; 8]);
    }

    #[test]
    fn a_fixed_subset_that_the_case_lacks_draws_nothing() {
        let mut random = stream(1, 0, "site", Purpose::DropOut);
        let fixed = DropOut::Fixed(SequenceSet::EMPTY.with(0));
        assert_eq!(
            fixed.draw(SequenceSet::full(4).without(0), &mut random),
            None
        );
    }

    proptest! {
        #[test]
        fn a_draw_is_never_empty_and_never_invents_a_sequence(bits in 1u16..16, seed: u64, keep in 0.0f32..=1.0) {
            let present = SequenceSet::from_bits(bits);
            let mut random = stream(seed, 0, "site", Purpose::DropOut);
            for mode in [DropOut::Uniform, DropOut::Bernoulli(keep), DropOut::All] {
                let kept = mode.draw(present, &mut random).unwrap();
                prop_assert!(!kept.is_empty() && kept.is_subset(present));
            }
        }
    }
}
