//! NIfTI-1 files: volumes in, volumes out, and what a hostile or broken file is refused for.
//!
//! The only file that imports the `nifti` crate, which decodes voxels here and nothing else: the header's bytes are
//! checked by `header` before they reach it, because the crate scales after casting, trusts `bitpix` and
//! `vox_offset`, and can panic on headers that contradict themselves. Scaling, orientation and writing are ours.

mod header;
mod orientation;
mod write;

use header::{HEADER, Header, Kind};
use nifti::{DataElement, InMemNiftiVolume, NiftiHeader};
use orientation::Walk;
pub use orientation::{Affine, Form, Source};
use protocol::case::Grid;
use std::io::Read;
use std::path::Path;
pub use write::{write_f32, write_u8};

/// Voxels that a volume may have: ten times a brain at half a millimetre, one GiB as f32.
pub const MAX_VOXELS: usize = 1 << 28;

/// What is read past the voxels of a compressed file, to reach the checksum at its end.
const MAX_TAIL: u64 = 1 << 26;

/// A volume in canonical axial order (see [`Grid`]), scaled by its `scl_slope` and `scl_inter`.
#[derive(Clone, Debug, PartialEq)]
pub struct Volume {
    /// Dimensions and spacing in canonical order.
    pub grid: Grid,
    /// `[depth, height, width]`, width fastest. May hold NaN or infinity when the file does.
    pub values: Vec<f32>,
    /// Where the volume lies, and how it was stored: what writing a result beside it needs.
    pub source: Source,
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
    /// Fewer bytes than the header announces, or a compressed file that breaks off.
    #[error("the file is cut short or damaged: {found} of {expected} bytes")]
    Truncated {
        /// Bytes that the header asks for.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// Dimensions that are no single volume.
    #[error("dimensions {0:?} are not one three-dimensional volume")]
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
    /// An affine or spacing that places no grid.
    #[error("the affine or spacing does not describe a grid")]
    Affine,
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

/// Reads a `.nii` or `.nii.gz` file, told apart by content.
///
/// # Errors
/// See [`NiftiError`]; a file is refused whole, never read in part.
pub fn read(path: &Path) -> Result<Volume, NiftiError> {
    parse(&std::fs::read(path)?)
}

/// Reads the content of a `.nii` or `.nii.gz` file.
///
/// # Errors
/// As [`read`].
pub fn parse(file: &[u8]) -> Result<Volume, NiftiError> {
    if file.starts_with(&[0x1f, 0x8b]) {
        let mut unpacked = flate2::read::MultiGzDecoder::new(file);
        let head = take(&mut unpacked, HEADER as u64)?;
        let header = Header::check(&head)?;
        skip(&mut unpacked, (header.offset - HEADER) as u64, header.end())?;
        let voxels = take(&mut unpacked, header.bytes() as u64)?;
        drain(unpacked, header.end())?;
        decode(&head, &header, voxels)
    } else {
        let header = Header::check(file)?;
        let voxels = file.get(header.offset..header.offset + header.bytes());
        let truncated = NiftiError::Truncated { expected: header.end(), found: file.len() as u64 };
        decode(file, &header, voxels.ok_or(truncated)?.to_vec())
    }
}

/// Reads exactly `length` bytes; memory grows with what is there, not with what a header announces.
fn take(stream: &mut impl Read, length: u64) -> Result<Vec<u8>, NiftiError> {
    let mut bytes = Vec::new();
    let outcome = stream.take(length).read_to_end(&mut bytes);
    match outcome {
        Ok(_) if bytes.len() as u64 == length => Ok(bytes),
        _ => Err(NiftiError::Truncated { expected: length, found: bytes.len() as u64 }),
    }
}

/// Passes over what lies between header and voxels.
fn skip(stream: &mut impl Read, length: u64, expected: u64) -> Result<(), NiftiError> {
    match std::io::copy(&mut stream.take(length), &mut std::io::sink()) {
        Ok(passed) if passed == length => Ok(()),
        Ok(found) => Err(NiftiError::Truncated { expected, found }),
        Err(_) => Err(NiftiError::Truncated { expected, found: HEADER as u64 }),
    }
}

/// Reads on to the end of a compressed stream, where its checksum is verified.
fn drain(stream: impl Read, end: u64) -> Result<(), NiftiError> {
    match std::io::copy(&mut stream.take(MAX_TAIL), &mut std::io::sink()) {
        Ok(_) => Ok(()),
        Err(_) => Err(NiftiError::Truncated { expected: end, found: end }),
    }
}

/// Turns checked voxel bytes into a canonical volume.
fn decode(head: &[u8], header: &Header, voxels: Vec<u8>) -> Result<Volume, NiftiError> {
    let source = Source::of(header)?;
    let foreign = |error: nifti::NiftiError| NiftiError::Voxels(error.to_string());
    let mut parsed = NiftiHeader::from_reader(&head[..HEADER]).map_err(foreign)?;
    // Checked to be one volume: the decoder need not hear of a fourth axis.
    parsed.dim = [3, header.dims[0], header.dims[1], header.dims[2], 1, 1, 1, 1];
    let raw = InMemNiftiVolume::from_raw_data(&parsed, voxels).map_err(foreign)?;
    let walk = source.walk();
    let values = match header.kind {
        Kind::U8 => scaled::<u8>(raw, header, &walk, f64::from),
        Kind::I8 => scaled::<i8>(raw, header, &walk, f64::from),
        Kind::U16 => scaled::<u16>(raw, header, &walk, f64::from),
        Kind::I16 => scaled::<i16>(raw, header, &walk, f64::from),
        Kind::U32 => scaled::<u32>(raw, header, &walk, f64::from),
        Kind::I32 => scaled::<i32>(raw, header, &walk, f64::from),
        Kind::U64 => scaled::<u64>(raw, header, &walk, |value| value as f64),
        Kind::I64 => scaled::<i64>(raw, header, &walk, |value| value as f64),
        Kind::F32 => scaled::<f32>(raw, header, &walk, f64::from),
        Kind::F64 => scaled::<f64>(raw, header, &walk, |value| value),
    };
    Ok(Volume { grid: source.grid(), values: values.map_err(foreign)?, source })
}

/// Scales in f64, so that wide integers lose nothing before their intercept is added.
fn scaled<T: DataElement + Copy>(
    raw: InMemNiftiVolume,
    header: &Header,
    walk: &Walk,
    wide: impl Fn(T) -> f64,
) -> nifti::Result<Vec<f32>> {
    let stored: Vec<T> = raw.into_nifti_typed_data()?;
    Ok(match header.scaling {
        None => walk.gather(&stored, |value| wide(value) as f32),
        Some((slope, inter)) => walk.gather(&stored, |value| (wide(value) * slope + inter) as f32),
    })
}

#[cfg(test)]
mod tests;
