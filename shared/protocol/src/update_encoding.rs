//! What a site learnt, in fewer bytes: the difference between its update and the model it started
//! from, rounded.
//!
//! Kernels, nearly all of a network, are rounded to half as many bits ([`Precision::Bf16`], a
//! quarter of the digits) or to whole numbers of 8 bits behind one scale for each [`GROUP`] of
//! values ([`Precision::Int8`]). Everything else, the vectors of normalisation layers and biases,
//! travels as it is: it is less than a hundredth, and a rounded variance could be negative.
//!
//! What rounding lost is not lost: the site adds it to what it learns in the next round ("error
//! feedback": Seide et al. 2014; Karimireddy et al. 2019, arXiv 1901.09847). With an update that
//! the coordinator does not take, as it does with one that comes too late, goes what it made good.
//! Encoding and decoding compute in `f32` and in the same order at both ends, so the coordinator
//! averages to the bit what the site believes to have sent.

use crate::parameters::{Kind, Manifest, TensorSpec};
use crate::settings::Precision;
use half::bf16;
use std::ops::Range;

/// Values that share one scale, within one tensor.
pub const GROUP: usize = 1024;
/// Bytes of a scale.
const SCALE: usize = 4;
/// The largest whole number that 8 bits hold on both sides of zero.
const MOST: f32 = 127.0;

/// How a run of values is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// The values themselves, as `f32`.
    Exact,
    /// Differences as bfloat16.
    Bf16,
    /// For each group a scale as `f32`, then differences as multiples of it.
    Int8,
}

impl How {
    fn of(spec: &TensorSpec, precision: Precision) -> Self {
        let kernel = spec.kind == Kind::Weight && spec.shape.len() >= 2;
        match precision {
            Precision::Bf16 if kernel => Self::Bf16,
            Precision::Int8 if kernel => Self::Int8,
            _ => Self::Exact,
        }
    }

    /// Bytes of so many values from a group's beginning on.
    fn bytes(self, values: usize) -> u64 {
        let bytes = match self {
            Self::Exact => 4 * values,
            Self::Bf16 => 2 * values,
            Self::Int8 => values + SCALE * values.div_ceil(GROUP),
        };
        bytes as u64
    }
}

/// One tensor's values and bytes.
#[derive(Clone, Debug)]
struct Piece {
    values: Range<usize>,
    at: u64,
    how: How,
}

/// Where each value of a model is in an encoded update.
#[derive(Clone, Debug)]
pub struct Encoding {
    pieces: Vec<Piece>,
    bytes: u64,
}

/// Values that are decoded together, and where their bytes are.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The values' indices.
    pub values: Range<usize>,
    /// Their bytes, from the encoded update's beginning.
    pub bytes: Range<u64>,
    how: How,
}

impl Encoding {
    /// The encoding of a model's updates; `None` where they travel as they are.
    #[must_use]
    pub fn new(manifest: &Manifest, precision: Precision) -> Option<Self> {
        if precision == Precision::F32 {
            return None;
        }
        let mut bytes = 0;
        let piece = |(spec, values): (&TensorSpec, Range<usize>)| {
            let (how, at) = (How::of(spec, precision), bytes);
            bytes += how.bytes(values.len());
            Piece { values, at, how }
        };
        let pieces = manifest.ranges().map(piece).collect();
        Some(Self { pieces, bytes })
    }

    /// How many bytes an encoded update takes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What has to be read for the values of `range`: spans in order, whose first and last may
    /// reach beyond it.
    pub fn spans(&self, range: Range<usize>) -> impl Iterator<Item = Span> + '_ {
        let first = self
            .pieces
            .partition_point(|piece| piece.values.end <= range.start);
        let pieces = self.pieces[first..]
            .iter()
            .take_while(move |piece| piece.values.start < range.end);
        let (start, end) = (range.start, range.end);
        pieces
            .filter(|piece| !piece.values.is_empty())
            .map(move |piece| piece.span(start, end))
    }

    /// Writes the differences between `learnt` and `start`. `residual` is what was lost in the
    /// round before; afterwards, what is lost now. All three are as long as the model.
    #[must_use]
    pub fn encode(&self, start: &[f32], learnt: &[f32], residual: &mut [f32]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes as usize);
        let mut decoded = Vec::new();
        for span in self.spans(0..start.len()) {
            let (start, residual) = (
                &start[span.values.clone()],
                &mut residual[span.values.clone()],
            );
            residual
                .iter_mut()
                .zip(&learnt[span.values.clone()])
                .for_each(|(lost, learnt)| *lost += learnt);
            let at = out.len();
            span.encode(start, residual, &mut out);
            decoded.clear();
            decoded.extend_from_slice(start);
            span.decode(&out[at..], &mut decoded);
            residual
                .iter_mut()
                .zip(&decoded)
                .for_each(|(wanted, sent)| *wanted -= sent);
        }
        out
    }
}

impl Piece {
    fn span(&self, start: usize, end: usize) -> Span {
        let inside =
            |index: usize| index.clamp(self.values.start, self.values.end) - self.values.start;
        // Groups count from the tensor's first value.
        let from = inside(start) / GROUP * GROUP;
        let to = inside(end).next_multiple_of(GROUP).min(self.values.len());
        let bytes = self.at + self.how.bytes(from)..self.at + self.how.bytes(to);
        Span {
            values: self.values.start + from..self.values.start + to,
            bytes,
            how: self.how,
        }
    }
}

impl Span {
    fn encode(&self, start: &[f32], wanted: &[f32], out: &mut Vec<u8>) {
        let difference = |(wanted, start): (&f32, &f32)| wanted - start;
        match self.how {
            How::Exact => wanted
                .iter()
                .for_each(|value| out.extend(value.to_le_bytes())),
            How::Bf16 => {
                let differences = wanted.iter().zip(start).map(difference);
                differences.for_each(|value| out.extend(bf16::from_f32(value).to_le_bytes()));
            }
            How::Int8 => {
                for (wanted, start) in wanted.chunks(GROUP).zip(start.chunks(GROUP)) {
                    let differences = || wanted.iter().zip(start).map(difference);
                    let scale = differences().map(f32::abs).fold(0.0, f32::max) / MOST;
                    // A group that did not move, or by less than can be told, has the scale 0.
                    let factor = if scale.is_normal() { 1.0 / scale } else { 0.0 };
                    out.extend((if factor == 0.0 { 0.0 } else { scale }).to_le_bytes());
                    out.extend(differences().map(|value| {
                        (value * factor).round_ties_even().clamp(-MOST, MOST) as i8 as u8
                    }));
                }
            }
        }
    }

    /// Decodes the span's bytes; `values` holds the model that the site started from and becomes
    /// the update.
    pub fn decode(&self, bytes: &[u8], values: &mut [f32]) {
        match self.how {
            How::Exact => {
                let exact = bytes
                    .as_chunks::<4>()
                    .0
                    .iter()
                    .map(|quad| f32::from_le_bytes(*quad));
                values
                    .iter_mut()
                    .zip(exact)
                    .for_each(|(value, exact)| *value = exact);
            }
            How::Bf16 => {
                let differences = bytes
                    .as_chunks::<2>()
                    .0
                    .iter()
                    .map(|pair| bf16::from_le_bytes(*pair).to_f32());
                values
                    .iter_mut()
                    .zip(differences)
                    .for_each(|(value, difference)| *value += difference);
            }
            How::Int8 => {
                for (group, values) in bytes.chunks(SCALE + GROUP).zip(values.chunks_mut(GROUP)) {
                    let Some((scale, numbers)) = group.split_first_chunk::<SCALE>() else {
                        return;
                    };
                    let scale = f32::from_le_bytes(*scale);
                    let differences = numbers
                        .iter()
                        .map(|&number| f32::from(number as i8) * scale);
                    values
                        .iter_mut()
                        .zip(differences)
                        .for_each(|(value, difference)| *value += difference);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
