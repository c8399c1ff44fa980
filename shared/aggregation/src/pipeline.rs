//! Blocks of the next model, made on several cores at a time and given away in order. What a block
//! holds depends on nothing but its range, so neither the number of threads nor their luck changes
//! a bit of it.

use super::{AggregateError, BLOCK, Contribution, Segment, Source, Updates};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Blocks made at a time; while they are made those before are written. With what making them
/// takes, ten megabytes in all.
const BATCH: usize = 16;

/// A run of values of one segment, and what is needed to make them: all as long as the run, with
/// sums of 0.
pub(super) struct Block<'a> {
    pub(super) segment: &'a Segment,
    pub(super) start: usize,
    pub(super) values: Vec<f32>,
    pub(super) sums: Vec<f64>,
    pub(super) update: Vec<f32>,
    pub(super) base: Vec<f32>,
}

impl<'a> Block<'a> {
    fn new(segment: &'a Segment, range: Range<usize>, spare: Option<Self>) -> Self {
        let (mut values, mut sums, mut update, mut base) = spare
            .map_or_else(Default::default, |block| {
                (block.values, block.sums, block.update, block.base)
            });
        sums.clear();
        sums.resize(range.len(), 0.0);
        [&mut values, &mut update, &mut base]
            .into_iter()
            .for_each(|part| part.resize(range.len(), 0.0));
        Self {
            segment,
            start: range.start,
            values,
            sums,
            update,
            base,
        }
    }
}

/// A source that one thread reads at a time.
pub(super) struct Shared<S>(Mutex<S>);

impl<S: Source> Shared<S> {
    pub(super) fn new(source: S) -> Self {
        Self(Mutex::new(source))
    }

    pub(super) fn read(
        &self,
        start: usize,
        out: &mut [f32],
    ) -> Result<(), AggregateError<S::Error>> {
        // A thread that panicked has broken off the whole average.
        let mut source = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        source.read(start, out).map_err(AggregateError::Storage)
    }
}

/// The updates as all threads read them, in site order.
pub(super) fn shared<S: Source>(updates: Updates<S>) -> Vec<(Contribution, Shared<S>)> {
    updates
        .into_iter()
        .map(|(contribution, update)| (contribution, Shared::new(update.source)))
        .collect()
}

/// Makes the values of all segments and gives them to `write`, in their order.
pub(super) fn in_order<E: Send>(
    segments: &[Segment],
    make: impl Fn(&mut Block<'_>) -> Result<(), AggregateError<E>> + Sync,
    mut write: impl FnMut(&[f32]) -> Result<(), E> + Send,
) -> Result<(), AggregateError<E>> {
    let mut ranges = segments
        .iter()
        .flat_map(|segment| blocks(segment.range.clone()).map(move |range| (segment, range)));
    let (mut made, mut next) = (Vec::new(), Vec::new());
    loop {
        refill(&mut next, &mut ranges);
        if made.is_empty() && next.is_empty() {
            return Ok(());
        }
        let (written, done) = rayon::join(
            || {
                made.iter()
                    .try_for_each(|block: &Block<'_>| write(&block.values))
            },
            || next.par_iter_mut().try_for_each(&make),
        );
        written.map_err(AggregateError::Storage)?;
        done?;
        std::mem::swap(&mut made, &mut next);
    }
}

/// The next blocks to make, in the place of those that are written.
fn refill<'a>(
    blocks: &mut Vec<Block<'a>>,
    ranges: &mut impl Iterator<Item = (&'a Segment, Range<usize>)>,
) {
    let mut spare = std::mem::take(blocks).into_iter();
    blocks.extend(
        ranges
            .take(BATCH)
            .map(|(segment, range)| Block::new(segment, range, spare.next())),
    );
}

pub(super) fn blocks(range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    range
        .clone()
        .step_by(BLOCK)
        .map(move |start| start..range.end.min(start + BLOCK))
}
