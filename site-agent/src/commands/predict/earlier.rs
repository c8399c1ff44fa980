//! A result that is in the folder already: this patient's, another's, or one that cannot be told.

use super::PredictError;
use crate::output::OutputError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// What a result was made from. It stays in the folder with it.
const RECORD: &str = "inputs.json";

/// The files that a result is made from.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Inputs {
    files: BTreeSet<PathBuf>,
}

/// What happens to the result that is in the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Earlier {
    /// There is none, or it is replaced: it is of the same files, or `--force` was said.
    Replaced,
    /// It is of other files of the same folders, perhaps of another patient: it is kept under names
    /// with this number.
    Kept(usize),
}

impl Inputs {
    pub(super) fn of<'a>(files: impl IntoIterator<Item = &'a PathBuf>) -> Self {
        Self {
            files: files
                .into_iter()
                .map(|file| fs::canonicalize(file).unwrap_or_else(|_| file.clone()))
                .collect(),
        }
    }

    fn folders(&self) -> BTreeSet<&Path> {
        self.files.iter().filter_map(|file| file.parent()).collect()
    }

    /// Says what happens to the results that are there already.
    ///
    /// # Errors
    /// They are of files in other folders, or it is not known of which.
    pub(super) fn meet(&self, results: &[&Path], force: bool) -> Result<Earlier, OutputError> {
        let there = results
            .iter()
            .find(|path| fs::symlink_metadata(path).is_ok());
        let Some(&there) = there.filter(|_| !force) else {
            return Ok(Earlier::Replaced);
        };
        let record = fs::read(there.with_file_name(RECORD)).ok();
        let earlier: Option<Self> = record.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        match earlier {
            Some(earlier) if earlier == *self => Ok(Earlier::Replaced),
            Some(earlier) if earlier.folders() == self.folders() => {
                Ok(Earlier::Kept(free_number(results)))
            }
            _ => Err(OutputError::Exists(there.into())),
        }
    }

    /// Moves an earlier result out of the way where it is kept, and writes down what the new one is
    /// made from.
    pub(super) fn record(&self, results: &[&Path], earlier: &Earlier) -> Result<(), PredictError> {
        let failed = |path: &Path, error| PredictError::Folder {
            path: path.into(),
            error,
        };
        if let Earlier::Kept(number) = earlier {
            for &path in results {
                if path.exists() {
                    fs::rename(path, numbered(path, *number))
                        .map_err(|error| failed(path, error))?;
                }
            }
        }
        let Some(first) = results.first() else {
            return Ok(());
        };
        let path = first.with_file_name(RECORD);
        let text = serde_json::to_vec_pretty(self).map_err(|error| failed(&path, error.into()))?;
        program::files::replace(&path, |file| file.write_all(&text))
            .map_err(|error| failed(&path, error))
    }
}

/// `mask.nii.gz` becomes `mask.nii.gz.1`: no name that is taken for an image.
pub(super) fn numbered(path: &Path, number: usize) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{number}"));
    path.with_file_name(name)
}

fn free_number(results: &[&Path]) -> usize {
    let mut number = 1;
    while results
        .iter()
        .any(|path| fs::symlink_metadata(numbered(path, number)).is_ok())
    {
        number += 1;
    }
    number
}
