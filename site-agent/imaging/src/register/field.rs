//! An image as a smooth function of the patient's space.
//!
//! The image is smoothed, thinned out, and then interpolated by cubic B-splines (Unser, IEEE Signal
//! Processing Magazine 16(6), 1999). The spline has a gradient everywhere, which the search needs.

use crate::nifti::{Affine, Volume};
use crate::vector::Vector;
use protocol::case::Grid;

/// Intervals of the histogram that finds the foreground.
const INTERVALS: usize = 256;

/// A smooth function.
#[derive(Debug)]
pub(super) struct Field {
    coefficients: Vec<f32>,
    /// Width, height, depth.
    sides: [usize; 3],
    /// From the patient's space to the coefficients.
    index: Affine,
}

/// A value and how it changes per millimetre.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) value: f64,
    pub(super) gradient: Vector,
}

/// What an image shows, apart from the air.
#[derive(Clone, Debug)]
pub(super) struct Foreground {
    /// Where the intensities lie, without the outermost in a thousand.
    pub(super) low: f64,
    pub(super) high: f64,
    /// What is above it is foreground.
    pub(super) threshold: f64,
    /// Centre of mass of the foreground.
    pub(super) centre: Vector,
    /// The box of voxels that holds the foreground, without the outermost in a thousand.
    pub(super) first: [f64; 3],
    pub(super) last: [f64; 3],
}

impl Field {
    /// Smooths an image with a Gaussian of `sigma` millimetres. `None` where voxels have no volume.
    pub(super) fn new(volume: &Volume, sigma: f64) -> Option<Self> {
        let affine = volume.source.canonical_affine();
        let Grid { dims, spacing_mm } = volume.grid;
        let mut sides = [dims[2], dims[1], dims[0]];
        let spacing = [spacing_mm[2], spacing_mm[1], spacing_mm[0]].map(f64::from);
        let mut values: Vec<f32> = volume.values.iter().map(|value| finite(*value)).collect();
        let mut rows = affine.0;
        for axis in 0..3 {
            let weights = gaussian(sigma / spacing[axis]);
            // Half of sigma is fine enough for what is left of the image.
            let every = ((sigma / spacing[axis]) as usize).clamp(1, (sides[axis] / 4).max(1));
            (values, sides) = along(&values, sides, axis, every, &mut |line, out| {
                smooth(line, &weights, every, out);
            });
            for row in &mut rows {
                row[axis] *= every as f64;
            }
        }
        for axis in 0..3 {
            (values, sides) = along(&values, sides, axis, 1, &mut |line, out| {
                out.copy_from_slice(line);
                prefilter(out);
            });
        }
        Some(Self {
            coefficients: values,
            sides,
            index: Affine(rows).inverse()?,
        })
    }

    /// The function at a place; `None` outside of the image.
    pub(super) fn at(&self, place: Vector) -> Option<Sample> {
        let at = self.index.apply(place);
        let mut weights = [[0.0; 4]; 3];
        let mut slopes = [[0.0; 4]; 3];
        let mut places = [[0usize; 4]; 3];
        let strides = [1, self.sides[0], self.sides[0] * self.sides[1]];
        for axis in 0..3 {
            let last = self.sides[axis] as f64 - 1.0;
            // Also false for NaN.
            if !(at[axis] >= 0.0 && at[axis] <= last) {
                return None;
            }
            let whole = at[axis].floor();
            weights[axis] = window(at[axis] - whole);
            slopes[axis] = window_slope(at[axis] - whole);
            for (tap, place) in places[axis].iter_mut().enumerate() {
                let index = mirrored(whole as isize + tap as isize - 1, self.sides[axis]);
                *place = index * strides[axis];
            }
        }
        let mut value = 0.0;
        let mut slope = [0.0; 3];
        for z in 0..4 {
            for y in 0..4 {
                let start = places[2][z] + places[1][y];
                let (mut sum, mut sloped) = (0.0, 0.0);
                for x in 0..4 {
                    let coefficient = f64::from(self.coefficients[start + places[0][x]]);
                    sum += weights[0][x] * coefficient;
                    sloped += slopes[0][x] * coefficient;
                }
                value += weights[2][z] * weights[1][y] * sum;
                slope[0] += weights[2][z] * weights[1][y] * sloped;
                slope[1] += weights[2][z] * slopes[1][y] * sum;
                slope[2] += slopes[2][z] * weights[1][y] * sum;
            }
        }
        let mut gradient = [0.0; 3];
        for axis in 0..3 {
            for (row, part) in self.index.0.iter().zip(slope) {
                gradient[axis] += row[axis] * part;
            }
        }
        Some(Sample { value, gradient })
    }
}

impl Foreground {
    /// `None` for an image with one value only.
    pub(super) fn of(volume: &Volume) -> Option<Self> {
        let mut sorted: Vec<f32> = Vec::with_capacity(volume.values.len() / 7 + 1);
        // Every seventh value is enough for percentiles.
        for value in volume.values.iter().step_by(7) {
            sorted.push(finite(*value));
        }
        let most = sorted.len().checked_sub(1)?;
        let (lowest, highest) = (most / 1000, most - most / 1000);
        let low = f64::from(*sorted.select_nth_unstable_by(lowest, f32::total_cmp).1);
        let high = f64::from(*sorted.select_nth_unstable_by(highest, f32::total_cmp).1);
        if high <= low {
            return None;
        }
        let mut counts = [0.0; INTERVALS];
        for value in &sorted {
            let share = (f64::from(*value) - low) / (high - low);
            counts[((share * INTERVALS as f64) as usize).min(INTERVALS - 1)] += 1.0;
        }
        // Half way down to the air: dark tissue is foreground too.
        let threshold = low + (high - low) * otsu(&counts) / 2.0;
        let [depth, height, width] = volume.grid.dims;
        let sides = [width, height, depth];
        let mut profiles = sides.map(|side| vec![0.0; side]);
        let mut sums = [0.0; 3];
        let mut count = 0.0;
        for (place, value) in volume.values.iter().enumerate() {
            if f64::from(finite(*value)) > threshold {
                let at = [
                    place % width,
                    place / width % height,
                    place / (width * height),
                ];
                for axis in 0..3 {
                    profiles[axis][at[axis]] += 1.0;
                    sums[axis] += at[axis] as f64;
                }
                count += 1.0;
            }
        }
        if count == 0.0 {
            return None;
        }
        let (mut first, mut last) = ([0.0; 3], [0.0; 3]);
        for axis in 0..3 {
            first[axis] = reached(profiles[axis].iter(), count / 1000.0) as f64;
            let from_behind = reached(profiles[axis].iter().rev(), count / 1000.0);
            last[axis] = (sides[axis] - 1 - from_behind.min(sides[axis] - 1)) as f64;
        }
        let affine = volume.source.canonical_affine();
        Some(Self {
            low,
            high,
            threshold,
            centre: affine.apply(sums.map(|sum| sum / count)),
            first,
            last,
        })
    }
}

/// How many entries pass before their sum is above `least`.
fn reached<'a>(profile: impl Iterator<Item = &'a f64>, least: f64) -> usize {
    let mut sum = 0.0;
    let mut passed = 0;
    for count in profile {
        sum += count;
        if sum > least {
            break;
        }
        passed += 1;
    }
    passed
}

/// Where a histogram falls apart into two parts, as a share of its width (Otsu, IEEE Transactions on
/// Systems, Man and Cybernetics 9, 1979).
fn otsu(counts: &[f64; INTERVALS]) -> f64 {
    let (mut all, mut sum) = (0.0, 0.0);
    for (place, count) in counts.iter().enumerate() {
        all += count;
        sum += count * place as f64;
    }
    let (mut below, mut sum_below) = (0.0, 0.0);
    let (mut best, mut at) = (-1.0, 0);
    for (place, count) in counts.iter().enumerate() {
        below += count;
        sum_below += count * place as f64;
        let above = all - below;
        if below == 0.0 || above == 0.0 {
            continue;
        }
        let apart = sum_below / below - (sum - sum_below) / above;
        let between = below * above * apart * apart;
        if between > best {
            (best, at) = (between, place);
        }
    }
    (at + 1) as f64 / INTERVALS as f64
}

pub(super) fn finite(value: f32) -> f32 {
    if value.is_finite() { value } else { 0.0 }
}

/// Weights of the cubic B-spline at the four places around a point, `share` behind the second.
pub(super) fn window(share: f64) -> [f64; 4] {
    let rest = 1.0 - share;
    let (square, rest_square) = (share * share, rest * rest);
    [
        rest_square * rest / 6.0,
        2.0 / 3.0 - square * (2.0 - share) / 2.0,
        2.0 / 3.0 - rest_square * (2.0 - rest) / 2.0,
        square * share / 6.0,
    ]
}

/// The derivatives of [`window`] by `share`.
pub(super) fn window_slope(share: f64) -> [f64; 4] {
    let rest = 1.0 - share;
    [
        -rest * rest / 2.0,
        share * (1.5 * share - 2.0),
        -rest * (1.5 * rest - 2.0),
        share * share / 2.0,
    ]
}

/// An index beyond the ends, mirrored at the first and the last entry.
fn mirrored(index: isize, side: usize) -> usize {
    let last = side as isize - 1;
    let inside = if index < 0 {
        -index
    } else if index > last {
        2 * last - index
    } else {
        index
    };
    inside.clamp(0, last) as usize
}

/// Half of a symmetric Gaussian, the middle first, its whole sum 1.
fn gaussian(sigma: f64) -> Vec<f32> {
    if sigma < 0.1 {
        return vec![1.0];
    }
    let radius = (3.0 * sigma).ceil() as usize;
    let mut weights = Vec::with_capacity(radius + 1);
    let mut sum = 0.0;
    for place in 0..=radius {
        let distance = place as f64 / sigma;
        let weight = (-0.5 * distance * distance).exp();
        sum += if place == 0 { weight } else { 2.0 * weight };
        weights.push(weight);
    }
    weights.iter().map(|weight| (weight / sum) as f32).collect()
}

/// Filters a line and keeps every `every`th value.
fn smooth(line: &[f32], half: &[f32], every: usize, out: &mut [f32]) {
    for (place, value) in out.iter_mut().enumerate() {
        let middle = place * every;
        let mut sum = half[0] * line[middle];
        for (distance, weight) in half.iter().enumerate().skip(1) {
            let before = line[middle.saturating_sub(distance)];
            let behind = line[(middle + distance).min(line.len() - 1)];
            sum += weight * (before + behind);
        }
        *value = sum;
    }
}

/// From values to the coefficients of the cubic B-spline through them (Unser 1999, box 2).
fn prefilter(line: &mut [f32]) {
    let count = line.len();
    if count < 2 {
        return;
    }
    let pole = 3f64.sqrt() - 2.0;
    // The mirrored line's sum, until its terms no longer count.
    let mut first = 0.0;
    let mut power = 1.0;
    for tap in 0..24 {
        first += power * f64::from(line[mirrored(tap, count)]);
        power *= pole;
    }
    let mut last = first;
    line[0] = (6.0 * first) as f32;
    let mut causal = Vec::with_capacity(count);
    causal.push(first);
    for value in &line[1..] {
        last = f64::from(*value) + pole * last;
        causal.push(last);
    }
    let mut next = pole / (pole * pole - 1.0) * (causal[count - 1] + pole * causal[count - 2]);
    line[count - 1] = (6.0 * next) as f32;
    for place in (0..count - 1).rev() {
        next = pole * (next - causal[place]);
        line[place] = (6.0 * next) as f32;
    }
}

/// Does `work` for all lines of an axis, of which every `every`th entry stays.
fn along(
    values: &[f32],
    sides: [usize; 3],
    axis: usize,
    every: usize,
    work: &mut dyn FnMut(&[f32], &mut [f32]),
) -> (Vec<f32>, [usize; 3]) {
    let mut kept = sides;
    kept[axis] = sides[axis].div_ceil(every);
    let mut out = vec![0.0; kept.iter().product()];
    let stride: usize = sides[..axis].iter().product();
    let lines: usize = sides[axis + 1..].iter().product();
    let mut line = vec![0.0; sides[axis]];
    let mut changed = vec![0.0; kept[axis]];
    for outer in 0..lines {
        for inner in 0..stride {
            let from = outer * stride * sides[axis] + inner;
            for (place, value) in line.iter_mut().enumerate() {
                *value = values[from + place * stride];
            }
            work(&line, &mut changed);
            let to = outer * stride * kept[axis] + inner;
            for (place, value) in changed.iter().enumerate() {
                out[to + place * stride] = *value;
            }
        }
    }
    (out, kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nifti::{Form, Source};

    #[test]
    fn a_spline_goes_through_the_values_and_has_their_gradient() {
        let grid = Grid {
            dims: [12, 11, 10],
            spacing_mm: [3.0, 1.0, 2.0],
        };
        let source = Source::new(&grid, "LPS", Form::Sform).unwrap();
        let affine = source.canonical_affine();
        let mut values = Vec::new();
        for place in 0..grid.voxels() {
            let at = [place % 10, place / 10 % 11, place / 110].map(|index| index as f64);
            let [x, y, z] = affine.apply(at);
            values.push((2.0 * x - y + 0.5 * z) as f32);
        }
        let volume = Volume {
            grid,
            values,
            source,
            warnings: Vec::new(),
        };
        let field = Field::new(&volume, 0.0).unwrap();
        let corner = affine.apply([0.0, 0.0, 0.0]);
        let sample = field.at(corner).unwrap();
        assert!((sample.value - f64::from(volume.values[0])).abs() < 1e-4);
        let sample = field.at(affine.apply([5.2, 4.9, 6.1])).unwrap();
        for (found, truth) in sample.gradient.iter().zip([2.0, -1.0, 0.5]) {
            assert!((found - truth).abs() < 0.02, "{:?}", sample.gradient);
        }
        assert!(field.at(affine.apply([-0.1, 0.0, 0.0])).is_none());
        assert!(field.at([f64::NAN; 3]).is_none());
    }
}
