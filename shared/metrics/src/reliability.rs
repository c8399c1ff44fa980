//! Whether probabilities are what they say: of the voxels given 30 %, three in ten should be
//! lesion.
//!
//! From the sites' histograms of logits. A histogram's bin is a sixty-fourth of a logit wide and
//! counts at its middle, so a probability is known to 0.002 and a voxel that close to the edge of
//! two ranges may be counted in either.

use crate::score::{BINS, LOGIT_LIMIT, ScoreHistogram};
use serde::{Deserialize, Serialize};

/// How many ranges of probability, equally wide.
const RANGES: usize = 10;

/// Voxels by the probability that they were given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reliability {
    /// The expected calibration error (Naeini et al. 2015): the mean over voxels of how far the
    /// mean probability of their range is from the share of lesion in it. Nearly all voxels are in
    /// the lowest range, so this is small for any model.
    pub ece: f64,
    /// The same over voxels above the lowest range alone; `None` where there are none.
    pub ece_above: Option<f64>,
    /// The ranges that hold a voxel, from the lowest up.
    pub bins: Vec<ReliabilityBin>,
}

/// One range of probability.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReliabilityBin {
    /// Its lower end.
    pub from: f64,
    /// Its upper end.
    pub to: f64,
    /// Voxels.
    pub voxels: u64,
    /// The mean of their probabilities.
    pub mean_probability: f64,
    /// How many of them are lesion.
    pub lesion_share: f64,
}

impl ReliabilityBin {
    fn error(&self) -> f64 {
        (self.mean_probability - self.lesion_share).abs()
    }
}

/// The reliability of the probabilities that a histogram counts; `None` without a voxel.
#[must_use]
pub fn reliability(histogram: &ScoreHistogram) -> Option<Reliability> {
    #[derive(Clone, Copy, Default)]
    struct Sum {
        voxels: u64,
        lesion: u64,
        probability: f64,
    }
    let mut sums = [Sum::default(); RANGES];
    for &(bin, lesion, other) in &histogram.bins {
        let (probability, voxels) = (middle(bin), lesion.saturating_add(other));
        let range = ((probability * RANGES as f64) as usize).min(RANGES - 1);
        let sum = &mut sums[range];
        sum.voxels = sum.voxels.saturating_add(voxels);
        sum.lesion = sum.lesion.saturating_add(lesion);
        sum.probability += probability * voxels as f64;
    }
    let mut bins = Vec::new();
    for (range, sum) in sums.iter().enumerate().filter(|(_, sum)| sum.voxels > 0) {
        bins.push(ReliabilityBin {
            from: range as f64 / RANGES as f64,
            to: (range + 1) as f64 / RANGES as f64,
            voxels: sum.voxels,
            mean_probability: sum.probability / sum.voxels as f64,
            lesion_share: sum.lesion as f64 / sum.voxels as f64,
        });
    }
    let above: Vec<ReliabilityBin> = bins.iter().filter(|bin| bin.from > 0.0).copied().collect();
    Some(Reliability {
        ece: expected_error(&bins)?,
        ece_above: expected_error(&above),
        bins,
    })
}

/// The mean error over voxels; `None` without any.
fn expected_error(bins: &[ReliabilityBin]) -> Option<f64> {
    let voxels: f64 = bins.iter().map(|bin| bin.voxels as f64).sum();
    (voxels > 0.0).then(|| {
        bins.iter()
            .map(|bin| bin.error() * bin.voxels as f64)
            .sum::<f64>()
            / voxels
    })
}

/// The probability in the middle of a histogram's bin.
fn middle(bin: u16) -> f64 {
    let limit = f64::from(LOGIT_LIMIT);
    let logit = 2.0 * limit * (f64::from(bin) + 0.5) / BINS as f64 - limit;
    1.0 / (1.0 + (-logit).exp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::voxel::HistogramBuilder;

    #[derive(Deserialize)]
    struct Reference {
        logits: Vec<f32>,
        lesion: Vec<bool>,
        tolerance: f64,
        ece: f64,
        ece_above: f64,
        mean_probability: Vec<f64>,
        lesion_share: Vec<f64>,
    }

    #[test]
    fn the_numbers_are_those_of_scikit_learn_and_numpy() {
        let text = include_str!("../../../tests/fixtures/metrics/reliability.json");
        let references: Vec<Reference> = serde_json::from_str(text).unwrap();
        assert_eq!(references.len(), 2);
        for reference in references {
            let mut builder = HistogramBuilder::new();
            reference
                .logits
                .iter()
                .zip(&reference.lesion)
                .for_each(|(&logit, &lesion)| builder.add(logit, lesion));
            let ours = reliability(&builder.finish()).unwrap();
            let near =
                |a: f64, b: f64| assert!((a - b).abs() <= reference.tolerance, "{a} is not {b}");
            near(ours.ece, reference.ece);
            near(ours.ece_above.unwrap(), reference.ece_above);
            assert_eq!(ours.bins.len(), reference.mean_probability.len());
            for (index, bin) in ours.bins.iter().enumerate() {
                near(bin.mean_probability, reference.mean_probability[index]);
                near(bin.lesion_share, reference.lesion_share[index]);
            }
        }
    }

    #[test]
    fn nothing_counted_has_no_reliability_and_background_alone_nothing_above() {
        assert_eq!(reliability(&ScoreHistogram::default()), None);
        let air = reliability(&ScoreHistogram {
            bins: vec![(0, 0, 1000)],
        })
        .unwrap();
        assert!(air.ece < 1e-6 && air.ece_above.is_none() && air.bins.len() == 1);
    }
}
