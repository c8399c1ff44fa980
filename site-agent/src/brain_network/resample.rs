//! Images on grids of other spacing.
//!
//! The outer edges of both grids are at the same places, so that voxel `i` of `to` voxels is at
//! `(i + 1/2) from / to - 1/2` of `from` voxels: SciPy's `zoom` with `grid_mode`, which HD-BET uses
//! through scikit-image.

/// Border values that continue a line at each end before its spline is computed. What is further
/// away changes the spline by less than the last digit.
const BORDER: usize = 12;

/// The pole of the cubic spline's filter, `sqrt(3) - 2`.
const POLE: f64 = -0.267_949_192_431_122_7;

/// An image by cubic splines through its voxels, without values beyond its own least and greatest.
pub(super) fn cubic(image: &[f32], from: [usize; 3], to: [usize; 3]) -> Vec<f32> {
    let (mut least, mut greatest) = (f64::INFINITY, f64::NEG_INFINITY);
    for &value in image {
        least = least.min(f64::from(value));
        greatest = greatest.max(f64::from(value));
    }
    let values = along_axes(image, from, to, spline);
    let mut resampled = Vec::with_capacity(values.len());
    for value in values {
        // Not `clamp`, which panics where an image is empty.
        resampled.push(value.max(least).min(greatest) as f32);
    }
    resampled
}

/// An image by linear interpolation, its border values continued.
pub(super) fn linear(image: &[f32], from: [usize; 3], to: [usize; 3]) -> Vec<f32> {
    let mut resampled = Vec::new();
    for value in along_axes(image, from, to, straight) {
        resampled.push(value as f32);
    }
    resampled
}

/// Resamples the lines of each axis in turn.
fn along_axes(
    image: &[f32],
    from: [usize; 3],
    to: [usize; 3],
    resample: fn(&[f64], &mut [f64]),
) -> Vec<f64> {
    let mut values: Vec<f64> = image.iter().map(|&value| f64::from(value)).collect();
    let mut dims = from;
    for axis in [2, 1, 0] {
        if dims[axis] == to[axis] {
            continue;
        }
        let outer: usize = dims[..axis].iter().product();
        let inner: usize = dims[axis + 1..].iter().product();
        let mut next = vec![0.0; outer * to[axis] * inner];
        let mut line = vec![0.0; dims[axis]];
        let mut resampled = vec![0.0; to[axis]];
        for start in 0..outer {
            for column in 0..inner {
                for (place, value) in line.iter_mut().enumerate() {
                    *value = values[(start * dims[axis] + place) * inner + column];
                }
                resample(&line, &mut resampled);
                for (place, &value) in resampled.iter().enumerate() {
                    next[(start * to[axis] + place) * inner + column] = value;
                }
            }
        }
        values = next;
        dims[axis] = to[axis];
    }
    values
}

/// Where a voxel of the new line is on the old one.
fn place(index: usize, from: usize, to: usize) -> f64 {
    (index as f64 + 0.5) * from as f64 / to as f64 - 0.5
}

fn straight(line: &[f64], resampled: &mut [f64]) {
    let last = line.len() - 1;
    let to = resampled.len();
    for (index, value) in resampled.iter_mut().enumerate() {
        let at = place(index, line.len(), to).clamp(0.0, last as f64);
        let left = at as usize;
        let share = at - left as f64;
        let right = (left + 1).min(last);
        *value = line[left] * (1.0 - share) + line[right] * share;
    }
}

fn spline(line: &[f64], resampled: &mut [f64]) {
    let last = line.len() - 1;
    let mut coefficients = Vec::with_capacity(line.len() + 2 * BORDER);
    for index in 0..line.len() + 2 * BORDER {
        coefficients.push(line[index.saturating_sub(BORDER).min(last)]);
    }
    filter(&mut coefficients);
    let to = resampled.len();
    for (index, value) in resampled.iter_mut().enumerate() {
        let at = place(index, line.len(), to) + BORDER as f64;
        let left = at as usize;
        let share = at - left as f64;
        let rest = 1.0 - share;
        // The cubic B-spline at the four knots around the place.
        let weights = [
            rest * rest * rest / 6.0,
            2.0 / 3.0 - share * share * (2.0 - share) / 2.0,
            2.0 / 3.0 - rest * rest * (2.0 - rest) / 2.0,
            share * share * share / 6.0,
        ];
        *value = 0.0;
        for (weight, knot) in weights.iter().zip(left - 1..) {
            *value += weight * coefficients[knot];
        }
    }
}

/// Turns values into the coefficients of the spline through them (Unser 1999), as if the first and
/// the last value went on for ever.
fn filter(values: &mut [f64]) {
    let mut before = values.first().map_or(0.0, |first| first / (1.0 - POLE));
    for value in values.iter_mut() {
        before = *value + POLE * before;
        *value = before;
    }
    // Behind the end all is constant, and the filter has the sum of a geometric series.
    let mut after = values
        .last()
        .map_or(0.0, |last| last * -POLE / (1.0 - POLE));
    for value in values.iter_mut().rev() {
        after = POLE * (after - *value);
        *value = 6.0 * after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What SciPy 1.17 gives for `zoom(line, 7 / 5, order=3, mode="nearest", grid_mode=True)`, and
    /// for 3 / 5.
    #[test]
    fn a_line_is_resampled_as_by_scipy() {
        let line = [0.0, 1.0, 4.0, 2.0, -1.0];
        let finer = [
            -0.007_665_17,
            0.230_438_27,
            1.937_260_08,
            4.0,
            2.983_012_07,
            0.461_605_88,
            -1.157_647_75,
        ];
        let coarser = [0.066_720_56, 4.0, -0.278_394_83];
        for expected in [&finer[..], &coarser[..]] {
            let mut found = vec![0.0; expected.len()];
            spline(&line, &mut found);
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-7, "{found} {expected}");
            }
        }
    }

    #[test]
    fn an_image_keeps_its_range_and_its_edges() {
        let dims = [4, 5, 6];
        let mut image = vec![0.0; 120];
        for (place, value) in image.iter_mut().enumerate() {
            // Half of it is bright, with an edge that a spline overshoots.
            *value = if place % 6 < 3 { 10.0 } else { 20.0 };
        }
        let fine = cubic(&image, dims, [4, 5, 12]);
        assert_eq!(fine.len(), 240);
        for (place, &value) in fine.iter().enumerate() {
            assert!((10.0..=20.0).contains(&value), "{value}");
            let expected = if place % 12 < 6 { 10.0 } else { 20.0 };
            assert!((value - expected).abs() < 4.0, "{place}: {value}");
        }
        let back = linear(&fine, [4, 5, 12], dims);
        for (value, expected) in back.iter().zip(&image) {
            assert!((value - expected).abs() < 2.0, "{value} {expected}");
        }
        assert_eq!(cubic(&image, dims, dims), image);
        assert_eq!(cubic(&[7.0], [1, 1, 1], [2, 1, 3]), [7.0; 6]);
    }
}
