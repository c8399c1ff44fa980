//! A picture by which a person sees whether two images fit each other.

use crate::canvas::Canvas;
use crate::nifti::Volume;
use image::ImageResult;

/// One pixel, millimetres.
const PIXEL_MM: f32 = 1.0;
/// The most pixels of a side. A larger image is cut.
const MOST: usize = 400;
/// The side of a square, millimetres.
const SQUARE_MM: f32 = 20.0;
/// The share of the voxels above zero that are not white.
const WHITE: f64 = 0.99;

/// An image on the grid, and what is white in it.
struct Layer<'a> {
    values: &'a [f32],
    white: f32,
}

/// The middle slices of an image and of another one on the same grid, in squares of both by turns,
/// as PNG: seen from above, from the front and from the side. Where both fit, edges go on from one
/// square to the next.
///
/// # Errors
/// The picture cannot be encoded.
pub fn checkerboard(fixed: &Volume, moved: &[f32]) -> ImageResult<Vec<u8>> {
    let layers = [Layer::new(&fixed.values), Layer::new(moved)];
    let [depth, height, width] = fixed.grid.dims;
    let sides = [0, 1, 2].map(|axis| {
        let mm = fixed.grid.dims[axis] as f32 * fixed.grid.spacing_mm[axis];
        ((mm / PIXEL_MM).round() as usize).clamp(1, MOST)
    });
    // Rows and columns of each slice are axes of the volume, the third is in the middle.
    let slices = [[1, 2], [0, 2], [0, 1]];
    let middle = [depth / 2, height / 2, width / 2];
    let tall = sides[0].max(sides[1]);
    let mut canvas = Canvas::new(sides[2] + sides[2] + sides[1], tall);
    let mut left = 0;
    for [down, across] in slices {
        for row in 0..sides[down] {
            for column in 0..sides[across] {
                let mut voxel = middle;
                voxel[down] = at(fixed, down, row);
                voxel[across] = at(fixed, across, column);
                let square = |pixel: usize| (pixel as f32 * PIXEL_MM / SQUARE_MM) as usize;
                let layer = &layers[(square(row) + square(column)) % 2];
                let place = (voxel[0] * height + voxel[1]) * width + voxel[2];
                let grey = layer.grey(place);
                // The front and the top are above.
                canvas.set(left + column, sides[down] - 1 - row, [grey; 3]);
            }
        }
        left += sides[across];
    }
    canvas.png()
}

/// The voxel of a pixel along an axis.
fn at(volume: &Volume, axis: usize, pixel: usize) -> usize {
    let mm = (pixel as f32 + 0.5) * PIXEL_MM;
    let voxel = (mm / volume.grid.spacing_mm[axis]) as usize;
    voxel.min(volume.grid.dims[axis] - 1)
}

impl<'a> Layer<'a> {
    fn new(values: &'a [f32]) -> Self {
        let mut above: Vec<f32> = Vec::new();
        for &value in values {
            if value.is_finite() && value > 0.0 {
                above.push(value);
            }
        }
        above.sort_by(f32::total_cmp);
        let white = above.get((above.len() as f64 * WHITE) as usize);
        Self {
            values,
            white: white.copied().unwrap_or(1.0),
        }
    }

    fn grey(&self, place: usize) -> u8 {
        // A float that is no number becomes 0.
        (255.0 * (self.values[place] / self.white).clamp(0.0, 1.0)) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nifti::{Form, Source};
    use protocol::case::Grid;

    #[test]
    fn squares_show_both_images_by_turns() {
        let grid = Grid {
            dims: [10, 40, 60],
            spacing_mm: [4.0, 1.0, 1.0],
        };
        let fixed = Volume {
            grid,
            values: vec![2.0; grid.voxels()],
            source: Source::new(&grid, "RAS", Form::Qform).unwrap(),
            warnings: Vec::new(),
        };
        let png = checkerboard(&fixed, &vec![0.0; grid.voxels()]).unwrap();
        let picture = image::load_from_memory(&png).unwrap().to_luma8();
        assert_eq!(picture.dimensions(), (60 + 60 + 40, 40));
        // From above, at the bottom left: the fixed image, then the moved one, then the first again.
        let row = 39;
        assert_eq!(picture.get_pixel(5, row).0, [255]);
        assert_eq!(picture.get_pixel(25, row).0, [0]);
        assert_eq!(picture.get_pixel(45, row).0, [255]);
        assert_eq!(picture.get_pixel(5, 5).0, [0]);
    }
}
