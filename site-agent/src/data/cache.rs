//! The cache of prepared cases, keyed by the files' content and the settings they were prepared
//! with.

use super::{CaseError, Files, prepare};
use crate::case::{CachedCase, CaseFileError};
use imaging::nifti;
use protocol::settings::Input;
use std::io;
use std::path::{Path, PathBuf};

/// Increased when preparation changes, so that older files no longer match.
const VERSION: u32 = 4;

/// The `cache` folder of a site's work folder.
pub(super) struct Cache<'a> {
    folder: PathBuf,
    input: &'a Input,
}

impl<'a> Cache<'a> {
    /// Creates the folder if it does not exist.
    pub(super) fn open(work: &Path, input: &'a Input) -> io::Result<Self> {
        let folder = work.join("cache");
        program::private::create_folder(&folder)?;
        Ok(Self { folder, input })
    }

    /// The prepared case, from the cache or prepared now. A damaged file is replaced.
    pub(super) fn case(
        &self,
        id: &str,
        files: &Files,
        lesion_labels: &[u16],
    ) -> Result<CachedCase, CaseError> {
        let key = self.key(id, files, lesion_labels)?;
        let path = self.folder.join(format!("{}.case", key.to_hex()));
        match CachedCase::open(&path) {
            Ok(case) => return Ok(case),
            Err(CaseFileError::Damaged) => {
                tracing::warn!("a cached case is damaged and is prepared again")
            }
            Err(CaseFileError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        let (prepared, _) = prepare(id, files, self.input, lesion_labels)?;
        if self.key(id, files, lesion_labels)? != key {
            return Err(CaseError::Changed);
        }
        prepared.store(&path)?;
        Ok(CachedCase::open(&path)?)
    }

    /// A hash of everything that a prepared case depends on: the content of its files and the
    /// settings, except for the number of slices in a slab.
    fn key(
        &self,
        id: &str,
        files: &Files,
        lesion_labels: &[u16],
    ) -> Result<blake3::Hash, CaseError> {
        let Input {
            sequences,
            plane,
            spacing_mm,
            clip_percentiles,
            slices: _,
        } = self.input;
        let planes = format!("{plane} {spacing_mm:?} {clip_percentiles:?}");
        let settings = format!("{VERSION} {id:?} {sequences:?} {planes} {lesion_labels:?}");
        let mut key = blake3::Hasher::new();
        key.update(blake3::hash(settings.as_bytes()).as_bytes());
        for (what, file) in files.named(self.input) {
            let hash = nifti::hash(file).map_err(|error| CaseError::of_file(what, file, error))?;
            // Hashes of fixed length, so that the contents of two files cannot run together.
            key.update(blake3::hash(what.as_bytes()).as_bytes())
                .update(hash.as_bytes());
        }
        Ok(key.finalize())
    }
}
