//! An image or a mask on another grid.

use super::field::finite;
use super::rigid::Rigid;
use crate::nifti::{Affine, Volume};
use crate::vector::Vector;

/// Goes through the voxels of a grid and says where each is in another image.
struct Lookup {
    fixed: Affine,
    moving: Affine,
    rigid: Rigid,
    /// Width, height, depth of the fixed grid.
    sides: [usize; 3],
}

impl Lookup {
    fn new(fixed: &Volume, moving: &Volume, rigid: &Rigid) -> Option<Self> {
        let [depth, height, width] = fixed.grid.dims;
        Some(Self {
            fixed: fixed.source.canonical_affine(),
            moving: moving.source.canonical_affine().inverse()?,
            rigid: *rigid,
            sides: [width, height, depth],
        })
    }

    fn each(&self, value: impl Fn(Vector) -> f32) -> Vec<f32> {
        let [width, height, depth] = self.sides;
        let mut values = Vec::with_capacity(width * height * depth);
        for z in 0..depth {
            for y in 0..height {
                for x in 0..width {
                    let place = self.fixed.apply([x as f64, y as f64, z as f64]);
                    values.push(value(self.moving.apply(self.rigid.apply(place))));
                }
            }
        }
        values
    }
}

/// The values of the moving image on the fixed image's grid, linear between voxels. Zero outside.
/// `None` where voxels have no volume.
#[must_use]
pub fn resample(fixed: &Volume, moving: &Volume, lookup: &Rigid) -> Option<Vec<f32>> {
    let [depth, height, width] = moving.grid.dims;
    let sides = [width, height, depth];
    let strides = [1, width, width * height];
    let places = Lookup::new(fixed, moving, lookup)?;
    Some(places.each(|at| {
        let mut start = 0;
        let mut shares = [0.0; 3];
        let mut steps = [0; 3];
        for axis in 0..3 {
            let last = sides[axis] as f64 - 1.0;
            // A hair beyond the last voxel is rounding. Also false for NaN.
            if !(at[axis] > -1e-6 && at[axis] < last + 1e-6) {
                return 0.0;
            }
            let whole = at[axis].clamp(0.0, last).floor();
            shares[axis] = at[axis].clamp(0.0, last) - whole;
            start += whole as usize * strides[axis];
            steps[axis] = if shares[axis] > 0.0 { strides[axis] } else { 0 };
        }
        let mut sum = 0.0;
        for corner in 0..8usize {
            let mut place = start;
            let mut weight = 1.0;
            for axis in 0..3 {
                if corner >> axis & 1 == 1 {
                    place += steps[axis];
                    weight *= shares[axis];
                } else {
                    weight *= 1.0 - shares[axis];
                }
            }
            sum += weight * f64::from(finite(moving.values[place]));
        }
        sum as f32
    }))
}

/// The values of a mask on the fixed image's grid, each that of the nearest voxel. Zero outside.
/// `None` where voxels have no volume.
#[must_use]
pub fn resample_mask(fixed: &Volume, mask: &Volume, lookup: &Rigid) -> Option<Vec<f32>> {
    let [depth, height, width] = mask.grid.dims;
    let sides = [width, height, depth];
    let strides = [1, width, width * height];
    let places = Lookup::new(fixed, mask, lookup)?;
    Some(places.each(|at| {
        let mut place = 0;
        for axis in 0..3 {
            let nearest = at[axis].round();
            if !(nearest >= 0.0 && nearest < sides[axis] as f64) {
                return 0.0;
            }
            place += nearest as usize * strides[axis];
        }
        finite(mask.values[place])
    }))
}
