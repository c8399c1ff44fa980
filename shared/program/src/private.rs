//! Files and folders that only their owner can read: images, models, states and updates.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::path::Path;

/// Makes a folder, and the missing ones above it, for their owner alone. An existing folder is not
/// changed.
///
/// # Errors
/// The system's error.
pub fn create_folder(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Makes a file for its owner alone, or truncates an existing one.
///
/// # Errors
/// The system's error.
pub fn create_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// The mode of a file or folder that others have any right to; `None` where they have none, or
/// where it does not exist.
pub fn open_to_others(path: &Path) -> Option<u32> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
        if mode & 0o077 == 0 {
            return None;
        }
        Some(mode)
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

/// Whether a file or folder belongs to the user whose files this program makes next to it. Only for
/// root can this be otherwise with a file that is for its owner alone.
///
/// # Errors
/// The system's error: it does not exist, or no file can be made next to it.
pub fn is_own(path: &Path) -> io::Result<bool> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let owner = std::fs::metadata(path)?.uid();
        let probe = crate::files::temporary(path);
        let made = create_file(&probe)?.metadata();
        std::fs::remove_file(&probe)?;
        Ok(made?.uid() == owner)
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        Ok(true)
    }
}

/// Warns in the log when other users of this machine can read something, with the command that ends
/// this.
pub fn warn(what: &str, path: &Path) {
    if let Some(mode) = open_to_others(path) {
        let own = if path.is_dir() { 700 } else { 600 };
        let path = path.display();
        tracing::warn!(
            "other users of this machine may look at {what} {path} (mode {mode:o}): chmod {own} \
             {path}"
        );
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_made_is_for_its_owner_alone_and_what_was_there_is_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let (below, file) = (folder.path().join("a/b"), folder.path().join("a/b/state"));
        create_folder(&below).unwrap();
        create_folder(&below).unwrap();
        create_file(&file).unwrap();
        for path in [&folder.path().join("a"), &below, &file] {
            assert_eq!(open_to_others(path), None, "{}", path.display());
        }
        std::fs::set_permissions(&below, std::fs::Permissions::from_mode(0o750)).unwrap();
        create_folder(&below).unwrap();
        assert_eq!(open_to_others(&below), Some(0o750));
        assert_eq!(open_to_others(&folder.path().join("nothing")), None);
    }

    #[test]
    fn a_file_of_another_user_is_told_from_an_own_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state");
        create_file(&file).unwrap();
        assert!(is_own(&file).unwrap());
        assert!(is_own(&folder.path().join("nothing")).is_err());
        if std::os::unix::fs::chown(&file, Some(65_534), None).is_err() {
            println!("SKIPPED: only root can give a file to another user");
            return;
        }
        assert!(!is_own(&file).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
