//! Voxel metrics from a site's histogram of logits: exact at the width of a bin.

use super::confusion::{Confusion, ratio};
use crate::score::{BINS, CaseScore, LOGIT_LIMIT, ScoreHistogram};
use std::collections::BTreeMap;
use thiserror::Error;

/// No histogram may claim more voxels than this: sums over every case of every site then fit a `u64`.
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
        Self { bins: vec![[0; 2]; BINS] }
    }

    /// Counts one voxel. A logit that is not a number counts as the lowest.
    pub fn add(&mut self, logit: f32, lesion: bool) {
        self.bins[bin_of(logit)][usize::from(lesion)] += 1;
    }

    /// The histogram.
    #[must_use]
    pub fn finish(self) -> ScoreHistogram {
        let filled = self.bins.iter().enumerate().filter(|(_, [other, lesion])| other + lesion > 0);
        ScoreHistogram { bins: filled.map(|(bin, &[other, lesion])| (bin as u16, lesion, other)).collect() }
    }
}

/// The bin of a logit.
fn bin_of(logit: f32) -> usize {
    let width = 2.0 * LOGIT_LIMIT / BINS as f32;
    // The cast saturates: minus infinity and NaN fall in the first bin.
    (((logit + LOGIT_LIMIT) / width) as usize).min(BINS - 1)
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

/// The operating point with the largest `tpr - fpr` (Youden 1950).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Youden {
    /// The threshold of the rule `probability >= threshold`: the lower edge of a bin. Of equally good ones, the
    /// highest.
    pub threshold: f32,
    /// `tpr - fpr`.
    pub j: f64,
    /// Share of lesion voxels called lesion.
    pub tpr: f64,
    /// Share of other voxels called lesion.
    pub fpr: f64,
}

/// What a threshold calls lesion.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The threshold of the rule `probability >= threshold`.
    pub threshold: f32,
    /// Lesion voxels called lesion.
    pub tp: u64,
    /// Other voxels called lesion.
    pub fp: u64,
}

impl ScoreHistogram {
    /// Whether a histogram that came from outside is one: bins ascending and in range, none empty, no absurd count.
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
            voxels = voxels.checked_add(here).filter(|&all| all <= MOST_VOXELS).ok_or(HistogramError::Voxels)?;
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
        Self { bins: sums.into_iter().map(|(bin, (lesion, other))| (bin, lesion, other)).collect() }
    }

    /// How many lesion voxels and how many others there are.
    #[must_use]
    pub fn totals(&self) -> (u64, u64) {
        self.bins.iter().fold((0, 0), |(lesions, others), &(_, lesion, other)| {
            (lesions.saturating_add(lesion), others.saturating_add(other))
        })
    }

    /// The area under the ROC curve: how often a lesion voxel scores above another, a tie counting one half (the
    /// Mann-Whitney statistic, Hanley & McNeil 1982). `None` without both kinds of voxel.
    #[must_use]
    pub fn auc(&self) -> Option<f64> {
        let (lesions, others) = self.totals();
        let mut below = 0u64;
        let mut won = 0.0;
        for &(_, lesion, other) in &self.bins {
            won += lesion as f64 * (below as f64 + 0.5 * other as f64);
            below = below.saturating_add(other);
        }
        ratio(won, lesions as f64 * others as f64)
    }

    /// What each threshold that matters calls lesion, from the highest threshold down.
    #[must_use]
    pub fn points(&self) -> Vec<Point> {
        let mut points = Vec::<Point>::with_capacity(self.bins.len());
        let (mut tp, mut fp) = (0u64, 0u64);
        for &(bin, lesion, other) in self.bins.iter().rev() {
            (tp, fp) = (tp.saturating_add(lesion), fp.saturating_add(other));
            let threshold = lower_edge(bin);
            // Near one, neighbouring bins share an f32 probability and no threshold can part them.
            points.pop_if(|last| last.threshold == threshold);
            points.push(Point { threshold, tp, fp });
        }
        points
    }

    /// The best operating point; `None` without both kinds of voxel.
    #[must_use]
    pub fn youden(&self) -> Option<Youden> {
        let (lesions, others) = self.totals();
        let mut best: Option<Youden> = None;
        for point in self.points() {
            let (tpr, fpr) = (ratio(point.tp as f64, lesions as f64)?, ratio(point.fp as f64, others as f64)?);
            if best.is_none_or(|best| tpr - fpr > best.j) {
                best = Some(Youden { threshold: point.threshold, j: tpr - fpr, tpr, fpr });
            }
        }
        best
    }

    /// The threshold with the largest Dice, and that Dice; the highest of equally good ones. `None` without lesion.
    #[must_use]
    pub fn best_dice(&self) -> Option<(f32, f64)> {
        let (lesions, _) = self.totals();
        let mut best: Option<(f32, f64)> = None;
        for point in self.points().iter().filter(|_| lesions > 0) {
            let dice = 2.0 * point.tp as f64 / (point.tp as f64 + point.fp as f64 + lesions as f64);
            if best.is_none_or(|(_, highest)| dice > highest) {
                best = Some((point.threshold, dice));
            }
        }
        best
    }

    /// The counts by the rule `probability >= threshold`, exact where the threshold is a bin's lower edge; a bin that
    /// the threshold cuts through counts as below it.
    #[must_use]
    pub fn confusion(&self, threshold: f32) -> Confusion {
        let (lesions, others) = self.totals();
        let reached = |point: &Point| point.threshold >= threshold;
        let called = self.points().into_iter().rev().find(reached).map_or((0, 0), |point| (point.tp, point.fp));
        Confusion { tp: called.0, fp: called.1, fn_: lesions - called.0, tn: others - called.1 }
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
