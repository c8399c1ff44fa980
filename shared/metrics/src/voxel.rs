//! Voxel metrics from a site's histogram of logits: exact at the width of a bin.

use super::confusion::Confusion;
pub use super::roc::Youden;
use super::roc::{Level, Roc};
use crate::score::{BINS, CaseScore, LOGIT_LIMIT, ScoreHistogram};
use std::collections::BTreeMap;
use thiserror::Error;

/// No histogram may claim more voxels than this: sums over every case of every site then fit a
/// `u64`.
pub const MOST_VOXELS: u64 = 1 << 48;

/// Why a histogram that came from outside cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HistogramError {
    /// A bin beyond the last.
    #[error("bin {0} of a histogram with {BINS} bins")]
    Bin(u16),
    /// A bin that does not follow the one before it.
    #[error("bin {0} is out of order or repeated")]
    Order(u16),
    /// A bin without a voxel, which a sparse histogram leaves out.
    #[error("bin {0} holds no voxel")]
    Empty(u16),
    /// More voxels than any case can have.
    #[error("more than {MOST_VOXELS} voxels")]
    Voxels,
}

/// Counts voxels into the bins of a [`ScoreHistogram`].
#[derive(Clone, Debug)]
pub struct HistogramBuilder {
    bins: Vec<[u64; 2]>,
}

impl Default for HistogramBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl HistogramBuilder {
    /// No voxel yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            bins: vec![[0; 2]; BINS],
        }
    }

    /// Counts one voxel. A logit that is not a number counts as the lowest.
    pub fn add(&mut self, logit: f32, lesion: bool) {
        self.bins[bin_of(logit)][usize::from(lesion)] += 1;
    }

    /// The histogram.
    #[must_use]
    pub fn finish(self) -> ScoreHistogram {
        let filled = self
            .bins
            .iter()
            .enumerate()
            .filter(|(_, [other, lesion])| other + lesion > 0);
        ScoreHistogram {
            bins: filled
                .map(|(bin, &[other, lesion])| (bin as u16, lesion, other))
                .collect(),
        }
    }
}

/// The bin of a logit.
fn bin_of(logit: f32) -> usize {
    let (limit, width) = (
        f64::from(LOGIT_LIMIT),
        2.0 * f64::from(LOGIT_LIMIT) / BINS as f64,
    );
    // In f64 the sum is exact, so that a logit just below an edge stays below it. The cast
    // saturates: minus infinity and NaN fall in the first bin.
    (((f64::from(logit) + limit) / width) as usize).min(BINS - 1)
}

/// The least probability of a bin; zero for the first, which takes every logit below it.
fn lower_edge(bin: u16) -> f32 {
    if bin == 0 {
        return 0.0;
    }
    let logit = 2.0 * LOGIT_LIMIT * f32::from(bin) / BINS as f32 - LOGIT_LIMIT;
    sigmoid(logit)
}

/// The probability of a logit, `1 / (1 + exp(-logit))`.
#[must_use]
pub fn sigmoid(logit: f32) -> f32 {
    (1.0 / (1.0 + f64::from(-logit).exp())) as f32
}

impl ScoreHistogram {
    /// Whether a histogram that came from outside is one: bins ascending and in range, none empty,
    /// no absurd count.
    pub fn check(&self) -> Result<(), HistogramError> {
        let mut next = 0;
        let mut voxels = 0u64;
        for &(bin, lesion, other) in &self.bins {
            if usize::from(bin) >= BINS {
                return Err(HistogramError::Bin(bin));
            }
            if bin < next {
                return Err(HistogramError::Order(bin));
            }
            next = bin + 1;
            let here = lesion.checked_add(other).ok_or(HistogramError::Voxels)?;
            if here == 0 {
                return Err(HistogramError::Empty(bin));
            }
            voxels = voxels
                .checked_add(here)
                .filter(|&all| all <= MOST_VOXELS)
                .ok_or(HistogramError::Voxels)?;
        }
        Ok(())
    }

    /// All voxels of several histograms together.
    #[must_use]
    pub fn merged(parts: &[&Self]) -> Self {
        let mut sums = BTreeMap::<u16, (u64, u64)>::new();
        for &(bin, lesion, other) in parts.iter().flat_map(|part| &part.bins) {
            let sum = sums.entry(bin).or_default();
            *sum = (sum.0.saturating_add(lesion), sum.1.saturating_add(other));
        }
        Self {
            bins: sums
                .into_iter()
                .map(|(bin, (lesion, other))| (bin, lesion, other))
                .collect(),
        }
    }

    /// The curve: thresholds are the lower edges of bins, as probabilities.
    #[must_use]
    pub fn roc(&self) -> Roc {
        let level = |&(bin, lesion, other): &(u16, u64, u64)| Level {
            threshold: lower_edge(bin),
            lesion,
            other,
        };
        Roc::of_levels(self.bins.iter().rev().map(level).collect())
    }

    /// How many lesion voxels and how many others there are.
    #[must_use]
    pub fn totals(&self) -> (u64, u64) {
        self.roc().totals()
    }

    /// The area under the ROC curve, see [`Roc::auc`].
    #[must_use]
    pub fn auc(&self) -> Option<f64> {
        self.roc().auc()
    }

    /// The best operating point by `tpr - fpr`, see [`Roc::youden`].
    #[must_use]
    pub fn youden(&self) -> Option<Youden> {
        self.roc().youden()
    }

    /// The threshold with the largest Dice, see [`Roc::best_dice`].
    #[must_use]
    pub fn best_dice(&self) -> Option<(f32, f64)> {
        self.roc().best_dice()
    }

    /// The counts by the rule `probability >= threshold`, exact where the threshold is a bin's
    /// lower edge; a bin that the threshold cuts through counts as below it.
    #[must_use]
    pub fn confusion(&self, threshold: f32) -> Confusion {
        self.roc().confusion(threshold)
    }
}

impl CaseScore {
    /// Every voxel of the volume, in the brain or not.
    #[must_use]
    pub fn whole(&self) -> ScoreHistogram {
        ScoreHistogram::merged(&[&self.brain, &self.outside])
    }
}

#[cfg(test)]
mod tests;
