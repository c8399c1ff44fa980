//! Rigid moves of the patient's space.

use crate::vector::{Vector, cross, difference, dot, length};
use serde::{Deserialize, Serialize};

/// The radius of a head, millimetres: what a turn is multiplied by to compare it with a shift.
pub(super) const HEAD: f64 = 80.0;

/// A turn about a centre and a shift: `turn * (place - centre) + centre + shift`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rigid {
    pub(super) turn: [Vector; 3],
    pub(super) shift: Vector,
    pub(super) centre: Vector,
}

impl Rigid {
    pub(super) fn new(axis: Vector, shift: Vector, centre: Vector) -> Self {
        Self {
            turn: rotation(axis),
            shift,
            centre,
        }
    }

    /// Where a place goes.
    #[must_use]
    pub fn apply(&self, place: Vector) -> Vector {
        let turned = self.turned(difference(place, self.centre));
        let mut to = [0.0; 3];
        for axis in 0..3 {
            to[axis] = turned[axis] + self.centre[axis] + self.shift[axis];
        }
        to
    }

    /// The turn alone, of an offset from the centre.
    pub(super) fn turned(&self, offset: Vector) -> Vector {
        self.turn.map(|row| dot(row, offset))
    }

    /// This move after a small step in its own frame: a turn in millimetres at the head's radius,
    /// then a shift.
    pub(super) fn stepped(&self, step: &[f64; 6]) -> Self {
        let small = rotation([step[0] / HEAD, step[1] / HEAD, step[2] / HEAD]);
        let mut shift = self.shift;
        for axis in 0..3 {
            shift[axis] += step[3 + axis];
        }
        Self {
            turn: product(&small, &self.turn),
            shift,
            centre: self.centre,
        }
    }

    /// The move back.
    #[must_use]
    pub fn inverse(&self) -> Self {
        let mut turn = [[0.0; 3]; 3];
        for (row, line) in self.turn.iter().enumerate() {
            for (column, value) in line.iter().enumerate() {
                turn[column][row] = *value;
            }
        }
        let mut centre = self.centre;
        for (value, shift) in centre.iter_mut().zip(self.shift) {
            *value += shift;
        }
        Self {
            turn,
            shift: self.shift.map(|value| -value),
            centre,
        }
    }

    /// As a matrix of homogeneous coordinates.
    #[must_use]
    pub fn matrix(&self) -> [[f64; 4]; 4] {
        let origin = self.apply([0.0; 3]);
        let mut rows = [[0.0, 0.0, 0.0, 1.0]; 4];
        for axis in 0..3 {
            let [x, y, z] = self.turn[axis];
            rows[axis] = [x, y, z, origin[axis]];
        }
        rows
    }

    /// How far it turns, degrees.
    #[must_use]
    pub fn degrees(&self) -> f64 {
        // The turn's antisymmetric part is the axis times the sine, its trace 1 + 2 times the
        // cosine. Both together are exact at small angles too.
        let t = &self.turn;
        let axis = [t[2][1] - t[1][2], t[0][2] - t[2][0], t[1][0] - t[0][1]];
        let sine = length(axis) / 2.0;
        let cosine = (t[0][0] + t[1][1] + t[2][2] - 1.0) / 2.0;
        sine.atan2(cosine).to_degrees()
    }

    /// How far another move takes the points of a head from where this one takes them: the root of
    /// the mean square over a ball of 80 mm (Jenkinson, FMRIB technical report TR99MJ1, 1999).
    #[must_use]
    pub fn apart(&self, other: &Self) -> f64 {
        let at = difference(self.apply(self.centre), other.apply(self.centre));
        let mut squares = 0.0;
        for (mine, theirs) in self.turn.iter().zip(&other.turn) {
            let row = difference(*mine, *theirs);
            squares += dot(row, row);
        }
        (HEAD * HEAD / 5.0 * squares + dot(at, at)).sqrt()
    }

    /// How far it moves the points of a head, as [`Rigid::apart`].
    #[must_use]
    pub fn size_mm(&self) -> f64 {
        self.apart(&Self::new([0.0; 3], [0.0; 3], self.centre))
    }
}

pub(super) fn product(a: &[Vector; 3], b: &[Vector; 3]) -> [Vector; 3] {
    let mut out = [[0.0; 3]; 3];
    for (sums, line) in out.iter_mut().zip(a) {
        for (part, through) in line.iter().zip(b) {
            for (sum, value) in sums.iter_mut().zip(through) {
                *sum += part * value;
            }
        }
    }
    out
}

/// The turn about an axis, by its length in radians (Rodrigues).
fn rotation(axis: Vector) -> [Vector; 3] {
    let angle = length(axis);
    let unit = if angle > 0.0 {
        axis.map(|value| value / angle)
    } else {
        [0.0; 3]
    };
    let (sine, cosine) = angle.sin_cos();
    let mut rows = [[0.0; 3]; 3];
    for (column, start) in [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
        .into_iter()
        .enumerate()
    {
        let across = cross(unit, start);
        let along = dot(unit, start);
        for row in 0..3 {
            rows[row][column] =
                start[row] * cosine + across[row] * sine + unit[row] * along * (1.0 - cosine);
        }
    }
    rows
}
