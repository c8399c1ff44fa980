//! Why nothing was imported.

use super::rules::RulesError;
use program::{Class, Explain};
use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

/// Why an import did not begin, or stopped. Trouble with one file, series or case does not stop it:
/// that is in the report.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("the folder {} cannot be listed: {source}", .folder.display())]
    Folder { folder: PathBuf, source: io::Error },
    #[error("none of the {files} files in {} is a DICOM image that can be used ({damaged} are \
             damaged DICOM files)",
        .folder.display())]
    NoImages {
        folder: PathBuf,
        files: usize,
        damaged: usize,
    },
    #[error("{} is in {}", .inner.display(), .outer.display())]
    Nested { inner: PathBuf, outer: PathBuf },
    #[error("{} holds files, and none of an earlier import", .0.display())]
    Occupied(PathBuf),
    #[error("{} is not a folder", .0.display())]
    NotAFolder(PathBuf),
    #[error("another import is writing to {}", .0.display())]
    Locked(PathBuf),
    /// Other names would be made for the same patients.
    #[error("{} is missing or damaged, and there are cases that were named by it", .0.display())]
    Salt(PathBuf),
    #[error("{} is damaged: {what}", .path.display())]
    Record { path: PathBuf, what: String },
    #[error("{}: {what}", .path.display())]
    Answers { path: PathBuf, what: String },
    #[error("the converter {} cannot be started: {source}", .program.display())]
    NoConverter { program: PathBuf, source: io::Error },
    #[error("the key {} is in the folder of the images", .0.display())]
    KeyInFolder(PathBuf),
    #[error("{} is there already, and is no key of an import", .0.display())]
    KeyExists(PathBuf),
    #[error("{}: {source}", .path.display())]
    Disk { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// The report says which.
    #[error("not all was imported: {0}")]
    NotAll(String),
}

impl ImportError {
    pub(super) fn disk(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Disk { path, source }
    }
}

impl Explain for ImportError {
    fn class(&self) -> Class {
        match self {
            Self::Folder { .. } | Self::NoImages { .. } | Self::NotAll(_) => Class::Data,
            Self::Salt(_) | Self::Record { .. } => Class::Data,
            Self::Disk { .. } => Class::Disk,
            Self::Rules(error) => error.class(),
            Self::Nested { .. }
            | Self::Occupied(_)
            | Self::NotAFolder(_)
            | Self::Locked(_)
            | Self::Answers { .. }
            | Self::NoConverter { .. }
            | Self::KeyInFolder(_)
            | Self::KeyExists(_) => Class::Configuration,
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = match self {
            Self::Folder { .. } => "give the folder of the DICOM export",
            Self::NoImages { .. } => {
                "give the folder of the DICOM export; unpack archives (.zip, .tar) first"
            }
            Self::Nested { .. } => "name a folder outside of the DICOM export with --out",
            Self::Occupied(_) | Self::NotAFolder(_) => "name a new or empty folder with --out",
            Self::Locked(_) => "wait until it has ended",
            Self::Salt(_) => {
                "restore the file from a backup, or import everything into a new folder"
            }
            Self::Record { .. } => {
                "restore it from a backup, or delete it and the case's folder to import the case \
                 again"
            }
            Self::Answers { .. } => {
                "each line below [series] is \"SERIES\" = \"SEQUENCE\", or \"no\"; import.json \
                 has the names of the series"
            }
            Self::NoConverter { .. } => {
                "install dcm2niix (Debian and Ubuntu: apt install dcm2niix; elsewhere: pip \
                 install dcm2niix), or name the program with --dcm2niix"
            }
            Self::KeyInFolder(_) | Self::KeyExists(_) => {
                "name another place with --key; it holds the names of patients, and belongs \
                 where no one else reads it"
            }
            Self::NotAll(_) => {
                "import.json and the table above say what and why; answers.toml or a terminal \
                 settles what is in doubt"
            }
            Self::Rules(error) => return error.hint(),
            Self::Disk { .. } => return None,
        };
        Some(hint.into())
    }
}
