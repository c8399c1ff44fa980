//! Folders of cases, `CASE/NAME.nii.gz`, and new folders that are made from them.

use program::private;
use program::{Class, Explain};
use serde::Serialize;
use std::borrow::Cow;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The sequences, the one first that makes the best reference: the finest, then that which shows
/// lesions.
pub const SEQUENCES: [&str; 4] = ["bravo", "t1_post", "t1_pre", "flair"];

/// How the name of an image ends.
pub const ENDING: &str = ".nii.gz";

/// Why a folder of cases cannot be read, or a new one cannot be made from it.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("the folder {} cannot be listed: {source}", .folder.display())]
    Unlisted { folder: PathBuf, source: io::Error },
    #[error(
        "{} has no folder of a case with an image SEQUENCE.nii.gz (sequences: {})",
        .0.display(), SEQUENCES.join(", ")
    )]
    NoImages(PathBuf),
    #[error("{} is in {}", .inner.display(), .outer.display())]
    Nested { inner: PathBuf, outer: PathBuf },
    #[error("{} holds files, and none of an earlier run", .0.display())]
    Occupied(PathBuf),
    #[error("{}: {source}", .path.display())]
    Disk { path: PathBuf, source: io::Error },
}

impl FolderError {
    pub(crate) fn disk(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Disk { path, source }
    }
}

impl Explain for FolderError {
    fn class(&self) -> Class {
        match self {
            Self::Unlisted { .. } | Self::NoImages(_) => Class::Data,
            Self::Nested { .. } | Self::Occupied(_) => Class::Configuration,
            Self::Disk { .. } => Class::Disk,
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = match self {
            Self::Unlisted { .. } | Self::NoImages(_) => {
                "give a folder that site-agent import made, or one with files CASE/SEQUENCE.nii.gz"
            }
            Self::Nested { .. } => "name a folder outside of the images with --out",
            Self::Occupied(_) => "name a new or empty folder with --out",
            Self::Disk { .. } => return None,
        };
        Some(hint.into())
    }
}

/// A case's folder that holds at least one sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseFolder {
    pub name: String,
    /// In the order of [`SEQUENCES`].
    pub sequences: Vec<&'static str>,
    /// The names of all files, in order.
    pub files: Vec<String>,
}

impl CaseFolder {
    /// Whether the case has an image or mask of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.files.contains(&format!("{name}{ENDING}"))
    }

    /// The files that are neither a sequence nor one of these masks.
    #[must_use]
    pub fn others(&self, masks: &[&str]) -> Vec<String> {
        let mut others = Vec::new();
        for file in &self.files {
            let name = file.strip_suffix(ENDING);
            let is_known =
                name.is_some_and(|name| SEQUENCES.contains(&name) || masks.contains(&name));
            if !is_known && !file.starts_with('.') {
                others.push(file.clone());
            }
        }
        others
    }
}

/// The cases of a folder, by name.
///
/// # Errors
/// The folder cannot be listed, or no case has a sequence.
pub fn cases(folder: &Path) -> Result<Vec<CaseFolder>, FolderError> {
    let mut cases = Vec::new();
    for name in names(folder)? {
        let path = folder.join(&name);
        if name.starts_with('.') || !path.is_dir() {
            continue;
        }
        let mut case = CaseFolder {
            name,
            sequences: Vec::new(),
            files: names(&path)?,
        };
        for sequence in SEQUENCES {
            if case.has(sequence) {
                case.sequences.push(sequence);
            }
        }
        if !case.sequences.is_empty() {
            cases.push(case);
        }
    }
    if cases.is_empty() {
        return Err(FolderError::NoImages(folder.into()));
    }
    Ok(cases)
}

/// Makes a new folder from the images of another, unless it is that of an earlier run. `hidden` is
/// the folder in it that remembers what the images were made from.
pub(crate) fn open(input: &Path, out: &Path, hidden: &str) -> Result<(), FolderError> {
    let input = input.canonicalize().map_err(FolderError::disk(input))?;
    let absolute = std::path::absolute(out).map_err(FolderError::disk(out))?;
    // The part of the path that is there tells where links lead.
    for part in absolute.ancestors() {
        let Ok(found) = part.canonicalize() else {
            continue;
        };
        if found.starts_with(&input) {
            return Err(FolderError::Nested {
                inner: absolute.clone(),
                outer: input,
            });
        }
        if part == absolute && input.starts_with(&found) {
            return Err(FolderError::Nested {
                inner: input,
                outer: found,
            });
        }
        break;
    }
    let hidden = out.join(hidden);
    if out.exists() && !hidden.is_dir() && !names(out)?.is_empty() {
        return Err(FolderError::Occupied(out.into()));
    }
    for folder in [out, &hidden] {
        private::create_folder(folder).map_err(FolderError::disk(folder))?;
    }
    Ok(())
}

/// The names in a folder that are text, in order.
fn names(folder: &Path) -> Result<Vec<String>, FolderError> {
    let failed = |source| FolderError::Unlisted {
        folder: folder.into(),
        source,
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if let Ok(name) = entry.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), FolderError> {
    let text = serde_json::to_string_pretty(value).map_err(io::Error::other);
    text.and_then(|text| {
        program::files::replace(path, |file| file.write_all((text + "\n").as_bytes()))
    })
    .map_err(FolderError::disk(path))
}
