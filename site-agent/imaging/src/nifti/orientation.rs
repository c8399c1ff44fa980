//! Where a stored grid is in the patient, and the walk from stored to canonical voxel order.
//!
//! Canonical is RAS+: width grows to the patient's right, height to the front, depth to the top.
//! Oblique grids are turned to their nearest axes, never resampled, as nibabel's
//! `as_closest_canonical` does.

use super::forms::{Placed, place};
use super::header::{Header, Offset};
use super::{NiftiError, Warning};
use protocol::case::Grid;

/// Rows x, y, z (right, front, top in millimetres) of a voxel-to-patient map; the fourth column is
/// the first voxel's place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine(pub [[f64; 4]; 3]);

/// Which of a header's affines places the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `srow_x`, `srow_y`, `srow_z`.
    Sform,
    /// The quaternion.
    Qform,
    /// Neither: spacing only, the first axis taken to run to the patient's left as nibabel and SPM
    /// do.
    Spacing,
}

impl Form {
    /// How the words of an error begin that say what is wrong with it.
    pub(super) fn spoken(self) -> &'static str {
        match self {
            Self::Sform => "the sform cannot be used, ",
            Self::Qform => "the qform cannot be used, ",
            Self::Spacing => "there is neither sform nor qform, and ",
        }
    }
}

impl std::fmt::Display for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Sform => "sform",
            Self::Qform => "qform",
            Self::Spacing => "spacing",
        })
    }
}

/// How a volume was stored and where it is: enough to write another volume onto the same grid.
///
/// Contains no text of the original header.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// Voxels along the stored axes, fastest first.
    pub(super) dims: [u16; 3],
    pub(super) pixdim: [f32; 4],
    pub(super) units: u8,
    pub(super) qform_code: i16,
    pub(super) sform_code: i16,
    pub(super) quaternion: [f32; 6],
    pub(super) srow: [[f32; 4]; 3],
    form: Form,
    affine: Affine,
    axes: Axes,
}

/// For each canonical axis x, y, z: the stored axis it runs along, and whether backwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Axes {
    stored: [usize; 3],
    reversed: [bool; 3],
}

/// The canonical places of all voxels, in stored order.
#[derive(Debug)]
pub(super) struct Walk {
    at: isize,
    /// Steps in canonical order along the stored axes, fastest first.
    steps: [isize; 3],
    /// Voxels along the stored axes.
    dims: [usize; 3],
    /// How far along each axis.
    done: [usize; 3],
    left: usize,
}

impl Source {
    /// The grid of a new volume, its centre at the origin.
    ///
    /// `orientation` names the direction in which each stored axis grows, fastest first, by the
    /// patient's `R`ight or `L`eft, `A`nterior or `P`osterior, `S`uperior or `I`nferior: `"RAS"`,
    /// `"LPI"`, or `"ASL"` for a sagittal series. `form` says which affine the header will carry.
    ///
    /// # Errors
    /// [`NiftiError::Affine`] for an orientation that does not name three axes or a spacing that is
    /// not positive, [`NiftiError::Dimensions`] or [`NiftiError::TooLarge`] for a grid that a file
    /// cannot hold.
    pub fn new(grid: &Grid, orientation: &str, form: Form) -> Result<Self, NiftiError> {
        let axes = Axes::named(orientation).ok_or(NiftiError::Affine)?;
        let (sides, spacing) = (reverse(grid.dims), reverse(grid.spacing_mm));
        let mut dims = [0; 3];
        let (mut rows, mut pixdim) = ([[0.0; 4]; 3], [1.0; 4]);
        for world in 0..3 {
            let stored = axes.stored[world];
            let side = i16::try_from(sides[world]).ok().filter(|&n| n > 0);
            dims[stored] = side.ok_or_else(|| NiftiError::Dimensions(Vec::new()))? as u16;
            pixdim[1 + stored] = spacing[world];
            let sign = if axes.reversed[world] { -1.0 } else { 1.0 };
            rows[world][stored] = sign * f64::from(spacing[world]);
            rows[world][3] = -rows[world][stored] * (sides[world] as f64 - 1.0) / 2.0;
        }
        let mut quaternion = [0.0; 6];
        if form == Form::Qform {
            (pixdim[0], quaternion) = quaternion_of(&rows);
        }
        let header = Header {
            dims,
            kind: super::Kind::F32,
            offset: Offset::At(super::header::FIRST_VOXEL),
            scaling: None,
            pixdim,
            units: 2, // millimetres
            qform_code: i16::from(form == Form::Qform),
            sform_code: i16::from(form == Form::Sform),
            quaternion,
            srow: rows.map(|row| {
                if form == Form::Sform {
                    row.map(|value| value as f32)
                } else {
                    [0.0; 4]
                }
            }),
        };
        if grid.voxels() > super::MAX_VOXELS {
            return Err(NiftiError::TooLarge(grid.dims));
        }
        Self::of(&header).map(|(source, _)| source)
    }

    /// Places what a checked header describes, and says what is odd about it.
    pub(super) fn of(header: &Header) -> Result<(Self, Vec<Warning>), NiftiError> {
        let Placed {
            form,
            affine,
            axes,
            warnings,
        } = place(header)?;
        let source = Self {
            dims: header.dims,
            pixdim: header.pixdim,
            units: header.units,
            qform_code: header.qform_code,
            sform_code: header.sform_code,
            quaternion: header.quaternion,
            srow: header.srow,
            form,
            affine,
            axes,
        };
        Ok((source, warnings))
    }

    /// Which affine placed the volume.
    #[must_use]
    pub fn form(&self) -> Form {
        self.form
    }

    /// The grid in canonical order.
    #[must_use]
    pub fn grid(&self) -> Grid {
        let lengths = self.affine.lengths();
        let spacing = |axis: usize| lengths[self.axes.stored[axis]] as f32;
        Grid {
            dims: [2, 1, 0].map(|axis| usize::from(self.dims[self.axes.stored[axis]])),
            spacing_mm: [2, 1, 0].map(spacing),
        }
    }

    /// The map from canonical voxel indices (width, height, depth) to millimetres in the patient.
    #[must_use]
    pub fn canonical_affine(&self) -> Affine {
        let mut canonical = self.affine.0;
        for (to, from) in canonical.iter_mut().zip(&self.affine.0) {
            for axis in 0..3 {
                let stored = self.axes.stored[axis];
                let last = f64::from(self.dims[stored]) - 1.0;
                let sign = if self.axes.reversed[axis] { -1.0 } else { 1.0 };
                to[axis] = sign * from[stored];
                if self.axes.reversed[axis] {
                    to[3] += from[stored] * last;
                }
            }
        }
        Affine(canonical)
    }

    /// Whether both grids hold the same voxels at the same places: the same canonical dimensions,
    /// and no corner further apart than a tenth of the smallest spacing.
    #[must_use]
    pub fn same_place(&self, other: &Self) -> bool {
        let (mine, theirs) = (self.grid(), other.grid());
        if mine.dims != theirs.dims {
            return false;
        }
        let tolerance = f64::from(
            mine.spacing_mm
                .iter()
                .copied()
                .fold(f32::INFINITY, f32::min),
        ) / 10.0;
        let last = reverse(mine.dims).map(|n| (n - 1) as f64);
        self.canonical_affine()
            .apart(&other.canonical_affine(), last)
            <= tolerance
    }

    /// For each voxel in stored order its place in canonical order.
    pub(super) fn walk(&self) -> Walk {
        let sides = self.dims.map(usize::from);
        let mut walk = Walk {
            at: 0,
            steps: [0; 3],
            dims: sides,
            done: [0; 3],
            left: sides.iter().product(),
        };
        let mut stride = 1;
        for axis in 0..3 {
            let stored = self.axes.stored[axis];
            walk.steps[stored] = stride;
            if self.axes.reversed[axis] {
                walk.at += stride * (sides[stored] as isize - 1);
                walk.steps[stored] = -stride;
            }
            stride *= sides[stored] as isize;
        }
        walk
    }
}

/// For people who have to find out why two series are not on one grid.
impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Grid {
            dims: [d, h, w],
            spacing_mm: [sd, sh, sw],
        } = self.grid();
        let [x, y, z] = self.canonical_affine().0.map(|row| row[3]);
        write!(
            f,
            "{w} x {h} x {d} voxels of {sw:.3} x {sh:.3} x {sd:.3} mm, first at ({x:.2}, {y:.2}, \
             {z:.2}) mm"
        )
    }
}

impl Affine {
    /// How long a step along each voxel axis is.
    pub(super) fn lengths(&self) -> [f64; 3] {
        [0, 1, 2].map(|axis| {
            self.0
                .iter()
                .map(|row| row[axis] * row[axis])
                .sum::<f64>()
                .sqrt()
        })
    }

    /// The largest distance between the same corner by two affines; `last` is the far corner's
    /// index.
    pub(super) fn apart(&self, other: &Self, last: [f64; 3]) -> f64 {
        let mut most = 0.0f64;
        for corner in 0..8usize {
            let at = [0, 1, 2].map(|axis| {
                if corner >> axis & 1 == 1 {
                    last[axis]
                } else {
                    0.0
                }
            });
            let (p, q) = (self.apply(at), other.apply(at));
            most = most.max(
                p.iter()
                    .zip(q)
                    .map(|(p, q)| (p - q) * (p - q))
                    .sum::<f64>()
                    .sqrt(),
            );
        }
        most
    }

    /// The place of a voxel, or of a point between voxels.
    pub(crate) fn apply(&self, at: [f64; 3]) -> [f64; 3] {
        self.0
            .map(|row| row[0] * at[0] + row[1] * at[1] + row[2] * at[2] + row[3])
    }

    /// A step along each voxel axis, millimetres.
    pub(crate) fn steps(&self) -> [[f64; 3]; 3] {
        [0, 1, 2].map(|axis| self.0.map(|row| row[axis]))
    }

    /// A voxel's volume in cubic millimetres; negative where the axes are mirrored.
    pub(crate) fn determinant(&self) -> f64 {
        let m = &self.0;
        m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1])
            - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
            + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
    }

    /// From places back to voxels; `None` where voxels have no volume.
    pub(crate) fn inverse(&self) -> Option<Self> {
        let m = &self.0;
        let determinant = self.determinant();
        if !determinant.is_normal() {
            return None;
        }
        let mut out = [[0.0; 4]; 3];
        for (row, line) in out.iter_mut().enumerate() {
            for (column, part) in line.iter_mut().take(3).enumerate() {
                // The transposed cofactor.
                let (a, b) = ((column + 1) % 3, (column + 2) % 3);
                let (c, d) = ((row + 1) % 3, (row + 2) % 3);
                *part = (m[a][c] * m[b][d] - m[a][d] * m[b][c]) / determinant;
            }
            line[3] = -(line[0] * m[0][3] + line[1] * m[1][3] + line[2] * m[2][3]);
        }
        Some(Self(out))
    }
}

impl Axes {
    /// The stored axis nearest to each of the patient's, the clearest first. `None` without a
    /// proper grid.
    pub(super) fn nearest(affine: &Affine) -> Option<Self> {
        let (rows, lengths) = (&affine.0, affine.lengths());
        let cosine = |world: usize, stored: usize| rows[world][stored] / lengths[stored];
        let clearest = |stored: usize| {
            (0..3)
                .map(|world| cosine(world, stored).abs())
                .fold(0.0, f64::max)
        };
        let mut order = [0, 1, 2];
        order.sort_by(|&a, &b| clearest(b).total_cmp(&clearest(a)));
        let mut axes = Self {
            stored: [usize::MAX; 3],
            reversed: [false; 3],
        };
        for stored in order {
            let mut best: Option<usize> = None;
            for world in (0..3).filter(|&world| axes.stored[world] == usize::MAX) {
                if best.is_none_or(|b| cosine(world, stored).abs() > cosine(b, stored).abs()) {
                    best = Some(world);
                }
            }
            let world = best.filter(|&world| cosine(world, stored).abs() > 1e-3)?;
            axes.stored[world] = stored;
            axes.reversed[world] = cosine(world, stored) < 0.0;
        }
        Some(axes)
    }

    /// Where each stored axis runs, fastest first, as [`Source::new`] has it.
    pub(super) fn letters(&self) -> String {
        let mut letters = ['?'; 3];
        for (world, pair) in [['R', 'L'], ['A', 'P'], ['S', 'I']].into_iter().enumerate() {
            letters[self.stored[world]] = pair[usize::from(self.reversed[world])];
        }
        letters.iter().collect()
    }

    /// By three letters, one of each pair.
    fn named(orientation: &str) -> Option<Self> {
        let mut axes = Self {
            stored: [usize::MAX; 3],
            reversed: [false; 3],
        };
        for (stored, letter) in orientation.chars().enumerate() {
            let (world, reversed) = match letter {
                'R' => (0, false),
                'L' => (0, true),
                'A' => (1, false),
                'P' => (1, true),
                'S' => (2, false),
                'I' => (2, true),
                _ => return None,
            };
            if stored > 2 || axes.stored[world] != usize::MAX {
                return None;
            }
            (axes.stored[world], axes.reversed[world]) = (stored, reversed);
        }
        axes.stored.iter().all(|&stored| stored < 3).then_some(axes)
    }
}

impl Iterator for Walk {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let here = self.at;
        for axis in 0..3 {
            self.at += self.steps[axis];
            self.done[axis] += 1;
            if self.done[axis] < self.dims[axis] {
                break;
            }
            // Back to the start of this axis, and one on along the next.
            self.at -= self.steps[axis] * self.dims[axis] as isize;
            self.done[axis] = 0;
        }
        Some(here as usize)
    }
}

/// x, y, z from z, y, x and back.
fn reverse<T: Copy>(of: [T; 3]) -> [T; 3] {
    [of[2], of[1], of[0]]
}

/// `pixdim[0]` and the quaternion of a signed permutation (nifti1_io's `nifti_mat44_to_quatern`).
fn quaternion_of(rows: &[[f64; 4]; 3]) -> (f32, [f32; 6]) {
    let length = |column: usize| {
        rows.iter()
            .map(|row| row[column].abs())
            .fold(0.0, f64::max)
            .max(f64::MIN_POSITIVE)
    };
    let mut r = [0, 1, 2].map(|world| [0, 1, 2].map(|column| rows[world][column] / length(column)));
    let cross = |a: usize, b: usize| r[0][a] * r[1][b] - r[0][b] * r[1][a];
    let determinant = r[2][2] * cross(0, 1) - r[2][1] * cross(0, 2) + r[2][0] * cross(1, 2);
    let hand = if determinant < 0.0 { -1.0 } else { 1.0 };
    r.iter_mut().for_each(|row| row[2] *= hand);
    let trace = r[0][0] + r[1][1] + r[2][2] + 1.0;
    let [b, c, d] = if trace > 0.5 {
        let a = 0.5 * trace.sqrt();
        [
            (r[2][1] - r[1][2]) / (4.0 * a),
            (r[0][2] - r[2][0]) / (4.0 * a),
            (r[1][0] - r[0][1]) / (4.0 * a),
        ]
    } else {
        let on = [0, 1, 2].map(|i: usize| 1.0 + r[i][i] * 2.0 - (r[0][0] + r[1][1] + r[2][2]));
        let k = (0..3).fold(0, |best, i| if on[i] > on[best] { i } else { best });
        let whole = 0.5 * on[k].sqrt();
        let mut turn = [0, 1, 2].map(|i: usize| 0.25 * (r[k][i] + r[i][k]) / whole);
        turn[k] = whole;
        let (next, after) = ((k + 1) % 3, (k + 2) % 3);
        let sign = if r[after][next] - r[next][after] < 0.0 {
            -1.0
        } else {
            1.0
        };
        turn.map(|value| value * sign)
    };
    (
        hand as f32,
        [b, c, d, rows[0][3], rows[1][3], rows[2][3]].map(|value| value as f32),
    )
}
