//! Buffered asynchronous aggregation (FedBuff): updates that started from different versions of the
//! model.

use super::Rule;
use crate::pipeline::Block;
use crate::round::Round;
use crate::segment::Cut;
use crate::{AggregateError, Source};
use protocol::identity::Version;

/// Moves the newest model the way that the updates went:
///
/// `next = newest + rate * sum_i(s_i n_i (u_i - b_i)) / sum_i(n_i)`
///
/// with the update `u_i`, the version `b_i` that it started from, its slices `n_i` as its weight
/// and `s_i = 1 / sqrt(1 + staleness)` (Nguyen et al. 2022, arXiv 2106.06639, with slices where it
/// counts every update alike). The sum below has the slices without `s_i`: a buffer of old updates
/// makes a smaller step. Where all updates started from the newest version and the rate is 1, this
/// is [`FedAvg`](super::FedAvg) or [`SequenceAware`](super::SequenceAware) up to rounding.
///
/// Running statistics are drawn towards the updates' own, `u_i - newest` in place of `u_i - b_i`,
/// and at a rate of 1 at most: a sum of differences could make a variance negative.
#[derive(Clone, Copy, Debug)]
pub struct FedBuff {
    /// How far to go the way that the updates went: the server's learning rate.
    pub rate: f64,
    /// Whether each sequence's channels of the stem move by the updates of sites that hold it.
    pub sequences: bool,
}

impl<S: Source> Rule<S> for FedBuff {
    fn cut(&self) -> Cut {
        Cut {
            sequences: self.sequences,
            statistics: true,
        }
    }

    fn combine(
        &self,
        round: &Round<S>,
        block: &mut Block<'_>,
    ) -> Result<(), AggregateError<S::Error>> {
        let (newest, statistic) = (round.newest(), block.segment.statistic);
        let weight = round.weight(block.segment);
        round.read_model(newest, block.start, block.values)?;
        for update in round.updates(block.segment) {
            let base = update.contribution.base;
            update.read(block.start, block.update)?;
            if statistic {
                block.base.copy_from_slice(block.values);
            } else {
                round.read_model(base, block.start, block.base)?;
            }
            let factor = freshness(newest, base) * update.slices();
            add(block.sums, factor, block.update, block.base);
        }
        if weight > 0.0 {
            let rate = if statistic {
                self.rate.min(1.0)
            } else {
                self.rate
            };
            go(block.values, block.sums, rate / weight);
        }
        Ok(())
    }
}

/// What an update from the version `base` keeps of its weight.
fn freshness(newest: Version, base: Version) -> f64 {
    (1.0 + f64::from(newest.since(base))).sqrt().recip()
}

fn add(sums: &mut [f64], factor: f64, values: &[f32], base: &[f32]) {
    for ((sum, value), base) in sums.iter_mut().zip(values).zip(base) {
        *sum += factor * (f64::from(*value) - f64::from(*base));
    }
}

/// Differences of wild updates may add up to more than an `f32` holds; a model of infinite numbers
/// could not be sent.
fn go(model: &mut [f32], sums: &[f64], step: f64) {
    let (least, most) = (f64::from(f32::MIN), f64::from(f32::MAX));
    for (value, sum) in model.iter_mut().zip(sums) {
        *value = (f64::from(*value) + step * sum).clamp(least, most) as f32;
    }
}
