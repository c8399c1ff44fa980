//! Files that are there and hold no image: links to content that was not fetched, pointers, empty
//! files.

use super::CaseError;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A pointer is shorter than this.
const POINTER: u64 = 1 << 15;

/// Why what bears a file's name has nothing to read.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// A link whose end is not there.
    #[error("the link leads to {}, which is not there", .0.display())]
    Dangling(PathBuf),
    /// A folder.
    #[error("a folder stands where the file belongs")]
    Folder,
    /// A pipe, a socket, a device.
    #[error("it is neither a file nor a folder")]
    Special,
    /// No bytes.
    #[error("the file is empty")]
    Empty,
    /// A text that names the content, which was not fetched.
    #[error("the file is a pointer of {0}, not the image")]
    Pointer(&'static str),
    /// The system does not let it be read.
    #[error("it cannot be read: {0}")]
    Unreadable(io::Error),
    /// A name that is not UTF-8.
    #[error("its name is not UTF-8")]
    Name,
}

/// What lies at a path.
pub(super) enum Presence {
    File,
    Nothing,
    Bad(Trouble),
}

/// Looks at a path without reading what is there.
pub(super) fn look(path: &Path) -> Presence {
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error) => return absent(path, error),
    };
    if found.is_dir() {
        Presence::Bad(Trouble::Folder)
    } else if !found.is_file() {
        Presence::Bad(Trouble::Special)
    } else if found.len() == 0 {
        Presence::Bad(Trouble::Empty)
    } else {
        Presence::File
    }
}

/// A path whose end cannot be reached: nothing, or a link that leads nowhere.
fn absent(path: &Path, error: io::Error) -> Presence {
    let link = fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory if link => {
            Presence::Bad(Trouble::Dangling(fs::read_link(path).unwrap_or_default()))
        }
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Presence::Nothing,
        _ => Presence::Bad(Trouble::Unreadable(error)),
    }
}

/// Why a file that is no volume has no content, where that is the reason.
pub(super) fn contentless(path: &Path) -> Option<Trouble> {
    let mut start = Vec::new();
    let file = fs::File::open(path).ok()?;
    file.take(POINTER).read_to_end(&mut start).ok()?;
    pointer(&start)
}

/// Whether the content only names the content: what Git LFS, git-annex and DVC leave where it was
/// not fetched.
fn pointer(content: &[u8]) -> Option<Trouble> {
    if content.is_empty() {
        return Some(Trouble::Empty);
    }
    let start = &content[..content.len().min(256)];
    let text = String::from_utf8_lossy(start);
    let text = text.trim_start_matches('\u{feff}').trim_start();
    if text.starts_with("version https://git-lfs") {
        return Some(Trouble::Pointer("Git LFS"));
    }
    // An unlocked file of git-annex, or its link where links are kept as text.
    let annexed = text.starts_with("/annex/objects/") || text.contains(".git/annex/objects/");
    if annexed && (content.len() as u64) < POINTER {
        return Some(Trouble::Pointer("git-annex"));
    }
    None
}

impl CaseError {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Content { trouble, .. } => match trouble {
                Trouble::Dangling(_) | Trouble::Pointer(_) => {
                    "fetch the content: datalad get, git annex get or git lfs pull; or mend the link"
                }
                Trouble::Folder | Trouble::Special => {
                    "put the image's file there, or correct the pattern"
                }
                Trouble::Empty => "copy or export the file once more",
                Trouble::Unreadable(_) => "give the program's user the right to read it",
                Trouble::Name => "rename it in UTF-8",
            },
            Self::Missing(_) => "add the file, or leave the case out by data.cases",
            Self::NoSequences { .. } => {
                "correct the pattern or the files' names; data.cases leaves out what is no case"
            }
            Self::File { .. } | Self::NotFinite(_) | Self::Constant(_) => {
                "copy or export the file once more"
            }
            Self::Grids { .. } => "register the volumes to one grid",
            Self::NoBrain => "look at the brain mask, or at the images where there is none",
            Self::AllBrain { mask: true, .. } => "look at the brain mask",
            Self::AllBrain { mask: false, .. } => {
                "give brain masks with data.brain, or images without skull and air"
            }
            Self::SameImage { .. } => {
                "one of the two files has the other's name, or was copied over it"
            }
            Self::SameCase { .. } => "delete one of the two, or leave it out by data.cases",
            Self::ForeignLabel { .. } => {
                "write all labels with the same values, or list them in data.lesion_labels"
            }
            Self::Label(_) => "resample labels with nearest neighbours, or cut them at a threshold",
            Self::TooLarge { .. } => {
                "crop the images to the head, or resample them to a coarser spacing"
            }
            Self::Changed => "start again when the other program is done",
            Self::Cache(_) => "is the disk of the work folder sound?",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_known_by_their_first_words() {
        let said = |text: &str| pointer(text.as_bytes()).map(|trouble| trouble.to_string());
        let lfs = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 48211\n";
        assert!(said(lfs).unwrap().contains("Git LFS"));
        for annexed in [
            "/annex/objects/SHA256E-s1--00.nii.gz\n",
            "../../.git/annex/objects/Xx/SHA256E-s1--00.nii.gz",
        ] {
            assert!(said(annexed).unwrap().contains("git-annex"));
        }
        assert!(said("").unwrap().contains("empty"));
        assert!(said("\x1f\x08 of an image").is_none());
    }

    #[test]
    fn what_bears_a_files_name_is_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), "x").unwrap();
        fs::write(path("empty"), "").unwrap();
        fs::create_dir(path("folder")).unwrap();
        assert!(matches!(look(&path("file")), Presence::File));
        assert!(matches!(look(&path("nothing")), Presence::Nothing));
        assert!(matches!(look(&path("file/below")), Presence::Nothing));
        assert!(matches!(
            look(&path("empty")),
            Presence::Bad(Trouble::Empty)
        ));
        assert!(matches!(
            look(&path("folder")),
            Presence::Bad(Trouble::Folder)
        ));
        #[cfg(unix)]
        {
            let link =
                |target: &str, name: &str| std::os::unix::fs::symlink(target, path(name)).unwrap();
            link("gone", "dangling");
            link("round", "round");
            link("file", "sound");
            assert!(
                matches!(look(&path("dangling")), Presence::Bad(Trouble::Dangling(to)) if to == Path::new("gone"))
            );
            assert!(matches!(
                look(&path("round")),
                Presence::Bad(Trouble::Unreadable(_))
            ));
            assert!(matches!(look(&path("sound")), Presence::File));
        }
    }
}
