//! Which of a header's forms places the volume, as ITK decides it, and what is wrong with the
//! other.
//!
//! The sform says where the axes run; how long a voxel is, `pixdim` says. A form that is not a
//! turned box of voxels (sheared, flat, not a number) is passed over for the other one; without
//! another the file is refused.

use super::header::Header;
use super::orientation::{Affine, Axes, Form};
use super::warning::millimetres;
use super::{NiftiError, Warning};

/// Cosine between two axes from which they are not at right angles.
const SKEWED: f64 = 5e-4;
/// Relative difference from which the sform's lengths are not those of `pixdim`.
const LENGTHS: f64 = 1e-3;
/// What rounding may add to the length of a quaternion, which is 1 at most.
const QUATERNION: f64 = 1e-4;
/// Spacings that an image of a patient can have, mm, with room for rounding.
const SPACING_MM: std::ops::RangeInclusive<f64> = 0.00999..=100.01;

/// Why a form places no volume.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum Fault {
    /// NaN, infinity, or a number that is no place in a scanner.
    #[error("it holds numbers that are no place in a scanner")]
    Number,
    /// An axis of no length, or all axes in one plane.
    #[error("its axes span no volume")]
    Flat,
    /// A sheared grid.
    #[error("its axes are not at right angles: {degrees:.2} degrees")]
    Skewed {
        /// The angle furthest from a right one.
        degrees: f64,
    },
    /// A quaternion that is no rotation.
    #[error("its quaternion has length {0:.4}, more than 1")]
    Quaternion(f64),
    /// A qform has no lengths of its own.
    #[error("pixdim names no spacing")]
    NoSpacing,
}

/// A header's forms, decided.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) form: Form,
    /// From stored voxel indices to millimetres.
    pub(super) affine: Affine,
    pub(super) axes: Axes,
    pub(super) warnings: Vec<Warning>,
}

/// Decides which form places the volume.
///
/// # Errors
/// [`NiftiError::Unplaced`] when no form that the header has can be used, [`NiftiError::Spacing`]
/// for a voxel that is too small or too large for a patient.
pub(super) fn place(header: &Header) -> Result<Placed, NiftiError> {
    let unit = Unit::of(header.units);
    let mut warnings = Vec::new();
    if unit.odd {
        warnings.push(Warning::Unit(header.units & 7));
    }
    let stored = [1, 2, 3].map(|axis| f64::from(header.pixdim[axis]));
    if stored.iter().any(|&mm| mm < 0.0) {
        warnings.push(Warning::Sign(stored));
    }
    let sform = (header.sform_code > 0).then(|| sform(header, unit.mm));
    let qform = (header.qform_code > 0).then(|| qform(header, unit.mm));
    let (form, affine) = match (sform, qform) {
        (Some(Ok(sform)), qform) => {
            let affine = with_pixdim(sform, header, unit.mm, &mut warnings);
            match qform {
                Some(Ok(qform)) => warnings.extend(disagreement(header, &affine, &qform)),
                Some(Err(fault)) => warnings.push(Warning::Unusable {
                    form: Form::Qform,
                    fault,
                }),
                None => {}
            }
            (Form::Sform, affine)
        }
        (Some(Err(fault)), Some(Ok(qform))) => {
            warnings.push(Warning::Unusable {
                form: Form::Sform,
                fault,
            });
            (Form::Qform, qform)
        }
        (None, Some(Ok(qform))) => (Form::Qform, qform),
        (None, None) => {
            warnings.push(Warning::NoForm);
            let spacing =
                pixdim(header, unit.mm).ok_or(unplaced(Form::Spacing, Fault::NoSpacing))?;
            (Form::Spacing, centred(header, spacing))
        }
        (Some(Err(fault)), _) => return Err(unplaced(Form::Sform, fault)),
        (None, Some(Err(fault))) => return Err(unplaced(Form::Qform, fault)),
    };
    let mm = affine.lengths();
    if mm.iter().any(|mm| !SPACING_MM.contains(mm)) {
        return Err(NiftiError::Spacing {
            mm: millimetres(&mm),
            unit: unit.name,
        });
    }
    let axes = Axes::nearest(&affine).ok_or(unplaced(form, Fault::Flat))?;
    Ok(Placed {
        form,
        affine,
        axes,
        warnings,
    })
}

fn unplaced(form: Form, fault: Fault) -> NiftiError {
    NiftiError::Unplaced { form, fault }
}

/// The header's unit of length.
#[derive(Clone, Copy)]
struct Unit {
    /// Millimetres in it.
    mm: f64,
    name: &'static str,
    /// The code means nothing.
    odd: bool,
}

impl Unit {
    /// The lowest three bits of `xyzt_units`. A file that names no unit is in millimetres, as every
    /// tool takes it.
    fn of(xyzt_units: u8) -> Self {
        match xyzt_units & 7 {
            0 => Self {
                mm: 1.0,
                name: "no unit, so millimetres",
                odd: false,
            },
            1 => Self {
                mm: 1000.0,
                name: "metres",
                odd: false,
            },
            2 => Self {
                mm: 1.0,
                name: "millimetres",
                odd: false,
            },
            3 => Self {
                mm: 1e-3,
                name: "microns",
                odd: false,
            },
            _ => Self {
                mm: 1.0,
                name: "a unit that does not exist, so millimetres",
                odd: true,
            },
        }
    }
}

/// The spacing along the stored axes, mm; a sign there means nothing. `None` where one of them is
/// no length.
fn pixdim(header: &Header, unit_mm: f64) -> Option<[f64; 3]> {
    let mm = [1, 2, 3].map(|axis| f64::from(header.pixdim[axis]).abs() * unit_mm);
    mm.iter()
        .all(|mm| mm.is_finite() && *mm > 0.0)
        .then_some(mm)
}

/// The rows of the sform, where they are a turned box of voxels.
fn sform(header: &Header, unit_mm: f64) -> Result<Affine, Fault> {
    let affine = Affine(
        header
            .srow
            .map(|row| row.map(|value| f64::from(value) * unit_mm)),
    );
    check(&affine)?;
    Ok(affine)
}

fn check(affine: &Affine) -> Result<(), Fault> {
    if affine
        .0
        .iter()
        .flatten()
        .any(|value| !value.is_finite() || value.abs() >= 1e7)
    {
        return Err(Fault::Number);
    }
    let lengths = affine.lengths();
    if lengths.iter().any(|&mm| mm < 1e-6) {
        return Err(Fault::Flat);
    }
    let cosine = |a: usize, b: usize| {
        let dot: f64 = affine.0.iter().map(|row| row[a] * row[b]).sum();
        dot / (lengths[a] * lengths[b])
    };
    let cosines = [cosine(0, 1), cosine(0, 2), cosine(1, 2)];
    let most = cosines.into_iter().fold(
        0.0,
        |most: f64, next| if next.abs() > most.abs() { next } else { most },
    );
    match most.abs() {
        flat if flat > 0.999 => Err(Fault::Flat),
        skewed if skewed > SKEWED => Err(Fault::Skewed {
            degrees: most.acos().to_degrees(),
        }),
        _ => Ok(()),
    }
}

/// The sform's directions with the lengths of `pixdim`, as ITK has them.
fn with_pixdim(
    sform: Affine,
    header: &Header,
    unit_mm: f64,
    warnings: &mut Vec<Warning>,
) -> Affine {
    let lengths = sform.lengths();
    let Some(spacing) = pixdim(header, unit_mm) else {
        warnings.push(Warning::NoPixdim { sform: lengths });
        return sform;
    };
    if lengths
        .iter()
        .zip(spacing)
        .all(|(mm, wanted)| (mm / wanted - 1.0).abs() <= LENGTHS)
    {
        return sform;
    }
    warnings.push(Warning::Lengths {
        pixdim: spacing,
        sform: lengths,
    });
    let mut affine = sform;
    for row in &mut affine.0 {
        for axis in 0..3 {
            row[axis] *= spacing[axis] / lengths[axis];
        }
    }
    affine
}

/// Whether both forms place the corners of the volume alike, within a tenth of a voxel.
fn disagreement(header: &Header, sform: &Affine, qform: &Affine) -> Option<Warning> {
    let last = header.dims.map(|side| f64::from(side) - 1.0);
    let apart_mm = sform.apart(qform, last);
    let spacing = sform.lengths().into_iter().fold(f64::INFINITY, f64::min);
    let letters = |affine: &Affine| {
        Axes::nearest(affine)
            .map(|axes| axes.letters())
            .unwrap_or_default()
    };
    (apart_mm > spacing / 10.0).then(|| Warning::Disagreement {
        apart_mm,
        sform: letters(sform),
        qform: letters(qform),
    })
}

/// The qform's affine (nifti1.h, method 2).
fn qform(header: &Header, unit_mm: f64) -> Result<Affine, Fault> {
    let [b, c, d, x, y, z] = header.quaternion.map(f64::from);
    let squares = b * b + c * c + d * d;
    if !squares.is_finite() {
        return Err(Fault::Number);
    }
    if squares.sqrt() > 1.0 + QUATERNION {
        return Err(Fault::Quaternion(squares.sqrt()));
    }
    let (a, b, c, d) = if squares > 1.0 - 1e-7 {
        let length = squares.sqrt();
        (0.0, b / length, c / length, d / length)
    } else {
        ((1.0 - squares).sqrt(), b, c, d)
    };
    let turn = [
        [
            a * a + b * b - c * c - d * d,
            2.0 * (b * c - a * d),
            2.0 * (b * d + a * c),
        ],
        [
            2.0 * (b * c + a * d),
            a * a + c * c - b * b - d * d,
            2.0 * (c * d - a * b),
        ],
        [
            2.0 * (b * d - a * c),
            2.0 * (c * d + a * b),
            a * a + d * d - b * b - c * c,
        ],
    ];
    let hand = if header.pixdim[0] < 0.0 { -1.0 } else { 1.0 };
    let mm = pixdim(header, unit_mm).ok_or(Fault::NoSpacing)?;
    let row = |turn: [f64; 3], first: f64| {
        [
            turn[0] * mm[0],
            turn[1] * mm[1],
            turn[2] * mm[2] * hand,
            first * unit_mm,
        ]
    };
    let affine = Affine([row(turn[0], x), row(turn[1], y), row(turn[2], z)]);
    check(&affine)?;
    Ok(affine)
}

/// Spacing alone, the first axis to the left, the centre at the origin (nibabel's
/// `get_base_affine`).
fn centred(header: &Header, spacing: [f64; 3]) -> Affine {
    let mut rows = [[0.0; 4]; 3];
    for (axis, row) in rows.iter_mut().enumerate() {
        row[axis] = if axis == 0 {
            -spacing[axis]
        } else {
            spacing[axis]
        };
        row[3] = -row[axis] * (f64::from(header.dims[axis]) - 1.0) / 2.0;
    }
    Affine(rows)
}
