//! How updates become the next model: the rule, and the optimiser on the server.

use super::Federation;
use serde::{Deserialize, Serialize};

/// How updates become the next global model.
///
/// All but the first treat each sequence's slice of the stem apart, over the sites that hold the
/// sequence: the others had no gradient there, and their stale values would undo what was learnt.
/// The first two weigh updates by slices; the others guard against sites that send anything, and
/// count all sites alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Aggregation {
    /// Each tensor averaged over all sites (McMahan et al. 2017).
    FedAvg,
    /// The same, with sequences apart.
    SequenceAware,
    /// The median of each value.
    Median,
    /// The mean of each value without the `faulty` lowest and highest.
    TrimmedMean {
        /// The most sites that may send anything.
        faulty: usize,
    },
    /// The update that is closest to others.
    Krum {
        /// The most sites that may send anything.
        faulty: usize,
    },
    /// The mean of the updates that are closest to others.
    MultiKrum {
        /// The most sites that may send anything.
        faulty: usize,
        /// How many updates make the mean.
        chosen: usize,
    },
    /// The point with the smallest sum of distances to all updates.
    GeometricMedian,
}

impl Aggregation {
    /// Whether it guards against sites that send anything.
    fn is_robust(self) -> bool {
        !matches!(self, Self::FedAvg | Self::SequenceAware)
    }

    /// Of a sequence that so many sites hold, or fewer, the rule learns nothing: each of them may be
    /// one that sends anything.
    #[must_use]
    pub fn most_ignored_holders(self) -> usize {
        match self {
            Self::FedAvg | Self::SequenceAware | Self::GeometricMedian => 0,
            Self::Median => 1,
            Self::TrimmedMean { faulty }
            | Self::Krum { faulty }
            | Self::MultiKrum { faulty, .. } => faulty,
        }
    }

    /// The fewest updates with which the rule holds what it promises.
    fn fewest_updates(self) -> usize {
        match self {
            // That there is any is what sites.minimum asks for.
            Self::FedAvg | Self::SequenceAware => 0,
            Self::Median | Self::GeometricMedian => 3,
            Self::TrimmedMean { faulty } => faulty.saturating_mul(2).saturating_add(1),
            Self::Krum { faulty } | Self::MultiKrum { faulty, .. } => {
                faulty.saturating_mul(2).saturating_add(3)
            }
        }
    }
}

/// What is wrong with the rule; `None` where it can work.
pub(super) fn wrong_aggregation(settings: &Federation) -> Option<String> {
    let name = super::registry::choice(&settings.aggregation)?;
    let (rule, minimum) = (settings.aggregation, settings.sites.minimum);
    if rule.is_robust() && settings.buffered.is_some() {
        return Some(format!("{name} with [buffered]"));
    }
    if let Aggregation::TrimmedMean { faulty: 0 }
    | Aggregation::Krum { faulty: 0 }
    | Aggregation::MultiKrum { faulty: 0, .. } = rule
    {
        return Some(name);
    }
    if minimum < rule.fewest_updates() {
        return Some(format!("{name} with sites.minimum = {minimum}"));
    }
    if let Aggregation::MultiKrum { faulty, chosen } = rule
        && !(1..=minimum - faulty - 2).contains(&chosen)
    {
        return Some(format!("{name} with sites.minimum = {minimum}"));
    }
    None
}

/// What the server does with what the rule makes of the updates; without one it is the next model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ServerOptimiser {
    /// FedAvgM (Hsu et al. 2019, arXiv 1909.06335).
    Momentum {
        /// The server's learning rate.
        #[serde(default = "whole")]
        rate: f64,
        /// How much of the last direction is left.
        #[serde(default = "default_beta")]
        beta: f64,
    },
    /// FedAdam (Reddi et al. 2021, arXiv 2003.00295).
    Adam {
        /// The server's learning rate.
        rate: f64,
        /// How much of the mean direction is left.
        #[serde(default = "default_beta")]
        beta1: f64,
        /// How much of the mean square is left.
        #[serde(default = "default_beta2")]
        beta2: f64,
        /// The least divisor of a step.
        #[serde(default = "default_tau")]
        tau: f64,
    },
    /// FedYogi, of the same publication.
    Yogi {
        /// The server's learning rate.
        rate: f64,
        /// How much of the mean direction is left.
        #[serde(default = "default_beta")]
        beta1: f64,
        /// How much of the mean square is left.
        #[serde(default = "default_beta2")]
        beta2: f64,
        /// The least divisor of a step.
        #[serde(default = "default_tau")]
        tau: f64,
    },
    /// FedAdagrad, of the same publication.
    Adagrad {
        /// The server's learning rate.
        rate: f64,
        /// How much of the mean direction is left.
        #[serde(default)]
        beta1: f64,
        /// The least divisor of a step.
        #[serde(default = "default_tau")]
        tau: f64,
    },
}

fn whole() -> f64 {
    1.0
}

fn default_beta() -> f64 {
    0.9
}

fn default_beta2() -> f64 {
    0.99
}

fn default_tau() -> f64 {
    1e-3
}

/// What is wrong with the server's optimiser; `None` where it can work, or there is none.
pub(super) fn wrong_optimiser(settings: &Federation) -> Option<String> {
    let optimiser = settings.server_optimiser?;
    let name = super::registry::choice(&optimiser)?;
    if settings.buffered.is_some() {
        return Some(format!("{name} with [buffered]"));
    }
    let (rate, beta1, beta2, tau) = match optimiser {
        ServerOptimiser::Momentum { rate, beta } => (rate, beta, 0.0, 1.0),
        ServerOptimiser::Adam {
            rate,
            beta1,
            beta2,
            tau,
        }
        | ServerOptimiser::Yogi {
            rate,
            beta1,
            beta2,
            tau,
        } => (rate, beta1, beta2, tau),
        ServerOptimiser::Adagrad { rate, beta1, tau } => (rate, beta1, 0.0, tau),
    };
    let works = rate > 0.0
        && rate <= 10.0
        && (0.0..1.0).contains(&beta1)
        && (0.0..1.0).contains(&beta2)
        && (1e-10..=1.0).contains(&tau);
    if works { None } else { Some(name) }
}
