//! Masks of two values: nothing is 0, and everything else has one other value.

use metrics::components::{Connectivity, components};

/// Why values are no mask.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum NoMask {
    #[error("every voxel is 0")]
    Empty,
    #[error("no voxel is 0")]
    Full,
    #[error("it holds 0, {first} and {second}: a mask has 0 and one other value")]
    Values { first: f32, second: f32 },
    #[error("it holds a value that is not a number")]
    NotFinite,
}

/// 1 where the mask is not 0.
///
/// # Errors
/// Any other number of values than two, or none of them 0.
pub fn two_values(values: &[f32]) -> Result<Vec<u8>, NoMask> {
    let mut other = None;
    let mut zeros = false;
    let mut mask = Vec::with_capacity(values.len());
    for &value in values {
        if !value.is_finite() {
            return Err(NoMask::NotFinite);
        }
        if value == 0.0 {
            zeros = true;
            mask.push(0);
            continue;
        }
        let first = *other.get_or_insert(value);
        if value != first {
            return Err(NoMask::Values {
                first,
                second: value,
            });
        }
        mask.push(1);
    }
    if other.is_none() {
        return Err(NoMask::Empty);
    }
    if !zeros {
        return Err(NoMask::Full);
    }
    Ok(mask)
}

/// Fills holes of a mask of 0 and 1, in place, and says how many voxels they have. A hole has no
/// path to the border of the volume; `dims` are its depth, height and width.
pub fn fill_holes(mask: &mut [u8], dims: [usize; 3]) -> usize {
    let mut outside = Vec::with_capacity(mask.len());
    for &voxel in mask.iter() {
        outside.push(1 - voxel);
    }
    let regions = components(&outside, dims, Connectivity::Six);
    let mut reaches_border = vec![false; regions.count() + 1];
    let [depth, height, width] = dims;
    for (place, &region) in regions.labels.iter().enumerate() {
        let (z, y, x) = (
            place / (height * width),
            place / width % height,
            place % width,
        );
        let at_border =
            z == 0 || y == 0 || x == 0 || z + 1 == depth || y + 1 == height || x + 1 == width;
        if at_border {
            reaches_border[region as usize] = true;
        }
    }
    let mut filled = 0;
    for (voxel, &region) in mask.iter_mut().zip(&regions.labels) {
        if region != 0 && !reaches_border[region as usize] {
            *voxel = 1;
            filled += 1;
        }
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_holes_are_filled() {
        let mut mask = Vec::new();
        for place in 0..125 {
            let is_inside = [place / 25, place / 5 % 5, place % 5]
                .iter()
                .all(|at| (1..4).contains(at));
            mask.push(u8::from(is_inside && place != 62));
        }
        let mut open = mask.clone();
        assert_eq!(fill_holes(&mut mask, [5; 3]), 1);
        assert_eq!(mask[62], 1);
        open[61] = 0;
        open[60] = 0;
        assert_eq!(fill_holes(&mut open, [5; 3]), 0);
        assert_eq!(open[62], 0);
    }

    #[test]
    fn a_mask_has_zero_and_one_other_value() {
        assert_eq!(two_values(&[0.0, 255.0, 255.0]), Ok(vec![0, 1, 1]));
        assert_eq!(two_values(&[0.0, -0.0]), Err(NoMask::Empty));
        assert_eq!(two_values(&[1.0, 1.0]), Err(NoMask::Full));
        assert_eq!(two_values(&[0.0, f32::NAN]), Err(NoMask::NotFinite));
        assert!(matches!(
            two_values(&[0.0, 1.0, 0.5]),
            Err(NoMask::Values { .. })
        ));
    }
}
