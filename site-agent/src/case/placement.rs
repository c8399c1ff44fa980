//! The in-plane map between native and model pixels.

/// The in-plane map between native and model pixels, centre on centre: model pixel `m` lies at native coordinate
/// `(m - (plane - 1) / 2) * step + (side - 1) / 2`.
///
/// Where `step` is exactly 1 nothing is resampled: a half pixel, when plane and side differ by an odd number, is
/// rounded down, so that crop and padding move whole pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placement {
    /// Native pixels per model pixel, height and width; exactly 1 where nothing is resampled.
    pub step: [f32; 2],
}

/// One native or model coordinate as two neighbours and the second one's weight.
#[derive(Clone, Copy)]
struct Between {
    low: usize,
    high: usize,
    weight: f32,
}

impl Placement {
    /// Crop and padding only.
    pub const WHOLE_PIXELS: Self = Self { step: [1.0, 1.0] };

    /// The placement that resamples to `spacing_mm` in both directions, or only crops and pads without one.
    ///
    /// A native spacing within a thousandth of the wanted one is left alone.
    #[must_use]
    pub fn new(native_mm: [f32; 2], spacing_mm: Option<f32>) -> Self {
        let Some(wanted) = spacing_mm else { return Self::WHOLE_PIXELS };
        let step = |native: f32| if (wanted / native - 1.0).abs() < 1e-3 { 1.0 } else { wanted / native };
        Self { step: native_mm.map(step) }
    }

    /// Native planes `[depth, height, width]` on the model's, bilinear; zero where the model's plane reaches past.
    #[must_use]
    pub fn place(&self, native: &[f32], dims: [usize; 3], plane: usize) -> Vec<f32> {
        let [rows, columns] = self.model_in_native([dims[1], dims[2]], plane);
        resampled(native, [dims[1], dims[2]], [&rows, &columns], 0.0)
    }

    /// As [`place`](Self::place) by the nearest pixel, for masks and labels.
    #[must_use]
    pub fn place_nearest(&self, native: &[u8], dims: [usize; 3], plane: usize) -> Vec<u8> {
        let nearest = |between: &Option<Between>| between.map(|b| if b.weight > 0.5 { b.high } else { b.low });
        let [rows, columns] = self.model_in_native([dims[1], dims[2]], plane);
        let columns: Vec<Option<usize>> = columns.iter().map(nearest).collect();
        let mut placed = Vec::with_capacity(dims[0] * plane * plane);
        for slice in native.chunks_exact(dims[1] * dims[2]) {
            for row in rows.iter().map(nearest) {
                let row = row.map(|y| &slice[y * dims[2]..][..dims[2]]);
                placed.extend(columns.iter().map(|&x| row.zip(x).map_or(0, |(row, x)| row[x])));
            }
        }
        placed
    }

    /// Values on the model's planes `[depth, plane, plane]` brought back to native `dims`, bilinear; `outside` where
    /// the model's plane does not reach.
    #[must_use]
    pub fn restore(&self, planes: &[f32], plane: usize, dims: [usize; 3], outside: f32) -> Vec<f32> {
        let axis = |axis: usize| -> Vec<Option<Between>> {
            let (side, step) = (dims[1 + axis], self.step[axis]);
            let first = first(side, plane, step);
            (0..side).map(|n| between((n as f32 - first) / step, plane)).collect()
        };
        let (rows, columns) = (axis(0), axis(1));
        resampled(planes, [plane, plane], [&rows, &columns], outside)
    }

    /// Where each row and column of the model's plane lies among `sides` native rows and columns.
    fn model_in_native(&self, sides: [usize; 2], plane: usize) -> [Vec<Option<Between>>; 2] {
        [0, 1].map(|axis| {
            let (side, step) = (sides[axis], self.step[axis]);
            let first = first(side, plane, step);
            (0..plane).map(|m| between(first + m as f32 * step, side)).collect()
        })
    }
}

/// The native coordinate of the model's first pixel.
fn first(side: usize, plane: usize, step: f32) -> f32 {
    if step == 1.0 {
        return ((side as f32 - plane as f32) / 2.0).floor();
    }
    (side as f32 - 1.0) / 2.0 - (plane as f32 - 1.0) / 2.0 * step
}

/// The neighbours of `at` among `side` pixels; `None` beyond the outer pixels' edges.
fn between(at: f32, side: usize) -> Option<Between> {
    let last = side as f32 - 1.0;
    if side == 0 || !(-0.5..last + 0.5).contains(&at) {
        return None;
    }
    let at = at.clamp(0.0, last);
    let low = at as usize;
    Some(Between { low, high: (low + 1).min(side - 1), weight: at - low as f32 })
}

/// Bilinear values of `planes`, each of `sides`, at every pair of the given rows and columns.
fn resampled(planes: &[f32], sides: [usize; 2], at: [&[Option<Between>]; 2], outside: f32) -> Vec<f32> {
    let [rows, columns] = at;
    let area = (sides[0] * sides[1]).max(1);
    let mut values = Vec::with_capacity(planes.len() / area * rows.len() * columns.len());
    for slice in planes.chunks_exact(area) {
        for row in rows {
            let Some(row) = row else {
                values.resize(values.len() + columns.len(), outside);
                continue;
            };
            let (low, high) = (&slice[row.low * sides[1]..][..sides[1]], &slice[row.high * sides[1]..][..sides[1]]);
            values.extend(columns.iter().map(|column| match column {
                None => outside,
                Some(c) => {
                    mix(mix(low[c.low], low[c.high], c.weight), mix(high[c.low], high[c.high], c.weight), row.weight)
                }
            }));
        }
    }
    values
}

/// Exactly `a` at weight 0, so that whole pixels move unchanged.
fn mix(a: f32, b: f32, weight: f32) -> f32 {
    if weight == 0.0 { a } else { a + (b - a) * weight }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cropping_moves_whole_pixels_and_padding_is_zero() {
        let native: Vec<f32> = (1..=35).map(|v| v as f32).collect(); // 5 rows of 7
        let placed = Placement::WHOLE_PIXELS.place(&native, [1, 5, 7], 6);
        // Rows start at floor(-0.5) = -1, columns at floor(0.5) = 0.
        assert_eq!(placed[..6], [0.0; 6]);
        assert_eq!(placed[6..12], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(placed[30..], [29.0, 30.0, 31.0, 32.0, 33.0, 34.0]);
    }

    #[test]
    fn half_the_resolution_averages_pairs() {
        let native = [0.0, 2.0, 4.0, 6.0].repeat(4);
        let placed = Placement::new([1.0, 1.0], Some(2.0)).place(&native, [1, 4, 4], 2);
        assert_eq!(placed, [1.0, 5.0, 1.0, 5.0]);
    }

    #[test]
    fn what_the_plane_does_not_reach_is_outside() {
        let restored = Placement::WHOLE_PIXELS.restore(&[5.0; 4], 2, [1, 4, 4], -9.0);
        assert_eq!(restored[..4], [-9.0; 4]);
        assert_eq!(restored[4..8], [-9.0, 5.0, 5.0, -9.0]);
    }

    proptest! {
        #[test]
        fn there_and_back_by_whole_pixels_changes_nothing(h in 1usize..9, w in 1usize..9, extra in 0usize..5) {
            let native: Vec<f32> = (0..2 * h * w).map(|v| v as f32 + 1.0).collect();
            let plane = h.max(w) + extra;
            let placed = Placement::WHOLE_PIXELS.place(&native, [2, h, w], plane);
            prop_assert_eq!(Placement::WHOLE_PIXELS.restore(&placed, plane, [2, h, w], f32::NAN), native);
        }

        #[test]
        fn a_gradient_stays_a_gradient(step in 0.4f32..2.5, side in 8usize..40) {
            // Linear interpolation reproduces a linear image wherever the plane lies inside it.
            let native: Vec<f32> = (0..side * side).map(|i| (i % side) as f32).collect();
            let plane = (((side - 1) as f32 / step) as usize).max(2);
            let placed = Placement { step: [step, step] }.place(&native, [1, side, side], plane);
            let middle = &placed[plane * (plane / 2)..][..plane];
            for pair in middle.windows(2) {
                prop_assert!((pair[1] - pair[0] - step).abs() < 1e-3, "{:?}", middle);
            }
            prop_assert!((middle[0] + middle[plane - 1] - (side as f32 - 1.0)).abs() < 1e-3);
        }

        #[test]
        fn masks_and_images_are_placed_alike(step in 0.4f32..2.5, side in 4usize..20, plane in 4usize..20) {
            let placement = Placement { step: [step, 1.0] };
            let ones = placement.place_nearest(&vec![1; side * side], [1, side, side], plane);
            let reals = placement.place(&vec![1.0; side * side], [1, side, side], plane);
            prop_assert!(ones.iter().zip(reals).all(|(&a, b)| f32::from(a) == b));
        }
    }
}
