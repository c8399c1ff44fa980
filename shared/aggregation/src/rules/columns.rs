//! Rules that look at one value of the model at a time, over all updates.

use crate::pipeline::Block;
use crate::round::Round;
use crate::{AggregateError, Source};

/// Sets each value of a block to what `of` makes of the updates' values there, which it gets in
/// ascending order.
///
/// Of a sequence that few sites hold there may be fewer than the `fewest` updates with which the
/// rule holds what it promises. Then the newest model takes the places of those that are missing:
/// a site that says that it alone holds a sequence cannot set its weights.
pub(super) fn each_value<S: Source>(
    round: &Round<S>,
    block: &mut Block<'_>,
    fewest: usize,
    of: impl Fn(&[f32]) -> f32,
) -> Result<(), AggregateError<S::Error>> {
    let mut learnt: Vec<Vec<f32>> = Vec::new();
    for update in round.updates(block.segment) {
        update.read(block.start, block.update)?;
        learnt.push(block.update.to_vec());
    }
    if learnt.len() < fewest {
        round.read_model(round.newest(), block.start, block.base)?;
    }
    let mut column = vec![0.0; learnt.len().max(fewest)];
    for (index, value) in block.values.iter_mut().enumerate() {
        let (sites, missing) = column.split_at_mut(learnt.len());
        for (of_site, values) in sites.iter_mut().zip(&learnt) {
            *of_site = values[index];
        }
        missing.fill(block.base[index]);
        column.sort_unstable_by(f32::total_cmp);
        *value = of(&column);
    }
    Ok(())
}

/// The middle of values in ascending order; of an even number, the mean of the two in the middle.
pub(super) fn middle(sorted: &[f32]) -> f32 {
    let low = f64::from(sorted[(sorted.len() - 1) / 2]);
    let high = f64::from(sorted[sorted.len() / 2]);
    (0.5 * (low + high)) as f32
}
