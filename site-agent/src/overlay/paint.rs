//! Two panels side by side, as radiologists look at slices: the front above, the patient's left on
//! the right.

use super::slice::{Call, Slice};
use protocol::overlay::{Colour, FALSE_NEGATIVE, FALSE_POSITIVE, PROBABILITY, TRUE_POSITIVE};

/// Pixels along a panel's longer side.
pub(super) const SIDE: usize = 384;
/// Pixels between the panels.
pub(super) const GAP: usize = 8;
/// Native pixels left around the brain.
const MARGIN: usize = 2;
/// How much of the background a colour covers inside its outline.
const FILL: f32 = 0.4;
/// How much of it a probability covers that reaches the threshold.
const COVER: f32 = 0.75;
/// Pixels that an outline is wide.
const OUTLINE: usize = 2;

/// Red, green and blue of each pixel, row by row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Canvas {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) pixels: Vec<u8>,
}

/// A slice's probabilities on the left, right and wrong on the right; a panel's longer side has
/// `side` pixels.
pub(super) fn panels(slice: &Slice, side: usize) -> Canvas {
    let view = View::of(slice, side);
    let (width, height) = (2 * view.width + GAP, view.height);
    let calls = view.calls();
    let mut pixels = Vec::with_capacity(3 * width * height);
    for row in 0..height {
        pixels.extend((0..view.width).flat_map(|column| view.probable(row, column)));
        pixels.resize(pixels.len() + 3 * GAP, 255);
        pixels.extend((0..view.width).flat_map(|column| view.judged(&calls, row, column)));
    }
    Canvas {
        width,
        height,
        pixels,
    }
}

/// The part of a slice that is shown, and the size at which.
struct View<'a> {
    slice: &'a Slice,
    /// First native row and column, and how many.
    from: [usize; 2],
    count: [usize; 2],
    height: usize,
    width: usize,
}

impl<'a> View<'a> {
    /// Cuts out the brain, and what was called outside of it, at the same scale along rows and
    /// columns.
    fn of(slice: &'a Slice, side: usize) -> Self {
        let columns = slice.dims[1].max(1);
        let shown = slice.brain.iter().zip(&slice.calls).enumerate();
        let shown = shown
            .filter(|(_, (brain, call))| **brain != 0 || **call != Call::Neither)
            .map(|(at, _)| at);
        let (mut first, mut last) = ([usize::MAX; 2], [0; 2]);
        for at in shown {
            for (axis, place) in [at / columns, at % columns].into_iter().enumerate() {
                (first[axis], last[axis]) = (first[axis].min(place), last[axis].max(place));
            }
        }
        let from = first.map(|first| first.saturating_sub(MARGIN));
        let end = [0, 1].map(|axis| (last[axis] + MARGIN + 1).min(slice.dims[axis]));
        let (from, count) =
            match [0, 1].map(|axis| end[axis].checked_sub(from[axis]).filter(|&count| count > 0)) {
                [Some(rows), Some(columns)] => (from, [rows, columns]),
                _ => ([0, 0], slice.dims),
            };
        let mm = [0, 1].map(|axis| count[axis] as f32 * slice.spacing_mm[axis]);
        let scale = side as f32 / mm[0].max(mm[1]);
        let [height, width] = mm.map(|mm| ((mm * scale).round() as usize).clamp(1, side.max(1)));
        Self {
            slice,
            from,
            count,
            height,
            width,
        }
    }

    /// The native place of a pixel's centre along rows and columns, counted in native pixels from
    /// the first one's centre.
    fn place(&self, row: usize, column: usize) -> [f32; 2] {
        let along = |pixel: usize, pixels: usize, axis: usize| {
            // Native rows grow to the front and columns to the patient's right: both are turned.
            let turned = (pixels - 1 - pixel) as f32 + 0.5;
            self.from[axis] as f32 + turned * self.count[axis] as f32 / pixels as f32 - 0.5
        };
        [along(row, self.height, 0), along(column, self.width, 1)]
    }

    /// A value between native pixels, bilinear.
    fn value(&self, values: &[f32], place: [f32; 2]) -> f32 {
        let between = |axis: usize| {
            let last = self.slice.dims[axis].saturating_sub(1);
            let at = place[axis].clamp(0.0, last as f32);
            (at as usize, (at as usize + 1).min(last), at.fract())
        };
        let ((low, high, down), (left, right, across)) = (between(0), between(1));
        let at = |row: usize, column: usize| {
            values
                .get(row * self.slice.dims[1] + column)
                .copied()
                .unwrap_or(0.0)
        };
        let mix = |a: f32, b: f32, share: f32| a + (b - a) * share;
        mix(
            mix(at(low, left), at(low, right), across),
            mix(at(high, left), at(high, right), across),
            down,
        )
    }

    fn grey(&self, place: [f32; 2]) -> Colour {
        [(255.0 * self.value(&self.slice.grey, place)).round() as u8; 3]
    }

    /// A pixel of the left panel. What is called lesion covers the background, what is below the
    /// threshold fades: at the low thresholds that lesions need, the bare probability would leave
    /// nothing to see.
    fn probable(&self, row: usize, column: usize) -> Colour {
        let place = self.place(row, column);
        let probability = self.value(&self.slice.probability, place);
        let reached = (probability / self.slice.threshold.max(f32::MIN_POSITIVE)).min(1.0);
        // Squared, so that the faint rest of the brain keeps its grey.
        blend(
            self.grey(place),
            shade(probability),
            COVER * reached * reached,
        )
    }

    /// What each pixel of the right panel shows: the nearest native voxel, because a call is one or
    /// another.
    fn calls(&self) -> Vec<Call> {
        let call = |row: usize, column: usize| {
            let [y, x] = self
                .place(row, column)
                .map(|at| at.round().max(0.0) as usize);
            self.slice
                .calls
                .get(y * self.slice.dims[1] + x)
                .copied()
                .unwrap_or(Call::Neither)
        };
        (0..self.height)
            .flat_map(|row| (0..self.width).map(move |column| call(row, column)))
            .collect()
    }

    /// A pixel of the right panel: an opaque outline around what is filled thinly.
    fn judged(&self, calls: &[Call], row: usize, column: usize) -> Colour {
        let grey = self.grey(self.place(row, column));
        let call = |row: usize, column: usize| {
            let inside = row < self.height && column < self.width;
            if inside {
                calls[row * self.width + column]
            } else {
                Call::Neither
            }
        };
        let own = call(row, column);
        let Some(colour) = colour(own) else {
            return grey;
        };
        let edge = (1..=OUTLINE).any(|reach| {
            let [up, left] = [row, column].map(|at| at.wrapping_sub(reach));
            let around = [
                (up, column),
                (row + reach, column),
                (row, left),
                (row, column + reach),
            ];
            around
                .into_iter()
                .any(|(row, column)| call(row, column) != own)
        });
        blend(grey, colour, if edge { 1.0 } else { FILL })
    }
}

/// The colour of right and wrong.
fn colour(call: Call) -> Option<Colour> {
    match call {
        Call::Neither => None,
        Call::TruePositive => Some(TRUE_POSITIVE),
        Call::FalsePositive => Some(FALSE_POSITIVE),
        Call::FalseNegative => Some(FALSE_NEGATIVE),
    }
}

/// The colour of a probability.
fn shade(probability: f32) -> Colour {
    let last = PROBABILITY.len() - 1;
    let at = probability.clamp(0.0, 1.0) * last as f32;
    let low = (at as usize).min(last);
    blend(
        PROBABILITY[low],
        PROBABILITY[(low + 1).min(last)],
        at - low as f32,
    )
}

/// `share` of one colour over another.
fn blend(under: Colour, over: Colour, share: f32) -> Colour {
    let mix = |under: u8, over: u8| {
        (f32::from(under) + (f32::from(over) - f32::from(under)) * share).round() as u8
    };
    std::array::from_fn(|part| mix(under[part], over[part]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two rows of three voxels, all brain: the front row all black, the back row all white; found,
    /// missed and wrongly called from left to right in front.
    fn tiny() -> Slice {
        let front = [Call::TruePositive, Call::FalseNegative, Call::FalsePositive];
        Slice {
            index: 0,
            sequence: 0,
            dims: [2, 3],
            spacing_mm: [1.0, 1.0],
            grey: vec![1.0, 1.0, 1.0, 0.0, 0.0, 0.0],
            brain: vec![1; 6],
            probability: vec![0.0, 0.0, 0.0, 1.0, 0.0, 1.0],
            threshold: 0.5,
            calls: [[Call::Neither; 3], front].concat(),
        }
    }

    fn pixel(canvas: &Canvas, row: usize, column: usize) -> Colour {
        std::array::from_fn(|part| canvas.pixels[3 * (row * canvas.width + column) + part])
    }

    #[test]
    fn one_pixel_a_voxel_shows_every_call_in_its_colour() {
        let canvas = panels(&tiny(), 3);
        assert_eq!(
            (canvas.width, canvas.height, canvas.pixels.len()),
            (3 + GAP + 3, 2, 3 * 2 * (6 + GAP))
        );
        // The front is above; the patient's left, where the found one is, on the right.
        let right: Vec<Colour> = (3 + GAP..6 + GAP)
            .map(|column| pixel(&canvas, 0, column))
            .collect();
        assert_eq!(right, [FALSE_POSITIVE, FALSE_NEGATIVE, TRUE_POSITIVE]);
        assert_eq!(
            (pixel(&canvas, 1, 0), pixel(&canvas, 1, 4 + GAP)),
            ([255; 3], [255; 3])
        );
        let left: Vec<Colour> = (0..3).map(|column| pixel(&canvas, 0, column)).collect();
        let sure = blend([0; 3], PROBABILITY[8], COVER);
        assert_eq!(left, [sure, [0; 3], sure]);
        assert_eq!(pixel(&canvas, 0, 3), [255; 3]);
    }

    #[test]
    fn a_large_region_is_outlined_and_thinly_filled() {
        let side = 9;
        let slice = Slice {
            dims: [side, side],
            grey: vec![0.0; side * side],
            brain: vec![1; side * side],
            probability: vec![0.0; side * side],
            calls: vec![Call::TruePositive; side * side],
            ..tiny()
        };
        let canvas = panels(&slice, side);
        assert_eq!(pixel(&canvas, 0, side + GAP), TRUE_POSITIVE);
        assert_eq!(
            pixel(&canvas, 4, side + GAP + 4),
            blend([0; 3], TRUE_POSITIVE, FILL)
        );
    }

    #[test]
    fn long_pixels_are_shown_long_and_only_the_brain_is() {
        let mut slice = Slice {
            dims: [40, 40],
            spacing_mm: [2.0, 1.0],
            grey: vec![0.0; 1600],
            brain: vec![0; 1600],
            probability: vec![0.0; 1600],
            calls: vec![Call::Neither; 1600],
            ..tiny()
        };
        (10..20).for_each(|row| slice.brain[row * 40 + 10..row * 40 + 20].fill(1));
        let canvas = panels(&slice, 280);
        assert_eq!((canvas.height, canvas.width), (280, 2 * 140 + GAP));
        // What is called outside the brain is not cut off.
        slice.calls[39] = Call::FalsePositive;
        let canvas = panels(&slice, 280);
        assert!(canvas.width > 2 * 140 + GAP);
        slice.brain.fill(0);
        slice.calls.fill(Call::Neither);
        assert_eq!(
            panels(&slice, 80).height,
            80,
            "nothing to cut out shows all"
        );
    }

    #[test]
    fn shades_go_from_the_first_colour_to_the_last() {
        assert_eq!(
            (shade(-1.0), shade(0.5), shade(2.0)),
            (PROBABILITY[0], PROBABILITY[4], PROBABILITY[8])
        );
    }
}
