//! Momentum on the server: FedAvgM (Hsu et al. 2019, arXiv 1909.06335).

use super::{make, stored};
use crate::pipeline::Block;
use crate::round::Round;
use crate::rules::{Compare, Rule};
use crate::segment::Cut;
use crate::{AggregateError, Source};

/// Goes on in the direction of earlier rounds, too:
///
/// `m = beta m + (made - newest)`, `next = newest + rate m`
///
/// with `m`, which the server keeps, beginning at 0.
pub struct ServerMomentum<S: Source> {
    /// Makes one model of the updates.
    pub rule: Box<dyn Rule<S>>,
    /// The server's learning rate.
    pub rate: f64,
    /// How much of the last direction is left.
    pub beta: f64,
}

impl<S: Source> Rule<S> for ServerMomentum<S> {
    fn cut(&self) -> Cut {
        Cut {
            statistics: true,
            ..self.rule.cut()
        }
    }

    fn kept(&self) -> usize {
        self.rule.kept() + 1
    }

    fn compare(&self) -> Option<&dyn Compare> {
        self.rule.compare()
    }

    fn combine(
        &self,
        round: &Round<S>,
        block: &mut Block<'_>,
    ) -> Result<(), AggregateError<S::Error>> {
        if !make(&*self.rule, round, block)? {
            return Ok(());
        }
        let moments = &mut block.state[self.rule.kept() * block.values.len()..];
        for (index, value) in block.values.iter_mut().enumerate() {
            let newest = f64::from(block.base[index]);
            let direction = f64::from(*value) - newest;
            moments[index] = stored(self.beta * f64::from(moments[index]) + direction);
            *value = stored(newest + self.rate * f64::from(moments[index]));
        }
        Ok(())
    }
}
