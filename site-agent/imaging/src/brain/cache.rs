//! The masks that a program made of a site's images: it runs once for each image.

use super::error::BrainError;
use super::program::Program;
use crate::folder::{ENDING, FolderError};
use crate::nifti::{self, write_u8};
use ::program::private;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A part of every name. To be raised where the same program would give another mask.
const METHOD: &str = "1";

/// A folder of masks, named by the hash of the image and the command.
#[derive(Debug)]
pub struct MaskCache {
    folder: PathBuf,
    /// A program uses all cores or the GPU by itself: one runs at a time.
    running: Mutex<()>,
}

impl MaskCache {
    /// The folder is made when the first mask is.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            running: Mutex::new(()),
        }
    }

    /// The file with the mask of an image, which is made if it is not there.
    ///
    /// # Errors
    /// As [`Program::mask`], or the image cannot be read.
    pub fn mask(&self, program: &Program, image: &Path) -> Result<PathBuf, BrainError> {
        let faulty = |source| BrainError::Image {
            path: image.into(),
            source,
        };
        let hash = nifti::hash(image).map_err(faulty)?;
        let key = format!("{METHOD} {:?} {}", program.words(), hash.to_hex());
        let name = format!("{}{ENDING}", blake3::hash(key.as_bytes()).to_hex());
        let path = self.folder.join(name);
        // A panic while the lock was held has left no file that is half written.
        let _running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if path.exists() {
            return Ok(path);
        }
        private::create_folder(&self.folder).map_err(FolderError::disk(&self.folder))?;
        let volume = nifti::read(image).map_err(faulty)?;
        let mask = program.mask(&volume, &self.folder)?;
        write_u8(&path, &mask.brain, &volume.source).map_err(|source| BrainError::Image {
            path: path.clone(),
            source,
        })?;
        Ok(path)
    }
}
