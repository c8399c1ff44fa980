//! What the files of a case were made from. The record is in the case's folder, so that it goes
//! where the images go.

use crate::nifti::{self, NiftiError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

/// The name of the record in a case's folder.
const RECORD: &str = "deface.json";

/// The files of one case, by their names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    pub(super) rises_degrees: f64,
    /// Voxels of lesions below the plane, which were kept.
    pub(super) lesion_voxels_in_face: usize,
    pub(super) files: BTreeMap<String, Made>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Made {
    /// The method, its settings, and the hashes of the files that it depends on.
    pub(super) from: String,
    /// Hash of the file that was written.
    pub(super) hash: String,
    /// Voxels that were set to zero; `None` for a mask.
    pub(super) removed_voxels: Option<usize>,
}

impl Record {
    /// The record of a case's folder. One that cannot be understood is none.
    ///
    /// # Errors
    /// The disk refuses.
    pub(super) fn read(folder: &Path) -> io::Result<Option<Self>> {
        match fs::read(folder.join(RECORD)) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn path(folder: &Path) -> std::path::PathBuf {
        folder.join(RECORD)
    }
}

/// Whether an image is one that was de-faced here and was not changed since: its folder has a
/// record with the hash of the file.
///
/// # Errors
/// The image or the record cannot be read.
pub fn is_defaced(image: &Path) -> Result<bool, NiftiError> {
    let (Some(folder), Some(name)) = (image.parent(), image.file_name()) else {
        return Ok(false);
    };
    let (Some(record), Some(name)) = (Record::read(folder)?, name.to_str()) else {
        return Ok(false);
    };
    let Some(made) = record.files.get(name) else {
        return Ok(false);
    };
    let is_image = made.removed_voxels.is_some();
    Ok(is_image && nifti::hash(image)?.to_hex().as_str() == made.hash)
}
