//! Krum and Multi-Krum (Blanchard et al. 2017, arXiv 1703.02757).

use super::columns::{each_value, middle};
use super::{Compare, Rule};
use crate::distances::Distances;
use crate::pipeline::Block;
use crate::round::{Round, Update};
use crate::segment::Cut;
use crate::{AggregateError, Source};

/// The plain mean of the `chosen` updates that are closest to others; one alone is Krum, more are
/// Multi-Krum. An update's score is the sum of its squared distances to the `n - faulty - 2` that
/// are closest to it, of `n` updates; the lowest scores are chosen, and of equal ones the first
/// site by name.
///
/// The settings see to it that `n` is at least `2 faulty + 3`. Each sequence's channels of the stem
/// come of the best updates among the sites that hold the sequence, without the `faulty` worst of
/// these; if no more sites hold it, they stay as they are. Running statistics are medians, because
/// [`Distances`] leaves them out.
#[derive(Clone, Copy, Debug)]
pub struct Krum {
    /// The most sites that may send anything.
    pub faulty: usize,
    /// How many updates make the model.
    pub chosen: usize,
}

impl Compare for Krum {
    fn scores(&self, distances: &Distances) -> Vec<f64> {
        let count = distances.count();
        let closest = count.saturating_sub(self.faulty + 2).max(1);
        let mut scores = Vec::new();
        for one in 0..count {
            let mut squares = Vec::new();
            for other in 0..count {
                if other != one {
                    squares.push(distances.square(one, other));
                }
            }
            squares.sort_unstable_by(f64::total_cmp);
            scores.push(squares.iter().take(closest).sum());
        }
        scores
    }
}

impl<S: Source> Rule<S> for Krum {
    fn cut(&self) -> Cut {
        Cut {
            sequences: true,
            statistics: true,
        }
    }

    fn compare(&self) -> Option<&dyn Compare> {
        Some(self)
    }

    fn combine(
        &self,
        round: &Round<S>,
        block: &mut Block<'_>,
    ) -> Result<(), AggregateError<S::Error>> {
        if block.segment.statistic {
            return each_value(round, block, 1, middle);
        }
        let mut updates: Vec<&Update<S>> = round.updates(block.segment).collect();
        // Stable: equal scores stay in site order.
        updates.sort_by(|one, other| one.score.total_cmp(&other.score));
        let sound = updates.len().saturating_sub(self.faulty);
        updates.truncate(self.chosen.min(sound));
        if updates.is_empty() {
            return round.read_model(round.newest(), block.start, block.values);
        }
        for update in &updates {
            update.read(block.start, block.update)?;
            for (sum, value) in block.sums.iter_mut().zip(&*block.update) {
                *sum += f64::from(*value);
            }
        }
        for (value, sum) in block.values.iter_mut().zip(&*block.sums) {
            *value = (sum / updates.len() as f64) as f32;
        }
        Ok(())
    }
}
