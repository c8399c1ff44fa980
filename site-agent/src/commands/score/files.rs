//! The NIfTI files in a folder and the folders in it.

use super::error::{ScoreError, disk};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What `predict` writes next to its mask.
const PROBABILITY: &str = "probability";
const MASK: &str = "mask";

/// A file that could be a mask.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    /// The folders below the root that it is in.
    pub(super) folder: Vec<String>,
    /// Its name without `.nii` or `.nii.gz` and without the suffix.
    pub(super) name: String,
}

/// Every file whose name ends in `suffix`, by path. Hidden files are left out, and so is the
/// probability map next to a mask of `predict`.
pub(super) fn masks(root: &Path, suffix: &str) -> Result<Vec<Found>, ScoreError> {
    if !root.is_dir() {
        return Err(ScoreError::NotAFolder {
            path: root.to_owned(),
        });
    }
    let mut found = Vec::new();
    let mut open = vec![(root.to_owned(), Vec::new())];
    while let Some((here, folder)) = open.pop() {
        for entry in std::fs::read_dir(&here).map_err(|error| disk(&here, error))? {
            let entry = entry.map_err(|error| disk(&here, error))?;
            let (path, name) = (
                entry.path(),
                entry.file_name().to_string_lossy().into_owned(),
            );
            let is_folder = path.is_dir();
            if name.starts_with('.') {
                continue;
            }
            if is_folder && entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
                // It could lead in a circle.
                eprintln!(
                    "warning: the link {} to a folder is not followed",
                    shown(&path)
                );
            } else if is_folder {
                open.push((path, [folder.clone(), vec![name]].concat()));
            } else if let Some(name) = stem(&name).and_then(|stem| stem.strip_suffix(suffix)) {
                found.push(Found {
                    path: path.clone(),
                    folder: folder.clone(),
                    name: name.to_owned(),
                });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    let predicted: BTreeSet<Vec<String>> = found
        .iter()
        .filter(|file| file.name == MASK)
        .map(|file| file.folder.clone())
        .collect();
    found.retain(|file| file.name != PROBABILITY || !predicted.contains(&file.folder));
    Ok(found)
}

/// A NIfTI file's name without `.nii` or `.nii.gz`, in whatever letters; `None` for other files.
pub(super) fn stem(name: &str) -> Option<&str> {
    let cut = |ending: &str| {
        let start = name.len().checked_sub(ending.len())?;
        let end = name.get(start..)?;
        end.eq_ignore_ascii_case(ending).then(|| &name[..start])
    };
    cut(".nii.gz").or_else(|| cut(".nii"))
}

/// A path as it is printed.
pub(super) fn shown(path: &Path) -> String {
    program::visible::visible(&path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_found_whatever_the_letters_of_their_ending() {
        assert_eq!(stem("a.nii.gz"), Some("a"));
        assert_eq!(stem("a.NII.GZ"), Some("a"));
        assert_eq!(stem("a.b.Nii"), Some("a.b"));
        assert_eq!(
            (stem("a.nrrd"), stem("nii"), stem("é.ni")),
            (None, None, None)
        );
    }

    #[test]
    fn what_predict_writes_is_one_mask_a_patient_and_hidden_files_are_none() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("p1/deeper")).unwrap();
        for name in [
            "p1/mask.nii.gz",
            "p1/probability.nii.gz",
            "p1/._mask.nii.gz",
            "p1/deeper/probability.nii.gz",
        ] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let found = masks(folder.path(), "").unwrap();
        let names: Vec<_> = found
            .iter()
            .map(|file| (file.folder.join("/"), file.name.as_str()))
            .collect();
        assert_eq!(
            names,
            [
                ("p1/deeper".to_owned(), "probability"),
                ("p1".to_owned(), "mask")
            ]
        );
    }
}
