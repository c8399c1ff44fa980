//! Every random draw of a federation, derived from (seed, round, site, purpose).
//!
//! No generator is ever shared or carried over: a draw can be repeated alone, in any order, on any
//! machine.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// What a stream of random numbers is for. The name is part of the seed, so streams never overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Initial model parameters.
    Initialisation,
    /// Which cases a site keeps for validation.
    Split,
    /// Which slices a training step sees, in which order.
    Slices,
    /// Input-level dropout of whole sequences.
    DropOut,
    /// Flips, turns, shifts and intensity jitter.
    Augmentation,
    /// Dropout of features inside the network.
    Features,
    /// Which sites take part in a round.
    Sampling,
    /// Synthetic cohorts.
    Phantom,
    /// Bootstrap resampling of patients.
    Bootstrap,
    /// Jitter of reconnection delays.
    Backoff,
}

/// The generator for one purpose at one site in one round.
///
/// ChaCha8 keyed with BLAKE3 over the length-prefixed fields, so no two tuples share a stream.
#[must_use]
pub fn stream(seed: u64, round: u32, site: &str, purpose: Purpose) -> ChaCha8Rng {
    let mut hasher = blake3::Hasher::new_derive_key("federation random stream v1");
    hasher.update(&seed.to_le_bytes());
    hasher.update(&round.to_le_bytes());
    hasher.update(&(site.len() as u64).to_le_bytes());
    hasher.update(site.as_bytes());
    hasher.update(format!("{purpose:?}").as_bytes());
    ChaCha8Rng::from_seed(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    fn first(seed: u64, round: u32, site: &str, purpose: Purpose) -> u64 {
        stream(seed, round, site, purpose).random()
    }

    #[test]
    fn the_same_tuple_draws_the_same_and_any_change_draws_another() {
        let base = first(1, 2, "north", Purpose::Slices);
        assert_eq!(base, first(1, 2, "north", Purpose::Slices));
        for other in [
            first(2, 2, "north", Purpose::Slices),
            first(1, 3, "north", Purpose::Slices),
            first(1, 2, "south", Purpose::Slices),
            first(1, 2, "north", Purpose::DropOut),
        ] {
            assert_ne!(base, other);
        }
    }
}
