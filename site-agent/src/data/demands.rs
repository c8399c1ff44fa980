//! What a site's settings demand of a case's files before they are read: images without a face, and
//! a brain mask, which a program makes where there is no file of one.

use super::config::DataConfig;
use super::{CaseError, Files};
use imaging::brain::MaskCache;
use imaging::deface::is_defaced;
use protocol::settings::Input;
use std::path::Path;

/// The masks that `data.brain_command` made, in the site's work folder.
pub(super) fn mask_cache(work: &Path) -> MaskCache {
    MaskCache::new(work.join("brains"))
}

impl DataConfig {
    /// The files with their brain mask. The mask is made from the first sequence that the case has.
    ///
    /// # Errors
    /// An image that must be de-faced is not, or the mask cannot be made.
    pub(super) fn complete(
        &self,
        mut files: Files,
        input: &Input,
        masks: Option<&MaskCache>,
    ) -> Result<Files, CaseError> {
        if self.require_defaced() {
            for (name, path) in input.sequences.iter().zip(&files.sequences) {
                let Some(path) = path else { continue };
                let checked = is_defaced(path);
                if !checked.map_err(|error| CaseError::of_file(name, path, error))? {
                    return Err(CaseError::NotDefaced(name.clone()));
                }
            }
        }
        let Some(program) = self.brain_program() else {
            return Ok(files);
        };
        if files.brain.is_some() {
            return Ok(files);
        }
        let Some(image) = files.sequences.iter().flatten().next() else {
            return Err(CaseError::Missing("sequence"));
        };
        let masks = masks.ok_or(CaseError::Missing("brain mask"))?;
        files.brain = Some(masks.mask(program, image)?);
        Ok(files)
    }
}
