//! A patient whose sequences are first brought onto one grid, and the result brought back.

use super::summary::RegisteredImage;
use super::{Outputs, PredictError, Registration};
use crate::data::Files;
use imaging::nifti::Source;
use imaging::register::{Image, Moved, Patient, RegisterError};
use protocol::settings::Input;
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Images on one grid, in a folder that is removed unless it is kept.
pub(super) struct Registered {
    /// The files to segment: the reference's own, and those that were moved onto it.
    pub(super) files: Files,
    patient: Patient,
    staged: Staged,
}

/// Lesions on the own grid of a sequence.
pub(super) struct OnInput {
    pub(super) name: String,
    pub(super) labels: Vec<u32>,
    pub(super) source: Source,
    /// How many lesions have no voxel there.
    missing: usize,
}

/// Images that belong to no result yet.
struct Staged(PathBuf);

impl Drop for Staged {
    fn drop(&mut self) {
        // What is left is replaced by the next run.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Registered {
    /// Registers the images. A sequence whose registration is doubtful is not among the files.
    pub(super) fn of(
        files: &Files,
        outputs: &Outputs,
        input: &Input,
        registration: &Registration,
        threads: usize,
    ) -> Result<Self, PredictError> {
        let mut images = Vec::new();
        for (name, path) in input.sequences.iter().zip(&files.sequences) {
            if let Some(path) = path {
                images.push(Image { name, path });
            }
        }
        let patient = Patient::register(&images, registration.reference.as_deref(), threads)?;
        let folder = outputs.folder.join(".registered");
        if let Err(error) = fs::remove_dir_all(&folder)
            && error.kind() != ErrorKind::NotFound
        {
            return Err(PredictError::Folder {
                path: folder,
                error,
            });
        }
        let staged = Staged(folder);
        let mut on_one_grid = files.clone();
        for image in patient.others() {
            let written = patient.write(image, &staged.0)?;
            let Some(at) = input.sequences.iter().position(|name| *name == image.name) else {
                continue;
            };
            on_one_grid.sequences[at] = image.doubts().is_empty().then_some(written);
        }
        Ok(Self {
            files: on_one_grid,
            patient,
            staged,
        })
    }

    /// The lesions on the own grids of the sequences that were used, but for the reference.
    pub(super) fn bring_back(&self, labels: &[u32]) -> Result<Vec<OnInput>, PredictError> {
        let mut all = Vec::new();
        for image in self.patient.others() {
            if image.doubts().is_empty() {
                all.push(self.on(image, labels)?);
            }
        }
        Ok(all)
    }

    /// The lesions on the own grid of one sequence; `None` where that is the reference.
    ///
    /// # Errors
    /// The patient has no such sequence, or its registration is doubtful.
    pub(super) fn labels_on(
        &self,
        name: &str,
        labels: &[u32],
    ) -> Result<Option<OnInput>, PredictError> {
        if self.patient.reference().name == name {
            return Ok(None);
        }
        for image in self.patient.others() {
            if image.name == name && image.doubts().is_empty() {
                return Ok(Some(self.on(image, labels)?));
            }
        }
        Err(PredictError::NoWayBack(name.into()))
    }

    fn on(&self, image: &Moved, labels: &[u32]) -> Result<OnInput, PredictError> {
        let own = self
            .patient
            .labels_on(image, labels)
            .ok_or(RegisterError::Constant)?;
        let before: BTreeSet<u32> = labels.iter().copied().collect();
        let after: BTreeSet<u32> = own.iter().copied().collect();
        Ok(OnInput {
            name: image.name.clone(),
            missing: before
                .iter()
                .filter(|l| **l != 0 && !after.contains(l))
                .count(),
            labels: own,
            source: image.source().clone(),
        })
    }

    /// What a reader of the result must know.
    pub(super) fn warnings(&self, on_inputs: &[OnInput]) -> Vec<String> {
        let reference = &self.patient.reference().name;
        let mut warnings = Vec::new();
        for image in self.patient.others() {
            if !image.doubts().is_empty() {
                warnings.push(format!(
                    "{} was left out: its registration onto {reference} is doubtful ({}); \
                     registered/{}.png shows both",
                    image.name,
                    image.doubts().join("; "),
                    image.name
                ));
            }
        }
        for image in on_inputs {
            if image.missing > 0 {
                warnings.push(format!(
                    "{} of the lesions have no voxel on the grid of {}: they are too small, or \
                     outside of it",
                    image.missing, image.name
                ));
            }
        }
        warnings
    }

    /// The moves, for the summary.
    pub(super) fn summaries(
        &self,
        outputs: &Outputs,
        on_inputs: &[OnInput],
    ) -> Vec<RegisteredImage> {
        let mut all = Vec::new();
        for image in self.patient.others() {
            let Some(judgement) = &image.judgement else {
                continue;
            };
            let came_back = on_inputs.iter().any(|one| one.name == image.name);
            all.push(RegisteredImage {
                sequence: image.name.clone(),
                onto: self.patient.reference().name.clone(),
                used: image.doubts().is_empty(),
                doubts: image.doubts().to_vec(),
                moved_mm: judgement.moved_mm,
                turned_degrees: judgement.turned_degrees,
                image: outputs.registered.join(format!("{}.nii.gz", image.name)),
                mask: came_back.then(|| outputs.mask_on(&image.name)),
            });
        }
        all
    }

    /// Gives the registered images their place in the result.
    pub(super) fn keep(&self, folder: &Path) -> io::Result<()> {
        match fs::rename(&self.staged.0, folder) {
            // A patient with one sequence has nothing to move.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }
}
