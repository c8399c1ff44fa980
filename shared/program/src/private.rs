//! Files and folders that only their owner can read: images, models, states and updates.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::path::Path;

/// Makes a folder, and those above it that are missing, for their owner alone. One that is there
/// stays as it is.
///
/// # Errors
/// What the disk says.
pub fn create_folder(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Makes a file for its owner alone, or empties the one that is there.
///
/// # Errors
/// What the disk says.
pub fn create_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// What others may do with a file or folder, as its mode, where they may do anything; `None` where
/// it is not there.
pub fn open_to_others(path: &Path) -> Option<u32> {
    #[cfg(unix)]
    {
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).ok()?.permissions())
                & 0o777;
        (mode & 0o077 != 0).then_some(mode)
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

/// Says in the log that others of this machine may look at something, and how that is ended.
pub fn warn(what: &str, path: &Path) {
    if let Some(mode) = open_to_others(path) {
        let (path, own) = (path.display(), if path.is_dir() { 700 } else { 600 });
        tracing::warn!(
            "other users of this machine may look at {what} {path} (mode {mode:o}): chmod {own} {path}"
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
}
