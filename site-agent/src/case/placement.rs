//! The in-plane map between native and model pixels.

use std::ops::Range;

/// The in-plane map between native and model pixels, centre on centre. Model pixel `m` of a canvas
/// of `canvas` pixels is at the native coordinate `(m - (canvas - 1) / 2) * step + (side - 1) / 2`.
/// The canvas is the model's plane, or more where the brain is larger ([`canvas`](Self::canvas)).
///
/// Where `step` is exactly 1 nothing is resampled. If canvas and side differ by an odd number, a
/// half pixel is rounded down, so that crop and padding move pixels without changing them.
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

    /// Height and width in model pixels that show all of the brain: the model's plane, or the
    /// smallest larger canvas that shows the brain. `brain` is the first and last native row, then
    /// column.
    #[must_use]
    pub fn canvas(&self, brain: [[usize; 2]; 2], sides: [usize; 2], plane: usize) -> [usize; 2] {
        let [rows, columns] = self.axes(sides);
        [
            rows.canvas(brain[0], plane),
            columns.canvas(brain[1], plane),
        ]
    }

    /// The native rows and columns that `plane` pixels of a canvas show, from pixel `corner` on.
    #[must_use]
    pub fn shown(
        &self,
        sides: [usize; 2],
        canvas: [usize; 2],
        corner: [usize; 2],
        plane: usize,
    ) -> [Range<usize>; 2] {
        let [rows, columns] = self.axes(sides);
        [
            rows.shown(canvas[0], corner[0], plane),
            columns.shown(canvas[1], corner[1], plane),
        ]
    }

    /// Native planes `[depth, height, width]` on the model's, bilinear; zero outside the native
    /// plane.
    #[must_use]
    pub fn place(&self, native: &[f32], dims: [usize; 3], canvas: [usize; 2]) -> Vec<f32> {
        let [rows, columns] = self.axes([dims[1], dims[2]]);
        let rows = rows.canvas_in_native(canvas[0]);
        let columns = columns.canvas_in_native(canvas[1]);
        resampled(native, [dims[1], dims[2]], [&rows, &columns], 0.0)
    }

    /// As [`place`](Self::place) by the nearest pixel, for masks and labels.
    #[must_use]
    pub fn place_nearest(&self, native: &[u8], dims: [usize; 3], canvas: [usize; 2]) -> Vec<u8> {
        let [rows, columns] = self.axes([dims[1], dims[2]]);
        let rows = rows.canvas_in_native(canvas[0]);
        let columns = columns.canvas_in_native(canvas[1]);
        let mut placed = Vec::with_capacity(dims[0] * canvas[0] * canvas[1]);
        for slice in native.chunks_exact(dims[1] * dims[2]) {
            for row in &rows {
                for column in &columns {
                    placed.push(match (row, column) {
                        (Some(row), Some(column)) => {
                            slice[row.nearest() * dims[2] + column.nearest()]
                        }
                        _ => 0,
                    });
                }
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
        let [rows, columns] = self.axes([dims[1], dims[2]]);
        let rows = rows.native_in_canvas(canvas[0]);
        let columns = columns.native_in_canvas(canvas[1]);
        resampled(planes, canvas, [&rows, &columns], outside)
    }

    /// The rows, then the columns of a native plane.
    fn axes(&self, sides: [usize; 2]) -> [Axis; 2] {
        [
            Axis {
                side: sides[0],
                step: self.step[0],
            },
            Axis {
                side: sides[1],
                step: self.step[1],
            },
        ]
    }
}

/// One direction of a plane.
struct Axis {
    /// Native pixels.
    side: usize,
    /// Native pixels per model pixel.
    step: f32,
}

impl Axis {
    /// The native coordinate of a canvas's first pixel.
    fn first(&self, canvas: usize) -> f32 {
        if self.step == 1.0 {
            return ((self.side as f32 - canvas as f32) / 2.0).floor();
        }
        (self.side as f32 - 1.0) / 2.0 - (canvas as f32 - 1.0) / 2.0 * self.step
    }

    /// The smallest canvas, but not smaller than `plane`, that shows the native pixels `brain`.
    fn canvas(&self, brain: [usize; 2], plane: usize) -> usize {
        if self.shows(brain, plane) {
            return plane;
        }
        let middle = (self.side as f32 - 1.0) / 2.0;
        let mut reach = 0.0f32;
        for pixel in brain {
            reach = reach.max((pixel as f32 - middle).abs() / self.step);
        }
        let least = (2.0 * reach) as usize;
        let mut canvas = plane.max(least);
        // One pixel more for the edge, another for a half that was rounded down.
        while !self.shows(brain, canvas) && canvas < least + 8 {
            canvas += 1;
        }
        canvas
    }

    /// Whether a canvas shows these native pixels.
    fn shows(&self, pixels: [usize; 2], canvas: usize) -> bool {
        let first = self.first(canvas);
        for pixel in pixels {
            if between((pixel as f32 - first) / self.step, canvas).is_none() {
                return false;
            }
        }
        true
    }

    /// The native pixels that `plane` pixels of a canvas show, from pixel `corner` on.
    fn shown(&self, canvas: usize, corner: usize, plane: usize) -> Range<usize> {
        let first = self.first(canvas) + corner as f32 * self.step;
        let mut shown = self.side..self.side;
        for pixel in 0..self.side {
            if between((pixel as f32 - first) / self.step, plane).is_none() {
                continue;
            }
            if shown.is_empty() {
                shown.start = pixel;
            }
            shown.end = pixel + 1;
        }
        shown
    }

    /// Where each pixel of a canvas is among the native ones.
    fn canvas_in_native(&self, canvas: usize) -> Vec<Option<Neighbours>> {
        let first = self.first(canvas);
        let mut places = Vec::with_capacity(canvas);
        for pixel in 0..canvas {
            places.push(between(first + pixel as f32 * self.step, self.side));
        }
        places
    }

    /// Where each native pixel is among those of a canvas.
    fn native_in_canvas(&self, canvas: usize) -> Vec<Option<Neighbours>> {
        let first = self.first(canvas);
        let mut places = Vec::with_capacity(self.side);
        for pixel in 0..self.side {
            places.push(between((pixel as f32 - first) / self.step, canvas));
        }
        places
    }
}

impl Neighbours {
    fn nearest(&self) -> usize {
        if self.weight > 0.5 {
            self.high
        } else {
            self.low
        }
    }
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
    let width = sides[1];
    let area = (sides[0] * sides[1]).max(1);
    let mut values = Vec::with_capacity(planes.len() / area * rows.len() * columns.len());
    for slice in planes.chunks_exact(area) {
        for row in rows {
            let Some(row) = row else {
                values.resize(values.len() + columns.len(), outside);
                continue;
            };
            let low = &slice[row.low * width..][..width];
            let high = &slice[row.high * width..][..width];
            for column in columns {
                values.push(match column {
                    None => outside,
                    Some(c) => mix(
                        mix(low[c.low], low[c.high], c.weight),
                        mix(high[c.low], high[c.high], c.weight),
                        row.weight,
                    ),
                });
            }
        }
    }
    values
}

/// Exactly `a` at weight 0, so that pixels that are only moved stay unchanged.
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
            step in 0.2f32..4.0,
            resampled: bool,
            side in 1usize..200,
            plane in 2usize..60,
            one_end in 0usize..200,
            other_end in 0usize..200,
        ) {
            let step = if resampled { step } else { 1.0 };
            let one_end = one_end % side;
            let other_end = other_end % side;
            let brain = [[one_end.min(other_end), one_end.max(other_end)]; 2];
            let placement = Placement { step: [step; 2] };
            let canvas = placement.canvas(brain, [side, side], plane);
            prop_assert!(canvas[0] >= plane);
            let values = vec![1.0; canvas[0] * canvas[1]];
            let native = placement.restore(&values, canvas, [1, side, side], f32::NAN);
            for n in brain[0] {
                prop_assert!(native[n * side + n].is_finite(), "{canvas:?} {brain:?}");
            }
            if canvas[0] > plane {
                let values = vec![1.0; plane * plane];
                let native = placement.restore(&values, [plane; 2], [1, side, side], f32::NAN);
                prop_assert!(brain[0].iter().any(|&n| native[n * side + n].is_nan()));
            }
        }

        #[test]
        fn there_and_back_by_whole_pixels_changes_nothing(
            height in 1usize..9, width in 1usize..9, extra in 0usize..5,
        ) {
            let dims = [2, height, width];
            let native: Vec<f32> = (0..2 * height * width).map(|v| v as f32 + 1.0).collect();
            let plane = height.max(width) + extra;
            let placed = Placement::WHOLE_PIXELS.place(&native, dims, [plane; 2]);
            let restored = Placement::WHOLE_PIXELS.restore(&placed, [plane; 2], dims, f32::NAN);
            prop_assert_eq!(restored, native);
        }

        #[test]
        fn a_gradient_stays_a_gradient(step in 0.4f32..2.5, side in 8usize..40) {
            // Linear interpolation reproduces a linear image wherever the plane is inside it.
            let native: Vec<f32> = (0..side * side).map(|i| (i % side) as f32).collect();
            let plane = (((side - 1) as f32 / step) as usize).max(2);
            let placement = Placement { step: [step, step] };
            let placed = placement.place(&native, [1, side, side], [plane; 2]);
            let middle = &placed[plane * (plane / 2)..][..plane];
            for pair in middle.windows(2) {
                prop_assert!((pair[1] - pair[0] - step).abs() < 1e-3, "{:?}", middle);
            }
            prop_assert!((middle[0] + middle[plane - 1] - (side as f32 - 1.0)).abs() < 1e-3);
        }

        #[test]
        fn masks_and_images_are_placed_alike(
            step in 0.4f32..2.5, side in 4usize..20, plane in 4usize..20,
        ) {
            let placement = Placement { step: [step, 1.0] };
            let ones = placement.place_nearest(&vec![1; side * side], [1, side, side], [plane; 2]);
            let reals = placement.place(&vec![1.0; side * side], [1, side, side], [plane; 2]);
            prop_assert!(ones.iter().zip(reals).all(|(&a, b)| f32::from(a) == b));
        }
    }
}
