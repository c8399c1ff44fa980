//! Checked updates become the next global model: in site order, block by block, never holding a
//! complete model.
//!
//! A [`Rule`] says how; those that the settings name are in `rules`, one file each. It sees one
//! block of all updates at a time. A rule that judges whole updates gets the distances between them
//! first, for which all blocks are read once more.
//!
//! Sums run in `f64` over the sites in the order of their names, so
//! neither the order of arrival nor the size of the blocks changes a bit of the result.

mod check;
mod distances;
mod pipeline;
mod round;
mod rules;
mod segment;

pub use check::{CheckError, Checked};
pub use distances::Distances;
pub use pipeline::{Block, Made};
use protocol::coordinator::Contribution;
use protocol::identity::{SiteName, Version};
use protocol::parameters::Manifest;
use protocol::settings::Input;
pub use round::{Models, Round, Update};
pub use rules::{
    Compare, FedAvg, FedBuff, GeometricMedian, Krum, Median, NotLearnt, Rule, SequenceAware,
    ServerAdaptive, ServerMomentum, TrimmedMean, Variant, named_rule, not_learnt, rule_for_one,
    with_optimiser,
};
pub use segment::{Cut, Segment};

/// Values handled at a time: with its sums and what is read for it, a block stays in a core's
/// cache.
pub const BLOCK: usize = 1 << 14;

/// Where a stored parameter vector is read from, range by range.
pub trait Source: Send {
    /// Why reading failed.
    type Error: Send;

    /// Fills `out` with the values from index `start` on.
    ///
    /// # Errors
    /// Whatever the storage says.
    fn read(&mut self, start: usize, out: &mut [f32]) -> Result<(), Self::Error>;
}

impl Source for &[f32] {
    type Error = std::convert::Infallible;

    fn read(&mut self, start: usize, out: &mut [f32]) -> Result<(), Self::Error> {
        out.copy_from_slice(&self[start..start + out.len()]);
        Ok(())
    }
}

/// Why no next model can be made.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum AggregateError<E> {
    /// A site's update was given under the summary of another one.
    #[error("the update of {0} does not fit its summary")]
    Mismatch(SiteName),
    /// A site gave two updates from one model.
    #[error("{site} has two updates from the model of round {base}")]
    Twice { site: SiteName, base: Version },
    /// A model that an update started from is not there.
    #[error("the model of round {0}, from which an update started, is not there")]
    Base(Version),
    /// No update has any weight.
    #[error("no update has any weight")]
    Empty,
    /// Reading or writing failed.
    #[error("{0}")]
    Storage(E),
}

/// What is averaged: the same model, and by which rule.
pub struct Average<'a, S> {
    /// The tensors.
    pub manifest: &'a Manifest,
    /// Which of the stem's channels belong to which sequence.
    pub input: &'a Input,
    /// The rule: [`named_rule`], or any other.
    pub rule: &'a dyn Rule<S>,
}

impl<S: Source> Average<'_, S> {
    /// Makes the next model, and gives it to `write`, block after block in order.
    ///
    /// # Errors
    /// [`AggregateError::Twice`] for two updates of a site from one version,
    /// [`AggregateError::Mismatch`] for values that are not those of their summary,
    /// [`AggregateError::Empty`] without weight, [`AggregateError::Base`] for a version that the
    /// rule needs and `models` lacks, [`AggregateError::Storage`] from the sources or from `write`.
    pub fn run(
        &self,
        models: Models<S>,
        updates: Vec<(Contribution, Checked<S>)>,
        write: impl FnMut(Made<'_>) -> Result<(), S::Error> + Send,
    ) -> Result<(), AggregateError<S::Error>> {
        let mut round = Round::new(models, updates)?;
        if let Some(compare) = self.rule.compare() {
            let distances = Distances::measure(&round, self.manifest, self.input)?;
            round.score(&compare.scores(&distances));
        }
        let segments = self.rule.cut().segments(self.manifest, self.input);
        pipeline::in_order(&segments, self.rule, &round, write)
    }
}

#[cfg(test)]
mod tests;
