//! Solid shapes and how much of each voxel they fill.

use super::draw::{Point, along, direction, dot, length, minus, rotation, turned, uniform};
use super::field::Field;
use protocol::case::Grid;
use rand_chacha::ChaCha8Rng;

/// A solid in the scanner's millimetres.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    Blob(Blob),
    /// A tube between two points, round at its ends.
    Tube {
        ends: [Point; 2],
        /// The radii at the ends.
        radii: [f32; 2],
    },
}

/// A lumpy ellipsoid.
#[derive(Clone, Debug)]
pub(super) struct Blob {
    pub(super) centre: Point,
    /// The radius of the ball of the same volume, without lumps.
    pub(super) radius: f32,
    axes: [Point; 3],
    lumps: f32,
    offset: Point,
}

impl Blob {
    /// A blob of about the given radius with axes up to 1 : 1.6 and a surface that goes in and out
    /// by `lumps` of it.
    pub(super) fn draw(rng: &mut ChaCha8Rng, centre: Point, radius: f32, lumps: f32) -> Self {
        let stretch: [f32; 2] = std::array::from_fn(|_| uniform(rng, 0.85, 1.18));
        let stretches = [stretch[0], stretch[1], 1.0 / (stretch[0] * stretch[1])];
        let turn = rotation(rng, 2.5);
        let axes = std::array::from_fn(|i| turn[i].map(|c| c / (radius * stretches[i])));
        Self {
            centre,
            radius,
            axes,
            lumps,
            offset: direction(rng).map(|c| c * 50.0),
        }
    }

    /// The same shape and place, `factor` times as large.
    pub(super) fn scaled(&self, factor: f32) -> Self {
        Self {
            radius: self.radius * factor,
            axes: self.axes.map(|row| row.map(|c| c / factor)),
            ..self.clone()
        }
    }

    fn contains(&self, p: Point, lumps: &Field) -> bool {
        let unit = turned(&self.axes, minus(p, self.centre));
        let reach = length(unit);
        if (reach - 1.0).abs() > self.lumps {
            return reach < 1.0;
        }
        reach < 1.0 + self.lumps * lumps.at(along(self.offset, unit, 1.0))
    }
}

impl Shape {
    fn contains(&self, p: Point, lumps: &Field) -> bool {
        match self {
            Self::Blob(blob) => blob.contains(p, lumps),
            Self::Tube { ends, radii } => {
                let axis = minus(ends[1], ends[0]);
                let t = (dot(minus(p, ends[0]), axis) / dot(axis, axis).max(1e-6)).clamp(0.0, 1.0);
                let radius = radii[0] + (radii[1] - radii[0]) * t;
                length(minus(p, along(ends[0], axis, t))) < radius
            }
        }
    }

    /// A box around the shape.
    fn bounds(&self) -> [Point; 2] {
        match self {
            Self::Blob(blob) => {
                // No stretch is above 1.4 nor a lump above its own share.
                let reach = blob.radius * 1.4 * (1.0 + blob.lumps);
                [
                    blob.centre.map(|c| c - reach),
                    blob.centre.map(|c| c + reach),
                ]
            }
            Self::Tube { ends, radii } => {
                let reach = radii[0].max(radii[1]);
                [
                    std::array::from_fn(|i| ends[0][i].min(ends[1][i]) - reach),
                    std::array::from_fn(|i| ends[0][i].max(ends[1][i]) + reach),
                ]
            }
        }
    }
}

/// The scanner's millimetres of a voxel's centre (or of a fraction of a voxel): the grid's middle
/// is the origin.
pub(super) fn world(grid: &Grid, index: [f32; 3]) -> Point {
    let mut point = [0.0; 3];
    for i in 0..3 {
        point[2 - i] = (index[i] - (grid.dims[i] as f32 - 1.0) * 0.5) * grid.spacing_mm[i];
    }
    point
}

/// The voxel coordinate along axis `i` (depth, height, width) of a point: the inverse of [`world`].
fn voxel_at(grid: &Grid, p: Point, i: usize) -> f32 {
    p[2 - i] / grid.spacing_mm[i] + (grid.dims[i] as f32 - 1.0) * 0.5
}

/// The part of a grid that a shape touches, and how much of each voxel it fills.
pub(super) struct Patch {
    /// First voxel: depth, height, width.
    start: [usize; 3],
    /// Voxels along depth, height, width; some are zero if the shape is outside the grid.
    dims: [usize; 3],
    /// The filled share of each voxel, width fastest.
    pub(super) filled: Vec<f32>,
}

impl Patch {
    /// Samples a shape on a grid, each voxel at points at most about 1.2 mm apart (2 to 5 along an
    /// axis).
    pub(super) fn of(shape: &Shape, grid: &Grid, lumps: &Field) -> Self {
        let [low, high] = shape.bounds();
        let mut start = [0; 3];
        let mut dims = [0; 3];
        let mut points = [0; 3];
        for i in 0..3 {
            let first = voxel_at(grid, low, i).floor().max(0.0) as usize;
            let end = (voxel_at(grid, high, i).ceil() + 1.0).max(0.0) as usize;
            start[i] = first.min(grid.dims[i]);
            dims[i] = end.min(grid.dims[i]).saturating_sub(start[i]);
            points[i] = ((grid.spacing_mm[i] / 1.2).ceil() as usize).clamp(2, 5);
        }
        let mut filled = Vec::with_capacity(dims.iter().product());
        for z in 0..dims[0] {
            for y in 0..dims[1] {
                for x in 0..dims[2] {
                    let corner = [start[0] + z, start[1] + y, start[2] + x].map(|v| v as f32 - 0.5);
                    filled.push(share(shape, grid, corner, points, lumps));
                }
            }
        }
        Self {
            start,
            dims,
            filled,
        }
    }

    /// The grid's flat index of the patch's voxel `offset`.
    pub(super) fn voxel(&self, offset: usize, grid: &Grid) -> usize {
        let z = self.start[0] + offset / (self.dims[1] * self.dims[2]);
        let y = self.start[1] + offset / self.dims[2] % self.dims[1];
        let x = self.start[2] + offset % self.dims[2];
        (z * grid.dims[1] + y) * grid.dims[2] + x
    }
}

/// The share of a voxel that a shape fills, by points along each axis.
fn share(shape: &Shape, grid: &Grid, corner: [f32; 3], points: [usize; 3], lumps: &Field) -> f32 {
    let mut inside = 0u32;
    for z in 0..points[0] {
        for y in 0..points[1] {
            for x in 0..points[2] {
                let index = [
                    corner[0] + (z as f32 + 0.5) / points[0] as f32,
                    corner[1] + (y as f32 + 0.5) / points[1] as f32,
                    corner[2] + (x as f32 + 0.5) / points[2] as f32,
                ];
                inside += u32::from(shape.contains(world(grid, index), lumps));
            }
        }
    }
    inside as f32 / points.iter().product::<usize>() as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use random::{Purpose, stream};

    fn volume(shape: &Shape, spacing_mm: [f32; 3]) -> f64 {
        let grid = Grid {
            dims: spacing_mm.map(|mm| (60.0 / mm) as usize),
            spacing_mm,
        };
        let lumps = Field::draw(&mut stream(1, 0, "lumps", Purpose::Phantom), 0.7);
        let patch = Patch::of(shape, &grid, &lumps);
        patch.filled.iter().map(|&f| f64::from(f)).sum::<f64>() * grid.voxel_mm3()
    }

    #[test]
    fn a_blob_fills_its_volume_on_coarse_and_fine_grids() {
        let mut rng = stream(2, 0, "blob", Purpose::Phantom);
        for radius in [3.0f32, 6.0, 12.0] {
            let blob = Shape::Blob(Blob::draw(&mut rng, [1.0, -2.0, 0.5], radius, 0.0));
            let ball = 4.0 / 3.0 * std::f64::consts::PI * f64::from(radius).powi(3);
            for spacing in [[1.0, 1.0, 1.0], [5.0, 3.0, 3.0]] {
                let ratio = volume(&blob, spacing) / ball;
                assert!((0.9..1.1).contains(&ratio), "{radius} mm: {ratio}");
            }
        }
    }

    #[test]
    fn a_shape_beyond_the_grid_has_an_empty_patch() {
        let tube = Shape::Tube {
            ends: [[400.0, 0.0, 0.0], [420.0, 0.0, 0.0]],
            radii: [2.0, 1.0],
        };
        assert_eq!(volume(&tube, [2.0, 2.0, 2.0]), 0.0);
    }
}
