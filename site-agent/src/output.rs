//! Where a command writes: never over what it reads, and over what is there already only when told
//! to.

use program::{Class, Explain};
use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

/// Why a command does not write where it was told to.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum OutputError {
    /// A file of an earlier run, perhaps of another patient.
    #[error("{} exists already", .0.display())]
    Exists(PathBuf),
    /// Writing would lose what is read.
    #[error("the output {} is the input {}", .output.display(), .input.display())]
    Input {
        /// Where the result would go.
        output: PathBuf,
        /// What it is read from.
        input: PathBuf,
    },
    /// The folder for the results is a file.
    #[error("{} is not a folder", .0.display())]
    NotAFolder(PathBuf),
}

impl Explain for OutputError {
    fn class(&self) -> Class {
        Class::Configuration
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = match self {
            Self::Exists(_) => "name another place, or say --force to replace what is there",
            Self::Input { .. } | Self::NotAFolder(_) => "name another place",
        };
        Some(hint.into())
    }
}

/// Refuses outputs that are inputs, and, without `force`, outputs that are there already. To be
/// asked before any work.
///
/// # Errors
/// Names the first output that may not be written.
pub fn check(outputs: &[&Path], inputs: &[&Path], force: bool) -> Result<(), OutputError> {
    for &output in outputs {
        for &input in inputs {
            if same_file(output, input) {
                return Err(OutputError::Input {
                    output: output.into(),
                    input: input.into(),
                });
            }
        }
        // A link that leads nowhere is there too.
        if !force && fs::symlink_metadata(output).is_ok() {
            return Err(OutputError::Exists(output.into()));
        }
        if output.is_dir() {
            return Err(OutputError::Exists(output.into()));
        }
    }
    Ok(())
}

/// Refuses to replace a folder that holds an input.
///
/// # Errors
/// Names the first input that is in the folder.
pub fn check_not_within(folder: &Path, inputs: &[&Path]) -> Result<(), OutputError> {
    let Ok(folder) = fs::canonicalize(folder) else {
        return Ok(());
    };
    for &input in inputs {
        if fs::canonicalize(input).is_ok_and(|input| input.starts_with(&folder)) {
            return Err(OutputError::Input {
                output: folder,
                input: input.into(),
            });
        }
    }
    Ok(())
}

/// Refuses a folder for results that is something else.
///
/// # Errors
/// [`OutputError::NotAFolder`].
pub fn check_folder(folder: &Path) -> Result<(), OutputError> {
    let other = fs::symlink_metadata(folder).is_ok() && !folder.is_dir();
    if other {
        Err(OutputError::NotAFolder(folder.into()))
    } else {
        Ok(())
    }
}

/// Whether two paths lead to one file, by whatever links.
#[must_use]
pub fn same_file(one: &Path, other: &Path) -> bool {
    match (fs::canonicalize(one), fs::canonicalize(other)) {
        (Ok(first), Ok(second)) => first == second || same_content(one, other),
        _ => false,
    }
}

/// Whether two names of the disk lead to the same content.
#[cfg(unix)]
fn same_content(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let place = |path: &Path| {
        fs::metadata(path)
            .map(|found| (found.dev(), found.ino()))
            .ok()
    };
    place(one).is_some_and(|here| Some(here) == place(other))
}

#[cfg(not(unix))]
fn same_content(_: &Path, _: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_replaced_only_by_force_and_an_input_never() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("mask"), "old").unwrap();
        fs::write(path("scan"), "patient").unwrap();
        assert_eq!(
            check(&[&path("mask")], &[&path("scan")], false),
            Err(OutputError::Exists(path("mask")))
        );
        assert_eq!(check(&[&path("mask")], &[&path("scan")], true), Ok(()));
        assert_eq!(check(&[&path("new")], &[&path("scan")], false), Ok(()));
        for force in [false, true] {
            let refused = check(&[&path("scan")], &[&path("scan")], force);
            assert!(
                matches!(refused, Err(OutputError::Input { .. })),
                "{refused:?}"
            );
        }
        assert_eq!(
            check(&[folder.path()], &[], true),
            Err(OutputError::Exists(folder.path().into()))
        );
        assert_eq!(
            check_folder(&path("scan")),
            Err(OutputError::NotAFolder(path("scan")))
        );
        assert_eq!(
            (check_folder(folder.path()), check_folder(&path("none"))),
            (Ok(()), Ok(()))
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_an_input_is_that_input() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("scan"), "patient").unwrap();
        std::os::unix::fs::symlink(path("scan"), path("soft")).unwrap();
        std::os::unix::fs::symlink(path("nowhere"), path("dangling")).unwrap();
        fs::hard_link(path("scan"), path("hard")).unwrap();
        fs::create_dir(path("below")).unwrap();
        for name in ["soft", "hard", "below/../scan"] {
            let refused = check(&[&path(name)], &[&path("scan")], true);
            assert!(matches!(refused, Err(OutputError::Input { .. })), "{name}");
        }
        assert!(matches!(
            check(&[&path("dangling")], &[], false),
            Err(OutputError::Exists(_))
        ));
    }
}
