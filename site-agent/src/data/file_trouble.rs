//! Files that exist and contain no image: broken links, pointers to content that was not fetched,
//! empty files.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The most bytes of a pointer file.
const POINTER: u64 = 1 << 15;

/// Why a path of a case is not a file with content.
#[derive(Debug, thiserror::Error)]
pub enum FileTrouble {
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
    Bad(FileTrouble),
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
        Presence::Bad(FileTrouble::Special)
    } else if found.len() == 0 {
        Presence::Bad(FileTrouble::Empty)
    } else {
        Presence::File
    }
}

/// A path that cannot be opened: nothing, a broken link, or no right to read it.
fn absent(path: &Path, error: io::Error) -> Presence {
    let link = fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory if link => Presence::Bad(
            FileTrouble::Dangling(fs::read_link(path).unwrap_or_default()),
        ),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Presence::Nothing,
        _ => Presence::Bad(FileTrouble::Unreadable(error)),
    }
}

/// Why a file that is not a volume has no content; `None` if it has content.
pub(super) fn why_no_content(path: &Path) -> Option<FileTrouble> {
    let mut start = Vec::new();
    let file = fs::File::open(path).ok()?;
    file.take(POINTER).read_to_end(&mut start).ok()?;
    pointer(&start)
}

/// Recognises the pointer files of Git LFS and git-annex, whose content was not fetched.
fn pointer(content: &[u8]) -> Option<FileTrouble> {
    if content.is_empty() {
        return Some(FileTrouble::Empty);
    }
    let start = &content[..content.len().min(256)];
    let text = String::from_utf8_lossy(start);
    let text = text.trim_start_matches('\u{feff}').trim_start();
    if text.starts_with("version https://git-lfs") {
        return Some(FileTrouble::Pointer("Git LFS"));
    }
    // An unlocked file of git-annex, or a link on a system that stores links as text.
    let annexed = text.starts_with("/annex/objects/") || text.contains(".git/annex/objects/");
    if annexed && (content.len() as u64) < POINTER {
        return Some(FileTrouble::Pointer("git-annex"));
    }
    None
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
            Presence::Bad(FileTrouble::Empty)
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
                matches!(look(&path("dangling")), Presence::Bad(FileTrouble::Dangling(to)) if to == Path::new("gone"))
            );
            assert!(matches!(
                look(&path("round")),
                Presence::Bad(FileTrouble::Unreadable(_))
            ));
            assert!(matches!(look(&path("sound")), Presence::File));
        }
    }
}
