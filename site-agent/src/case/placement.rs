//! The in-plane map between native and model pixels.

/// The in-plane map between native and model pixels, centre on centre: model pixel `m` of a canvas
/// of that many pixels lies at native coordinate `(m - (canvas - 1) / 2) * step + (side - 1) / 2`.
/// The canvas is the model's plane, or more where the brain is larger ([`canvas`](Self::canvas)).
///
/// Where `step` is exactly 1 nothing is resampled: a half pixel, when canvas and side differ by an
/// odd number, is rounded down, so that crop and padding move whole pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placement {
    /// Native pixels per model pixel, height and width; exactly 1 where nothing is resampled.
    pub step: [f32; 2],
}

/// The two pixels around a coordinate, and the weight of the second for linear interpolation.
#[derive(Clone, Copy)]
struct Neighbours {
    low: usize,
    high: usize,
    weight: f32,
}

impl Placement {
    /// Crop and padding only.
    pub const WHOLE_PIXELS: Self = Self { step: [1.0, 1.0] };

    /// The placement that resamples to `spacing_mm` in both directions, or only crops and pads
    /// without one.
    ///
    /// A native spacing within a thousandth of the wanted one is left alone.
    #[must_use]
    pub fn new(native_mm: [f32; 2], spacing_mm: Option<f32>) -> Self {
        let Some(wanted) = spacing_mm else {
            return Self::WHOLE_PIXELS;
        };
        let mut step = [1.0; 2];
        for axis in 0..2 {
            let ratio = wanted / native_mm[axis];
            if (ratio - 1.0).abs() >= 1e-3 {
                step[axis] = ratio;
            }
        }
        Self { step }
    }

    /// Height and width in model pixels that show all of the brain: the model's plane, or along
    /// each axis the least that reaches as far as the brain. `brain` is the first and last native
    /// row, then column.
    #[must_use]
    pub fn canvas(&self, brain: [[usize; 2]; 2], sides: [usize; 2], plane: usize) -> [usize; 2] {
        [0, 1].map(|axis| {
            let side = sides[axis];
            let step = self.step[axis];
            let shows = |canvas: usize| {
                let first = first(side, canvas, step);
                brain[axis]
                    .iter()
                    .all(|&n| between((n as f32 - first) / step, canvas).is_some())
            };
            let middle = (side as f32 - 1.0) / 2.0;
            let reach = brain[axis]
                .iter()
                .map(|&n| (n as f32 - middle).abs() / step)
                .fold(0.0, f32::max);
            let mut canvas = plane.max((2.0 * reach) as usize);
            if shows(plane) {
                return plane;
            }
            // One pixel more for the edge, another for a half that was rounded down.
            while !shows(canvas) && canvas < (2.0 * reach) as usize + 8 {
                canvas += 1;
            }
            canvas
        })
    }

    /// The native rows and columns that `plane` pixels of a canvas show, from pixel `corner` on.
    #[must_use]
    pub fn shown(
        &self,
        sides: [usize; 2],
        canvas: [usize; 2],
        corner: [usize; 2],
        plane: usize,
    ) -> [std::ops::Range<usize>; 2] {
        [0, 1].map(|axis| {
            let side = sides[axis];
            let step = self.step[axis];
            let first = first(side, canvas[axis], step) + corner[axis] as f32 * step;
            let seen = |n: &usize| between((*n as f32 - first) / step, plane).is_some();
            let start = (0..side).find(seen).unwrap_or(side);
            start
                ..(start..side)
                    .rev()
                    .find(seen)
                    .map_or(start, |last| last + 1)
        })
    }

    /// Native planes `[depth, height, width]` on the model's, bilinear; zero where the canvas
    /// reaches past.
    #[must_use]
    pub fn place(&self, native: &[f32], dims: [usize; 3], canvas: [usize; 2]) -> Vec<f32> {
        let [rows, columns] = self.model_in_native([dims[1], dims[2]], canvas);
        resampled(native, [dims[1], dims[2]], [&rows, &columns], 0.0)
    }

    /// As [`place`](Self::place) by the nearest pixel, for masks and labels.
    #[must_use]
    pub fn place_nearest(&self, native: &[u8], dims: [usize; 3], canvas: [usize; 2]) -> Vec<u8> {
        let nearest = |between: &Option<Neighbours>| {
            between.map(|b| if b.weight > 0.5 { b.high } else { b.low })
        };
        let [rows, columns] = self.model_in_native([dims[1], dims[2]], canvas);
        let columns: Vec<Option<usize>> = columns.iter().map(nearest).collect();
        let mut placed = Vec::with_capacity(dims[0] * canvas[0] * canvas[1]);
        for slice in native.chunks_exact(dims[1] * dims[2]) {
            for row in rows.iter().map(nearest) {
                let row = row.map(|y| &slice[y * dims[2]..][..dims[2]]);
                placed.extend(
                    columns
                        .iter()
                        .map(|&x| row.zip(x).map_or(0, |(row, x)| row[x])),
                );
            }
        }
        placed
    }

    /// Values on a canvas `[depth, height, width]` brought back to native `dims`, bilinear;
    /// `outside` where the canvas does not reach.
    #[must_use]
    pub fn restore(
        &self,
        planes: &[f32],
        canvas: [usize; 2],
        dims: [usize; 3],
        outside: f32,
    ) -> Vec<f32> {
        let axis = |axis: usize| -> Vec<Option<Neighbours>> {
            let side = dims[1 + axis];
            let step = self.step[axis];
            let first = first(side, canvas[axis], step);
            (0..side)
                .map(|n| between((n as f32 - first) / step, canvas[axis]))
                .collect()
        };
        let (rows, columns) = (axis(0), axis(1));
        resampled(planes, canvas, [&rows, &columns], outside)
    }

    /// Where each row and column of the canvas lies among `sides` native rows and columns.
    fn model_in_native(
        &self,
        sides: [usize; 2],
        canvas: [usize; 2],
    ) -> [Vec<Option<Neighbours>>; 2] {
        [0, 1].map(|axis| {
            let side = sides[axis];
            let step = self.step[axis];
            let first = first(side, canvas[axis], step);
            (0..canvas[axis])
                .map(|m| between(first + m as f32 * step, side))
                .collect()
        })
    }
}

/// The native coordinate of a canvas's first pixel.
fn first(side: usize, canvas: usize, step: f32) -> f32 {
    if step == 1.0 {
        return ((side as f32 - canvas as f32) / 2.0).floor();
    }
    (side as f32 - 1.0) / 2.0 - (canvas as f32 - 1.0) / 2.0 * step
}

/// The neighbours of `at` among `side` pixels; `None` beyond the outer pixels' edges.
fn between(at: f32, side: usize) -> Option<Neighbours> {
    let last = side as f32 - 1.0;
    if side == 0 || !(-0.5..last + 0.5).contains(&at) {
        return None;
    }
    let at = at.clamp(0.0, last);
    let low = at as usize;
    Some(Neighbours {
        low,
        high: (low + 1).min(side - 1),
        weight: at - low as f32,
    })
}

/// Bilinear values of `planes`, each of `sides`, at every pair of the given rows and columns.
fn resampled(
    planes: &[f32],
    sides: [usize; 2],
    at: [&[Option<Neighbours>]; 2],
    outside: f32,
) -> Vec<f32> {
    let [rows, columns] = at;
    let area = (sides[0] * sides[1]).max(1);
    let mut values = Vec::with_capacity(planes.len() / area * rows.len() * columns.len());
    for slice in planes.chunks_exact(area) {
        for row in rows {
            let Some(row) = row else {
                values.resize(values.len() + columns.len(), outside);
                continue;
            };
            let low = &slice[row.low * sides[1]..][..sides[1]];
            let high = &slice[row.high * sides[1]..][..sides[1]];
            values.extend(columns.iter().map(|column| match column {
                None => outside,
                Some(c) => mix(
                    mix(low[c.low], low[c.high], c.weight),
                    mix(high[c.low], high[c.high], c.weight),
                    row.weight,
                ),
            }));
        }
    }
    values
}

/// Exactly `a` at weight 0, so that whole pixels move unchanged.
fn mix(a: f32, b: f32, weight: f32) -> f32 {
    if weight == 0.0 {
        a
    } else {
        a + (b - a) * weight
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cropping_moves_whole_pixels_and_padding_is_zero() {
        let native: Vec<f32> = (1..=35).map(|v| v as f32).collect(); // 5 rows of 7
        let placed = Placement::WHOLE_PIXELS.place(&native, [1, 5, 7], [6, 6]);
        // Rows start at floor(-0.5) = -1, columns at floor(0.5) = 0.
        assert_eq!(placed[..6], [0.0; 6]);
        assert_eq!(placed[6..12], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(placed[30..], [29.0, 30.0, 31.0, 32.0, 33.0, 34.0]);
    }

    #[test]
    fn half_the_resolution_averages_pairs() {
        let native = [0.0, 2.0, 4.0, 6.0].repeat(4);
        let placed = Placement::new([1.0, 1.0], Some(2.0)).place(&native, [1, 4, 4], [2, 2]);
        assert_eq!(placed, [1.0, 5.0, 1.0, 5.0]);
    }

    #[test]
    fn what_the_plane_does_not_reach_is_outside() {
        let restored = Placement::WHOLE_PIXELS.restore(&[5.0; 4], [2, 2], [1, 4, 4], -9.0);
        assert_eq!(restored[..4], [-9.0; 4]);
        assert_eq!(restored[4..8], [-9.0, 5.0, 5.0, -9.0]);
    }

    #[test]
    fn a_brain_that_fits_has_the_models_plane_and_a_larger_one_the_least_that_shows_it() {
        let whole = Placement::WHOLE_PIXELS;
        // The plane shows native rows 16 to 47 of 64.
        assert_eq!(whole.canvas([[16, 47], [20, 30]], [64, 64], 32), [32, 32]);
        assert_eq!(whole.canvas([[15, 47], [16, 48]], [64, 64], 32), [33, 34]);
        assert_eq!(whole.canvas([[0, 63], [20, 30]], [64, 64], 32), [64, 32]);
        let coarse = Placement::new([1.0, 1.0], Some(2.0));
        assert_eq!(coarse.canvas([[0, 63], [0, 63]], [64, 64], 32), [32, 32]);
        assert_eq!(coarse.canvas([[0, 63], [0, 63]], [64, 64], 16), [32, 32]);
    }

    #[test]
    fn a_window_shows_the_native_rows_under_it() {
        let whole = Placement::WHOLE_PIXELS;
        assert_eq!(
            whole.shown([64, 64], [64, 32], [16, 0], 32),
            [16..48, 16..48]
        );
        let coarse = Placement::new([1.0, 1.0], Some(2.0));
        assert_eq!(
            coarse.shown([64, 64], [32, 32], [0, 16], 16),
            [0..32, 32..64]
        );
        assert_eq!(whole.shown([2, 2], [8, 8], [6, 6], 2), [2..2, 2..2]);
    }

    proptest! {
        #[test]
        fn the_canvas_shows_the_whole_brain(
            step in 0.2f32..4.0, resampled: bool, side in 1usize..200, plane in 2usize..60, ends in (0usize..200, 0usize..200),
        ) {
            let step = if resampled { step } else { 1.0 };
            let (low, high) = (ends.0.min(ends.1) % side, ends.0.max(ends.1) % side);
            let brain = [[low.min(high), low.max(high)]; 2];
            let placement = Placement { step: [step; 2] };
            let canvas = placement.canvas(brain, [side, side], plane);
            prop_assert!(canvas[0] >= plane);
            let values = vec![1.0; canvas[0] * canvas[1]];
            let native = placement.restore(&values, canvas, [1, side, side], f32::NAN);
            for n in brain[0] {
                prop_assert!(native[n * side + n].is_finite(), "{canvas:?} {brain:?}");
            }
            if canvas[0] > plane {
                let least = placement.restore(&vec![1.0; plane * plane], [plane; 2], [1, side, side], f32::NAN);
                prop_assert!(brain[0].iter().any(|&n| least[n * side + n].is_nan()));
            }
        }

        #[test]
        fn there_and_back_by_whole_pixels_changes_nothing(h in 1usize..9, w in 1usize..9, extra in 0usize..5) {
            let native: Vec<f32> = (0..2 * h * w).map(|v| v as f32 + 1.0).collect();
            let plane = h.max(w) + extra;
            let placed = Placement::WHOLE_PIXELS.place(&native, [2, h, w], [plane; 2]);
            prop_assert_eq!(Placement::WHOLE_PIXELS.restore(&placed, [plane; 2], [2, h, w], f32::NAN), native);
        }

        #[test]
        fn a_gradient_stays_a_gradient(step in 0.4f32..2.5, side in 8usize..40) {
            // Linear interpolation reproduces a linear image wherever the plane lies inside it.
            let native: Vec<f32> = (0..side * side).map(|i| (i % side) as f32).collect();
            let plane = (((side - 1) as f32 / step) as usize).max(2);
            let placed = Placement { step: [step, step] }.place(&native, [1, side, side], [plane; 2]);
            let middle = &placed[plane * (plane / 2)..][..plane];
            for pair in middle.windows(2) {
                prop_assert!((pair[1] - pair[0] - step).abs() < 1e-3, "{:?}", middle);
            }
            prop_assert!((middle[0] + middle[plane - 1] - (side as f32 - 1.0)).abs() < 1e-3);
        }

        #[test]
        fn masks_and_images_are_placed_alike(step in 0.4f32..2.5, side in 4usize..20, plane in 4usize..20) {
            let placement = Placement { step: [step, 1.0] };
            let ones = placement.place_nearest(&vec![1; side * side], [1, side, side], [plane; 2]);
            let reals = placement.place(&vec![1.0; side * side], [1, side, side], [plane; 2]);
            prop_assert!(ones.iter().zip(reals).all(|(&a, b)| f32::from(a) == b));
        }
    }
}
