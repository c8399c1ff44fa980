//! Files that exist and contain no image: broken links, pointers to content that was not fetched,
//! empty files.

use super::CaseError;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The most bytes of a pointer file.
const POINTER: u64 = 1 << 15;

/// Why a path of a case is not a file with content.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// A broken link, with its target.
    #[error("the link points to {}, which is not there", .0.display())]
    Dangling(PathBuf),
    #[error("there is a folder instead of the file")]
    Folder,
    /// A pipe, a socket, a device.
    #[error("it is neither a file nor a folder")]
    Special,
    #[error("the file is empty")]
    Empty,
    /// A text file that names the content, which was not fetched.
    #[error("the file is a pointer of {0}, not the image")]
    Pointer(&'static str),
    #[error("it cannot be read: {0}")]
    Unreadable(io::Error),
    #[error("its name is not UTF-8")]
    Name,
}

pub(super) enum Presence {
    File,
    Folder,
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
        Presence::Folder
    } else if !found.is_file() {
        Presence::Bad(Trouble::Special)
    } else if found.len() == 0 {
        Presence::Bad(Trouble::Empty)
    } else {
        Presence::File
    }
}

/// A path that cannot be opened: nothing, a broken link, or no right to read it.
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

/// Why a file that is not a volume has no content; `None` if it has content.
pub(super) fn contentless(path: &Path) -> Option<Trouble> {
    let mut start = Vec::new();
    let file = fs::File::open(path).ok()?;
    file.take(POINTER).read_to_end(&mut start).ok()?;
    pointer(&start)
}

/// Recognises the pointer files of Git LFS and git-annex, whose content was not fetched.
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
    // An unlocked file of git-annex, or a link on a system that stores links as text.
    let annexed = text.starts_with("/annex/objects/") || text.contains(".git/annex/objects/");
    if annexed && (content.len() as u64) < POINTER {
        return Some(Trouble::Pointer("git-annex"));
    }
    None
}

impl CaseError {
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Content { trouble, .. } => match trouble {
                Trouble::Dangling(_) | Trouble::Pointer(_) => {
                    "fetch the content (datalad get, git annex get or git lfs pull), or repair \
                     the link"
                }
                Trouble::Folder | Trouble::Special => {
                    "put the image file there, or correct the pattern"
                }
                Trouble::Empty => "copy or export the file again",
                Trouble::Unreadable(_) => {
                    "give the user that runs the program the right to read it"
                }
                Trouble::Name => "rename it with UTF-8 characters",
            },
            Self::Missing(_) => "add the file, or leave the case out with data.cases",
            Self::NoSequences { .. } => {
                "correct the pattern or the names of the files; data.cases can leave out folders \
                 that are no cases"
            }
            Self::File { .. } | Self::NotFinite(_) | Self::Constant(_) => {
                "copy or export the file again"
            }
            Self::Grids { .. } => "register the volumes to one grid",
            Self::NoBrain => "check the brain mask, or the images if there is none",
            Self::AllBrain { mask: true, .. } => "check the brain mask",
            Self::AllBrain { mask: false, .. } => {
                "set data.brain to brain masks, or use skull-stripped images"
            }
            Self::SameImage { .. } => {
                "one of the two files has the wrong name, or was copied over the other"
            }
            Self::SameCase { .. } => "delete one of the two, or leave it out with data.cases",
            Self::ForeignLabel { .. } => {
                "use the same values in all labels, or list all of them in data.lesion_labels"
            }
            Self::Label(_) => {
                "resample labels with nearest-neighbour interpolation, or apply a threshold to them"
            }
            Self::TooLarge { .. } => {
                "crop the images to the head, or resample them to a coarser spacing"
            }
            Self::BrainCommand(_) => {
                "run data.brain_command by hand on one image, or put masks where data.brain says"
            }
            Self::NotDefaced(_) => "run site-agent deface, and use the images that it writes",
            Self::Changed => "start again when no other program changes the file",
            Self::Cache(_) => "check the disk of the work folder",
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
        assert!(matches!(look(&path("folder")), Presence::Folder));
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
