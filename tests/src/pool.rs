//! Models of all simulated sites in one folder: what several of them hold is there once.

use protocol::parameters::ParametersId;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The folder, with how many sites hold each file.
#[derive(Debug)]
pub(crate) struct Pool {
    folder: PathBuf,
    holders: Mutex<HashMap<ParametersId, usize>>,
}

impl Pool {
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self {
            folder: folder.into(),
            holders: Mutex::default(),
        })
    }

    pub(crate) fn path(&self, id: ParametersId) -> PathBuf {
        self.folder.join(id.to_string()).with_extension("f32")
    }

    /// Takes a file in for one more site; a second copy is deleted.
    pub(crate) fn adopt(&self, id: ParametersId, file: &Path) -> io::Result<()> {
        let mut holders = self.holders();
        let count = holders.entry(id).or_default();
        *count += 1;
        if *count > 1 {
            fs::remove_file(file)
        } else {
            fs::rename(file, self.path(id))
        }
    }

    /// One more site holds what is here.
    pub(crate) fn share(&self, id: ParametersId) {
        *self.holders().entry(id).or_default() += 1;
    }

    /// One site less needs it.
    pub(crate) fn forget(&self, id: ParametersId) {
        let mut holders = self.holders();
        let Some(count) = holders.get_mut(&id) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            holders.remove(&id);
            // What stays is deleted with the folder.
            let _ = fs::remove_file(self.path(id));
        }
    }

    fn holders(&self) -> MutexGuard<'_, HashMap<ParametersId, usize>> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
