//! Batch normalisation on the processor, channels side by side: one pass for the statistics, one
//! for the values, two for the way back, with the rectifier that usually follows taken along.
//!
//! Ioffe & Szegedy 2015 (arXiv 1502.03167). Sums are 64-bit and run over slabs of rows whose number
//! depends on shapes alone, so results do not depend on the number of threads.

use rayon::prelude::*;

/// Values in one slab.
const SLAB: usize = 1 << 14;

/// How values become normal, one entry a channel.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Normal {
    mean: Vec<f32>,
    /// 1 / sqrt(variance + epsilon).
    precision: Vec<f32>,
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

    /// What values are multiplied by, and what is added then, to become normal values times
    /// `weight` plus `bias`.
    fn line(&self, weight: &[f32], bias: &[f32]) -> [Vec<f32>; 2] {
        let scale: Vec<f32> = self
            .precision
            .iter()
            .zip(weight)
            .map(|(precision, weight)| precision * weight)
            .collect();
        let shift = bias
            .iter()
            .zip(&self.mean)
            .zip(&scale)
            .map(|((bias, mean), scale)| bias - mean * scale)
            .collect();
        [scale, shift]
    }

    /// Normal values times `weight` plus `bias`, and no less than zero if `rectified`.
    pub(crate) fn forward(
        &self,
        input: &[f32],
        weight: &[f32],
        bias: &[f32],
        rectified: bool,
    ) -> Vec<f32> {
        let [scale, shift] = self.line(weight, bias);
        let floor = if rectified { 0.0 } else { f32::NEG_INFINITY };
        let mut output = vec![0.0; input.len()];
        let (channels, slab) = (scale.len(), slab(scale.len()));
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
                        // Not `max`, which would make zero of what is not a number.
                        *output = if value < floor { floor } else { value };
                    }
                }
            });
        output
    }

    /// Gradients with respect to input, weight and bias, where the statistics are the input's own.
    pub(crate) fn backward(
        &self,
        input: &[f32],
        [weight, bias]: [&[f32]; 2],
        gradient: &[f32],
        rectified: bool,
    ) -> [Vec<f32>; 3] {
        let [scale, shift] = self.line(weight, bias);
        let channels = weight.len();
        let slab = slab(channels);
        let mut gradient = gradient.to_vec();
        if rectified {
            // What the rectifier cut off did not count.
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
        let mean =
            |sums: &[f64]| -> Vec<f32> { sums.iter().map(|sum| (sum / samples) as f32).collect() };
        let (level, tilt) = (mean(&to_bias), mean(&to_weight));
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
        let single = |sums: Vec<f64>| sums.into_iter().map(|sum| sum as f32).collect();
        [gradient, single(to_weight), single(to_bias)]
    }
}

/// Mean and biased variance of each channel, all means first.
pub(crate) fn statistics(input: &[f32], channels: usize) -> Vec<f32> {
    let samples = (input.len() / channels) as f64;
    let [sum, squares] = sums(input, input, channels, |value, _, _| {
        [f64::from(value), f64::from(value).powi(2)]
    });
    let mean = |sum: &f64| sum / samples;
    let variance = squares
        .iter()
        .zip(&sum)
        .map(|(squares, sum)| (mean(squares) - mean(sum).powi(2)).max(0.0));
    sum.iter()
        .map(mean)
        .chain(variance)
        .map(|value| value as f32)
        .collect()
}

/// Two sums over the samples of each channel, of what `terms` makes of a value of either tensor and
/// the channel.
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
            total
                .iter_mut()
                .zip(part)
                .for_each(|(total, part)| *total += part);
        }
    }
    total
}

/// Whole samples of about [`SLAB`] values.
fn slab(channels: usize) -> usize {
    (SLAB / channels).max(1) * channels
}

#[cfg(test)]
mod tests;
