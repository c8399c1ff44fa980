//! A picture of a de-faced image: what is left of the head, from the side and from the front.

use super::face::Face;
use crate::canvas::Canvas;
use crate::nifti::Volume;
use image::ImageResult;

/// One pixel, millimetres.
const PIXEL_MM: f32 = 1.0;
/// The most pixels of a side. A larger head is cut.
const MOST: usize = 512;
const REMOVED: [u8; 3] = [110, 25, 25];
const OUTLINE: [u8; 3] = [60, 220, 90];
/// What is brighter than this share of the brain is a part of the head.
const HEAD: f32 = 0.25;

/// A volume that is looked at in pixels of one size.
struct View<'a> {
    volume: &'a Volume,
    keep: &'a [u8],
    face: &'a Face,
    /// Depth, height and width of the volume in pixels.
    sides: [usize; 3],
}

/// Draws an image, as PNG. Left: the slice from front to back through the middle of the brain, with
/// what was removed in red and the brain outlined. Right: the surface of the head from the front.
/// `keep` is 1 in the brain and in lesions.
pub(super) fn draw(volume: &Volume, keep: &[u8], face: &Face) -> ImageResult<Vec<u8>> {
    let sides = [0, 1, 2].map(|axis| {
        let mm = volume.grid.dims[axis] as f32 * volume.grid.spacing_mm[axis];
        ((mm / PIXEL_MM).round() as usize).clamp(1, MOST)
    });
    let view = View {
        volume,
        keep,
        face,
        sides,
    };
    let [depth, height, width] = sides;
    let mut canvas = Canvas::new(height + width, depth);
    let brightness = view.brightness();
    view.draw_side(&mut canvas, brightness);
    view.draw_front(&mut canvas, brightness);
    canvas.png()
}

impl View<'_> {
    /// The mean value of the brain.
    fn brightness(&self) -> f32 {
        let mut sum = 0.0;
        let mut count = 0.0;
        for (&value, &keep) in self.volume.values.iter().zip(self.keep) {
            if keep != 0 && value.is_finite() {
                sum += f64::from(value);
                count += 1.0;
            }
        }
        (sum / f64::max(count, 1.0)) as f32
    }

    /// The middle of the brain from left to right, in voxels.
    fn middle(&self) -> usize {
        let width = self.volume.grid.dims[2];
        let mut sum = 0;
        let mut count = 0;
        for (place, &keep) in self.keep.iter().enumerate() {
            if keep != 0 {
                sum += place % width;
                count += 1;
            }
        }
        sum / count.max(1)
    }

    /// The voxel of a pixel along an axis.
    fn voxel(&self, axis: usize, pixel: usize) -> usize {
        let mm = (pixel as f32 + 0.5) * PIXEL_MM;
        let voxel = (mm / self.volume.grid.spacing_mm[axis]) as usize;
        voxel.min(self.volume.grid.dims[axis] - 1)
    }

    fn place(&self, slice: usize, row: usize, column: usize) -> usize {
        let [_, height, width] = self.volume.grid.dims;
        (slice * height + row) * width + column
    }

    /// The patient looks to the right.
    fn draw_side(&self, canvas: &mut Canvas, brightness: f32) {
        let [depth, height, _] = self.sides;
        let column = self.middle();
        for above in 0..depth {
            for ahead in 0..height {
                let (slice, row) = (self.voxel(0, above), self.voxel(1, ahead));
                let value = self.volume.values[self.place(slice, row, column)];
                let mut colour = [grey(0.5 * value / brightness); 3];
                if self.is_edge(slice, row, column) {
                    colour = OUTLINE;
                } else if self.face.contains(slice, row) && value == 0.0 {
                    colour = REMOVED;
                }
                canvas.set(ahead, depth - 1 - above, colour);
            }
        }
    }

    /// Whether a voxel of the brain has a neighbour in the slice from front to back that is none.
    fn is_edge(&self, slice: usize, row: usize, column: usize) -> bool {
        let [depth, height, _] = self.volume.grid.dims;
        let brain = |slice, row| self.keep[self.place(slice, row, column)] != 0;
        if !brain(slice, row) {
            return false;
        }
        slice == 0
            || row == 0
            || slice + 1 == depth
            || row + 1 == height
            || !brain(slice - 1, row)
            || !brain(slice + 1, row)
            || !brain(slice, row - 1)
            || !brain(slice, row + 1)
    }

    /// The patient looks at the reader. The brightness says how steep the surface is.
    fn draw_front(&self, canvas: &mut Canvas, brightness: f32) {
        let [depth, height, width] = self.sides;
        let mut surface: Vec<Option<usize>> = Vec::with_capacity(depth * width);
        for above in 0..depth {
            for across in 0..width {
                let (slice, column) = (self.voxel(0, above), self.voxel(2, across));
                let mut first = None;
                for ahead in (0..height).rev() {
                    let place = self.place(slice, self.voxel(1, ahead), column);
                    if self.volume.values[place] > HEAD * brightness {
                        first = Some(ahead);
                        break;
                    }
                }
                surface.push(first);
            }
        }
        for above in 1..depth {
            for across in 1..width {
                let at = above * width + across;
                let (Some(here), Some(below), Some(left)) =
                    (surface[at], surface[at - width], surface[at - 1])
                else {
                    continue;
                };
                let up = here as f32 - below as f32;
                let aside = here as f32 - left as f32;
                let facing = 1.0 / (1.0 + up * up + aside * aside).sqrt();
                canvas.set(
                    height + width - 1 - across,
                    depth - 1 - above,
                    [grey(facing); 3],
                );
            }
        }
    }
}

/// From 0, black, to 1, white.
fn grey(share: f32) -> u8 {
    (255.0 * share.clamp(0.0, 1.0)) as u8
}
