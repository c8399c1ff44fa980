//! Files that are there completely or not at all: written under a temporary name in the same
//! folder, synced and renamed; then the folder is synced.

use super::StoreError;
use program::private;
use protocol::parameters::{ParametersId, to_bytes};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// A file on its way. Dropped without [`AtomicFile::commit`] it leaves nothing at its place.
#[derive(Debug)]
pub(super) struct AtomicFile {
    path: PathBuf,
    temporary: PathBuf,
    writer: BufWriter<File>,
}

/// A model on its way: raw values, and their content hash at the end.
#[derive(Debug)]
pub(super) struct ModelFile {
    file: AtomicFile,
    hasher: blake3::Hasher,
}

impl ModelFile {
    pub(super) fn create(path: &Path) -> Result<Self, StoreError> {
        Ok(Self {
            file: AtomicFile::create(path)?,
            hasher: blake3::Hasher::new(),
        })
    }

    pub(super) fn write(&mut self, values: &[f32]) -> Result<(), StoreError> {
        let bytes = to_bytes(values);
        self.hasher.update(&bytes);
        self.file.write(&bytes)
    }

    /// Puts the file in its place and gives its content hash.
    pub(super) fn commit(self) -> Result<ParametersId, StoreError> {
        self.file.commit()?;
        Ok(ParametersId(*self.hasher.finalize().as_bytes()))
    }
}

impl AtomicFile {
    pub(super) fn create(path: &Path) -> Result<Self, StoreError> {
        let folder = folder(path);
        private::create_folder(folder).map_err(StoreError::io("create", folder))?;
        let temporary = temporary_name(path);
        let file =
            private::create_file(&temporary).map_err(StoreError::io("create", &temporary))?;
        // Blocks of a model are as large, and go to the file without a stop here.
        let writer = BufWriter::with_capacity(1 << 16, file);
        Ok(Self {
            path: path.into(),
            temporary,
            writer,
        })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.writer
            .write_all(bytes)
            .map_err(StoreError::io("write", &self.temporary))
    }

    /// Writes the content of another file. The system copies it by itself where it can.
    pub(super) fn write_file(&mut self, mut other: File, path: &Path) -> Result<(), StoreError> {
        let copied = self
            .writer
            .flush()
            .and_then(|()| std::io::copy(&mut other, self.writer.get_mut()));
        copied.map(drop).map_err(StoreError::io("copy", path))
    }

    /// Puts the file in its place.
    pub(super) fn commit(mut self) -> Result<(), StoreError> {
        self.writer
            .flush()
            .map_err(StoreError::io("write", &self.temporary))?;
        self.writer
            .get_ref()
            .sync_all()
            .map_err(StoreError::io("sync", &self.temporary))?;
        rename(&self.temporary, &self.path)
    }
}

/// Writes a small file.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let mut file = AtomicFile::create(path)?;
    file.write(bytes)?;
    file.commit()
}

/// Gives a file's content a second name, in the folder of `to`. It keeps that name when the file is
/// replaced.
pub(super) fn hold(from: &Path, to: &Path) -> Result<PathBuf, StoreError> {
    let second = temporary_name(to);
    // Left there by a crash.
    let _ = fs::remove_file(&second);
    // Some file systems have no hard links.
    let named = fs::hard_link(from, &second).or_else(|_| fs::copy(from, &second).map(drop));
    named.map_err(StoreError::io("write", &second))?;
    Ok(second)
}

/// Moves a file, synced by its writer, within one disk.
pub(super) fn move_into(from: &Path, to: &Path) -> Result<(), StoreError> {
    let folder = folder(to);
    let attempt = || {
        private::create_folder(folder).map_err(StoreError::io("create", folder))?;
        rename(from, to)
    };
    // The folder may have been removed just then, because nothing led to what was in it.
    attempt().or_else(|error| {
        if folder.exists() {
            Err(error)
        } else {
            attempt()
        }
    })
}

/// Puts a file in another's place, for good.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::rename(from, to).map_err(StoreError::io("write", to))?;
    // A rename is only as lasting as the folder that records it.
    File::open(folder(to))
        .and_then(|folder| folder.sync_all())
        .map_err(StoreError::io("sync", folder(to)))
}

fn folder(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".tmp");
    path.with_file_name(name)
}
