//! Parameter vectors in the site's work folder, by content hash.

use program::files;
use program::private;
use protocol::parameters::{Manifest, Parameters, ParametersId, from_bytes, to_bytes};
use protocol::settings::Precision;
use protocol::update_encoding::Encoding;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What rounding an update lost.
const RESIDUAL: &str = "residual";
/// The model of which an update was sent.
const OWN: &str = "own";
const BEHIND: [&str; 2] = [RESIDUAL, OWN];

/// The folder of stored parameter vectors, of the last update as it travels, and of what stays
/// behind of it: what its rounding lost, and the model itself where the site keeps layers of its
/// own.
#[derive(Clone, Debug)]
pub(super) struct Models {
    folder: PathBuf,
    manifest: Arc<Manifest>,
    encoding: Option<Arc<Encoding>>,
}

impl Models {
    /// Opens the folder. Of what an earlier run left there only the update `kept`, and what stayed
    /// behind of it, are of use; the rest goes. Gives back whether that update is there and sound.
    pub(super) fn open(
        work: &Path,
        manifest: Arc<Manifest>,
        precision: Precision,
        kept: Option<ParametersId>,
    ) -> io::Result<(Self, bool)> {
        let encoding = Encoding::new(&manifest, precision).map(Arc::new);
        let models = Self {
            folder: Self::folder(work),
            manifest,
            encoding,
        };
        private::create_folder(&models.folder)?;
        let sound = kept.is_some_and(|id| models.is_sound(id));
        let update = kept.filter(|_| sound).map(|id| models.update(id));
        let behind = kept.map(|id| BEHIND.map(|extension| models.named(id, extension)));
        let useful: Vec<PathBuf> = behind.into_iter().flatten().chain(update).collect();
        for entry in std::fs::read_dir(&models.folder)? {
            let path = entry?.path();
            if !useful.contains(&path) {
                std::fs::remove_file(path)?;
            }
        }
        Ok((models, sound))
    }

    fn is_sound(&self, update: ParametersId) -> bool {
        let bytes = std::fs::read(self.update(update))
            .ok()
            .filter(|bytes| bytes.len() as u64 == self.update_bytes());
        bytes.is_some_and(|bytes| blake3::hash(&bytes).as_bytes() == &update.0)
    }

    /// How many bytes an update takes.
    pub(super) fn update_bytes(&self) -> u64 {
        self.encoding
            .as_ref()
            .map_or(self.manifest.bytes(), |encoding| encoding.bytes())
    }

    /// Where they are.
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

    /// Where an update is or will be, as it travels.
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
        // Where the link found the parameters here, both names lead to one file, and renaming
        // leaves both.
        let _ = std::fs::remove_file(file);
        Ok(())
    }

    /// Stores an update durably, as it will travel. `before` is the update whose rounding lost what
    /// this one makes good.
    pub(super) fn store(
        &self,
        start: &Parameters,
        learnt: &Parameters,
        before: Option<ParametersId>,
    ) -> io::Result<ParametersId> {
        let Some(encoding) = &self.encoding else {
            let id = learnt.id();
            files::replace(&self.path(id), |file| {
                io::Write::write_all(file, &to_bytes(learnt.values()))
            })?;
            return Ok(id);
        };
        let mut residual = before
            .and_then(|id| self.lost(id))
            .unwrap_or_else(|| vec![0.0; self.manifest.len()]);
        let bytes = encoding.encode(start.values(), learnt.values(), &mut residual);
        let id = ParametersId(*blake3::hash(&bytes).as_bytes());
        self.leave(&self.named(id, RESIDUAL), &residual)?;
        files::replace(&self.update(id), |file| io::Write::write_all(file, &bytes))?;
        Ok(id)
    }

    /// Keeps the model of which `update` was sent.
    pub(super) fn keep_own(&self, update: ParametersId, learnt: &Parameters) -> io::Result<()> {
        self.leave(&self.named(update, OWN), learnt.values())
    }

    /// The model of which `update` was sent.
    pub(super) fn own(&self, update: ParametersId) -> Option<Parameters> {
        Parameters::new(
            self.manifest.clone(),
            self.left_behind(&self.named(update, OWN))?,
        )
        .ok()
    }

    /// What rounding an update lost.
    fn lost(&self, update: ParametersId) -> Option<Vec<f32>> {
        self.left_behind(&self.named(update, RESIDUAL))
    }

    fn leave(&self, path: &Path, values: &[f32]) -> io::Result<()> {
        let bytes = to_bytes(values);
        files::replace(path, |file| {
            io::Write::write_all(file, blake3::hash(&bytes).as_bytes())?;
            io::Write::write_all(file, &bytes)
        })
    }

    /// As many values as the model has; `None`, with a warning, when they cannot be read any more.
    fn left_behind(&self, path: &Path) -> Option<Vec<f32>> {
        let bytes = std::fs::read(path).ok();
        let sound = bytes.as_ref().and_then(|bytes| {
            let (sum, values) = bytes.split_first_chunk::<32>()?;
            (blake3::hash(values).as_bytes() == sum).then(|| from_bytes(values))?
        });
        let sound = sound.filter(|values| values.len() == self.manifest.len());
        if sound.is_none() {
            tracing::warn!(
                "what the last training left behind cannot be read; the next one does without"
            );
        }
        sound
    }

    /// Only what stayed behind of this update is needed from now on.
    pub(super) fn keep_behind(&self, update: ParametersId) -> io::Result<()> {
        let kept = BEHIND.map(|extension| self.named(update, extension));
        for entry in std::fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let behind = BEHIND.iter().any(|behind| {
                path.extension()
                    .is_some_and(|extension| extension == *behind)
            });
            if behind && !kept.contains(&path) {
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
        let removed = [self.path(id), self.update(id)].map(std::fs::remove_file);
        if let [Err(error), Err(_)] = removed {
            tracing::warn!(%error, "an old model could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::architecture::{initial, manifest};
    use protocol::settings::Federation;

    fn network() -> Arc<Manifest> {
        let text = "name = 'x'\nrounds = 1\n[input]\nsequences = ['a']\nslices = 1\n[model]\npreset = 'tiny'\nwidth = 4\n";
        let federation = Federation::from_toml(text).unwrap();
        Arc::new(manifest(&federation.model, &federation.input))
    }

    #[test]
    fn after_a_restart_only_the_last_update_and_what_it_lost_are_there() {
        let work = tempfile::tempdir().unwrap();
        let (start, learnt) = (initial(&network(), 1), initial(&network(), 2));
        let open = |kept| Models::open(work.path(), network(), Precision::Int8, kept).unwrap();
        let (models, _) = open(None);
        let first = models.store(&start, &learnt, None).unwrap();
        let second = models.store(&start, &learnt, Some(first)).unwrap();
        assert_ne!(
            first, second,
            "what the first lost makes the second another one"
        );
        models.keep_own(second, &learnt).unwrap();
        models.keep_behind(second).unwrap();
        let (models, sound) = open(Some(second));
        assert!(sound);
        let mut left: Vec<PathBuf> = std::fs::read_dir(Models::folder(work.path()))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        left.sort();
        assert_eq!(
            left,
            ["delta", OWN, RESIDUAL].map(|extension| models.named(second, extension))
        );
        assert_eq!(models.own(second).map(|own| own.id()), Some(learnt.id()));
        // The update may go before the next training, which still wants to know what was lost.
        models.forget(second);
        let (models, sound) = open(Some(second));
        assert!(!sound && models.lost(second).is_some());
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
