//! Optimisers on the server: what another rule makes of the updates is the direction in which to
//! go, and not yet the next model.
//!
//! Running statistics become what the other rule makes of them: a step beyond it could make a
//! variance negative. Values that no update of the round teaches stay as they are, and so does what
//! is kept for them.

mod adaptive;
mod momentum;

use super::Rule;
use crate::pipeline::Block;
use crate::round::Round;
use crate::{AggregateError, Source};
pub use adaptive::{ServerAdaptive, Variant};
pub use momentum::ServerMomentum;

/// Sets [`Block::values`] to what the other rule makes of a block, and [`Block::base`] to the
/// newest model. Returns whether the optimiser has to go on from there.
fn make<S: Source>(
    rule: &dyn Rule<S>,
    round: &Round<S>,
    block: &mut Block<'_>,
) -> Result<bool, AggregateError<S::Error>> {
    let kept = rule.kept() * block.values.len();
    let mut of_rule = Block {
        segment: block.segment,
        start: block.start,
        values: block.values,
        state: &mut block.state[..kept],
        sums: block.sums,
        update: block.update,
        base: block.base,
    };
    rule.combine(round, &mut of_rule)?;
    if block.segment.statistic || round.weight(block.segment) == 0.0 {
        return Ok(false);
    }
    round.read_model(round.newest(), block.start, block.base)?;
    Ok(true)
}

/// As it is stored: large moments and steps may be more than an `f32` holds, and a model of
/// infinite numbers could not be sent.
fn stored(value: f64) -> f32 {
    value.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32
}
