//! A stored parameter vector, read range by range.

use super::StoreError;
use shared::aggregate::Source;
use shared::parameters::Manifest;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// A file of raw little-endian `f32` values, as long as a model.
#[derive(Debug)]
pub struct FileSource {
    path: PathBuf,
    file: File,
    buffer: Vec<u8>,
}

impl FileSource {
    /// Opens the file and checks its length.
    ///
    /// # Errors
    /// When it cannot be read, or is not as long as the manifest says.
    pub fn open(path: &Path, manifest: &Manifest) -> Result<Self, StoreError> {
        let file = File::open(path).map_err(StoreError::io("read", path))?;
        let found = file.metadata().map_err(StoreError::io("read", path))?.len();
        if found != manifest.bytes() {
            let reason = format!("{found} bytes where the model has {}", manifest.bytes());
            return Err(StoreError::Damaged { path: path.into(), reason });
        }
        Ok(Self { path: path.into(), file, buffer: Vec::new() })
    }

    fn fill(&mut self, start: usize, out: &mut [f32]) -> io::Result<()> {
        self.buffer.resize(out.len() * 4, 0);
        self.file.seek(SeekFrom::Start(start as u64 * 4))?;
        self.file.read_exact(&mut self.buffer)?;
        let (quads, _) = self.buffer.as_chunks::<4>();
        out.iter_mut().zip(quads).for_each(|(value, quad)| *value = f32::from_le_bytes(*quad));
        Ok(())
    }
}

impl Source for FileSource {
    type Error = StoreError;

    fn read(&mut self, start: usize, out: &mut [f32]) -> Result<(), StoreError> {
        self.fill(start, out).map_err(StoreError::io("read", &self.path))
    }
}
