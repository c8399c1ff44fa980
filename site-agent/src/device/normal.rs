//! Batch normalisation on the processor, for tensors whose last axis is the channel: one pass for
//! the statistics, one for the values and two for the gradients. The rectifier that usually follows
//! is computed in the same passes.
//!
//! Ioffe & Szegedy 2015 (arXiv 1502.03167). Sums are 64-bit, over slabs whose number depends on
//! shapes only, so results do not depend on the number of threads.

use rayon::prelude::*;

/// Values in one slab.
const SLAB: usize = 1 << 14;

/// Statistics by which values are normalised, one entry per channel.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Normal {
    mean: Vec<f32>,
    /// 1 / sqrt(variance + epsilon).
    precision: Vec<f32>,
}

/// `value * scale + shift` is the normalised value times the weight plus the bias. One entry per
/// channel.
struct Line {
    scale: Vec<f32>,
    shift: Vec<f32>,
}

impl Normal {
    /// From statistics as [`statistics`] gives them.
    pub(crate) fn new(statistics: &[f32], epsilon: f32) -> Self {
        let (mean, variance) = statistics.split_at(statistics.len() / 2);
        let precision = variance
            .iter()
            .map(|variance| (variance + epsilon).sqrt().recip())
            .collect();
        Self {
            mean: mean.to_vec(),
            precision,
        }
    }

    fn line(&self, weight: &[f32], bias: &[f32]) -> Line {
        let channels = weight.len();
        let mut scale = Vec::with_capacity(channels);
        let mut shift = Vec::with_capacity(channels);
        for channel in 0..channels {
            let factor = self.precision[channel] * weight[channel];
            scale.push(factor);
            shift.push(bias[channel] - self.mean[channel] * factor);
        }
        Line { scale, shift }
    }

    /// Normalised values times `weight` plus `bias`; at least zero if `rectified`.
    pub(crate) fn forward(
        &self,
        input: &[f32],
        weight: &[f32],
        bias: &[f32],
        rectified: bool,
    ) -> Vec<f32> {
        let Line { scale, shift } = self.line(weight, bias);
        let floor = if rectified { 0.0 } else { f32::NEG_INFINITY };
        let mut output = vec![0.0; input.len()];
        let channels = scale.len();
        let slab = slab(channels);
        output
            .par_chunks_mut(slab)
            .zip(input.par_chunks(slab))
            .for_each(|(output, input)| {
                for (output, input) in output
                    .chunks_exact_mut(channels)
                    .zip(input.chunks_exact(channels))
                {
                    for (((output, input), scale), shift) in
                        output.iter_mut().zip(input).zip(&scale).zip(&shift)
                    {
                        let value = input * scale + shift;
                        // Not `max`, which would turn NaN into zero.
                        *output = if value < floor { floor } else { value };
                    }
                }
            });
        output
    }

    /// Gradients with respect to input, weight and bias, if the statistics are the input's own.
    pub(crate) fn backward(
        &self,
        input: &[f32],
        [weight, bias]: [&[f32]; 2],
        gradient: &[f32],
        rectified: bool,
    ) -> [Vec<f32>; 3] {
        let Line { scale, shift } = self.line(weight, bias);
        let channels = weight.len();
        let slab = slab(channels);
        let mut gradient = gradient.to_vec();
        if rectified {
            // Values that the rectifier set to zero have no gradient.
            gradient
                .par_chunks_mut(slab)
                .zip(input.par_chunks(slab))
                .for_each(|(gradient, input)| {
                    for (gradient, input) in gradient
                        .chunks_exact_mut(channels)
                        .zip(input.chunks_exact(channels))
                    {
                        for (((gradient, input), scale), shift) in
                            gradient.iter_mut().zip(input).zip(&scale).zip(&shift)
                        {
                            let passed = input * scale + shift > 0.0;
                            *gradient = if passed { *gradient } else { 0.0 };
                        }
                    }
                });
        }
        let normal =
            |input: f32, channel: usize| (input - self.mean[channel]) * self.precision[channel];
        let [to_bias, to_weight] = sums(&gradient, input, channels, |gradient, input, channel| {
            [
                f64::from(gradient),
                f64::from(gradient * normal(input, channel)),
            ]
        });
        let samples = (input.len() / channels) as f64;
        let level = divided(&to_bias, samples);
        let tilt = divided(&to_weight, samples);
        gradient
            .par_chunks_mut(slab)
            .zip(input.par_chunks(slab))
            .for_each(|(gradient, input)| {
                for (gradient, input) in gradient
                    .chunks_exact_mut(channels)
                    .zip(input.chunks_exact(channels))
                {
                    for (channel, (gradient, &input)) in gradient.iter_mut().zip(input).enumerate()
                    {
                        *gradient = scale[channel]
                            * (*gradient - level[channel] - normal(input, channel) * tilt[channel]);
                    }
                }
            });
        [gradient, divided(&to_weight, 1.0), divided(&to_bias, 1.0)]
    }
}

/// Each sum divided by a number, in single precision.
fn divided(sums: &[f64], by: f64) -> Vec<f32> {
    sums.iter().map(|sum| (sum / by) as f32).collect()
}

/// Mean and biased variance of each channel, all means first.
pub(crate) fn statistics(input: &[f32], channels: usize) -> Vec<f32> {
    let samples = (input.len() / channels) as f64;
    let [sum, squares] = sums(input, input, channels, |value, _, _| {
        [f64::from(value), f64::from(value).powi(2)]
    });
    let mut statistics = Vec::with_capacity(2 * channels);
    for sum in &sum {
        statistics.push((sum / samples) as f32);
    }
    for (squares, sum) in squares.iter().zip(&sum) {
        let mean: f64 = sum / samples;
        let variance = (squares / samples - mean.powi(2)).max(0.0);
        statistics.push(variance as f32);
    }
    statistics
}

/// Two sums over the samples of each channel. `terms` gives the two terms for a value of each
/// tensor and their channel.
fn sums(
    first: &[f32],
    second: &[f32],
    channels: usize,
    terms: impl Fn(f32, f32, usize) -> [f64; 2] + Sync,
) -> [Vec<f64>; 2] {
    let slab = slab(channels);
    let parts: Vec<[Vec<f64>; 2]> = first
        .par_chunks(slab)
        .zip(second.par_chunks(slab))
        .map(|(first, second)| {
            let mut sums = [vec![0.0; channels], vec![0.0; channels]];
            let [left, right] = &mut sums;
            for (first, second) in first
                .chunks_exact(channels)
                .zip(second.chunks_exact(channels))
            {
                let pairs = first
                    .iter()
                    .zip(second)
                    .zip(left.iter_mut().zip(right.iter_mut()));
                for (channel, ((&first, &second), (left, right))) in pairs.enumerate() {
                    let [one, other] = terms(first, second, channel);
                    *left += one;
                    *right += other;
                }
            }
            sums
        })
        .collect();
    let mut total = [vec![0.0; channels], vec![0.0; channels]];
    for part in &parts {
        for (total, part) in total.iter_mut().zip(part) {
            for (total, part) in total.iter_mut().zip(part) {
                *total += part;
            }
        }
    }
    total
}

/// The values of as many samples as fit [`SLAB`], at least one.
fn slab(channels: usize) -> usize {
    (SLAB / channels).max(1) * channels
}

#[cfg(test)]
mod tests;
