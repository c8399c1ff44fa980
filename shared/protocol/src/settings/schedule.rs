//! The learning rate over the rounds.

use serde::{Deserialize, Serialize};

/// The learning rate over the rounds, as a factor of the first one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Always the same.
    Constant,
    /// Half a cosine down to `last` times the first.
    Cosine {
        /// The factor in the last round.
        last: f64,
    },
    /// Multiplied by `factor` after every `every` rounds.
    Step { every: u32, factor: f64 },
}

impl Schedule {
    /// The factor in `round` (from 1) of `rounds`.
    #[must_use]
    pub fn factor(self, round: u32, rounds: u32) -> f64 {
        let done = f64::from(round.saturating_sub(1));
        match self {
            Self::Constant => 1.0,
            Self::Cosine { last } => {
                let share = done / f64::from(rounds.saturating_sub(1).max(1));
                last + (1.0 - last) * 0.5 * (1.0 + (std::f64::consts::PI * share.min(1.0)).cos())
            }
            Self::Step { every, factor } => {
                factor.powi((round.saturating_sub(1) / every.max(1)) as i32)
            }
        }
    }

    /// Whether every round's learning rate is a number that training can work with.
    pub(super) fn works(self) -> bool {
        match self {
            Self::Constant => true,
            Self::Cosine { last } => (0.0..=10.0).contains(&last),
            Self::Step { every, factor } => every >= 1 && (0.0..=10.0).contains(&factor),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cosine_ends_at_its_last_factor() {
        let schedule = Schedule::Cosine { last: 0.1 };
        assert!((schedule.factor(1, 5) - 1.0).abs() < 1e-12);
        assert!((schedule.factor(5, 5) - 0.1).abs() < 1e-12);
        let steps = Schedule::Step {
            every: 2,
            factor: 0.5,
        };
        assert!((steps.factor(5, 9) - 0.25).abs() < 1e-12);
    }
}
