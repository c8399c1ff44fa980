//! Federated averaging where sites hold different sequences.

use super::Rule;
use super::fedavg::weighted_mean;
use crate::pipeline::Block;
use crate::round::Round;
use crate::segment::Cut;
use crate::{AggregateError, Source};

/// [`FedAvg`](super::FedAvg), but each sequence's channels of the stem are averaged over the sites
/// that hold the sequence. The others had no gradient there, and averaging their stale values would
/// undo what was learnt. Where no site holds a sequence, its channels stay as they are.
#[derive(Clone, Copy, Debug)]
pub struct SequenceAware;

impl<S: Source> Rule<S> for SequenceAware {
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
        weighted_mean(round, block)
    }
}
