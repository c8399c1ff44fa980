//! The rules by which updates become the next model, one file each, and the names that the settings
//! give them. `docs/developers/adding-a-rule.md` shows how to add one.

mod columns;
mod fedavg;
mod fedbuff;
mod geometric_median;
mod krum;
mod median;
mod sequence_aware;
mod server;
mod trimmed_mean;

use crate::distances::Distances;
use crate::pipeline::Block;
use crate::round::Round;
use crate::segment::Cut;
use crate::{AggregateError, Source};
pub use fedavg::FedAvg;
pub use fedbuff::FedBuff;
pub use geometric_median::GeometricMedian;
pub use krum::Krum;
pub use median::Median;
use protocol::coordinator::Contribution;
use protocol::settings::{Aggregation, Input, ServerOptimiser};
pub use sequence_aware::SequenceAware;
pub use server::{ServerAdaptive, ServerMomentum, Variant};
pub use trimmed_mean::TrimmedMean;

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

    /// How the rule judges whole updates, if it does: then all of them are read once before the
    /// first block is made.
    fn compare(&self) -> Option<&dyn Compare> {
        None
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

/// What a rule makes of how far whole updates are from one another.
pub trait Compare: Sync {
    /// One number for each update, in site order, which [`Update::score`](crate::Update::score)
    /// has when blocks are made.
    fn scores(&self, distances: &Distances) -> Vec<f64>;
}

/// The rule of a name in the settings: the one place where they meet. `rate` is `buffered.rate`
/// where a model is made of a buffer, whose updates may have started from older models; the
/// settings refuse it with any rule but the first two.
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
        (Aggregation::Median, _) => Box::new(Median),
        (Aggregation::TrimmedMean { faulty }, _) => Box::new(TrimmedMean { faulty }),
        (Aggregation::Krum { faulty }, _) => Box::new(Krum { faulty, chosen: 1 }),
        (Aggregation::MultiKrum { faulty, chosen }, _) => Box::new(Krum { faulty, chosen }),
        (Aggregation::GeometricMedian, _) => Box::new(GeometricMedian),
    }
}

/// A rule with the settings' optimiser after it.
#[must_use]
pub fn with_optimiser<S: Source + 'static>(
    rule: Box<dyn Rule<S>>,
    optimiser: ServerOptimiser,
) -> Box<dyn Rule<S>> {
    let (rate, beta1, tau, variant) = match optimiser {
        ServerOptimiser::Momentum { rate, beta } => {
            return Box::new(ServerMomentum { rule, rate, beta });
        }
        ServerOptimiser::Adam {
            rate,
            beta1,
            beta2,
            tau,
        } => (rate, beta1, tau, Variant::Adam { beta2 }),
        ServerOptimiser::Yogi {
            rate,
            beta1,
            beta2,
            tau,
        } => (rate, beta1, tau, Variant::Yogi { beta2 }),
        ServerOptimiser::Adagrad { rate, beta1, tau } => (rate, beta1, tau, Variant::Adagrad),
    };
    Box::new(ServerAdaptive {
        rule,
        rate,
        beta1,
        tau,
        variant,
    })
}

/// A sequence that sites hold, and of which a rule learns nothing because they are too few.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotLearnt<'a> {
    /// Its name.
    pub sequence: &'a str,
    /// How many of the round's sites hold it.
    pub holders: usize,
}

/// The sequences that a round's sites hold and whose channels of the stem a rule leaves as they are.
#[must_use]
pub fn not_learnt<'a>(
    name: Aggregation,
    input: &'a Input,
    updates: &[Contribution],
) -> Vec<NotLearnt<'a>> {
    let mut all = Vec::new();
    for (index, sequence) in input.sequences.iter().enumerate() {
        let mut holders = 0;
        for update in updates {
            if update.sequences.contains(index) {
                holders += 1;
            }
        }
        if holders > 0 && holders <= name.most_ignored_holders() {
            all.push(NotLearnt { sequence, holders });
        }
    }
    all
}

/// The rule of a site that trains alone, for comparison. There is one update: nothing to be guarded
/// against, and no optimiser but the site's own.
#[must_use]
pub fn rule_for_one<S: Source>(name: Aggregation) -> Box<dyn Rule<S>> {
    match name {
        Aggregation::FedAvg => Box::new(FedAvg),
        _ => Box::new(SequenceAware),
    }
}
