//! Where the face is, by the brain: the quickshear rule.
//!
//! Schimke and Hale, Quickshear Defacing for Neuroimages (USENIX HealthSec 2011). The brain is
//! looked at from the side. The lower half of the convex hull of its outline begins at the foremost
//! point. A line through its first two points, moved down by a margin, is the edge of a plane from
//! left to right. All below the plane is face. The hull is below the brain, so no voxel of the
//! brain is below the plane.

use protocol::case::Grid;

/// How far the plane is below the brain, millimetres, as in the authors' program for voxels of one
/// millimetre.
pub const MARGIN_MM: f64 = 10.0;

/// The part of a grid that is face.
#[derive(Clone, Debug, PartialEq)]
pub struct Face {
    /// Depth, height, width.
    dims: [usize; 3],
    /// For each row of a slice, from the back to the front: how many slices, from the bottom, are
    /// face.
    slices: Vec<usize>,
    /// How steeply the plane rises to the front, degrees.
    pub rises_degrees: f64,
}

/// Why a brain mask does not say where the face is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaceError {
    #[error("it has no voxel of the brain")]
    Empty,
    #[error("it is too small from back to front")]
    Flat,
}

/// A point of the brain's outline, seen from the patient's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Point {
    /// Rows behind the front of the grid.
    behind: i64,
    /// Slices above its bottom.
    above: i64,
}

impl Face {
    /// Finds the face by the `brain`, 1 or 0 for each voxel of the grid in canonical order.
    ///
    /// # Errors
    /// The brain has no outline by which a plane could be placed.
    pub fn by_brain(brain: &[u8], grid: &Grid, margin_mm: f64) -> Result<Self, FaceError> {
        let [depth, height, _] = grid.dims;
        let hull = lower_hull(&outline(brain, grid.dims));
        let (Some(first), Some(second)) = (hull.first(), hull.get(1)) else {
            return Err(match hull.len() {
                0 => FaceError::Empty,
                _ => FaceError::Flat,
            });
        };
        // Never above zero: the outline goes around the foremost voxels of the brain.
        let rise = (second.above - first.above) as f64;
        let slope = rise / (second.behind - first.behind) as f64;
        let margin = margin_mm / f64::from(grid.spacing_mm[0]);
        let start = first.above as f64 - first.behind as f64 * slope - margin;
        let mut slices = vec![0; height];
        for behind in 0..height {
            let edge = behind as f64 * slope + start;
            if edge > 0.0 {
                slices[height - 1 - behind] = (edge as usize).min(depth);
            }
        }
        let steepness = -slope * f64::from(grid.spacing_mm[0]) / f64::from(grid.spacing_mm[1]);
        Ok(Self {
            dims: grid.dims,
            slices,
            rises_degrees: steepness.atan().to_degrees(),
        })
    }

    /// Whether the voxels of a row are face.
    #[must_use]
    pub fn contains(&self, slice: usize, row: usize) -> bool {
        slice < self.slices[row]
    }

    /// Sets the face to zero, except for voxels that are to be kept, and says how many voxels
    /// changed. Both have the grid's voxels in canonical order.
    pub fn remove(&self, values: &mut [f32], keep: &[u8]) -> usize {
        let width = self.dims[2];
        let rows = values.chunks_mut(width).zip(keep.chunks(width));
        let mut removed = 0;
        for (number, (values, keep)) in rows.enumerate() {
            let (slice, row) = (number / self.dims[1], number % self.dims[1]);
            if !self.contains(slice, row) {
                continue;
            }
            for (value, &keep) in values.iter_mut().zip(keep) {
                if keep == 0 && *value != 0.0 {
                    *value = 0.0;
                    removed += 1;
                }
            }
        }
        removed
    }
}

/// The lowest point of the brain's outline in each row, from the front to the back. The outline
/// goes through the voxels next to the brain, as in the authors' program.
fn outline(brain: &[u8], dims: [usize; 3]) -> Vec<Point> {
    let [depth, height, width] = dims;
    let mut lowest: Vec<Option<usize>> = vec![None; height];
    for (number, row) in brain.chunks(width).enumerate() {
        let (slice, row_number) = (number / height, number % height);
        if lowest[row_number].is_none() && row.contains(&1) {
            lowest[row_number] = Some(slice);
        }
    }
    let mut points = Vec::new();
    for behind in 0..height {
        let row = height - 1 - behind;
        let mut above = lowest[row].map(|slice| slice.saturating_sub(1));
        let neighbours = [row.checked_sub(1), row.checked_add(1)];
        for neighbour in neighbours.into_iter().flatten() {
            let Some(Some(slice)) = lowest.get(neighbour) else {
                continue;
            };
            above = Some(above.map_or(*slice, |above| above.min(*slice)));
        }
        if let Some(above) = above {
            points.push(Point {
                behind: behind as i64,
                above: above.min(depth - 1) as i64,
            });
        }
    }
    points
}

/// The lower half of the convex hull of points from the front to the back (Andrew's monotone
/// chain).
fn lower_hull(points: &[Point]) -> Vec<Point> {
    let mut hull: Vec<Point> = Vec::new();
    for &point in points {
        while let [.., before, last] = hull.as_slice()
            && !turns_up(*before, *last, point)
        {
            hull.pop();
        }
        hull.push(point);
    }
    hull
}

/// Whether the way over three points turns upwards at the second.
fn turns_up(from: Point, over: Point, to: Point) -> bool {
    let first = (over.behind - from.behind) * (to.above - from.above);
    let second = (over.above - from.above) * (to.behind - from.behind);
    first > second
}
