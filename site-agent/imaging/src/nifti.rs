//! NIfTI-1 files: volumes in, volumes out, and what a hostile or broken file is refused for.
//!
//! The only file that imports the `nifti` crate, which decodes voxels here and nothing else: the
//! header's bytes are checked by `header` before they reach it, because the crate scales after
//! casting, trusts `bitpix` and `vox_offset`, and can panic on headers that contradict themselves.
//! Scaling, orientation and writing are ours.

mod bare;
mod forms;
mod header;
mod orientation;
mod stream;
mod warning;
mod write;

pub use bare::{Bare, place};
pub use forms::Fault;
use header::{FIRST_VOXEL, HEADER, Header, Kind, Offset};
use nifti::{DataElement, InMemNiftiVolume, NiftiHeader};
pub use orientation::{Affine, Form, Source};
use protocol::case::Grid;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use stream::Unpacked;
pub use warning::Warning;
pub use write::{write_f32, write_u8};

/// Voxels that a volume may have: ten times a brain at half a millimetre, one GiB as f32.
pub const MAX_VOXELS: usize = 1 << 28;

/// Voxels decoded at a time: what the decoder can be told of in one dimension.
const CHUNK: usize = 1 << 14;

/// A volume in canonical axial order (see [`Grid`]), scaled by its `scl_slope` and `scl_inter`.
#[derive(Clone, Debug, PartialEq)]
pub struct Volume {
    /// Dimensions and spacing in canonical order.
    pub grid: Grid,
    /// `[depth, height, width]`, width fastest. May hold NaN or infinity when the file does.
    pub values: Vec<f32>,
    /// Where the volume is, and how it was stored: needed to write a result on the same grid.
    pub source: Source,
    /// What is odd about the file.
    pub warnings: Vec<Warning>,
}

/// Why a file is no volume. Carries numbers of the header, never its text.
#[derive(Debug, thiserror::Error)]
pub enum NiftiError {
    /// The file could not be read or written.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// Not a `.nii` or `.nii.gz` file.
    #[error("not a NIfTI-1 file ({0})")]
    Format(&'static str),
    /// Fewer bytes than the header announces.
    #[error(
        "the file is cut short: it holds {found} of {expected} bytes (unpacked); copy or export \
         it again"
    )]
    Truncated {
        /// Bytes that the header asks for.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// A compressed file that breaks off behind its voxels.
    #[error(
        "the compressed file breaks off before its checksum, so that it cannot be trusted; copy \
         it again"
    )]
    Unfinished,
    /// A compressed file with a wrong code or checksum.
    #[error("the compressed file is damaged ({0}); copy or export it again")]
    Damaged(String),
    /// A compressed file with far more in it than its header asks for.
    #[error(
        "more than {0} bytes follow the voxels that the header describes: is the header right?"
    )]
    Tail(u64),
    /// Dimensions that are no single volume.
    #[error("dimensions {0:?} are not one three-dimensional volume; store one volume in each file")]
    Dimensions(Vec<i16>),
    /// More voxels than [`MAX_VOXELS`].
    #[error("{0:?} voxels are more than a volume may have")]
    TooLarge([usize; 3]),
    /// A voxel type that is not a real number.
    #[error("voxel type {0} is not supported (real numbers of 8 to 64 bits are)")]
    VoxelType(i16),
    /// `bitpix` contradicts `datatype`.
    #[error("bitpix {bitpix} contradicts voxel type {datatype}")]
    BitsPerVoxel {
        /// As stored.
        datatype: i16,
        /// As stored.
        bitpix: i16,
    },
    /// A `vox_offset` that cannot be.
    #[error("voxels cannot begin at byte {0}")]
    Offset(f32),
    /// A finite slope with an intercept that is not.
    #[error("scaling by {slope} and {inter} is impossible")]
    Scaling {
        /// As stored.
        slope: f32,
        /// As stored.
        inter: f32,
    },
    /// An orientation that names no three axes.
    #[error("the orientation does not describe a grid")]
    Affine,
    /// No form of the header can be used.
    #[error("the header does not say where the voxels are: {}{fault}; export the file again from \
             its source",
        .form.spoken())]
    Unplaced {
        /// The form that counts.
        form: Form,
        /// What is wrong with it.
        fault: Fault,
    },
    /// A voxel that no image of a patient has.
    #[error(
        "voxels of {mm} mm are impossible (0.01 to 100 mm are possible): pixdim, sform and \
         xyzt_units, which says {unit}, do not go together"
    )]
    Spacing {
        /// As the header has it.
        mm: String,
        /// The header's unit of length.
        unit: &'static str,
    },
    /// Values whose number is not the grid's.
    #[error("{found} values do not fill a grid of {expected} voxels")]
    Values {
        /// Voxels of the grid.
        expected: usize,
        /// Values given.
        found: usize,
    },
    /// What the decoder said of voxels whose header had passed.
    #[error("the voxels could not be decoded: {0}")]
    Voxels(String),
}

/// Reads a `.nii` or `.nii.gz` file, distinguished by content: its header first, then only what
/// that asks for.
///
/// # Errors
/// See [`NiftiError`]. A file is never read in part.
pub fn read(path: &Path) -> Result<Volume, NiftiError> {
    load(&|| open(path))
}

/// The hash of all that [`read`] would look at.
///
/// # Errors
/// As [`read`], as far as the header tells.
pub fn hash(path: &Path) -> Result<blake3::Hash, NiftiError> {
    let mut head = [0; HEADER];
    let mut stream = Unpacked::new(open(path)?)?;
    stream.read_exact(&mut head, HEADER as u64)?;
    let header = Header::check(&head)?;
    // Whether more follows decides where the voxels begin when the header does not say so.
    let most = if stream.is_packed() {
        u64::MAX
    } else {
        // As far as reading looks.
        header.end() + header.slice_bytes()
    };
    let mut hash = blake3::Hasher::new();
    hash.update_reader(io::Read::take(open(path)?, most))?;
    Ok(hash.finalize())
}

fn open(path: &Path) -> io::Result<Box<dyn BufRead>> {
    let found = std::fs::metadata(path)?;
    // Opening a pipe would wait for a writer for ever.
    if !found.is_file() && !found.is_dir() {
        return Err(io::Error::other("it is neither a file nor a folder"));
    }
    Ok(Box::new(BufReader::with_capacity(
        1 << 16,
        File::open(path)?,
    )))
}

/// Reads what `open` opens, each time from the start.
fn load<'a>(open: &dyn Fn() -> io::Result<Box<dyn BufRead + 'a>>) -> Result<Volume, NiftiError> {
    let mut stream = Unpacked::new(open()?)?;
    let mut head = [0; HEADER];
    stream.read_exact(&mut head, HEADER as u64)?;
    let header = Header::check(&head)?;
    let (source, mut warnings) = Source::of(&header)?;
    let first = match header.offset {
        Offset::At(first) => first,
        Offset::ByLength(stored) => {
            let taken = first_by_length(&header, stored, Unpacked::new(open()?)?)?;
            warnings.push(Warning::Offset { stored, taken });
            taken
        }
    };
    let end = (first + header.bytes()) as u64;
    stream.skip((first - HEADER) as u64, end)?;
    let values = voxels(&mut stream, &head, &header, &source, end)?;
    if stream.finish(header.slice_bytes())? {
        warnings.push(Warning::Longer);
    }
    if stream.has_junk() {
        warnings.push(Warning::Junk);
    }
    Ok(Volume {
        grid: source.grid(),
        values,
        source,
        warnings,
    })
}

/// Where the voxels of a file begin whose header does not say so: after the header, or after the
/// extension flag.
fn first_by_length(
    header: &Header,
    stored: f32,
    mut whole: Unpacked<'_>,
) -> Result<usize, NiftiError> {
    let longest = (FIRST_VOXEL + header.bytes()) as u64;
    let length = match whole.drain(longest) {
        Ok(length) => length,
        Err(NiftiError::Tail(_)) => return Err(NiftiError::Offset(stored)),
        Err(error) => return Err(error),
    };
    let first = usize::try_from(length)
        .unwrap_or(usize::MAX)
        .saturating_sub(header.bytes());
    match first {
        HEADER | FIRST_VOXEL => Ok(first),
        _ => Err(NiftiError::Truncated {
            expected: longest,
            found: length,
        }),
    }
}

/// Reads the voxels that a checked header describes into canonical order.
fn voxels(
    stream: &mut Unpacked<'_>,
    head: &[u8; HEADER],
    header: &Header,
    source: &Source,
    end: u64,
) -> Result<Vec<f32>, NiftiError> {
    let foreign = |error: nifti::NiftiError| NiftiError::Voxels(error.to_string());
    let mut parsed = NiftiHeader::from_reader(&head[..]).map_err(foreign)?;
    let mut places = source.walk();
    // Zeroed memory costs nothing before it is written to: what a header announces and a file lacks
    // is never touched.
    let mut values = vec![0.0; source.grid().voxels()];
    let mut left = values.len();
    while left > 0 {
        let count = left.min(CHUNK);
        left -= count;
        let mut bytes = vec![0; count * header.voxel_bytes()];
        stream.read_exact(&mut bytes, end)?;
        // The decoder hears of a row of voxels: header and dimensions are checked, and the order is
        // ours.
        parsed.dim = [3, count as u16, 1, 1, 1, 1, 1, 1];
        let raw = InMemNiftiVolume::from_raw_data(&parsed, bytes).map_err(foreign)?;
        let decoded = match header.kind {
            Kind::U8 => scaled::<u8>(raw, header, f64::from),
            Kind::I8 => scaled::<i8>(raw, header, f64::from),
            Kind::U16 => scaled::<u16>(raw, header, f64::from),
            Kind::I16 => scaled::<i16>(raw, header, f64::from),
            Kind::U32 => scaled::<u32>(raw, header, f64::from),
            Kind::I32 => scaled::<i32>(raw, header, f64::from),
            Kind::U64 => scaled::<u64>(raw, header, |value| value as f64),
            Kind::I64 => scaled::<i64>(raw, header, |value| value as f64),
            Kind::F32 => scaled::<f32>(raw, header, f64::from),
            Kind::F64 => scaled::<f64>(raw, header, |value| value),
        };
        for (value, place) in decoded.map_err(foreign)?.into_iter().zip(&mut places) {
            values[place] = value;
        }
    }
    Ok(values)
}

/// Scales in f64, so that wide integers lose nothing before their intercept is added.
fn scaled<T: DataElement + Copy>(
    raw: InMemNiftiVolume,
    header: &Header,
    wide: impl Fn(T) -> f64,
) -> nifti::Result<Vec<f32>> {
    let stored: Vec<T> = raw.into_nifti_typed_data()?;
    Ok(match header.scaling {
        None => stored.into_iter().map(|value| wide(value) as f32).collect(),
        Some((slope, inter)) => stored
            .into_iter()
            .map(|value| (wide(value) * slope + inter) as f32)
            .collect(),
    })
}

#[cfg(test)]
mod tests;
