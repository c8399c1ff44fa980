//! The cache of prepared cases, keyed by the files' content and the settings they were prepared with.

use super::{CaseError, Files};
use crate::case::{CachedCase, CaseFileError};
use protocol::federation::Input;
use std::io;
use std::path::{Path, PathBuf};

/// Raised when preparation itself changes: earlier files then no longer match.
const VERSION: u32 = 2;

/// The `cache` folder of a site's work folder.
pub(super) struct Cache<'a> {
    folder: PathBuf,
    input: &'a Input,
}

impl<'a> Cache<'a> {
    /// Makes the folder where it is missing.
    pub(super) fn open(work: &Path, input: &'a Input) -> io::Result<Self> {
        let folder = work.join("cache");
        program::private::create_folder(&folder)?;
        Ok(Self { folder, input })
    }

    /// The prepared case, from the cache or made now. A damaged file is made anew.
    pub(super) fn case(&self, id: &str, files: &Files, lesion_labels: &[u16]) -> Result<CachedCase, CaseError> {
        let contents = files.read(self.input)?;
        let mut key = self.key(id, lesion_labels);
        let of_case = [&contents.label, &contents.brain];
        for content in contents.sequences.iter().chain(of_case) {
            match content {
                // A hash of a hash: two files never flow into each other.
                Some(bytes) => key.update(blake3::hash(bytes).as_bytes()),
                None => key.update(b"none"),
            };
        }
        let path = self.folder.join(format!("{}.case", key.finalize().to_hex()));
        match CachedCase::open(&path) {
            Ok(case) => return Ok(case),
            Err(CaseFileError::Damaged) => tracing::warn!("a cached case is damaged and prepared anew"),
            Err(CaseFileError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        let (prepared, _) = contents.prepare(id, self.input, lesion_labels)?;
        prepared.store(&path)?;
        Ok(CachedCase::open(&path)?)
    }

    /// What of the settings a prepared case depends on. Slices per slab are not among it.
    fn key(&self, id: &str, lesion_labels: &[u16]) -> blake3::Hasher {
        let Input { sequences, plane, spacing_mm, clip_percentiles, slices: _ } = self.input;
        let planes = format!("{plane} {spacing_mm:?} {clip_percentiles:?}");
        let settings = format!("{VERSION} {id:?} {sequences:?} {planes} {lesion_labels:?}");
        let mut key = blake3::Hasher::new();
        key.update(blake3::hash(settings.as_bytes()).as_bytes());
        key
    }
}
