//! The coordinate-wise trimmed mean (Yin et al. 2018, arXiv 1803.01498).

use super::Rule;
use super::columns::each_value;
use crate::pipeline::Block;
use crate::round::Round;
use crate::segment::Cut;
use crate::{AggregateError, Source};

/// Each value is the mean of the updates' values without the `faulty` lowest and the `faulty`
/// highest ones. With so many faulty sites at most, it is between values of sound sites. Slices
/// count for nothing, and sequences are told apart, as for [`Median`](super::Median).
///
/// The settings see to it that a round has more than twice as many updates. For a sequence that
/// fewer sites hold, the newest model's value counts for those that are missing.
#[derive(Clone, Copy, Debug)]
pub struct TrimmedMean {
    /// The most sites that may send anything.
    pub faulty: usize,
}

impl<S: Source> Rule<S> for TrimmedMean {
    fn cut(&self) -> Cut {
        Cut {
            sequences: true,
            statistics: false,
        }
    }

    fn combine(
        &self,
        round: &Round<S>,
        block: &mut Block<'_>,
    ) -> Result<(), AggregateError<S::Error>> {
        let fewest = self.faulty.saturating_mul(2).saturating_add(1);
        each_value(round, block, fewest, |sorted| {
            trimmed_mean(sorted, self.faulty)
        })
    }
}

/// The mean of values in ascending order, of which there are more than `2 trim`, without so many at
/// each end.
fn trimmed_mean(sorted: &[f32], trim: usize) -> f32 {
    let kept = &sorted[trim..sorted.len() - trim];
    let sum: f64 = kept.iter().copied().map(f64::from).sum();
    (sum / kept.len() as f64) as f32
}
