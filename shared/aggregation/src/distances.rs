//! How far whole updates are from one another, for rules that compare them.

use crate::pipeline::blocks;
use crate::round::Round;
use crate::segment::{Cut, Segment};
use crate::{AggregateError, Source};
use protocol::parameters::Manifest;
use protocol::settings::Input;
use rayon::prelude::*;
use std::ops::Range;

/// Blocks compared at a time, before their sums are added up in order.
const BATCH: usize = 16;

/// The squares of the euclidean distances between all updates of a round, in site order.
///
/// Only weights count. Running statistics differ between scanners by more than a training moves
/// weights, so that they would decide alone. Where an update teaches nothing, in the stem's
/// channels of a sequence that its site lacks, it counts as not moved from the newest model.
#[derive(Clone, Debug)]
pub struct Distances {
    count: usize,
    squares: Vec<f64>,
}

impl Distances {
    /// How many updates there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The square of the distance between two updates, by their places in site order.
    #[must_use]
    pub fn square(&self, one: usize, other: usize) -> f64 {
        self.squares[one * self.count + other]
    }

    /// Reads every update once, block by block.
    pub(crate) fn measure<S: Source>(
        round: &Round<S>,
        manifest: &Manifest,
        input: &Input,
    ) -> Result<Self, AggregateError<S::Error>> {
        let cut = Cut {
            sequences: true,
            statistics: true,
        };
        let segments = cut.segments(manifest, input);
        let mut ranges = segments
            .iter()
            .filter(|segment| !segment.statistic)
            .flat_map(|segment| blocks(segment.range.clone()).map(move |range| (segment, range)));
        let count = round.all().len();
        let mut squares = vec![0.0; count * count];
        loop {
            let batch: Vec<(&Segment, Range<usize>)> = ranges.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                return Ok(Self { count, squares });
            }
            let compared: Vec<_> = batch
                .into_par_iter()
                .map(|(segment, range)| compare_block(round, segment, range))
                .collect();
            // In the order of the blocks, so that no number of threads changes a bit.
            for block in compared {
                for (sum, square) in squares.iter_mut().zip(block?) {
                    *sum += square;
                }
            }
        }
    }
}

/// The squares of the distances within one block.
fn compare_block<S: Source>(
    round: &Round<S>,
    segment: &Segment,
    range: Range<usize>,
) -> Result<Vec<f64>, AggregateError<S::Error>> {
    let mut learnt = Vec::new();
    for update in round.all() {
        let mut values = vec![0.0f32; range.len()];
        if segment.is_taught_by(&update.contribution) {
            update.read(range.start, &mut values)?;
        } else {
            round.read_model(round.newest(), range.start, &mut values)?;
        }
        learnt.push(values);
    }
    let count = learnt.len();
    let mut squares = vec![0.0; count * count];
    for one in 0..count {
        for other in 0..one {
            let square = squared_distance(&learnt[one], &learnt[other]);
            squares[one * count + other] = square;
            squares[other * count + one] = square;
        }
    }
    Ok(squares)
}

/// Several sums at a time, always the same ones, which a processor adds at once.
fn squared_distance(one: &[f32], other: &[f32]) -> f64 {
    const LANES: usize = 8;
    let mut sums = [0.0f64; LANES];
    for (ones, others) in one.chunks(LANES).zip(other.chunks(LANES)) {
        for ((sum, one), other) in sums.iter_mut().zip(ones).zip(others) {
            let difference = f64::from(*one) - f64::from(*other);
            *sum += difference * difference;
        }
    }
    sums.iter().sum()
}
