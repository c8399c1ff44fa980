//! Where a stored grid lies in the patient, and the walk from stored to canonical voxel order.
//!
//! Canonical is RAS+: width grows to the patient's right, height to the front, depth to the top. Oblique grids are
//! turned to their nearest axes, never resampled, as nibabel's `as_closest_canonical` does.

use super::NiftiError;
use super::header::Header;
use protocol::case::Grid;

/// Rows x, y, z (right, front, top in millimetres) of a voxel-to-patient map; the fourth column is the first
/// voxel's place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine(pub [[f64; 4]; 3]);

/// Which of a header's affines places the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `srow_x`, `srow_y`, `srow_z`.
    Sform,
    /// The quaternion.
    Qform,
    /// Neither: spacing only, the first axis taken to run to the patient's left as nibabel and SPM do.
    Spacing,
}

/// How a volume was stored and where it lies: enough to write another volume onto the same grid.
///
/// Holds no text of the original header.
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
struct Axes {
    stored: [usize; 3],
    reversed: [bool; 3],
}

/// The way through stored voxels in canonical order.
pub(super) struct Walk {
    first: isize,
    /// Steps along canonical z, y, x.
    steps: [isize; 3],
    /// Voxels along canonical z, y, x.
    dims: [usize; 3],
}

impl Source {
    /// The grid of a new volume, its centre at the origin.
    ///
    /// `orientation` names the direction in which each stored axis grows, fastest first, by the patient's `R`ight or
    /// `L`eft, `A`nterior or `P`osterior, `S`uperior or `I`nferior: `"RAS"`, `"LPI"`, or `"ASL"` for a sagittal
    /// series. `form` says which affine the header will carry.
    ///
    /// # Errors
    /// [`NiftiError::Affine`] for an orientation that does not name three axes or a spacing that is not positive,
    /// [`NiftiError::Dimensions`] or [`NiftiError::TooLarge`] for a grid that a file cannot hold.
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
            offset: super::header::FIRST_VOXEL,
            scaling: None,
            pixdim,
            units: 2, // millimetres
            qform_code: i16::from(form == Form::Qform),
            sform_code: i16::from(form == Form::Sform),
            quaternion,
            srow: rows.map(|row| if form == Form::Sform { row.map(|value| value as f32) } else { [0.0; 4] }),
        };
        if grid.voxels() > super::MAX_VOXELS {
            return Err(NiftiError::TooLarge(grid.dims));
        }
        Self::of(&header)
    }

    /// Reads a checked header: sform, else qform, else spacing alone.
    pub(super) fn of(header: &Header) -> Result<Self, NiftiError> {
        let (form, affine) = if header.sform_code > 0 {
            (Form::Sform, Affine(header.srow.map(|row| row.map(f64::from))))
        } else if header.qform_code > 0 {
            (Form::Qform, rotated(header))
        } else {
            (Form::Spacing, unplaced(header))
        };
        Ok(Self {
            dims: header.dims,
            pixdim: header.pixdim,
            units: header.units,
            qform_code: header.qform_code,
            sform_code: header.sform_code,
            quaternion: header.quaternion,
            srow: header.srow,
            form,
            affine,
            axes: Axes::nearest(&affine).ok_or(NiftiError::Affine)?,
        })
    }

    /// Which affine placed the volume.
    #[must_use]
    pub fn form(&self) -> Form {
        self.form
    }

    /// The grid in canonical order.
    #[must_use]
    pub fn grid(&self) -> Grid {
        let spacing = |axis: usize| {
            let column = self.axes.stored[axis];
            self.affine.0.iter().map(|row| row[column] * row[column]).sum::<f64>().sqrt() as f32
        };
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

    /// Whether both grids hold the same voxels at the same places: the same canonical dimensions, and no corner
    /// further apart than a tenth of the smallest spacing.
    #[must_use]
    pub fn same_place(&self, other: &Self) -> bool {
        let (mine, theirs) = (self.grid(), other.grid());
        if mine.dims != theirs.dims {
            return false;
        }
        let tolerance = f64::from(mine.spacing_mm.iter().copied().fold(f32::INFINITY, f32::min)) / 10.0;
        let last = reverse(mine.dims).map(|n| (n - 1) as f64);
        let (a, b) = (self.canonical_affine(), other.canonical_affine());
        (0..8).all(|corner: usize| {
            let at = [0, 1, 2].map(|axis| if corner >> axis & 1 == 1 { last[axis] } else { 0.0 });
            let (p, q) = (a.apply(at), b.apply(at));
            p.iter().zip(q).map(|(p, q)| (p - q) * (p - q)).sum::<f64>().sqrt() <= tolerance
        })
    }

    /// The way through the stored voxels in canonical order.
    pub(super) fn walk(&self) -> Walk {
        let sides = self.dims.map(usize::from);
        let strides = [1, sides[0] as isize, (sides[0] * sides[1]) as isize];
        let mut walk = Walk { first: 0, steps: [0; 3], dims: [0; 3] };
        for axis in 0..3 {
            let stored = self.axes.stored[axis];
            let place = 2 - axis;
            walk.dims[place] = sides[stored];
            walk.steps[place] = strides[stored];
            if self.axes.reversed[axis] {
                walk.first += strides[stored] * (sides[stored] as isize - 1);
                walk.steps[place] = -strides[stored];
            }
        }
        walk
    }
}

/// For people who have to find out why two series do not lie on one grid.
impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Grid { dims: [d, h, w], spacing_mm: [sd, sh, sw] } = self.grid();
        let [x, y, z] = self.canonical_affine().0.map(|row| row[3]);
        write!(f, "{w} x {h} x {d} voxels of {sw:.3} x {sh:.3} x {sd:.3} mm, first at ({x:.2}, {y:.2}, {z:.2}) mm")
    }
}

impl Affine {
    fn apply(&self, at: [f64; 3]) -> [f64; 3] {
        self.0.map(|row| row[0] * at[0] + row[1] * at[1] + row[2] * at[2] + row[3])
    }
}

impl Axes {
    /// The stored axis nearest to each of the patient's, the clearest first. `None` without a proper grid.
    fn nearest(affine: &Affine) -> Option<Self> {
        let rows = &affine.0;
        let length = |column: usize| rows.iter().map(|row| row[column] * row[column]).sum::<f64>().sqrt();
        let lengths = [length(0), length(1), length(2)];
        let numbers = rows.iter().flatten().all(|value| value.is_finite() && value.abs() < 1e7);
        if !numbers || lengths.iter().any(|&mm| mm < 1e-4) {
            return None;
        }
        let cosine = |world: usize, stored: usize| rows[world][stored] / lengths[stored];
        let clearest = |stored: usize| (0..3).map(|world| cosine(world, stored).abs()).fold(0.0, f64::max);
        let mut order = [0, 1, 2];
        order.sort_by(|&a, &b| clearest(b).total_cmp(&clearest(a)));
        let mut axes = Self { stored: [usize::MAX; 3], reversed: [false; 3] };
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

    /// By three letters, one of each pair.
    fn named(orientation: &str) -> Option<Self> {
        let mut axes = Self { stored: [usize::MAX; 3], reversed: [false; 3] };
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

impl Walk {
    /// Stored values in canonical order.
    pub(super) fn gather<T: Copy>(&self, stored: &[T], map: impl Fn(T) -> f32) -> Vec<f32> {
        let mut values = Vec::with_capacity(stored.len());
        self.rows(|row, step| match step {
            1 => values.extend(stored[row as usize..][..self.dims[2]].iter().map(|&value| map(value))),
            _ => values.extend((0..self.dims[2]).map(|x| map(stored[(row + x as isize * step) as usize]))),
        });
        values
    }

    /// Canonical values in stored order.
    pub(super) fn scatter<T: Copy + Default>(&self, canonical: &[T]) -> Vec<T> {
        let mut stored = vec![T::default(); canonical.len()];
        let mut rows = canonical.chunks_exact(self.dims[2]);
        self.rows(|row, step| {
            for (x, &value) in rows.next().into_iter().flatten().enumerate() {
                stored[(row + x as isize * step) as usize] = value;
            }
        });
        stored
    }

    /// Calls `each` with the stored index of every canonical row's first voxel, and the step along the row.
    fn rows(&self, mut each: impl FnMut(isize, isize)) {
        for z in 0..self.dims[0] as isize {
            for y in 0..self.dims[1] as isize {
                each(self.first + z * self.steps[0] + y * self.steps[1], self.steps[2]);
            }
        }
    }
}

/// x, y, z from z, y, x and back.
fn reverse<T: Copy>(of: [T; 3]) -> [T; 3] {
    [of[2], of[1], of[0]]
}

/// The qform's affine (nifti1.h, method 2).
fn rotated(header: &Header) -> Affine {
    let [b, c, d, x, y, z] = header.quaternion.map(f64::from);
    let squares = b * b + c * c + d * d;
    let (a, b, c, d) = if squares > 1.0 - 1e-7 {
        let length = squares.sqrt();
        (0.0, b / length, c / length, d / length)
    } else {
        ((1.0 - squares).sqrt(), b, c, d)
    };
    let turn = [
        [a * a + b * b - c * c - d * d, 2.0 * (b * c - a * d), 2.0 * (b * d + a * c)],
        [2.0 * (b * c + a * d), a * a + c * c - b * b - d * d, 2.0 * (c * d - a * b)],
        [2.0 * (b * d - a * c), 2.0 * (c * d + a * b), a * a + d * d - b * b - c * c],
    ];
    let hand = if header.pixdim[0] < 0.0 { -1.0 } else { 1.0 };
    let mm = [1, 2, 3].map(|i| f64::from(header.pixdim[i].abs()));
    let row = |turn: [f64; 3], first: f64| [turn[0] * mm[0], turn[1] * mm[1], turn[2] * mm[2] * hand, first];
    Affine([row(turn[0], x), row(turn[1], y), row(turn[2], z)])
}

/// Spacing alone, the first axis to the left, the centre at the origin (nibabel's `get_base_affine`).
fn unplaced(header: &Header) -> Affine {
    let mut rows = [[0.0; 4]; 3];
    for (axis, row) in rows.iter_mut().enumerate() {
        let mm = f64::from(header.pixdim[1 + axis].abs());
        row[axis] = if axis == 0 { -mm } else { mm };
        row[3] = -row[axis] * (f64::from(header.dims[axis]) - 1.0) / 2.0;
    }
    Affine(rows)
}

/// `pixdim[0]` and the quaternion of a signed permutation (nifti1_io's `nifti_mat44_to_quatern`).
fn quaternion_of(rows: &[[f64; 4]; 3]) -> (f32, [f32; 6]) {
    let length = |column: usize| rows.iter().map(|row| row[column].abs()).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let mut r = [0, 1, 2].map(|world| [0, 1, 2].map(|column| rows[world][column] / length(column)));
    let cross = |a: usize, b: usize| r[0][a] * r[1][b] - r[0][b] * r[1][a];
    let determinant = r[2][2] * cross(0, 1) - r[2][1] * cross(0, 2) + r[2][0] * cross(1, 2);
    let hand = if determinant < 0.0 { -1.0 } else { 1.0 };
    r.iter_mut().for_each(|row| row[2] *= hand);
    let trace = r[0][0] + r[1][1] + r[2][2] + 1.0;
    let [b, c, d] = if trace > 0.5 {
        let a = 0.5 * trace.sqrt();
        [(r[2][1] - r[1][2]) / (4.0 * a), (r[0][2] - r[2][0]) / (4.0 * a), (r[1][0] - r[0][1]) / (4.0 * a)]
    } else {
        let on = [0, 1, 2].map(|i: usize| 1.0 + r[i][i] * 2.0 - (r[0][0] + r[1][1] + r[2][2]));
        let k = (0..3).fold(0, |best, i| if on[i] > on[best] { i } else { best });
        let whole = 0.5 * on[k].sqrt();
        let mut turn = [0, 1, 2].map(|i: usize| 0.25 * (r[k][i] + r[i][k]) / whole);
        turn[k] = whole;
        let (next, after) = ((k + 1) % 3, (k + 2) % 3);
        let sign = if r[after][next] - r[next][after] < 0.0 { -1.0 } else { 1.0 };
        turn.map(|value| value * sign)
    };
    (hand as f32, [b, c, d, rows[0][3], rows[1][3], rows[2][3]].map(|value| value as f32))
}
