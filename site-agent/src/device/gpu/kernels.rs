//! The programs that run on a GPU, one value a thread, neighbouring threads on neighbouring
//! values.
//!
//! Values are stored in the tensors' own type and computed with in 32 bits.

use cubecl::prelude::*;

/// Sums over rows, in parts: from `[groups, rows, columns]` to `[groups, parts, columns]`, each
/// part over every `parts`-th row.
#[cube(launch)]
pub(super) fn sum_rows<I: Float, O: Float>(
    input: &[I],
    output: &mut [O],
    rows: usize,
    columns: usize,
    parts: usize,
    #[define(I, O)] _types: [ElemType; 2],
) {
    if ABSOLUTE_POS >= output.len() {
        terminate!();
    }
    let column = ABSOLUTE_POS % columns;
    let part = (ABSOLUTE_POS / columns) % parts;
    let group = ABSOLUTE_POS / columns / parts;
    let mut sum = 0.0f32;
    let mut row = part;
    while row < rows {
        sum += f32::cast_from(input[(group * rows + row) * columns + column]);
        row += parts;
    }
    output[ABSOLUTE_POS] = O::cast_from(sum);
}

/// Sums of each channel's distances from its first value, and of their squares: from `[rows,
/// channels]` to `[parts, 2, channels]`. Distances from a value that is about as large as the
/// others lose no digits, as sums of the values themselves would.
#[cube(launch)]
pub(super) fn sum_moments<I: Float>(
    input: &[I],
    output: &mut [f32],
    rows: usize,
    channels: usize,
    parts: usize,
    #[define(I)] _type: ElemType,
) {
    if ABSOLUTE_POS >= parts * channels {
        terminate!();
    }
    let channel = ABSOLUTE_POS % channels;
    let part = ABSOLUTE_POS / channels;
    let origin = f32::cast_from(input[channel]);
    let mut first = 0.0f32;
    let mut second = 0.0f32;
    let mut row = part;
    while row < rows {
        let distance = f32::cast_from(input[row * channels + channel]) - origin;
        first += distance;
        second += distance * distance;
        row += parts;
    }
    output[2 * part * channels + channel] = first;
    output[(2 * part + 1) * channels + channel] = second;
}

/// Mean and biased variance of each channel, `[2, channels]`, from the sums of [`sum_moments`],
/// `[2, channels]`.
#[cube(launch)]
pub(super) fn mean_and_variance<I: Float>(
    input: &[I],
    sums: &[f32],
    output: &mut [f32],
    rows: usize,
    channels: usize,
    #[define(I)] _type: ElemType,
) {
    if ABSOLUTE_POS >= channels {
        terminate!();
    }
    let channel = ABSOLUTE_POS;
    let count = f32::cast_from(rows);
    let shift = sums[channel] / count;
    let variance = sums[channels + channel] / count - shift * shift;
    output[channel] = f32::cast_from(input[channel]) + shift;
    // Rounding may give a little less than zero; NaN stays NaN.
    output[channels + channel] = select(variance < 0.0f32, 0.0f32, variance);
}

/// One value after normalisation: see [`normalise`].
#[cube]
fn normal(value: f32, statistics: &[f32], channel: usize, channels: usize, epsilon: f32) -> f32 {
    (value - statistics[channel]) / (statistics[channels + channel] + epsilon).sqrt()
}

/// Batch normalisation, followed by a rectifier if `rectified`.
#[cube(launch)]
pub(super) fn normalise<I: Float>(
    input: &[I],
    statistics: &[f32],
    weight: &[f32],
    bias: &[f32],
    output: &mut [I],
    channels: usize,
    epsilon: f32,
    #[comptime] rectified: bool,
    #[define(I)] _type: ElemType,
) {
    if ABSOLUTE_POS >= output.len() {
        terminate!();
    }
    let channel = ABSOLUTE_POS % channels;
    let normal = normal(
        f32::cast_from(input[ABSOLUTE_POS]),
        statistics,
        channel,
        channels,
        epsilon,
    );
    let value = normal * weight[channel] + bias[channel];
    if comptime!(rectified) {
        // Not `max`, which would turn NaN into zero.
        output[ABSOLUTE_POS] = I::cast_from(select(value < 0.0f32, 0.0f32, value));
    } else {
        output[ABSOLUTE_POS] = I::cast_from(value);
    }
}

/// The gradient of one value after normalisation, before the rectifier.
#[cube]
fn passed(gradient: f32, normal: f32, weight: f32, bias: f32, #[comptime] rectified: bool) -> f32 {
    if comptime!(rectified) {
        select(normal * weight + bias > 0.0f32, gradient, 0.0f32)
    } else {
        gradient
    }
}

/// For each channel the sums of the gradients, and of the gradients times the normal values: from
/// `[rows, channels]` to `[parts, 2, channels]`.
#[cube(launch)]
pub(super) fn sum_gradients<G: Float, I: Float>(
    gradient: &[G],
    input: &[I],
    statistics: &[f32],
    weight: &[f32],
    bias: &[f32],
    output: &mut [f32],
    rows: usize,
    channels: usize,
    parts: usize,
    epsilon: f32,
    #[comptime] rectified: bool,
    #[define(G, I)] _types: [ElemType; 2],
) {
    if ABSOLUTE_POS >= parts * channels {
        terminate!();
    }
    let channel = ABSOLUTE_POS % channels;
    let part = ABSOLUTE_POS / channels;
    let mut first = 0.0f32;
    let mut second = 0.0f32;
    let mut row = part;
    while row < rows {
        let at = row * channels + channel;
        let normal = normal(
            f32::cast_from(input[at]),
            statistics,
            channel,
            channels,
            epsilon,
        );
        let gradient = passed(
            f32::cast_from(gradient[at]),
            normal,
            weight[channel],
            bias[channel],
            rectified,
        );
        first += gradient;
        second += gradient * normal;
        row += parts;
    }
    output[2 * part * channels + channel] = first;
    output[(2 * part + 1) * channels + channel] = second;
}

/// The gradient of batch normalisation with respect to its input, from the sums of
/// [`sum_gradients`], `[2, channels]`.
#[cube(launch)]
pub(super) fn normalise_back<G: Float, I: Float>(
    gradient: &[G],
    input: &[I],
    statistics: &[f32],
    weight: &[f32],
    bias: &[f32],
    sums: &[f32],
    output: &mut [I],
    rows: usize,
    channels: usize,
    epsilon: f32,
    #[comptime] rectified: bool,
    #[define(G, I)] _types: [ElemType; 2],
) {
    if ABSOLUTE_POS >= output.len() {
        terminate!();
    }
    let channel = ABSOLUTE_POS % channels;
    let count = f32::cast_from(rows);
    let normal = normal(
        f32::cast_from(input[ABSOLUTE_POS]),
        statistics,
        channel,
        channels,
        epsilon,
    );
    let gradient = passed(
        f32::cast_from(gradient[ABSOLUTE_POS]),
        normal,
        weight[channel],
        bias[channel],
        rectified,
    );
    let centred = gradient - sums[channel] / count - normal * sums[channels + channel] / count;
    let scale = weight[channel] / (statistics[channels + channel] + epsilon).sqrt();
    output[ABSOLUTE_POS] = I::cast_from(scale * centred);
}

/// A fixed matrix times each group: `[outputs, rows]` times `[groups, rows, columns]`.
#[cube(launch)]
pub(super) fn multiply<I: Float>(
    input: &[I],
    matrix: &[f32],
    output: &mut [I],
    rows: usize,
    columns: usize,
    outputs: usize,
    #[define(I)] _type: ElemType,
) {
    if ABSOLUTE_POS >= output.len() {
        terminate!();
    }
    let column = ABSOLUTE_POS % columns;
    let to = (ABSOLUTE_POS / columns) % outputs;
    let group = ABSOLUTE_POS / columns / outputs;
    let mut sum = 0.0f32;
    for row in 0..rows {
        sum += matrix[to * rows + row]
            * f32::cast_from(input[(group * rows + row) * columns + column]);
    }
    output[ABSOLUTE_POS] = I::cast_from(sum);
}

/// Products of matrices, the left ones transposed: from `[batch, n, rows]` and `[batch, n,
/// columns]` to `[batch, rows, columns]`. For GPUs without matrix units.
#[cube(launch)]
pub(super) fn multiply_turned<L: Float, R: Float>(
    left: &[L],
    right: &[R],
    output: &mut [f32],
    length: usize,
    rows: usize,
    columns: usize,
    #[define(L, R)] _types: [ElemType; 2],
) {
    if ABSOLUTE_POS >= output.len() {
        terminate!();
    }
    let column = ABSOLUTE_POS % columns;
    let row = (ABSOLUTE_POS / columns) % rows;
    let matrix = ABSOLUTE_POS / columns / rows;
    let mut sum = 0.0f32;
    for at in 0..length {
        let left = f32::cast_from(left[(matrix * length + at) * rows + row]);
        sum += left * f32::cast_from(right[(matrix * length + at) * columns + column]);
    }
    output[ABSOLUTE_POS] = sum;
}

/// Puts zeros between the pixels of a map, and cuts or fills it up at its end: from `[batch,
/// height, width, channels]` to `[batch, new height, new width, channels]`, `stride` apart.
#[cube(launch)]
pub(super) fn spread<I: Float>(
    input: &[I],
    output: &mut [I],
    height: usize,
    width: usize,
    new_height: usize,
    new_width: usize,
    channels: usize,
    stride: usize,
    #[define(I)] _type: ElemType,
) {
    if ABSOLUTE_POS >= output.len() {
        terminate!();
    }
    let channel = ABSOLUTE_POS % channels;
    let x = (ABSOLUTE_POS / channels) % new_width;
    let y = (ABSOLUTE_POS / channels / new_width) % new_height;
    let image = ABSOLUTE_POS / channels / new_width / new_height;
    if x % stride == 0 && y % stride == 0 && x / stride < width && y / stride < height {
        let from = ((image * height + y / stride) * width + x / stride) * channels + channel;
        output[ABSOLUTE_POS] = input[from];
    } else {
        output[ABSOLUTE_POS] = I::cast_from(0.0f32);
    }
}

/// What the taps of a kernel see from each place of the output: from `[batch, height, width,
/// inputs]` to `[batch, rows, columns, side, side, inputs]`, zero beyond the map.
#[cube(launch)]
pub(super) fn patches<I: Float>(
    input: &[I],
    output: &mut [I],
    height: usize,
    width: usize,
    inputs: usize,
    rows: usize,
    columns: usize,
    side: usize,
    stride: usize,
    padding: usize,
    dilation: usize,
    #[define(I)] _type: ElemType,
) {
    if ABSOLUTE_POS >= output.len() {
        terminate!();
    }
    let channel = ABSOLUTE_POS % inputs;
    let tap = (ABSOLUTE_POS / inputs) % (side * side);
    let place = ABSOLUTE_POS / inputs / side / side;
    // From the padded map's corner, so that nothing is negative.
    let y = (place / columns) % rows * stride + tap / side * dilation;
    let x = place % columns * stride + tap % side * dilation;
    if y >= padding && x >= padding && y < height + padding && x < width + padding {
        let image = place / columns / rows;
        let from = ((image * height + y - padding) * width + x - padding) * inputs + channel;
        output[ABSOLUTE_POS] = input[from];
    } else {
        output[ABSOLUTE_POS] = I::cast_from(0.0f32);
    }
}

/// The sum of two tensors, and no less than zero.
#[cube(launch)]
pub(super) fn join<I: Float>(
    left: &[I],
    right: &[I],
    output: &mut [I],
    #[define(I)] _type: ElemType,
) {
    if ABSOLUTE_POS >= output.len() {
        terminate!();
    }
    let value = f32::cast_from(left[ABSOLUTE_POS]) + f32::cast_from(right[ABSOLUTE_POS]);
    output[ABSOLUTE_POS] = I::cast_from(select(value < 0.0f32, 0.0f32, value));
}

/// Gradients where a join was not cut off, nothing elsewhere.
#[cube(launch)]
pub(super) fn pass<G: Float, I: Float>(
    gradient: &[G],
    joined: &[I],
    output: &mut [G],
    #[define(G, I)] _types: [ElemType; 2],
) {
    if ABSOLUTE_POS >= output.len() {
        terminate!();
    }
    let gradient = f32::cast_from(gradient[ABSOLUTE_POS]);
    output[ABSOLUTE_POS] = G::cast_from(select(
        f32::cast_from(joined[ABSOLUTE_POS]) > 0.0f32,
        gradient,
        0.0f32,
    ));
}

/// Sums of squares: every `parts`-th value counts to the same part.
#[cube(launch)]
pub(super) fn sum_squares<I: Float>(
    input: &[I],
    output: &mut [f32],
    parts: usize,
    #[define(I)] _type: ElemType,
) {
    if ABSOLUTE_POS >= parts {
        terminate!();
    }
    let mut sum = 0.0f32;
    let mut at = ABSOLUTE_POS;
    while at < input.len() {
        let value = f32::cast_from(input[at]);
        sum += value * value;
        at += parts;
    }
    output[ABSOLUTE_POS] = sum;
}

/// One step of Adam: see `AdamStep`.
#[cube(launch)]
pub(super) fn adam(
    weights: &[f32],
    gradient: &[f32],
    first: &[f32],
    second: &[f32],
    new_weights: &mut [f32],
    new_first: &mut [f32],
    new_second: &mut [f32],
    rate: f32,
    factor: f32,
    penalty: f32,
    shrink: f32,
    first_correction: f32,
    second_correction: f32,
    keep_first: f32,
    keep_second: f32,
    epsilon: f32,
) {
    if ABSOLUTE_POS >= new_weights.len() {
        terminate!();
    }
    let weight = weights[ABSOLUTE_POS];
    let gradient = gradient[ABSOLUTE_POS] * factor + weight * penalty;
    let first = first[ABSOLUTE_POS] * keep_first + gradient * (1.0f32 - keep_first);
    let second = second[ABSOLUTE_POS] * keep_second + gradient * gradient * (1.0f32 - keep_second);
    new_first[ABSOLUTE_POS] = first;
    new_second[ABSOLUTE_POS] = second;
    let size = (second / second_correction).sqrt() + epsilon;
    new_weights[ABSOLUTE_POS] = weight * shrink - rate * (first / first_correction) / size;
}

/// One step of gradient descent with momentum: see `MomentumStep`.
#[cube(launch)]
pub(super) fn momentum(
    weights: &[f32],
    gradient: &[f32],
    velocity: &[f32],
    new_weights: &mut [f32],
    new_velocity: &mut [f32],
    rate: f32,
    factor: f32,
    penalty: f32,
    keep: f32,
) {
    if ABSOLUTE_POS >= new_weights.len() {
        terminate!();
    }
    let weight = weights[ABSOLUTE_POS];
    let velocity =
        velocity[ABSOLUTE_POS] * keep + gradient[ABSOLUTE_POS] * factor + weight * penalty;
    new_velocity[ABSOLUTE_POS] = velocity;
    new_weights[ABSOLUTE_POS] = weight - rate * velocity;
}
