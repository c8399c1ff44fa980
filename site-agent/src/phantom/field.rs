//! Smooth random fields: the bends, folds and lumps of a phantom.

use super::draw::{Point, uniform};
use rand_chacha::ChaCha8Rng;

/// Lattice points along each axis before the field repeats; a power of two.
const SIDE: usize = 16;

/// Value noise: uniform numbers in -1..1 on a lattice, joined by smooth steps.
pub(super) struct Field {
    values: Vec<f32>,
    period_mm: f32,
}

impl Field {
    /// A field whose features are about `period_mm` across.
    pub(super) fn draw(rng: &mut ChaCha8Rng, period_mm: f32) -> Self {
        let mut values = vec![0.0; SIDE * SIDE * SIDE];
        for value in &mut values {
            *value = uniform(rng, -1.0, 1.0);
        }
        Self { values, period_mm }
    }

    /// The field at a point, in -1..1.
    pub(super) fn at(&self, p: Point) -> f32 {
        let scaled = p.map(|c| c / self.period_mm);
        let floor = scaled.map(floor);
        let cell = floor.map(|c| c as usize & (SIDE - 1));
        let [tx, ty, tz] = std::array::from_fn(|i| smooth(scaled[i] - floor[i] as f32));
        let [x, y, z] = cell;
        let near = mix(self.row(x, y, z, tx), self.row(x, y + 1, z, tx), ty);
        let far = mix(self.row(x, y, z + 1, tx), self.row(x, y + 1, z + 1, tx), ty);
        mix(near, far, tz)
    }

    /// Between a lattice point and its next along x. The lattice repeats.
    fn row(&self, x: usize, y: usize, z: usize, t: f32) -> f32 {
        let y = y & (SIDE - 1);
        let z = z & (SIDE - 1);
        let start = (z * SIDE + y) * SIDE;
        let next = (x + 1) & (SIDE - 1);
        mix(self.values[start + x], self.values[start + next], t)
    }
}

/// The next whole number below. `f32::floor` is a library call on the x86-64 baseline, and most of
/// the time is spent here.
fn floor(c: f32) -> i32 {
    let near = c as i32;
    near - i32::from(c < near as f32)
}

fn smooth(t: f32) -> f32 {
    t * t * (3.0 - 2.0 * t)
}

fn mix(a: f32, b: f32, t: f32) -> f32 {
    a + (b - a) * t
}

#[cfg(test)]
mod tests {
    use super::*;
    use random::{Purpose, stream};

    #[test]
    fn a_field_is_continuous_also_across_zero_and_its_repeat() {
        let field = Field::draw(&mut stream(1, 0, "field", Purpose::Phantom), 10.0);
        let edge = 10.0 * SIDE as f32;
        for p in [[0.0, 3.0, -7.0], [-20.0, 0.0, 11.0], [edge, -edge, 4.0]] {
            let step = [1e-3, -1e-3, 1e-3];
            let near = std::array::from_fn(|i| p[i] + step[i]);
            let back = std::array::from_fn(|i| p[i] - step[i]);
            assert!((field.at(near) - field.at(back)).abs() < 2e-3);
        }
    }
}
