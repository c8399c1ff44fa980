//! Volumes written back onto the grid they came from, atomically.

use super::NiftiError;
use super::header::{FIRST_VOXEL, HEADER};
use super::orientation::Source;
use std::io::{BufWriter, Write};
use std::path::Path;

/// Writes canonical values as 32-bit reals in the source's own voxel order, with its affine, codes
/// and units; compressed when the name ends in `.gz`. The file appears completely or not at all.
///
/// # Errors
/// [`NiftiError::Values`] when the values do not fill the grid, [`NiftiError::Io`] when the disk
/// refuses.
pub fn write_f32(path: &Path, values: &[f32], source: &Source) -> Result<(), NiftiError> {
    write(path, (16, 32), values, source, |value, bytes| {
        bytes.extend_from_slice(&value.to_le_bytes())
    })
}

/// As [`write_f32`], for masks and labels.
///
/// # Errors
/// As [`write_f32`].
pub fn write_u8(path: &Path, values: &[u8], source: &Source) -> Result<(), NiftiError> {
    write(path, (2, 8), values, source, |value, bytes| {
        bytes.push(value)
    })
}

fn write<T: Copy>(
    path: &Path,
    kind: (i16, i16),
    values: &[T],
    source: &Source,
    put: impl Fn(T, &mut Vec<u8>),
) -> Result<(), NiftiError> {
    let expected = source.grid().voxels();
    if values.len() != expected {
        return Err(NiftiError::Values {
            expected,
            found: values.len(),
        });
    }
    let mut bytes =
        Vec::with_capacity(FIRST_VOXEL + expected * usize::from(kind.1.unsigned_abs()) / 8);
    bytes.extend_from_slice(&header(kind, source));
    for place in source.walk() {
        put(values[place], &mut bytes);
    }
    let packed = path
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("gz"));
    program::files::replace(path, |file| {
        if packed {
            let mut packer =
                flate2::write::GzEncoder::new(BufWriter::new(file), flate2::Compression::fast());
            packer.write_all(&bytes)?;
            packer.finish()?.flush()
        } else {
            file.write_all(&bytes)
        }
    })?;
    Ok(())
}

/// A little-endian header and the flag that no extension follows.
fn header((datatype, bitpix): (i16, i16), source: &Source) -> [u8; FIRST_VOXEL] {
    let mut head = [0; FIRST_VOXEL];
    let mut put = |at: usize, bytes: &[u8]| head[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &(HEADER as i32).to_le_bytes());
    put(38, b"r");
    let [x, y, z] = source.dims;
    for (i, side) in [3, x, y, z, 1, 1, 1, 1].into_iter().enumerate() {
        put(40 + 2 * i, &side.to_le_bytes());
    }
    put(70, &datatype.to_le_bytes());
    put(72, &bitpix.to_le_bytes());
    for (i, mm) in source.pixdim.into_iter().enumerate() {
        put(76 + 4 * i, &mm.to_le_bytes());
    }
    put(108, &(FIRST_VOXEL as f32).to_le_bytes());
    put(112, &1f32.to_le_bytes());
    put(123, &[source.units]);
    put(252, &source.qform_code.to_le_bytes());
    put(254, &source.sform_code.to_le_bytes());
    for (i, value) in source
        .quaternion
        .iter()
        .chain(source.srow.iter().flatten())
        .enumerate()
    {
        put(256 + 4 * i, &value.to_le_bytes());
    }
    put(344, b"n+1\0");
    head
}
