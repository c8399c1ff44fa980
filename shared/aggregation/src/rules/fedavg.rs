//! Federated averaging (McMahan et al. 2017, arXiv 1602.05629).

use super::Rule;
use crate::pipeline::Block;
use crate::round::Round;
use crate::{AggregateError, Source};

/// The mean of the updates, weighted by slices:
///
/// `next = sum_i(n_i u_i) / sum_i(n_i)`
///
/// with the update `u_i` and its slices `n_i`. One update alone gives that update, bit for bit.
#[derive(Clone, Copy, Debug)]
pub struct FedAvg;

impl<S: Source> Rule<S> for FedAvg {
    fn combine(
        &self,
        round: &Round<S>,
        block: &mut Block<'_>,
    ) -> Result<(), AggregateError<S::Error>> {
        weighted_mean(round, block)
    }
}

/// The mean over those updates that have anything to say about the block's segment. Where none has,
/// the values stay as they are in the newest model.
pub(super) fn weighted_mean<S: Source>(
    round: &Round<S>,
    block: &mut Block<'_>,
) -> Result<(), AggregateError<S::Error>> {
    let weight = round.weight(block.segment);
    if weight == 0.0 {
        return round.read_model(round.newest(), block.start, block.values);
    }
    for update in round.updates(block.segment) {
        update.read(block.start, block.update)?;
        let slices = update.slices();
        for (sum, value) in block.sums.iter_mut().zip(&*block.update) {
            *sum += slices * f64::from(*value);
        }
    }
    for (value, sum) in block.values.iter_mut().zip(&*block.sums) {
        *value = (sum / weight) as f32;
    }
    Ok(())
}
