//! Who works in a run folder: one coordinator at a time.

use super::StoreError;
use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

/// Somebody who only looks whether the folder is held holds it for a moment himself.
const GLANCE: Duration = Duration::from_millis(50);

/// Takes the folder, until the file is closed.
pub(super) fn lock(root: &Path) -> Result<File, StoreError> {
    let path = root.join(".lock");
    let file = File::create(&path).map_err(StoreError::io("create", &path))?;
    let taken = file.try_lock().or_else(|_| {
        std::thread::sleep(GLANCE);
        file.try_lock()
    });
    match taken {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse(root.into())),
        Err(TryLockError::Error(error)) => Err(StoreError::io("lock", &path)(error)),
    }
}

/// Whether a coordinator works in the folder.
///
/// # Errors
/// When the folder cannot be read.
pub fn is_held(root: &Path) -> Result<bool, StoreError> {
    let path = root.join(".lock");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(StoreError::io("read", &path)(error)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(StoreError::io("lock", &path)(error)),
    }
}
