//! Atrous convolution on the CPU, forward and backward, as matrix products over gathered patches.
//!
//! Three things make it faster than the general convolution of the tensor library. The channels of
//! a pixel are contiguous, so patches are gathered in runs. The gradient of a kernel is one product
//! of the patches with the output's gradient, not a convolution with a kernel as large as the
//! image. And where the dilation is large compared with the feature map, as in the pyramid, most
//! taps of a kernel see only padding at most places. There each tap becomes a product of its own
//! over the places where it sees the map; the products with zeros are left out.
//!
//! The order of sums depends on shapes only, so results do not depend on the number of threads.

use super::matrix::Matrix;
use rayon::prelude::*;
use std::ops::Range;

/// Floats of patches gathered at once: as many as stay in a core's cache.
const PATCHES: usize = 1 << 18;
/// The share of multiplications that must be saved before taps are worth products of their own.
const SPARED: f64 = 0.25;

/// A convolution without groups, the same along both axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// `[batch, height, width, inputs]` of the input.
    pub(crate) input: [usize; 4],
    /// `[outputs, inputs, side, side]` of the kernel.
    pub(crate) kernel: [usize; 4],
    /// Input pixels per output pixel.
    pub(crate) stride: usize,
    /// Zeros around the input.
    pub(crate) padding: usize,
    /// Input pixels between neighbouring taps.
    pub(crate) dilation: usize,
}

/// Output rows and columns at which some neighbouring taps are evaluated together.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    /// Places in the kernel, row by row: all of them, or one.
    taps: Range<usize>,
    rows: Range<usize>,
    columns: Range<usize>,
}

/// Consecutive output rows of a group, counted through all images: `image * rows + row`.
type Block = Range<usize>;

/// One output row of one image.
#[derive(Clone, Copy)]
struct OutputRow {
    image: usize,
    row: usize,
}

/// Contiguous values that a patch shares with the input.
struct Run {
    /// The index of the first value in the input.
    input: usize,
    /// Its index in the patches of the row.
    patch: usize,
    length: usize,
}

impl Geometry {
    /// `[batch, height, width, outputs]` of the output.
    pub(crate) fn output(&self) -> [usize; 4] {
        let [batch, height, width, _] = self.input;
        let rows = self.output_side(height);
        let columns = self.output_side(width);
        [batch, rows, columns, self.kernel[0]]
    }

    fn output_side(&self, input: usize) -> usize {
        let span = self.dilation * (self.kernel[2] - 1) + 1;
        (input + 2 * self.padding).saturating_sub(span) / self.stride + 1
    }

    fn taps(&self) -> usize {
        self.kernel[2] * self.kernel[3]
    }

    /// The distance of a step along the kernel from `stride * output pixel`.
    fn offset(&self, step: usize) -> isize {
        (step * self.dilation) as isize - self.padding as isize
    }

    /// Output places along one axis from which a step sees the input.
    fn seeing(&self, step: usize, input: usize, output: usize) -> Range<usize> {
        let offset = self.offset(step);
        let stride = self.stride as isize;
        let first = ((-offset).max(0) + stride - 1) / stride;
        let end = (input as isize - offset + stride - 1)
            .div_euclid(stride)
            .clamp(0, output as isize);
        first as usize..(end as usize).max(first as usize)
    }

    /// One group of all taps, if nearly all of them see the map from everywhere; otherwise a group
    /// for each tap that sees it.
    fn groups(&self) -> Vec<Group> {
        let [_, height, width, _] = self.input;
        let [_, rows, columns, _] = self.output();
        let mut each = Vec::with_capacity(self.taps());
        let mut needed = 0;
        for tap in 0..self.taps() {
            let group = Group {
                taps: tap..tap + 1,
                rows: self.seeing(tap / self.kernel[3], height, rows),
                columns: self.seeing(tap % self.kernel[3], width, columns),
            };
            if group.places() > 0 {
                needed += group.places();
                each.push(group);
            }
        }
        let all = self.taps() * rows * columns;
        if needed as f64 > (1.0 - SPARED) * all as f64 {
            return vec![Group {
                taps: 0..self.taps(),
                rows: 0..rows,
                columns: 0..columns,
            }];
        }
        each
    }

    /// A group's rows in blocks whose patches fit [`PATCHES`].
    fn blocks(&self, group: &Group) -> impl Iterator<Item = Block> + use<> {
        let row = group.taps.len() * self.kernel[1] * group.columns.len();
        let all = self.input[0] * group.rows.len();
        let step = (PATCHES / row.max(1)).max(1);
        (0..all)
            .step_by(step)
            .map(move |from| from..(from + step).min(all))
    }

    /// Visits the runs of values that a group's taps see from the places of one output row, in the
    /// order of the row's patches.
    fn runs(&self, group: &Group, place: OutputRow, mut visit: impl FnMut(Run)) {
        let [_, height, width, channels] = self.input;
        let side = self.kernel[3];
        // Neighbouring taps see neighbouring values, unless the dilation puts others between them.
        let together = if self.dilation == 1 { side } else { 1 };
        for (nth, column) in group.columns.clone().enumerate() {
            for first in group.taps.clone().step_by(together) {
                let down = self.offset(first / side);
                let Some(row) = (place.row * self.stride)
                    .checked_add_signed(down)
                    .filter(|&row| row < height)
                else {
                    continue;
                };
                let taps = together.min(group.taps.end - first);
                let from = (column * self.stride) as isize + self.offset(first % side);
                let skipped = (-from).clamp(0, taps as isize) as usize;
                let end = (width as isize - from).clamp(skipped as isize, taps as isize) as usize;
                if skipped < end {
                    let column = from.wrapping_add_unsigned(skipped) as usize;
                    let pixel = (place.image * height + row) * width + column;
                    let tap = nth * group.taps.len() + first - group.taps.start + skipped;
                    visit(Run {
                        input: pixel * channels,
                        patch: tap * channels,
                        length: (end - skipped) * channels,
                    });
                }
            }
        }
    }
}

impl Group {
    fn places(&self) -> usize {
        self.rows.len() * self.columns.len()
    }

    /// The place of a counted row.
    fn place(&self, counted: usize) -> OutputRow {
        OutputRow {
            image: counted / self.rows.len(),
            row: self.rows.start + counted % self.rows.len(),
        }
    }

    /// The block's counted rows in one image, from 0 at the block's first row.
    fn of_image(&self, block: &Block, image: usize) -> Range<usize> {
        let rows = self.rows.len();
        let start = (image * rows).clamp(block.start, block.end);
        let end = ((image + 1) * rows).clamp(block.start, block.end);
        start - block.start..end - block.start
    }

    /// The values of a counted row's places in a tensor of the output's shape.
    fn outputs(&self, counted: usize, [_, rows, columns, outputs]: [usize; 4]) -> Range<usize> {
        let OutputRow { image, row } = self.place(counted);
        let start = (image * rows + row) * columns;
        (start + self.columns.start) * outputs..(start + self.columns.end) * outputs
    }
}

/// The convolution, `[batch, height, width, outputs]`.
pub(crate) fn forward(geometry: &Geometry, input: &[f32], kernel: &[f32]) -> Vec<f32> {
    let shape = geometry.output();
    let kernel = by_tap(geometry, kernel);
    let mut output = vec![0.0; shape.iter().product()];
    let mut buffer = Vec::new();
    for group in geometry.groups() {
        let weights = weights(geometry, &kernel, &group).transposed(); // [taps x inputs, outputs]
        for block in geometry.blocks(&group) {
            let patches = patches(geometry, input, &group, &block, buffer);
            let product = patches.times(&weights); // [places, outputs]
            let rows = product
                .values()
                .chunks_exact(group.columns.len() * shape[3]);
            for (row, values) in block.zip(rows) {
                add(&mut output[group.outputs(row, shape)], values);
            }
            buffer = patches.into_buffer();
        }
    }
    output
}

/// The gradient with respect to the input, `[batch, height, width, inputs]`.
pub(crate) fn to_input(geometry: &Geometry, gradient: &[f32], kernel: &[f32]) -> Vec<f32> {
    let kernel = by_tap(geometry, kernel);
    let mut to_input = vec![0.0; geometry.input.iter().product()];
    for group in geometry.groups() {
        let weights = weights(geometry, &kernel, &group); // [outputs, taps x inputs]
        for block in geometry.blocks(&group) {
            let gradient = places(geometry, gradient, &group, &block); // [places, outputs]
            add_patches(
                geometry,
                &mut to_input,
                &group,
                &block,
                gradient.times(&weights).values(),
            );
        }
    }
    to_input
}

/// The gradient with respect to the kernel, `[outputs, inputs, side, side]`.
pub(crate) fn to_kernel(geometry: &Geometry, gradient: &[f32], input: &[f32]) -> Vec<f32> {
    let mut to_kernel = vec![0.0; geometry.kernel.iter().product()];
    let mut buffer = Vec::new();
    for group in geometry.groups() {
        for block in geometry.blocks(&group) {
            let gradient = places(geometry, gradient, &group, &block); // [places, outputs]
            let patches = patches(geometry, input, &group, &block, buffer);
            add_weights(
                geometry,
                &mut to_kernel,
                &group,
                gradient.transposed().times(&patches).values(),
            );
            buffer = patches.into_buffer();
        }
    }
    by_input(geometry, &to_kernel)
}

/// The kernel with its taps outside: `[outputs, taps x inputs]`.
fn by_tap(geometry: &Geometry, kernel: &[f32]) -> Matrix {
    let [outputs, inputs, ..] = geometry.kernel;
    Matrix::new(
        turned(kernel, inputs, geometry.taps()),
        [outputs, geometry.taps() * inputs],
    )
}

/// `[outputs, taps x inputs]` as a kernel again.
fn by_input(geometry: &Geometry, kernel: &[f32]) -> Vec<f32> {
    turned(kernel, geometry.taps(), geometry.kernel[1])
}

/// Matrices of `rows` by `columns`, one after the other, each transposed.
fn turned(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    if rows == 1 || columns == 1 {
        return values.to_vec();
    }
    let mut turned = vec![0.0; values.len()];
    for (from, to) in values
        .chunks_exact(rows * columns)
        .zip(turned.chunks_exact_mut(rows * columns))
    {
        for (column, to) in to.chunks_exact_mut(rows).enumerate() {
            for (to, &from) in to.iter_mut().zip(from[column..].iter().step_by(columns)) {
                *to = from;
            }
        }
    }
    turned
}

/// A group's part of the kernel, `[outputs, taps x inputs]`.
fn weights(geometry: &Geometry, kernel: &Matrix, group: &Group) -> Matrix {
    let inputs = geometry.kernel[1];
    kernel.columns(group.taps.start * inputs..group.taps.end * inputs)
}

/// Adds a group's gradient, `[outputs, taps x inputs]`, to the kernel's.
fn add_weights(geometry: &Geometry, kernel: &mut [f32], group: &Group, gradient: &[f32]) {
    let [_, inputs, ..] = geometry.kernel;
    let taps = group.taps.start * inputs..group.taps.end * inputs;
    let outputs = kernel.chunks_exact_mut(geometry.taps() * inputs);
    for (to, from) in outputs.zip(gradient.chunks_exact(taps.len())) {
        add(&mut to[taps.clone()], from);
    }
}

/// What the taps see from a block's places, `[places, taps x inputs]`, in a buffer that served
/// before.
fn patches(
    geometry: &Geometry,
    input: &[f32],
    group: &Group,
    block: &Block,
    buffer: Vec<f32>,
) -> Matrix {
    let columns = group.columns.len();
    let length = group.taps.len() * geometry.kernel[1];
    let mut values = buffer;
    values.resize(block.len() * columns * length, 0.0);
    values
        .par_chunks_exact_mut(columns * length)
        .enumerate()
        .for_each(|(at, row)| {
            let mut filled = 0;
            geometry.runs(group, group.place(block.start + at), |run| {
                let end = run.patch + run.length;
                row[filled..run.patch].fill(0.0);
                row[run.patch..end].copy_from_slice(&input[run.input..run.input + run.length]);
                filled = end;
            });
            row[filled..].fill(0.0);
        });
    Matrix::new(values, [block.len() * columns, length])
}

/// Adds the gradient of what the taps saw, `[places, taps x inputs]`, to the input's.
fn add_patches(
    geometry: &Geometry,
    input: &mut [f32],
    group: &Group,
    block: &Block,
    gradient: &[f32],
) {
    let row = group.columns.len() * group.taps.len() * geometry.kernel[1];
    let image = geometry.input[1..].iter().product();
    input
        .par_chunks_exact_mut(image)
        .enumerate()
        .for_each(|(image, input)| {
            for at in group.of_image(block, image) {
                // `input` is one image.
                let place = OutputRow {
                    image: 0,
                    row: group.place(block.start + at).row,
                };
                let gradient = &gradient[at * row..][..row];
                geometry.runs(group, place, |run| {
                    let seen = &mut input[run.input..run.input + run.length];
                    add(seen, &gradient[run.patch..run.patch + run.length]);
                });
            }
        });
}

/// A block's places of a tensor of the output's shape: `[places, outputs]`.
fn places(geometry: &Geometry, output: &[f32], group: &Group, block: &Block) -> Matrix {
    let shape = geometry.output();
    let rows = block.len() * group.columns.len();
    let mut values = Vec::with_capacity(rows * shape[3]);
    for row in block.clone() {
        values.extend_from_slice(&output[group.outputs(row, shape)]);
    }
    Matrix::new(values, [rows, shape[3]])
}

fn add(to: &mut [f32], from: &[f32]) {
    for (to, &from) in to.iter_mut().zip(from) {
        *to += from;
    }
}

#[cfg(test)]
mod tests;
