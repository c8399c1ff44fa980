//! The exact Euclidean distance transform by lower envelopes of parabolas, one axis after another
//! (Felzenszwalb & Huttenlocher 2012), read out only where a surface asks.

use super::Surfel;
use super::areas::Areas;
use crate::window::Window;

/// The corners of a window's voxels, one more along each axis than voxels.
pub(super) struct Corners {
    dims: [usize; 3],
    /// Which of the eight voxels around each corner are lesion, see [`Areas`].
    codes: Vec<u8>,
}

impl Corners {
    /// The corners of `mask`, of `dims`, in `window`. Beyond the window nothing is lesion.
    pub(super) fn of(mask: &[u8], dims: [usize; 3], window: &Window) -> Self {
        let height = window.dims[1];
        let corners = window.dims.map(|side| side + 1);
        let mut codes = vec![0u8; corners.iter().product()];
        for (index, row) in window.rows(dims).enumerate() {
            let (z, y) = (index / height, index % height);
            for (x, _) in mask[row]
                .iter()
                .enumerate()
                .filter(|&(_, &voxel)| voxel != 0)
            {
                // The voxel lies on the far side of its first corner and on the near side of its
                // last.
                for (side, bit) in (0..8).rev().enumerate() {
                    let corner = [z + (side >> 2), y + (side >> 1 & 1), x + (side & 1)];
                    codes[(corner[0] * corners[1] + corner[1]) * corners[2] + corner[2]] |=
                        1 << bit;
                }
            }
        }
        Self {
            dims: corners,
            codes,
        }
    }
}

fn on_surface(code: u8) -> bool {
    code != 0 && code != 255
}

/// Every piece of one surface with its distance to the nearest corner of another; empty where that
/// has none.
pub(super) fn nearest(
    of: &Corners,
    to: &Corners,
    spacing_mm: [f64; 3],
    areas: &Areas,
) -> Vec<Surfel> {
    let [depth, height, width] = of.dims;
    let plane = height * width;
    let mut squares = vec![f64::INFINITY; of.codes.len()];
    let mut line = Line::default();
    for z in 0..depth {
        let here = z * plane..(z + 1) * plane;
        let empty = !along_rows(
            &to.codes[here.clone()],
            width,
            spacing_mm[2],
            &mut squares[here.clone()],
        );
        if empty {
            continue;
        }
        let slice = &mut squares[here];
        for x in 0..width {
            line.load((0..height).map(|y| slice[y * width + x]), spacing_mm[1]);
            for y in 0..height {
                slice[y * width + x] = line.at(y);
            }
        }
    }
    let mut asked = vec![false; plane];
    for slice in of.codes.chunks_exact(plane) {
        asked
            .iter_mut()
            .zip(slice)
            .for_each(|(asked, &code)| *asked |= on_surface(code));
    }
    let mut surfels = Vec::new();
    for start in (0..plane).filter(|&start| asked[start]) {
        line.load(
            (0..depth).map(|z| squares[z * plane + start]),
            spacing_mm[0],
        );
        for z in (0..depth).filter(|z| on_surface(of.codes[z * plane + start])) {
            let area_mm2 = areas.of(of.codes[z * plane + start]);
            surfels.push(Surfel {
                distance_mm: line.at(z).sqrt(),
                area_mm2,
            });
        }
    }
    surfels.retain(|surfel| surfel.distance_mm.is_finite());
    surfels
}

/// The squared distance along the width to the nearest surface corner in the same row; false where
/// there is none.
fn along_rows(codes: &[u8], width: usize, spacing: f64, squares: &mut [f64]) -> bool {
    let mut any = false;
    for (codes, squares) in codes
        .chunks_exact(width)
        .zip(squares.chunks_exact_mut(width))
    {
        let Some(first) = codes.iter().position(|&code| on_surface(code)) else {
            continue;
        };
        any = true;
        let square = |steps: usize| (steps as f64 * spacing) * (steps as f64 * spacing);
        let mut last = first;
        for x in 0..width {
            if on_surface(codes[x]) {
                last = x;
            }
            squares[x] = square(x.abs_diff(last));
        }
        let mut next = last;
        for x in (0..last).rev() {
            if on_surface(codes[x]) {
                next = x;
            }
            squares[x] = squares[x].min(square(next - x));
        }
    }
    any
}

/// The lower envelope of the parabolas `height + ((q - place) * spacing)²` along a line.
#[derive(Default)]
struct Line {
    parabolas: Vec<Parabola>,
    spacing: f64,
    /// The parabola that [`Line::at`] gave last: it is asked in ascending order.
    current: usize,
}

#[derive(Clone, Copy)]
struct Parabola {
    place: f64,
    height: f64,
    /// Where it becomes the lowest.
    from: f64,
}

impl Line {
    /// Takes the next line.
    fn load(&mut self, heights: impl Iterator<Item = f64>, spacing: f64) {
        self.parabolas.clear();
        self.spacing = spacing;
        self.current = 0;
        let scale = spacing * spacing;
        for (place, height) in heights.enumerate().filter(|(_, height)| height.is_finite()) {
            let place = place as f64;
            let mut from = f64::NEG_INFINITY;
            while let Some(before) = self.parabolas.last() {
                let rise =
                    (height - before.height) / scale + place * place - before.place * before.place;
                from = rise / (2.0 * (place - before.place));
                if from > before.from {
                    break;
                }
                self.parabolas.pop();
                from = f64::NEG_INFINITY;
            }
            self.parabolas.push(Parabola {
                place,
                height,
                from,
            });
        }
    }

    /// The envelope at a place, which is no less than the one before.
    fn at(&mut self, place: usize) -> f64 {
        let place = place as f64;
        while self
            .parabolas
            .get(self.current + 1)
            .is_some_and(|next| next.from <= place)
        {
            self.current += 1;
        }
        self.parabolas
            .get(self.current)
            .map_or(f64::INFINITY, |lowest| {
                let steps = (place - lowest.place) * self.spacing;
                lowest.height + steps * steps
            })
    }
}
