//! `state.json`: the checkpoint that a restart needs, with its checksum, so that a torn file is
//! noticed; and reading it without holding the folder.

use super::atomic::{self, AtomicFile};
use super::{StoreError, json};
use program::sealed_json::{Form, Layout};
use protocol::coordinator::Checkpoint;
use protocol::settings::Federation;
use std::fs;
use std::io;
use std::path::Path;

/// The file.
pub(super) const STATE: &str = "state.json";
/// The one before.
pub(super) const PREVIOUS: &str = "state.previous.json";

const LAYOUT: Layout = Layout {
    label: None,
    content: "snapshot",
    form: Form::Value,
};

/// Writes the checkpoint, and keeps the one before as `state.previous.json`.
pub(super) fn write(root: &Path, checkpoint: &Checkpoint) -> Result<(), StoreError> {
    let path = root.join(STATE);
    let file = seal(&path, checkpoint)?;
    // The two never share their content on the disk: what damages the one leaves the other.
    let previous = root.join(PREVIOUS);
    let before = path
        .exists()
        .then(|| atomic::hold(&path, &previous))
        .transpose()?;
    file.commit()?;
    before.map_or(Ok(()), |before| atomic::rename(&before, &previous))
}

/// Reads the checkpoint; `None` before there is one.
pub(super) fn read(root: &Path) -> Result<Option<Checkpoint>, StoreError> {
    unseal(&root.join(STATE))
}

/// Whether there are signs of a run that had begun. A checkpoint is stored before the first site is
/// asked for anything.
pub(super) fn had_rounds(root: &Path) -> bool {
    let signs = [
        root.join(PREVIOUS),
        root.join("records"),
        root.join("federation").join("round-0001"),
    ];
    signs.iter().any(|sign| sign.exists())
}

/// A file that holds `value` behind its checksum, on its way.
pub(super) fn seal(path: &Path, value: &impl serde::Serialize) -> Result<AtomicFile, StoreError> {
    let content = String::from_utf8_lossy(&json(value, path)?).into_owned();
    let mut file = AtomicFile::create(path)?;
    file.write(LAYOUT.seal("", &content).as_bytes())?;
    Ok(file)
}

/// What [`seal`] wrote; `None` where there is no file.
pub(super) fn unseal<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, StoreError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("read", path)(error)),
    };
    let opened = LAYOUT.open(&text).map_err(|damage| StoreError::Damaged {
        path: path.into(),
        reason: damage.to_string(),
    })?;
    // It is what was written, so another program wrote it.
    let foreign = |error: serde_json::Error| StoreError::Release {
        path: path.into(),
        reason: error.to_string(),
    };
    serde_json::from_slice(&opened.content)
        .map(Some)
        .map_err(foreign)
}

/// The settings and the checkpoint of a folder, whether a program holds it or not.
///
/// # Errors
/// When there is no run in it, or a damaged one.
pub fn peek(root: &Path) -> Result<(Federation, Option<Checkpoint>), StoreError> {
    let path = root.join("settings.json");
    let text = fs::read(&path).map_err(StoreError::io("read", &path))?;
    let damaged = |error: serde_json::Error| StoreError::Damaged {
        path: path.clone(),
        reason: error.to_string(),
    };
    Ok((serde_json::from_slice(&text).map_err(damaged)?, read(root)?))
}
