//! Parameter vectors in the site's work folder, by content hash.

use program::files;
use program::private;
use protocol::parameters::{Manifest, Parameters, ParametersId, from_bytes, to_bytes};
use protocol::settings::Precision;
use protocol::update_encoding::Encoding;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The extension of a file with what the rounding of an update lost.
const RESIDUAL: &str = "residual";
/// The extension of a file with the unrounded model that an update was made from.
const OWN: &str = "own";

/// The folder of stored parameter vectors and of the last update in its encoding. Two more files
/// may belong to that update: what its rounding lost, and the model itself if the site keeps its
/// normalisation layers.
#[derive(Clone, Debug)]
pub(super) struct Models {
    folder: PathBuf,
    manifest: Arc<Manifest>,
    /// `None` if updates are sent unrounded.
    encoding: Option<Arc<Encoding>>,
}

/// The folder as it was found.
pub(super) struct OpenedModels {
    pub(super) models: Models,
    /// Whether the update that was to be kept is there and undamaged.
    pub(super) kept_is_sound: bool,
}

impl Models {
    /// Opens the folder. Of an earlier run only the update `kept` and the files that belong to it
    /// are of use; the others are removed.
    pub(super) fn open(
        work: &Path,
        manifest: Arc<Manifest>,
        precision: Precision,
        kept: Option<ParametersId>,
    ) -> io::Result<OpenedModels> {
        let encoding = Encoding::new(&manifest, precision).map(Arc::new);
        let models = Self {
            folder: Self::folder(work),
            manifest,
            encoding,
        };
        private::create_folder(&models.folder)?;
        let mut kept_is_sound = false;
        let mut useful = Vec::new();
        if let Some(update) = kept {
            kept_is_sound = models.is_sound(update);
            useful.extend(models.files_of(update));
            if kept_is_sound {
                useful.push(models.update(update));
            }
        }
        for entry in std::fs::read_dir(&models.folder)? {
            let path = entry?.path();
            if !useful.contains(&path) {
                std::fs::remove_file(path)?;
            }
        }
        Ok(OpenedModels {
            models,
            kept_is_sound,
        })
    }

    /// Whether the file of an update has its length and its hash.
    fn is_sound(&self, update: ParametersId) -> bool {
        match std::fs::read(self.update(update)) {
            Ok(bytes) => {
                bytes.len() as u64 == self.update_bytes()
                    && blake3::hash(&bytes).as_bytes() == &update.0
            }
            Err(_) => false,
        }
    }

    /// The files that may belong to an update.
    fn files_of(&self, update: ParametersId) -> [PathBuf; 2] {
        [self.named(update, RESIDUAL), self.named(update, OWN)]
    }

    /// How many bytes an update takes.
    pub(super) fn update_bytes(&self) -> u64 {
        match &self.encoding {
            Some(encoding) => encoding.bytes(),
            None => self.manifest.bytes(),
        }
    }

    /// The folder, within the work folder.
    pub(super) fn folder(work: &Path) -> PathBuf {
        work.join("models")
    }

    pub(super) fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    fn named(&self, id: ParametersId, extension: &str) -> PathBuf {
        self.folder.join(id.hex()).with_extension(extension)
    }

    /// Where a vector is or will be.
    fn path(&self, id: ParametersId) -> PathBuf {
        self.named(id, "f32")
    }

    /// Where an update is or will be, in its encoding.
    pub(super) fn update(&self, id: ParametersId) -> PathBuf {
        if self.encoding.is_some() {
            self.named(id, "delta")
        } else {
            self.path(id)
        }
    }

    /// Takes over a file that came from the coordinator.
    pub(super) fn adopt(&self, id: ParametersId, file: &Path) -> io::Result<()> {
        std::fs::rename(file, self.path(id))?;
        // If the link found the parameters here, both names are links to one file, and renaming
        // keeps both.
        let _ = std::fs::remove_file(file);
        Ok(())
    }

    /// Stores an update durably, in its encoding. What the rounding of the update `before` lost is
    /// added to it.
    pub(super) fn store(
        &self,
        start: &Parameters,
        learnt: &Parameters,
        before: Option<ParametersId>,
    ) -> io::Result<ParametersId> {
        let Some(encoding) = &self.encoding else {
            let id = learnt.id();
            let bytes = to_bytes(learnt.values());
            files::replace(&self.path(id), |file| file.write_all(&bytes))?;
            return Ok(id);
        };
        let mut residual = vec![0.0; self.manifest.len()];
        if let Some(before) = before
            && let Some(lost) = self.read_residual(before)
        {
            residual = lost;
        }
        let bytes = encoding.encode(start.values(), learnt.values(), &mut residual);
        let id = ParametersId(*blake3::hash(&bytes).as_bytes());
        self.write_hashed(&self.named(id, RESIDUAL), &residual)?;
        files::replace(&self.update(id), |file| file.write_all(&bytes))?;
        Ok(id)
    }

    /// Keeps the unrounded model that `update` was made from.
    pub(super) fn keep_own(&self, update: ParametersId, learnt: &Parameters) -> io::Result<()> {
        self.write_hashed(&self.named(update, OWN), learnt.values())
    }

    /// The unrounded model that `update` was made from.
    pub(super) fn own_model(&self, update: ParametersId) -> Option<Parameters> {
        let values = self.read_hashed(&self.named(update, OWN))?;
        Parameters::new(self.manifest.clone(), values).ok()
    }

    /// What rounding an update lost.
    fn read_residual(&self, update: ParametersId) -> Option<Vec<f32>> {
        self.read_hashed(&self.named(update, RESIDUAL))
    }

    /// Writes values after their hash.
    fn write_hashed(&self, path: &Path, values: &[f32]) -> io::Result<()> {
        let bytes = to_bytes(values);
        files::replace(path, |file| {
            file.write_all(blake3::hash(&bytes).as_bytes())?;
            file.write_all(&bytes)
        })
    }

    /// Reads what [`Self::write_hashed`] wrote: as many values as the model has. `None`, with a
    /// warning, if the file is missing or damaged.
    fn read_hashed(&self, path: &Path) -> Option<Vec<f32>> {
        let values = std::fs::read(path).ok().and_then(|bytes| unsealed(&bytes));
        match values {
            Some(values) if values.len() == self.manifest.len() => Some(values),
            _ => {
                tracing::warn!(
                    "the rounding residual or own model of the last training cannot be read; \
                     the next training does without"
                );
                None
            }
        }
    }

    /// From now on only the files that belong to this update are needed.
    pub(super) fn remove_others(&self, update: ParametersId) -> io::Result<()> {
        let kept = self.files_of(update);
        for entry in std::fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let extension = path.extension().unwrap_or_default();
            let belongs_to_update = extension == RESIDUAL || extension == OWN;
            if belongs_to_update && !kept.contains(&path) {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Reads a vector back and checks it.
    pub(super) fn load(&self, id: ParametersId) -> io::Result<Parameters> {
        let bytes = std::fs::read(self.path(id))?;
        let values = from_bytes(&bytes)
            .ok_or_else(|| io::Error::other("a stored model of a broken length"))?;
        let parameters =
            Parameters::new(self.manifest.clone(), values).map_err(io::Error::other)?;
        if parameters.id() != id {
            return Err(io::Error::other("a stored model that changed on the disk"));
        }
        Ok(parameters)
    }

    /// Deletes a vector, or an update, that is not needed any more.
    pub(super) fn forget(&self, id: ParametersId) {
        let model = std::fs::remove_file(self.path(id));
        let update = std::fs::remove_file(self.update(id));
        if let (Err(error), Err(_)) = (model, update) {
            tracing::warn!(%error, "an old model could not be removed");
        }
    }
}

/// The values after their hash; `None` if the hash differs.
fn unsealed(bytes: &[u8]) -> Option<Vec<f32>> {
    let (hash, values) = bytes.split_first_chunk::<32>()?;
    if blake3::hash(values).as_bytes() != hash {
        return None;
    }
    from_bytes(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::architecture::{initial, manifest};
    use protocol::settings::Federation;

    fn network() -> Arc<Manifest> {
        let text = "\
            name = 'x'\n\
            rounds = 1\n\
            input = { sequences = ['a'], slices = 1 }\n\
            model = { preset = 'tiny', width = 4 }\n";
        let federation = Federation::from_toml(text).unwrap();
        Arc::new(manifest(&federation.model, &federation.input))
    }

    #[test]
    fn after_a_restart_only_the_last_update_and_what_it_lost_are_there() {
        let work = tempfile::tempdir().unwrap();
        let start = initial(&network(), 1);
        let learnt = initial(&network(), 2);
        let open = |kept| Models::open(work.path(), network(), Precision::Int8, kept).unwrap();
        let models = open(None).models;
        let first = models.store(&start, &learnt, None).unwrap();
        let second = models.store(&start, &learnt, Some(first)).unwrap();
        assert_ne!(
            first, second,
            "what the first lost makes the second another one"
        );
        models.keep_own(second, &learnt).unwrap();
        models.remove_others(second).unwrap();
        let OpenedModels {
            models,
            kept_is_sound,
        } = open(Some(second));
        assert!(kept_is_sound);
        let mut left: Vec<PathBuf> = std::fs::read_dir(Models::folder(work.path()))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        left.sort();
        assert_eq!(
            left,
            ["delta", OWN, RESIDUAL].map(|extension| models.named(second, extension))
        );
        assert_eq!(
            models.own_model(second).map(|own| own.id()),
            Some(learnt.id())
        );
        // The update may go before the next training, which still wants to know what was lost.
        models.forget(second);
        let OpenedModels {
            models,
            kept_is_sound,
        } = open(Some(second));
        assert!(!kept_is_sound);
        assert!(models.read_residual(second).is_some());
        let third = models.store(&start, &learnt, Some(second)).unwrap();
        let path = models.named(second, RESIDUAL);
        let mut damaged = std::fs::read(&path).unwrap();
        damaged[50] ^= 1;
        std::fs::write(&path, damaged).unwrap();
        assert_ne!(models.store(&start, &learnt, Some(second)).unwrap(), third);
        assert_eq!(
            models.store(&start, &learnt, Some(second)).unwrap(),
            first,
            "as if nothing had been lost"
        );
    }
}
