//! Who works in a run folder: one coordinator at a time.

use super::StoreError;
use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::time::Duration;

/// A program that only looks whether the folder is held holds it for a moment itself.
const GLANCE: Duration = Duration::from_millis(50);

/// Takes the folder, until the file is closed. The file names the process that has it.
pub(super) fn lock(root: &Path) -> Result<File, StoreError> {
    let path = root.join(".lock");
    // What another coordinator wrote there must stay.
    let opened = File::options()
        .create(true)
        .read(true)
        .write(true)
        .truncate(false)
        .open(&path);
    let mut file = opened.map_err(StoreError::io("create", &path))?;
    let taken = file.try_lock().or_else(|_| {
        std::thread::sleep(GLANCE);
        file.try_lock()
    });
    match taken {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(in_use(root)),
        Err(TryLockError::Error(error)) => return Err(StoreError::io("lock", &path)(error)),
    }
    let named = file
        .set_len(0)
        .and_then(|()| write!(file, "{}", std::process::id()));
    named.map_err(StoreError::io("write", &path))?;
    Ok(file)
}

/// Another program works in the folder: which one, as far as its lock says.
pub(crate) fn in_use(root: &Path) -> StoreError {
    let text = std::fs::read_to_string(root.join(".lock")).unwrap_or_default();
    StoreError::InUse {
        folder: root.into(),
        process: text.trim().parse().ok(),
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
