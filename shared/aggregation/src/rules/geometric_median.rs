//! The geometric median (Pillutla et al. 2022, arXiv 1912.13445).

use super::columns::{each_value, middle};
use super::{Compare, Rule};
use crate::distances::Distances;
use crate::pipeline::Block;
use crate::round::Round;
use crate::segment::Cut;
use crate::{AggregateError, Source};

/// The point whose distances to all updates have the smallest sum, by Weiszfeld's iteration:
/// a weighted mean of the updates, where each weighs less the further it is from the mean before.
/// While fewer than half of the sites are faulty, it stays near the sound ones, whatever the
/// others send. Slices count for nothing.
///
/// A site that lacks a sequence counts as not moved in the sequence's channels of the stem, there
/// as in the distances. Running statistics are medians, because [`Distances`] leaves them out.
#[derive(Clone, Copy, Debug)]
pub struct GeometricMedian;

/// Smaller distances than this count as this, so that a mean on top of an update does not divide by
/// zero.
const LEAST_DISTANCE: f64 = 1e-6;
/// An update that is absurdly far loses a fixed part of its weight in each. They only cost the
/// square of the number of sites.
const ITERATIONS: usize = 1000;

impl Compare for GeometricMedian {
    fn scores(&self, distances: &Distances) -> Vec<f64> {
        weiszfeld(&Products::new(distances))
    }
}

impl<S: Source> Rule<S> for GeometricMedian {
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
        round.read_model(round.newest(), block.start, block.base)?;
        for update in round.updates(block.segment) {
            update.read(block.start, block.update)?;
            let moves = block.update.iter().zip(&*block.base);
            for (sum, (value, newest)) in block.sums.iter_mut().zip(moves) {
                *sum += update.score * (f64::from(*value) - f64::from(*newest));
            }
        }
        for (index, value) in block.values.iter_mut().enumerate() {
            *value = (f64::from(block.base[index]) + block.sums[index]) as f32;
        }
        Ok(())
    }
}

/// The weights of the updates in their geometric median; their sum is 1.
fn weiszfeld(products: &Products) -> Vec<f64> {
    let count = products.count;
    let mut weights = vec![1.0 / count as f64; count];
    for _ in 0..ITERATIONS {
        let mut next = Vec::new();
        let mut sum = 0.0;
        for distance in products.distances(&weights) {
            let weight = 1.0 / distance.max(LEAST_DISTANCE);
            sum += weight;
            next.push(weight);
        }
        for weight in &mut next {
            *weight /= sum;
        }
        weights = next;
    }
    weights
}

/// The scalar products of the updates, seen from the one in their middle. Every weighted mean of
/// the updates can be placed by them, without reading the updates again.
struct Products {
    count: usize,
    values: Vec<f64>,
}

impl Products {
    fn new(distances: &Distances) -> Self {
        let count = distances.count();
        let origin = most_central(distances);
        let mut values = Vec::new();
        for one in 0..count {
            for other in 0..count {
                let to_one = distances.square(origin, one);
                let to_other = distances.square(origin, other);
                let product = 0.5 * (to_one + to_other - distances.square(one, other));
                // Squares of an update that is absurdly far are rounded to more than the others
                // are apart; no product is larger than this.
                let most = to_one.sqrt() * to_other.sqrt();
                values.push(product.clamp(-most, most));
            }
        }
        Self { count, values }
    }

    fn of(&self, one: usize, other: usize) -> f64 {
        self.values[one * self.count + other]
    }

    /// How far each update is from the mean of all with these weights.
    fn distances(&self, weights: &[f64]) -> Vec<f64> {
        // The product of each update with the mean, and of the mean with itself.
        let mut with_mean = Vec::new();
        let mut mean = 0.0;
        for one in 0..self.count {
            let mut product = 0.0;
            for (other, weight) in weights.iter().enumerate() {
                product += weight * self.of(one, other);
            }
            mean += weights[one] * product;
            with_mean.push(product);
        }
        let mut distances = Vec::new();
        for (one, product) in with_mean.iter().enumerate() {
            let square = self.of(one, one) - 2.0 * product + mean;
            distances.push(square.max(0.0).sqrt());
        }
        distances
    }
}

/// The update from which the nearer half of the others is closest: a sound one, or one among them.
fn most_central(distances: &Distances) -> usize {
    let count = distances.count();
    let mut best = 0;
    let mut least = f64::INFINITY;
    for one in 0..count {
        let mut squares = Vec::new();
        for other in 0..count {
            squares.push(distances.square(one, other));
        }
        squares.sort_unstable_by(f64::total_cmp);
        let half = squares[count / 2];
        if half < least {
            (best, least) = (one, half);
        }
    }
    best
}
