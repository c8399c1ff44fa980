//! Blocks of the next model, made on several cores at a time and given away in order. What a block
//! holds depends on nothing but its range, so neither the number of threads nor their luck changes
//! a bit of it.

use crate::round::Round;
use crate::rules::Rule;
use crate::segment::Segment;
use crate::{AggregateError, BLOCK, Source};
use rayon::prelude::*;
use std::ops::Range;

/// Blocks made at a time; while they are made those before are written. With what making them
/// takes, ten megabytes in all.
const BATCH: usize = 16;

/// A run of values of one segment, [`BLOCK`] at most, and room to make them. All slices but
/// `state` are as long as the run.
#[derive(Debug)]
pub struct Block<'a> {
    /// The segment that the values are of.
    pub segment: &'a Segment,
    /// The first value's index in the flat model.
    pub start: usize,
    /// The next model's values, which the rule sets. What they are before means nothing.
    pub values: &'a mut [f32],
    /// What the rule keeps for these values, [`Rule::kept`] times as many: as it was left with the
    /// newest model, zeros before the first. The rule chooses their order.
    pub state: &'a mut [f32],
    /// Room for sums, all 0.
    pub sums: &'a mut [f64],
    /// Room for an update's values.
    pub update: &'a mut [f32],
    /// Room for the values of the model that it started from.
    pub base: &'a mut [f32],
}

/// What is to be stored of a block that was made.
#[derive(Clone, Copy, Debug)]
pub struct Made<'a> {
    /// The next model's values; they follow those of the block before.
    pub values: &'a [f32],
    /// What the rule keeps; empty where it keeps nothing.
    pub state: &'a [f32],
}

/// A block's memory.
struct Buffers<'a> {
    segment: &'a Segment,
    start: usize,
    values: Vec<f32>,
    state: Vec<f32>,
    sums: Vec<f64>,
    update: Vec<f32>,
    base: Vec<f32>,
}

impl<'a> Buffers<'a> {
    /// Takes over the memory of one that was written, if there is one.
    fn new(segment: &'a Segment, range: Range<usize>, kept: usize, spare: Option<Self>) -> Self {
        let mut buffers = spare.unwrap_or_else(|| Self {
            segment,
            start: 0,
            values: Vec::new(),
            state: Vec::new(),
            sums: Vec::new(),
            update: Vec::new(),
            base: Vec::new(),
        });
        (buffers.segment, buffers.start) = (segment, range.start);
        buffers.sums.clear();
        buffers.sums.resize(range.len(), 0.0);
        buffers.values.resize(range.len(), 0.0);
        buffers.state.resize(range.len() * kept, 0.0);
        buffers.update.resize(range.len(), 0.0);
        buffers.base.resize(range.len(), 0.0);
        buffers
    }

    fn block(&mut self) -> Block<'_> {
        Block {
            segment: self.segment,
            start: self.start,
            values: &mut self.values,
            state: &mut self.state,
            sums: &mut self.sums,
            update: &mut self.update,
            base: &mut self.base,
        }
    }
}

/// Makes the values of all segments by a rule and gives them to `write`, in their order.
pub(crate) fn in_order<S: Source>(
    segments: &[Segment],
    rule: &dyn Rule<S>,
    round: &Round<S>,
    mut write: impl FnMut(Made<'_>) -> Result<(), S::Error> + Send,
) -> Result<(), AggregateError<S::Error>> {
    let kept = rule.kept();
    let make = |buffers: &mut Buffers<'_>| {
        if kept > 0 {
            round.read_state(buffers.start * kept, &mut buffers.state)?;
        }
        rule.combine(round, &mut buffers.block())
    };
    let mut ranges = segments
        .iter()
        .flat_map(|segment| blocks(segment.range.clone()).map(move |range| (segment, range)));
    let (mut made, mut next) = (Vec::new(), Vec::new());
    loop {
        refill(&mut next, kept, &mut ranges);
        if made.is_empty() && next.is_empty() {
            return Ok(());
        }
        let (written, done) = rayon::join(
            || {
                made.iter().try_for_each(|buffers: &Buffers<'_>| {
                    write(Made {
                        values: &buffers.values,
                        state: &buffers.state,
                    })
                })
            },
            || next.par_iter_mut().try_for_each(make),
        );
        written.map_err(AggregateError::Storage)?;
        done?;
        std::mem::swap(&mut made, &mut next);
    }
}

/// The next blocks to make, in the place of those that are written.
fn refill<'a>(
    blocks: &mut Vec<Buffers<'a>>,
    kept: usize,
    ranges: &mut impl Iterator<Item = (&'a Segment, Range<usize>)>,
) {
    let mut spare = std::mem::take(blocks).into_iter();
    for (segment, range) in ranges.take(BATCH) {
        blocks.push(Buffers::new(segment, range, kept, spare.next()));
    }
}

pub(crate) fn blocks(range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    range
        .clone()
        .step_by(BLOCK)
        .map(move |start| start..range.end.min(start + BLOCK))
}
