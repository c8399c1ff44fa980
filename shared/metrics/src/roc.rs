//! The ROC curve of scores, exact: every distinct score is a threshold.

use super::confusion::{Confusion, ratio};
use super::statistics::{deviation, mean};

/// Voxels that share a score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// The threshold of the rule `score >= threshold` that just reaches them.
    pub threshold: f32,
    /// Lesion voxels.
    pub lesion: u64,
    /// Other voxels.
    pub other: u64,
}

/// What a threshold calls lesion.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The threshold of the rule `score >= threshold`.
    pub threshold: f32,
    /// Lesion voxels called lesion.
    pub tp: u64,
    /// Other voxels called lesion.
    pub fp: u64,
}

/// The operating point with the largest `tpr - fpr` (Youden 1950).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Youden {
    /// The threshold of the rule `score >= threshold`. Of equally good ones, the highest.
    pub threshold: f32,
    /// `tpr - fpr`.
    pub j: f64,
    /// Share of lesion voxels called lesion.
    pub tpr: f64,
    /// Share of other voxels called lesion.
    pub fpr: f64,
    /// How many thresholds are equally good.
    pub ties: usize,
}

/// Scores counted by kind of voxel.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Roc {
    /// From the highest score down.
    levels: Vec<Level>,
}

impl Roc {
    /// Counts finite scores of lesion voxels and of others.
    #[must_use]
    pub fn of_scores(mut lesion: Vec<f32>, mut other: Vec<f32>) -> Self {
        for scores in [&mut lesion, &mut other] {
            scores.sort_unstable_by(|a, b| b.total_cmp(a));
        }
        let mut levels = Vec::new();
        let (mut lesion, mut other) = (lesion.as_slice(), other.as_slice());
        while let Some(threshold) = highest(lesion.first(), other.first()) {
            let level = Level {
                threshold,
                lesion: take(&mut lesion, threshold),
                other: take(&mut other, threshold),
            };
            levels.push(level);
        }
        Self { levels }
    }

    /// Takes levels that are already in order, from the highest threshold down.
    pub(crate) fn of_levels(levels: Vec<Level>) -> Self {
        Self { levels }
    }

    /// All voxels of two curves together.
    #[must_use]
    pub fn merged(&self, more: &Self) -> Self {
        let mut levels = Vec::with_capacity(self.levels.len() + more.levels.len());
        let (mut a, mut b) = (self.levels.iter().peekable(), more.levels.iter().peekable());
        while let Some(threshold) = highest(
            a.peek().map(|l| &l.threshold),
            b.peek().map(|l| &l.threshold),
        ) {
            let mut both = Level {
                threshold,
                lesion: 0,
                other: 0,
            };
            for level in [
                a.next_if(|l| l.threshold == threshold),
                b.next_if(|l| l.threshold == threshold),
            ] {
                both.lesion += level.map_or(0, |l| l.lesion);
                both.other += level.map_or(0, |l| l.other);
            }
            levels.push(both);
        }
        Self { levels }
    }

    /// How many lesion voxels and how many others there are.
    #[must_use]
    pub fn totals(&self) -> (u64, u64) {
        self.levels.iter().fold((0, 0), |(lesions, others), level| {
            (
                lesions.saturating_add(level.lesion),
                others.saturating_add(level.other),
            )
        })
    }

    /// The area under the curve: how often a lesion voxel scores above another, a tie counting one
    /// half (the Mann-Whitney statistic, Hanley & McNeil 1982). `None` without both kinds of voxel.
    #[must_use]
    pub fn auc(&self) -> Option<f64> {
        let (lesions, others) = self.totals();
        let mut below = others;
        let mut won = 0.0;
        for level in &self.levels {
            below = below.saturating_sub(level.other);
            won += level.lesion as f64 * (below as f64 + 0.5 * level.other as f64);
        }
        ratio(won, lesions as f64 * others as f64)
    }

    /// What each threshold calls lesion, from the highest down.
    #[must_use]
    pub fn points(&self) -> Vec<Point> {
        let mut points = Vec::<Point>::with_capacity(self.levels.len());
        let (mut tp, mut fp) = (0u64, 0u64);
        for &Level {
            threshold,
            lesion,
            other,
        } in &self.levels
        {
            (tp, fp) = (tp.saturating_add(lesion), fp.saturating_add(other));
            // Near one, neighbouring bins of a histogram share an f32 probability and no threshold
            // can part them.
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
            let (tpr, fpr) = (
                ratio(point.tp as f64, lesions as f64)?,
                ratio(point.fp as f64, others as f64)?,
            );
            let j = tpr - fpr;
            match &mut best {
                Some(best) if j == best.j => best.ties += 1,
                Some(best) if j < best.j => {}
                _ => {
                    best = Some(Youden {
                        threshold: point.threshold,
                        j,
                        tpr,
                        fpr,
                        ties: 1,
                    })
                }
            }
        }
        best
    }

    /// The threshold with the largest Dice, and that Dice; the highest of equally good ones. `None`
    /// without lesion.
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

    /// The counts by the rule `score >= threshold`.
    #[must_use]
    pub fn confusion(&self, threshold: f32) -> Confusion {
        let (lesions, others) = self.totals();
        let reached = |point: &Point| point.threshold >= threshold;
        let (tp, fp) = self
            .points()
            .into_iter()
            .rev()
            .find(reached)
            .map_or((0, 0), |point| (point.tp, point.fp));
        Confusion {
            tp,
            fp,
            fn_: lesions - tp,
            tn: others - fp,
        }
    }

    /// The true positive rate at each false positive rate of `grid`, on straight lines between the
    /// curve's points; `None` without both kinds of voxel.
    #[must_use]
    pub fn sampled(&self, grid: &[f64]) -> Option<Vec<f64>> {
        let (lesions, others) = self.totals();
        let mut curve = vec![(0.0, 0.0)];
        for point in self.points() {
            curve.push((
                ratio(point.fp as f64, others as f64)?,
                ratio(point.tp as f64, lesions as f64)?,
            ));
        }
        (lesions > 0 && others > 0).then(|| grid.iter().map(|&fpr| on_curve(&curve, fpr)).collect())
    }
}

/// The mean curve of several patients at one false positive rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Band {
    /// The false positive rate.
    pub fpr: f64,
    /// The mean of the patients' true positive rates.
    pub tpr: f64,
    /// Lower and upper end of the mean's 95 % interval, `mean ± 1.96 sd / sqrt(n)` within 0 and 1;
    /// `None` for fewer than two patients.
    pub interval: Option<[f64; 2]>,
}

/// Averages patients' curves, each sampled at every false positive rate of `grid`
/// ([`Roc::sampled`]). Empty without any.
#[must_use]
pub fn mean_curve(sampled: &[Vec<f64>], grid: &[f64]) -> Vec<Band> {
    let band = |(i, &fpr): (usize, &f64)| {
        let rates: Vec<f64> = sampled.iter().map(|curve| curve[i]).collect();
        let tpr = mean(&rates)?;
        let half =
            deviation(&rates).map(|deviation| 1.96 * deviation / (rates.len() as f64).sqrt());
        Some(Band {
            fpr,
            tpr,
            interval: half.map(|half| [(tpr - half).max(0.0), (tpr + half).min(1.0)]),
        })
    };
    grid.iter().enumerate().filter_map(band).collect()
}

/// The height of an ascending curve at `fpr`: the top of a vertical step.
fn on_curve(curve: &[(f64, f64)], fpr: f64) -> f64 {
    let after = curve.partition_point(|&(x, _)| x <= fpr);
    match (after.checked_sub(1).map(|i| curve[i]), curve.get(after)) {
        (Some(left), Some(right)) => {
            left.1 + (right.1 - left.1) * (fpr - left.0) / (right.0 - left.0)
        }
        (Some(left), None) => left.1,
        (None, _) => 0.0,
    }
}

/// The higher of two scores that may be missing.
fn highest(a: Option<&f32>, b: Option<&f32>) -> Option<f32> {
    match (a, b) {
        (Some(&a), Some(&b)) => Some(a.max(b)),
        (one, other) => one.or(other).copied(),
    }
}

/// Takes the leading scores that equal `score` and counts them.
fn take(scores: &mut &[f32], score: f32) -> u64 {
    let count = scores.iter().take_while(|&&other| other == score).count();
    *scores = &scores[count..];
    count as u64
}

#[cfg(test)]
mod tests;
