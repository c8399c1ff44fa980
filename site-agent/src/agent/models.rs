//! Parameter vectors in the site's work folder, by content hash.

use crate::data::disk;
use shared::parameters::{Manifest, Parameters, ParametersId, from_bytes, to_bytes};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The folder of stored parameter vectors.
#[derive(Clone, Debug)]
pub(super) struct Models {
    folder: PathBuf,
    manifest: Arc<Manifest>,
}

impl Models {
    /// Opens the folder. Of what an earlier run left there only the vector `kept` is of use; the rest goes. Gives back
    /// whether that vector is there and sound.
    pub(super) fn open(work: &Path, manifest: Arc<Manifest>, kept: Option<ParametersId>) -> io::Result<(Self, bool)> {
        let models = Self { folder: work.join("models"), manifest };
        std::fs::create_dir_all(&models.folder)?;
        let sound = kept.filter(|&id| models.load(id).is_ok()).map(|id| models.path(id));
        for entry in std::fs::read_dir(&models.folder)? {
            let path = entry?.path();
            if sound.as_ref() != Some(&path) {
                std::fs::remove_file(path)?;
            }
        }
        Ok((models, sound.is_some()))
    }

    pub(super) fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// Where a vector is or will be.
    pub(super) fn path(&self, id: ParametersId) -> PathBuf {
        let name: String = id.0.iter().map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(name).with_extension("f32")
    }

    /// Takes over a file that came from the coordinator.
    pub(super) fn adopt(&self, id: ParametersId, file: &Path) -> io::Result<()> {
        std::fs::rename(file, self.path(id))
    }

    /// Stores a vector durably.
    pub(super) fn store(&self, parameters: &Parameters) -> io::Result<ParametersId> {
        let id = parameters.id();
        disk::replace(&self.path(id), |file| io::Write::write_all(file, &to_bytes(parameters.values())))?;
        Ok(id)
    }

    /// Reads a vector back and checks it.
    pub(super) fn load(&self, id: ParametersId) -> io::Result<Parameters> {
        let bytes = std::fs::read(self.path(id))?;
        let values = from_bytes(&bytes).ok_or_else(|| io::Error::other("a stored model of a broken length"))?;
        let parameters = Parameters::new(self.manifest.clone(), values).map_err(io::Error::other)?;
        if parameters.id() != id {
            return Err(io::Error::other("a stored model that changed on the disk"));
        }
        Ok(parameters)
    }

    /// Deletes a vector that is not needed any more.
    pub(super) fn forget(&self, id: ParametersId) {
        if let Err(error) = std::fs::remove_file(self.path(id)) {
            tracing::warn!(%error, "an old model could not be removed");
        }
    }
}
