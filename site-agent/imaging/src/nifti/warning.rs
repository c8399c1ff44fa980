//! What is odd about a file that can be used all the same.

use super::Form;
use super::forms::Fault;

/// Something that a reader of the results should know. Holds numbers of the header, never its text.
#[derive(Clone, Debug, PartialEq)]
pub enum Warning {
    /// Neither form: left and right are a convention.
    NoForm,
    /// One form cannot be used, the other places the volume.
    Unusable {
        /// The one that cannot be used.
        form: Form,
        /// Why.
        fault: Fault,
    },
    /// Both forms can be used and place the volume differently.
    Disagreement {
        /// How far apart a corner is, mm.
        apart_mm: f64,
        /// Where the stored axes run by the sform, such as `LPS`.
        sform: String,
        /// The same by the qform.
        qform: String,
    },
    /// The sform's axes are longer or shorter than `pixdim` says.
    Lengths {
        /// By `pixdim`, mm.
        pixdim: [f64; 3],
        /// By the sform, mm.
        sform: [f64; 3],
    },
    /// `pixdim` names no spacing: the sform's is taken.
    NoPixdim {
        /// By the sform, mm.
        sform: [f64; 3],
    },
    /// Lengths below zero in `pixdim`.
    Sign([f64; 3]),
    /// A code for the unit of length that means nothing.
    Unit(u8),
    /// A `vox_offset` inside the header.
    Offset {
        /// As stored.
        stored: f32,
        /// Where the voxels begin, by the length of the file.
        taken: usize,
    },
    /// At least a slice's bytes follow the voxels that the header describes.
    Longer,
    /// A compressed file is followed by something that is not compressed.
    Junk,
}

impl Warning {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NoForm | Self::Unusable { .. } | Self::Disagreement { .. } | Self::Sign(_) => {
                "compare left and right with your viewer, or export the file again from its source"
            }
            Self::Lengths { .. } | Self::NoPixdim { .. } | Self::Unit(_) => {
                "compare the spacing with the scanner's, or export the file again from its source"
            }
            Self::Longer => {
                "check the number of slices, and that the file holds one volume: what follows is \
                 not used"
            }
            Self::Offset { .. } | Self::Junk => "copy or export the file once more",
        }
    }
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoForm => f.write_str(
                "the header has neither sform nor qform: left and right are assumed, \
                             see docs/users/DATA.md",
            ),
            Self::Unusable { form, fault } => {
                let other = if *form == Form::Sform {
                    Form::Qform
                } else {
                    Form::Sform
                };
                write!(
                    f,
                    "the {form} cannot be used ({fault}): the {other} places the volume"
                )
            }
            Self::Disagreement {
                apart_mm,
                sform,
                qform,
            } => write!(
                f,
                "sform and qform place a corner {apart_mm:.1} mm apart (the stored axes run \
                 {sform} by the sform, {qform} by the qform): the sform is used"
            ),
            Self::Lengths { pixdim, sform } => {
                let (pixdim, sform) = (millimetres(pixdim), millimetres(sform));
                write!(
                    f,
                    "a voxel has {pixdim} mm by pixdim and {sform} mm by the sform: pixdim \
                           is used"
                )
            }
            Self::NoPixdim { sform } => {
                write!(
                    f,
                    "pixdim names no spacing: the sform's is used, {} mm",
                    millimetres(sform)
                )
            }
            Self::Sign(pixdim) => {
                let pixdim = millimetres(pixdim);
                write!(
                    f,
                    "pixdim is negative, {pixdim}: the sign is ignored, but ITK turns such \
                           an axis around"
                )
            }
            Self::Unit(code) => write!(
                f,
                "{code} in xyzt_units is no unit of length: \
                                           millimetres are assumed"
            ),
            Self::Offset { stored, taken } => {
                write!(
                    f,
                    "vox_offset is {stored}: by the length of the file the voxels begin at \
                           byte {taken}"
                )
            }
            Self::Longer => f.write_str(
                "the file goes on behind the voxels that its header describes, by a slice or more",
            ),
            Self::Junk => f.write_str(
                "bytes that are not gzip follow the compressed volume and were left out; the \
                 volume's checksum is right",
            ),
        }
    }
}

/// Three lengths for people.
pub(super) fn millimetres([x, y, z]: &[f64; 3]) -> String {
    let short = |mm: &f64| {
        let text = format!("{mm:.4}");
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text
        }
    };
    format!("{} x {} x {}", short(x), short(y), short(z))
}
