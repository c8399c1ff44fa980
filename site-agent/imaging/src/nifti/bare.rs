//! Another program's file without its text: what converters write into headers can name a patient
//! or a day.

use super::header::{FIRST_VOXEL, HEADER, Header, Offset};
use super::orientation::Source;
use super::stream::Unpacked;
use super::{NiftiError, open};
use std::io::Write;
use std::path::Path;

/// The parts of a header that hold text: data_type and db_name, extents to regular, descrip and
/// aux_file, intent_name.
const TEXTS: [std::ops::Range<usize>; 4] = [4..32, 32..39, 148..252, 328..344];

/// A file without text.
#[derive(Clone, Debug)]
pub struct Bare {
    bytes: Vec<u8>,
    source: Source,
    dims: [usize; 3],
}

impl Bare {
    /// Takes texts and extensions out of an uncompressed `.nii` file.
    ///
    /// # Errors
    /// As [`super::read`], as far as the header and the length tell.
    pub fn of(file: &[u8]) -> Result<Self, NiftiError> {
        let header = Header::check(file)?;
        let Offset::At(first) = header.offset else {
            return Err(NiftiError::Offset(0.0));
        };
        let end = header.end();
        let voxels = usize::try_from(end)
            .ok()
            .and_then(|end| file.get(first..end))
            .ok_or(NiftiError::Truncated {
                expected: end,
                found: file.len() as u64,
            })?;
        let (source, _) = Source::of(&header)?;
        let mut bytes = Vec::with_capacity(FIRST_VOXEL + voxels.len());
        bytes.extend_from_slice(&file[..HEADER]);
        bytes.resize(FIRST_VOXEL, 0);
        for text in TEXTS {
            bytes[text].fill(0);
        }
        let offset = FIRST_VOXEL as f32;
        let little = file[..4] == (HEADER as i32).to_le_bytes();
        let offset = if little {
            offset.to_le_bytes()
        } else {
            offset.to_be_bytes()
        };
        bytes[108..112].copy_from_slice(&offset);
        bytes.extend_from_slice(voxels);
        Ok(Self {
            bytes,
            source,
            dims: header.dims.map(usize::from),
        })
    }

    /// Where its voxels are.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Voxels along the stored axes.
    #[must_use]
    pub fn dims(&self) -> [usize; 3] {
        self.dims
    }

    /// The bytes of a compressed file. The same voxels always give the same bytes.
    ///
    /// # Errors
    /// Never; writing into memory does not fail.
    pub fn packed(&self) -> std::io::Result<Vec<u8>> {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        packer.write_all(&self.bytes)?;
        packer.finish()
    }
}

/// Where the voxels of a file are, by its header only.
///
/// # Errors
/// As [`super::read`], as far as the header tells.
pub fn place(path: &Path) -> Result<Source, NiftiError> {
    let mut head = [0; HEADER];
    Unpacked::new(open(path)?)?.read_exact(&mut head, HEADER as u64)?;
    let header = Header::check(&head)?;
    Source::of(&header).map(|(source, _)| source)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nifti::{Form, read, write_f32};
    use protocol::case::Grid;

    #[test]
    fn texts_and_extensions_are_gone_and_voxels_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.nii");
        let grid = Grid {
            dims: [3, 4, 5],
            spacing_mm: [2.0, 1.0, 1.0],
        };
        let values: Vec<f32> = (0..60).map(|value| value as f32).collect();
        let source = Source::new(&grid, "LPS", Form::Sform).unwrap();
        write_f32(&path, &values, &source).unwrap();
        let mut file = std::fs::read(&path).unwrap();
        for text in TEXTS {
            file[text].fill(b'x');
        }
        // An extension of 32 bytes.
        file[108..112].copy_from_slice(&384f32.to_le_bytes());
        file[348] = 1;
        file.splice(352..352, [b'x'; 32]);
        assert!(Bare::of(&file[..file.len() - 1]).is_err());
        let bare = Bare::of(&file).unwrap();
        assert_eq!((bare.dims(), bare.source()), ([5, 4, 3], &source));
        let clean = folder.path().join("b.nii.gz");
        std::fs::write(&clean, bare.packed().unwrap()).unwrap();
        let volume = read(&clean).unwrap();
        assert_eq!((volume.values, volume.source), (values, source.clone()));
        assert!(volume.warnings.is_empty());
        assert!(place(&clean).unwrap().same_place(&source));
        assert!(!bare.bytes[..FIRST_VOXEL].contains(&b'x'));
    }
}
