//! What to do about a run folder that refuses: by file, and by what is wrong with it.

use super::{StoreError, checkpoint};
use program::{Class, Explain};
use std::borrow::Cow;
use std::io::ErrorKind;
use std::path::Path;

impl Explain for StoreError {
    fn class(&self) -> Class {
        match self {
            Self::Io { .. } | Self::NoFacts { .. } | Self::Record { .. } | Self::Damaged { .. } => {
                Class::Disk
            }
            Self::InUse { .. } | Self::Settings { .. } | Self::Release { .. } => {
                Class::Configuration
            }
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = match self {
            Self::Io { path, error, .. } => of_disk(path, error.kind()),
            Self::InUse { .. } => "stop it, or name another run folder",
            Self::Settings { .. } => "name another run folder for other settings",
            Self::Release { .. } => {
                "go on with the release that began the run, or name another run folder"
            }
            Self::NoFacts { previous: true, .. } => {
                "state.previous.json, put in place of state.json, goes on from the checkpoint \
                 before; to begin again, name another run folder"
            }
            Self::NoFacts {
                previous: false, ..
            } => "put state.json back from a backup; to begin again, name another run folder",
            Self::Record { .. } => {
                "put a copy in its place, or remove it: the report then lacks what that round did"
            }
            Self::Damaged { path, .. } => of_damage(path),
        };
        Some(hint.into())
    }
}

fn name(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default()
}

fn of_damage(path: &Path) -> &'static str {
    match name(path) {
        checkpoint::STATE | checkpoint::PREVIOUS => {
            "state.previous.json, put in place of state.json, goes on from the checkpoint before"
        }
        "settings.json" => {
            "put a copy in its place, or remove it: the same command writes it again"
        }
        "global.f32" => MODEL,
        "outcome.json" => "put a copy in its place",
        _ => "remove it: an update that is missing is asked for again",
    }
}

const MODEL: &str = "put a copy of this very file in its place, from a backup of this run; \
    state.previous.json, put in place of state.json, goes back to the model before, if the \
    checkpoint before needs that one";

fn of_disk(path: &Path, kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "what was finished is kept; free the disk and start again"
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "give the program's user the right to read and write there"
        }
        ErrorKind::NotFound => match name(path) {
            "global.f32" => MODEL,
            "settings.json" => "is this the right folder? a run folder has one",
            _ => "put it back from a backup, or name another run folder to start again",
        },
        _ => {
            "what was finished is kept; see that the folder is there and the disk is sound, and \
             start again"
        }
    }
}
