//! The rules by which updates become the next model, one file each, and the names that the settings
//! give them. `docs/developers/adding-a-rule.md` shows how to add one.

mod fedavg;
mod fedbuff;
mod sequence_aware;

use crate::pipeline::Block;
use crate::round::Round;
use crate::segment::Cut;
use crate::{AggregateError, Source};
pub use fedavg::FedAvg;
pub use fedbuff::FedBuff;
use protocol::settings::Aggregation;
pub use sequence_aware::SequenceAware;

/// An aggregation rule: makes the next model of a round's updates, one block of values at a time.
///
/// Several blocks are made at once, by threads in any order. A block's values must follow from the
/// round and the block alone, so that they are the same to the bit for any number of threads: a
/// rule has no memory but [`Rule::kept`], and goes through the updates in their order.
pub trait Rule<S: Source>: Sync {
    /// What the rule wants to have in segments of its own.
    fn cut(&self) -> Cut {
        Cut::default()
    }

    /// How many numbers the rule keeps on the server for each value of the model, from one model to
    /// the next: [`Block::state`]. They are stored with the model.
    fn kept(&self) -> usize {
        0
    }

    /// Sets [`Block::values`], and [`Block::state`] where the rule keeps any. A segment may have no
    /// update with any weight; its values then stay as they are in the newest model.
    ///
    /// # Errors
    /// What [`Update::read`](crate::Update::read) and [`Round::read_model`] say.
    fn combine(
        &self,
        round: &Round<S>,
        block: &mut Block<'_>,
    ) -> Result<(), AggregateError<S::Error>>;
}

/// The rule of a name in the settings: the one place where they meet. `rate` is `buffered.rate`
/// where a model is made of a buffer, whose updates may have started from older models.
#[must_use]
pub fn named_rule<S: Source>(name: Aggregation, rate: Option<f64>) -> Box<dyn Rule<S>> {
    match (name, rate) {
        (Aggregation::FedAvg, None) => Box::new(FedAvg),
        (Aggregation::SequenceAware, None) => Box::new(SequenceAware),
        (Aggregation::FedAvg, Some(rate)) => Box::new(FedBuff {
            rate,
            sequences: false,
        }),
        (Aggregation::SequenceAware, Some(rate)) => Box::new(FedBuff {
            rate,
            sequences: true,
        }),
    }
}
