//! What to do about a run folder that refuses: by file, and by what is wrong with it.

use super::{StoreError, facts};
use crate::failure::{Class, Failure};
use std::io::ErrorKind;
use std::path::Path;

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let (class, hint) = match &error {
            StoreError::Io { path, error, .. } => (Class::Disk, of_disk(path, error.kind())),
            StoreError::InUse { .. } => (Class::Configuration, "stop it, or name another run folder".to_string()),
            StoreError::Settings { .. } => {
                (Class::Configuration, "name another run folder for other settings".to_string())
            }
            StoreError::Release { .. } => (
                Class::Configuration,
                "go on with the release that began the run, or name another run folder".to_string(),
            ),
            StoreError::NoFacts { previous: true, .. } => (
                Class::Disk,
                "state.previous.json, put in place of state.json, goes on from the facts before; to begin anew, name another \
                 run folder"
                    .to_string(),
            ),
            StoreError::NoFacts { previous: false, .. } => {
                (Class::Disk, "put state.json back from a backup; to begin anew, name another run folder".to_string())
            }
            StoreError::Record { .. } => (
                Class::Disk,
                "put a copy in its place, or remove it: the report then lacks what that round did".to_string(),
            ),
            StoreError::Damaged { path, .. } => (Class::Disk, of_damage(path).to_string()),
        };
        Self::new(class, error).hint(hint)
    }
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

fn of_damage(path: &Path) -> &'static str {
    match name(path) {
        facts::STATE | facts::PREVIOUS => {
            "state.previous.json, put in place of state.json, goes on from the facts before"
        }
        "settings.json" => "put a copy in its place, or remove it: the same command writes it again",
        "global.f32" => MODEL,
        "outcome.json" => "put a copy in its place",
        _ => "remove it: an update that is missing is asked for again",
    }
}

const MODEL: &str = "put a copy of this very file in its place, from a backup of this run; state.previous.json, put in place \
    of state.json, goes back to the model before, if that is what the facts before lead to";

fn of_disk(path: &Path, kind: ErrorKind) -> String {
    let hint = match kind {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "what was finished stands; free the disk and start again",
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "give the program's user the right to read and write there"
        }
        ErrorKind::NotFound => match name(path) {
            "global.f32" => MODEL,
            "settings.json" => "is this the right folder? a run folder has one",
            _ => "put it back from a backup, or name another run folder to begin anew",
        },
        _ => "what was finished stands; see that the folder is there and the disk is sound, and start again",
    };
    hint.to_string()
}
