//! Adaptive optimisers on the server: FedAdam, FedYogi and FedAdagrad (Reddi et al. 2021, arXiv
//! 2003.00295).

use super::{make, stored};
use crate::pipeline::Block;
use crate::round::Round;
use crate::rules::{Compare, Rule};
use crate::segment::Cut;
use crate::{AggregateError, Source};

/// Makes steps of a size of its own for each value:
///
/// `m = beta1 m + (1 - beta1) d`, `next = newest + rate m / (sqrt(v) + tau)`
///
/// with `d = made - newest`, and `v` by the variant. The server keeps `m`, which begins at 0, and
/// `v`, which begins at `tau^2`; nothing is corrected for that, as in the publication.
pub struct ServerAdaptive<S: Source> {
    /// Makes one model of the updates.
    pub rule: Box<dyn Rule<S>>,
    /// The server's learning rate.
    pub rate: f64,
    /// How much of the mean direction is left.
    pub beta1: f64,
    /// How small a step may make its own divisor.
    pub tau: f64,
    /// How the mean square of the direction goes on.
    pub variant: Variant,
}

/// How the mean square `v` of the directions goes on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Variant {
    /// `v = beta2 v + (1 - beta2) d^2`
    Adam { beta2: f64 },
    /// `v = v - (1 - beta2) d^2 sign(v - d^2)`
    Yogi { beta2: f64 },
    /// `v = v + d^2`
    Adagrad,
}

impl Variant {
    fn next(self, before: f64, direction: f64) -> f64 {
        let square = direction * direction;
        match self {
            Self::Adam { beta2 } => beta2 * before + (1.0 - beta2) * square,
            Self::Yogi { beta2 } if before > square => before - (1.0 - beta2) * square,
            Self::Yogi { beta2 } if before < square => before + (1.0 - beta2) * square,
            Self::Yogi { .. } => before,
            Self::Adagrad => before + square,
        }
    }
}

impl<S: Source> Rule<S> for ServerAdaptive<S> {
    fn cut(&self) -> Cut {
        Cut {
            statistics: true,
            ..self.rule.cut()
        }
    }

    fn kept(&self) -> usize {
        self.rule.kept() + 2
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
        let length = block.values.len();
        let kept = &mut block.state[self.rule.kept() * length..];
        let (means, squares) = kept.split_at_mut(length);
        for (index, value) in block.values.iter_mut().enumerate() {
            let newest = f64::from(block.base[index]);
            let direction = f64::from(*value) - newest;
            let mut before = f64::from(squares[index]);
            if before == 0.0 {
                // Nothing was kept yet.
                before = self.tau * self.tau;
            }
            let mean = self.beta1 * f64::from(means[index]) + (1.0 - self.beta1) * direction;
            means[index] = stored(mean);
            squares[index] = stored(self.variant.next(before, direction));
            let divisor = f64::from(squares[index]).sqrt() + self.tau;
            *value = stored(newest + self.rate * f64::from(means[index]) / divisor);
        }
        Ok(())
    }
}
