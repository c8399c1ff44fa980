//! Draws and vectors for phantoms. A cohort must be the same on every platform, so only additions,
//! products, quotients and square roots are used: IEEE 754 defines their results to the last bit,
//! while `exp`, `ln` and `sin` differ between platforms.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Millimetres along x (left to right), y (posterior to anterior), z (inferior to superior).
pub(super) type Point = [f32; 3];

/// `a + b * t`.
pub(super) fn along(a: Point, b: Point, t: f32) -> Point {
    std::array::from_fn(|i| a[i] + b[i] * t)
}

/// `a - b`.
pub(super) fn minus(a: Point, b: Point) -> Point {
    std::array::from_fn(|i| a[i] - b[i])
}

/// The inner product.
pub(super) fn dot(a: Point, b: Point) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// The Euclidean length.
pub(super) fn length(a: Point) -> f32 {
    dot(a, a).sqrt()
}

/// `rows * a`.
pub(super) fn turned(rows: &[Point; 3], a: Point) -> Point {
    [dot(rows[0], a), dot(rows[1], a), dot(rows[2], a)]
}

/// Uniform in `low..high`.
pub(super) fn uniform(rng: &mut ChaCha8Rng, low: f32, high: f32) -> f32 {
    low + (high - low) * rng.random::<f32>()
}

/// True with the given probability.
pub(super) fn chance(rng: &mut ChaCha8Rng, probability: f32) -> bool {
    rng.random::<f32>() < probability
}

/// Nearly standard normal: the sum of four uniform 16-bit numbers (Irwin-Hall), within 3.5
/// deviations.
pub(super) fn normal(rng: &mut ChaCha8Rng) -> f32 {
    let bits: u64 = rng.random();
    let sum: u64 = (0..4).map(|i| bits >> (16 * i) & 0xffff).sum();
    (sum as f32 / 65535.0 - 2.0) * 1.732_050_8
}

/// A uniform direction, by rejection from the cube.
pub(super) fn direction(rng: &mut ChaCha8Rng) -> Point {
    loop {
        let p: Point = std::array::from_fn(|_| uniform(rng, -1.0, 1.0));
        let size = length(p);
        if size > 0.1 && size <= 1.0 {
            return p.map(|c| c / size);
        }
    }
}

/// Log-normal about `median` with the natural logarithm's deviation `spread`, held within
/// `low..=high`.
pub(super) fn log_normal(
    rng: &mut ChaCha8Rng,
    median: f32,
    spread: f32,
    low: f32,
    high: f32,
) -> f32 {
    (median * exponential(spread * normal(rng))).clamp(low, high)
}

/// A whole number: [`log_normal`] rounded.
pub(super) fn count(
    rng: &mut ChaCha8Rng,
    median: f32,
    spread: f32,
    low: usize,
    high: usize,
) -> usize {
    log_normal(rng, median, spread, low as f32, high as f32).round() as usize
}

/// A rotation by about `tilt` radians about a random axis (rows), from the unit quaternion `(1,
/// tilt/2 * axis)`.
pub(super) fn rotation(rng: &mut ChaCha8Rng, tilt: f32) -> [Point; 3] {
    let axis = direction(rng);
    let [x, y, z] = axis.map(|c| c * tilt * 0.5);
    let norm = (1.0 + x * x + y * y + z * z).sqrt();
    let [w, x, y, z] = [1.0, x, y, z].map(|c: f32| c / norm);
    [
        [
            1.0 - 2.0 * (y * y + z * z),
            2.0 * (x * y - w * z),
            2.0 * (x * z + w * y),
        ],
        [
            2.0 * (x * y + w * z),
            1.0 - 2.0 * (x * x + z * z),
            2.0 * (y * z - w * x),
        ],
        [
            2.0 * (x * z - w * y),
            2.0 * (y * z + w * x),
            1.0 - 2.0 * (x * x + y * y),
        ],
    ]
}

/// `e^x` for small `x`: ten terms of the series at `x / 16`, squared four times. Within 1e-6 for
/// |x| <= 4.
fn exponential(x: f32) -> f32 {
    let step = f64::from(x) / 16.0;
    let mut term = 1.0;
    let mut power = 1.0;
    for n in 1..=10 {
        term = term * step / f64::from(n);
        power += term;
    }
    for _ in 0..4 {
        power *= power;
    }
    power as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use random::{Purpose, stream};

    #[test]
    fn the_exponential_is_the_exponential() {
        for x in [-3.5f32, -1.0, -0.1, 0.0, 0.3, 2.0, 3.9] {
            assert!((exponential(x) / x.exp() - 1.0).abs() < 1e-6, "{x}");
        }
    }

    #[test]
    fn normal_draws_have_mean_zero_and_deviation_one() {
        let mut rng = stream(3, 0, "draw", Purpose::Phantom);
        let draws: Vec<f64> = (0..40_000).map(|_| f64::from(normal(&mut rng))).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let square = draws.iter().map(|d| d * d).sum::<f64>() / draws.len() as f64;
        assert!(mean.abs() < 0.02, "{mean}");
        assert!((square - 1.0).abs() < 0.03, "{square}");
    }

    #[test]
    fn a_rotation_keeps_lengths_and_angles() {
        let mut rng = stream(4, 0, "draw", Purpose::Phantom);
        for tilt in [0.0, 0.2, 1.5] {
            let rows = rotation(&mut rng, tilt);
            for i in 0..3 {
                for j in 0..3 {
                    let expected = if i == j { 1.0 } else { 0.0 };
                    assert!((dot(rows[i], rows[j]) - expected).abs() < 1e-5);
                }
            }
        }
    }
}
