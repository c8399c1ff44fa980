//! A stored parameter vector, or an update that is stored as it travelled, read range by range.

use super::StoreError;
use aggregation::Source;
use protocol::codec::transfer::{Arrived, Receiving, TransferError};
use protocol::message::TransferHeader;
use protocol::parameters::Manifest;
use protocol::update_encoding::Encoding;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file of raw little-endian `f32` values, as long as a model; or of what was learnt from another
/// such file.
#[derive(Debug)]
pub struct FileSource {
    raw: RawFile,
    learnt_from: Option<Base>,
}

/// A file that is read range by range.
#[derive(Debug)]
struct RawFile {
    path: PathBuf,
    file: File,
    buffer: Vec<u8>,
}

impl RawFile {
    /// The `length` bytes from `at` on.
    fn fetch(&mut self, at: u64, length: usize) -> Result<&[u8], StoreError> {
        self.buffer.resize(length, 0);
        let read = self
            .file
            .seek(SeekFrom::Start(at))
            .and_then(|_| self.file.read_exact(&mut self.buffer));
        read.map_err(StoreError::io("read", &self.path))?;
        Ok(&self.buffer)
    }
}

/// What an encoded update is decoded with.
#[derive(Debug)]
struct Base {
    encoding: Arc<Encoding>,
    start: Box<FileSource>,
    values: Vec<f32>,
}

impl FileSource {
    /// Opens the file and checks its length.
    ///
    /// # Errors
    /// When it cannot be read, or is not as long as the manifest says.
    pub fn open(path: &Path, manifest: &Manifest) -> Result<Self, StoreError> {
        Self::of_length(path, manifest.bytes(), None)
    }

    /// Opens an update that travelled in an encoding, and the model that its site started from.
    ///
    /// # Errors
    /// As [`FileSource::open`], for either file.
    pub fn encoded(
        path: &Path,
        start: &Path,
        encoding: &Arc<Encoding>,
        manifest: &Manifest,
    ) -> Result<Self, StoreError> {
        let start = Box::new(Self::open(start, manifest)?);
        let base = Base {
            encoding: encoding.clone(),
            start,
            values: Vec::new(),
        };
        Self::of_length(path, encoding.bytes(), Some(base))
    }

    /// Opens what an aggregation rule keeps, so many numbers for each value of the model; `None`
    /// where it keeps nothing, or has kept nothing yet.
    ///
    /// # Errors
    /// As [`FileSource::open`].
    pub(super) fn of_rule(
        path: &Path,
        kept: usize,
        manifest: &Manifest,
    ) -> Result<Option<Self>, StoreError> {
        if kept == 0 || !path.try_exists().map_err(StoreError::io("read", path))? {
            return Ok(None);
        }
        Self::of_length(path, manifest.bytes() * kept as u64, None).map(Some)
    }

    /// The file, to read all bytes as they are.
    pub(super) fn into_file(self) -> File {
        self.raw.file
    }

    fn of_length(path: &Path, bytes: u64, learnt_from: Option<Base>) -> Result<Self, StoreError> {
        let file = File::open(path).map_err(StoreError::io("read", path))?;
        let found = file.metadata().map_err(StoreError::io("read", path))?.len();
        if found != bytes {
            let reason = format!("{found} bytes where {bytes} are due");
            return Err(StoreError::Damaged {
                path: path.into(),
                reason,
            });
        }
        let raw = RawFile {
            path: path.into(),
            file,
            buffer: Vec::new(),
        };
        Ok(Self { raw, learnt_from })
    }

    fn fill(&mut self, start: usize, out: &mut [f32]) -> Result<(), StoreError> {
        let bytes = self.raw.fetch(start as u64 * 4, out.len() * 4)?;
        for (value, quad) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *value = f32::from_le_bytes(*quad);
        }
        Ok(())
    }
}

impl Base {
    /// Decodes what covers the range, and hands over the part that was asked for.
    fn decode(
        &mut self,
        raw: &mut RawFile,
        from: usize,
        out: &mut [f32],
    ) -> Result<(), StoreError> {
        let to = from + out.len();
        for span in self.encoding.spans(from..to) {
            self.values.resize(span.values.len(), 0.0);
            self.start.read(span.values.start, &mut self.values)?;
            let length = (span.bytes.end - span.bytes.start) as usize;
            let bytes = raw.fetch(span.bytes.start, length)?;
            span.decode(bytes, &mut self.values);
            let first = from.max(span.values.start);
            let last = to.min(span.values.end);
            let part = &self.values[first - span.values.start..last - span.values.start];
            out[first - from..last - from].copy_from_slice(part);
        }
        Ok(())
    }
}

impl Source for FileSource {
    type Error = StoreError;

    fn read(&mut self, start: usize, out: &mut [f32]) -> Result<(), StoreError> {
        match &mut self.learnt_from {
            Some(base) => base.decode(&mut self.raw, start, out),
            None => self.fill(start, out),
        }
    }
}

/// Looks at a file that a transfer brought before a restart as if it came once more.
pub(super) fn arrive_again(path: &Path, header: TransferHeader) -> Result<Arrived, StoreError> {
    let damaged = |error: TransferError| {
        let reason = if error == TransferError::Stale {
            "its content changed".into()
        } else {
            error.to_string()
        };
        StoreError::Damaged {
            path: path.into(),
            reason,
        }
    };
    let mut file = File::open(path).map_err(StoreError::io("read", path))?;
    let length = file.metadata().map_err(StoreError::io("read", path))?.len();
    let mut receiving = Receiving::begin(header, length).map_err(damaged)?;
    receiving
        .resume(&mut file, length)
        .map_err(StoreError::io("read", path))?;
    receiving.finish().map_err(damaged)
}
