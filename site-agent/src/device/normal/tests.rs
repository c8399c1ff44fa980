use super::*;
use rand::RngExt;
use random::{Purpose, stream};

const CHANNELS: usize = 5;
const EPSILON: f32 = 1e-3;

fn drawn(count: usize, seed: u64) -> Vec<f32> {
    let mut random = stream(seed, 0, "normal", Purpose::Features);
    (0..count)
        .map(|_| random.random_range(-2.0..2.0f32))
        .collect()
}

/// The loss `sum(output * direction)` in 64 bits, from the definition.
fn loss(input: &[f32], weight: &[f32], bias: &[f32], direction: &[f32], rectified: bool) -> f64 {
    let samples = input.len() / CHANNELS;
    let of =
        |channel: usize| (0..samples).map(move |row| f64::from(input[row * CHANNELS + channel]));
    let mut sum = 0.0;
    for channel in 0..CHANNELS {
        let mean = of(channel).sum::<f64>() / samples as f64;
        let variance =
            of(channel).map(|value| (value - mean).powi(2)).sum::<f64>() / samples as f64;
        for (row, value) in of(channel).enumerate() {
            let normal = (value - mean) / (variance + f64::from(EPSILON)).sqrt();
            let output = normal * f64::from(weight[channel]) + f64::from(bias[channel]);
            let output = if rectified { output.max(0.0) } else { output };
            sum += output * f64::from(direction[row * CHANNELS + channel]);
        }
    }
    sum
}

#[test]
fn values_and_gradients_are_the_definition() {
    for rectified in [false, true] {
        let (input, direction) = (drawn(31 * CHANNELS, 1), drawn(31 * CHANNELS, 2));
        let (weight, bias) = (drawn(CHANNELS, 3), drawn(CHANNELS, 4));
        let normal = Normal::new(&statistics(&input, CHANNELS), EPSILON);
        let output = normal.forward(&input, &weight, &bias, rectified);
        let found: f64 = output
            .iter()
            .zip(&direction)
            .map(|(a, b)| f64::from(a * b))
            .sum();
        assert!((found - loss(&input, &weight, &bias, &direction, rectified)).abs() < 1e-4);

        let gradients = normal.backward(&input, [&weight, &bias], &direction, rectified);
        for (which, gradient) in gradients.iter().enumerate() {
            for at in 0..gradient.len() {
                let moved = |by: f32| {
                    let mut values = [input.clone(), weight.clone(), bias.clone()];
                    values[which][at] += by;
                    loss(&values[0], &values[1], &values[2], &direction, rectified)
                };
                let expected = (moved(1e-3) - moved(-1e-3)) / 2e-3;
                assert!(
                    (expected - f64::from(gradient[at])).abs() < 5e-3,
                    "{rectified} {which} {at}"
                );
            }
        }
    }
}

#[test]
fn statistics_of_many_slabs_are_the_means_of_all() {
    let input = drawn(3 * SLAB + CHANNELS - (3 * SLAB) % CHANNELS, 5);
    let found = statistics(&input, CHANNELS);
    let samples = (input.len() / CHANNELS) as f64;
    for channel in 0..CHANNELS {
        let values = || {
            input
                .iter()
                .skip(channel)
                .step_by(CHANNELS)
                .map(|&value| f64::from(value))
        };
        let mean = values().sum::<f64>() / samples;
        let variance = values().map(|value| (value - mean).powi(2)).sum::<f64>() / samples;
        assert!((f64::from(found[channel]) - mean).abs() < 1e-6);
        assert!((f64::from(found[CHANNELS + channel]) - variance).abs() < 1e-6);
    }
}

#[test]
fn what_is_not_a_number_stays_visible() {
    let normal = Normal::new(&[0.0, 1.0], 0.0);
    assert!(normal.forward(&[f32::NAN, 1.0], &[1.0], &[0.0], true)[0].is_nan());
}
