//! Overlapping windows of the model's size over planes that are larger than the model's.
//!
//! A brain that fits the model's plane has one window, the plane itself. Otherwise windows overlap
//! by at least half, so that a lesion at the edge of one is well inside another.

/// The windows over each slice of a case.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tiles {
    /// Height and width of a window.
    plane: usize,
    /// Height and width of the planes that they cover.
    canvas: [usize; 2],
    /// The first row of each row of windows, and the first column of each column.
    starts: [Vec<usize>; 2],
}

impl Tiles {
    /// Windows that cover a canvas; no side of it may be smaller than a window.
    pub(crate) fn over(canvas: [usize; 2], plane: usize) -> Self {
        Self {
            plane,
            canvas,
            starts: canvas.map(|side| starts(side, plane)),
        }
    }

    /// The number of windows.
    pub(crate) fn count(&self) -> usize {
        self.starts[0].len() * self.starts[1].len()
    }

    /// The first row and column of a window.
    pub(crate) fn corner(&self, tile: usize) -> [usize; 2] {
        let [rows, columns] = &self.starts;
        [
            rows[tile / columns.len() % rows.len()],
            columns[tile % columns.len()],
        ]
    }

    /// Copies a window out of one slice's canvas.
    pub(crate) fn cut<T: Copy>(&self, tile: usize, canvas: &[T], window: &mut [T]) {
        let [top, left] = self.corner(tile);
        let width = self.canvas[1];
        for (row, to) in window.chunks_exact_mut(self.plane).enumerate() {
            to.copy_from_slice(&canvas[(top + row) * width + left..][..self.plane]);
        }
    }
}

/// The starts of the windows along one axis, evenly spread, at most half a window apart.
fn starts(side: usize, plane: usize) -> Vec<usize> {
    let room = side.saturating_sub(plane);
    let steps = room.div_ceil((plane / 2).max(1));
    if steps == 0 {
        return vec![0];
    }
    (0..=steps)
        .map(|step| (step * room + steps / 2) / steps)
        .collect()
}

/// The logits of all windows of a case on its canvas. Where several windows show a pixel: the mean
/// of their logits, with more weight for windows in whose middle it is.
pub(crate) struct Mosaic {
    tiles: Tiles,
    values: Vec<f32>,
    /// The sum of weights at each pixel; empty where a slice has one window.
    weights: Vec<f32>,
    empty: f32,
}

impl Mosaic {
    /// An empty mosaic of `depth` slices. Pixels of views that are never put get the value `empty`.
    pub(crate) fn new(tiles: Tiles, depth: usize, empty: f32) -> Self {
        let pixels = depth * tiles.canvas[0] * tiles.canvas[1];
        if tiles.count() > 1 {
            Self {
                tiles,
                values: vec![0.0; pixels],
                weights: vec![0.0; pixels],
                empty,
            }
        } else {
            Self {
                tiles,
                values: vec![empty; pixels],
                weights: Vec::new(),
                empty,
            }
        }
    }

    /// Adds the logits of a view, `[plane, plane]`. Views are counted slice by slice.
    pub(crate) fn put(&mut self, view: usize, window: &[f32]) {
        let plane = self.tiles.plane;
        let [height, width] = self.tiles.canvas;
        let slice = view / self.tiles.count();
        let tile = view % self.tiles.count();
        let start = slice * height * width;
        if self.weights.is_empty() {
            self.values[start..][..window.len()].copy_from_slice(window);
            return;
        }
        let [top, left] = self.tiles.corner(tile);
        for (row, values) in window.chunks_exact(plane).enumerate() {
            let place = start + (top + row) * width + left;
            for (column, &value) in values.iter().enumerate() {
                let weight = inwards(row, plane) * inwards(column, plane);
                self.values[place + column] += weight * value;
                self.weights[place + column] += weight;
            }
        }
    }

    /// `[depth, height, width]` of the canvas.
    pub(crate) fn finish(self) -> Vec<f32> {
        let mut values = self.values;
        for (value, weight) in values.iter_mut().zip(self.weights) {
            *value = if weight > 0.0 {
                *value / weight
            } else {
                self.empty
            };
        }
        values
    }
}

/// The distance of a pixel from the nearest edge of its window, as a share of the window: above 0,
/// at most about a half.
fn inwards(at: usize, plane: usize) -> f32 {
    let nearest = (at + 1).min(plane - at) as f32;
    nearest / plane as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_fits_has_one_window_and_is_passed_on_bit_by_bit() {
        let tiles = Tiles::over([3, 3], 3);
        assert_eq!((tiles.count(), tiles.corner(0)), (1, [0, 0]));
        let window: Vec<f32> = (0..9).map(|at| at as f32 / 7.0).collect();
        let mut mosaic = Mosaic::new(tiles, 2, -9.0);
        mosaic.put(1, &window);
        assert_eq!(mosaic.finish(), [vec![-9.0; 9], window].concat());
    }

    #[test]
    fn one_pixel_more_than_a_window_has_two() {
        assert_eq!(starts(32, 32), [0]);
        assert_eq!(starts(33, 32), [0, 1]);
        assert_eq!(starts(64, 32), [0, 16, 32]);
        assert_eq!(starts(65, 32), [0, 11, 22, 33]);
    }

    proptest! {
        #[test]
        fn windows_cover_everything_and_overlap_by_half(plane in 2usize..40, more in 0usize..90) {
            let side = plane + more;
            let starts = starts(side, plane);
            prop_assert_eq!((starts[0], starts[starts.len() - 1] + plane), (0, side));
            for pair in starts.windows(2) {
                prop_assert!(pair[0] < pair[1]);
                prop_assert!(pair[1] - pair[0] <= plane.div_ceil(2));
            }
        }

        #[test]
        fn windows_that_agree_give_back_what_they_were_cut_from(
            height in 4usize..20, width in 4usize..20, plane in 2usize..5,
        ) {
            let pixels = 2 * height * width;
            let canvas: Vec<f32> = (0..pixels).map(|at| (at % 89) as f32 - 44.0).collect();
            let tiles = Tiles::over([height, width], plane);
            let mut mosaic = Mosaic::new(tiles.clone(), 2, f32::NAN);
            let mut window = vec![0.0; plane * plane];
            for view in 0..2 * tiles.count() {
                let slice = &canvas[view / tiles.count() * height * width..][..height * width];
                tiles.cut(view % tiles.count(), slice, &mut window);
                mosaic.put(view, &window);
            }
            let found = mosaic.finish();
            for (found, expected) in found.iter().zip(&canvas) {
                prop_assert!((found - expected).abs() < 1e-3, "{} {}", found, expected);
            }
        }
    }
}
