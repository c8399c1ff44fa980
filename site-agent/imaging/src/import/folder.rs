//! The folder of the images, and what must be remembered between runs: the salt, the numbers of
//! studies, and what each image was made from. All of it is in the hidden folder `.import`.

use super::error::ImportError;
use super::names::{Names, SALT};
use program::private;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

const HIDDEN: &str = ".import";

/// The folder of the images, locked for this run.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    pub(super) names: Names,
    /// The case of each study that was ever seen, by the study's key.
    studies: BTreeMap<String, String>,
    /// Open as long as this run goes on.
    _lock: File,
}

/// What the images of a case were made from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    pub(super) sequences: BTreeMap<String, Made>,
}

/// What one image was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Made {
    pub(super) series: String,
    /// By which the series' images are known again.
    pub(super) content: String,
    /// Size of the file that was written.
    pub(super) bytes: u64,
    pub(super) converter: String,
}

impl Folder {
    /// Opens a folder of an earlier import, or makes a new one. `input` is the DICOM export, and
    /// `fresh` is used as the salt of a new folder.
    ///
    /// # Errors
    /// The folder is not of an import, contains the export or is in it, is in use, or has lost its
    /// salt.
    pub fn open(path: &Path, input: &Path, fresh: [u8; SALT]) -> Result<Self, ImportError> {
        let (own, other) = (whole(path)?, whole(input)?);
        for (inner, outer) in [(&own, &other), (&other, &own)] {
            if inner.starts_with(outer) {
                return Err(ImportError::Nested {
                    inner: inner.clone(),
                    outer: outer.clone(),
                });
            }
        }
        if own.exists() && !own.is_dir() {
            return Err(ImportError::NotAFolder(path.into()));
        }
        let hidden = own.join(HIDDEN);
        if !hidden.is_dir() && own.is_dir() {
            let mut entries = fs::read_dir(&own).map_err(ImportError::disk(&own))?;
            if entries.next().is_some() {
                return Err(ImportError::Occupied(path.into()));
            }
        }
        for folder in [&hidden, &hidden.join("cases")] {
            private::create_folder(folder).map_err(ImportError::disk(folder))?;
        }
        let lock = hidden.join("lock");
        let file = private::create_file(&lock).map_err(ImportError::disk(&lock))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ImportError::Locked(path.into())),
            Err(TryLockError::Error(source)) => return Err(ImportError::disk(&lock)(source)),
        }
        // Leftovers of a run that was killed.
        let _ = fs::remove_dir_all(hidden.join("work"));
        let studies: BTreeMap<String, String> =
            read_json(&hidden.join("studies.json"))?.unwrap_or_default();
        let salt = salt(&hidden.join("salt"), !studies.is_empty(), fresh)?;
        Ok(Self {
            path: own,
            names: Names::new(salt),
            studies,
            _lock: file,
        })
    }

    /// The folder, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives each study of a patient its case's name: that of an earlier run, or the patient's next
    /// number in the order given. The second value is whether a study that is new now comes before
    /// one that has a number.
    pub(super) fn cases(&mut self, patient: &str, studies: &[&str]) -> (Vec<String>, bool) {
        let mut next = 1;
        let begins = format!("{patient}_");
        for case in self.studies.values() {
            if let Some(number) = case.strip_prefix(&begins) {
                let number: usize = number.parse().unwrap_or_default();
                next = next.max(number + 1);
            }
        }
        let mut cases = Vec::with_capacity(studies.len());
        let mut new = false;
        let mut out_of_order = false;
        for uid in studies {
            let key = self.names.study(uid);
            if let Some(known) = self.studies.get(&key) {
                out_of_order |= new;
                cases.push(known.clone());
                continue;
            }
            new = true;
            let case = format!("{begins}{next}");
            next += 1;
            self.studies.insert(key, case.clone());
            cases.push(case);
        }
        (cases, out_of_order)
    }

    /// Keeps the names of all cases.
    ///
    /// # Errors
    /// The disk refuses.
    pub(super) fn remember(&self) -> Result<(), ImportError> {
        write_json(&self.path.join(HIDDEN).join("studies.json"), &self.studies)
    }

    /// An image of a case.
    pub(super) fn image(&self, case: &str, sequence: &str) -> PathBuf {
        self.path.join(case).join(format!("{sequence}.nii.gz"))
    }

    /// A folder for temporary files, which does not exist yet.
    pub(super) fn work(&self, case: &str, sequence: &str) -> PathBuf {
        let name = format!("{case}-{sequence}");
        self.path.join(HIDDEN).join("work").join(name)
    }

    /// What a case's images were made from.
    ///
    /// # Errors
    /// The record is damaged.
    pub(super) fn record(&self, case: &str) -> Result<Record, ImportError> {
        Ok(read_json(&self.record_file(case))?.unwrap_or_default())
    }

    pub(super) fn write_record(&self, case: &str, record: &Record) -> Result<(), ImportError> {
        write_json(&self.record_file(case), record)
    }

    fn record_file(&self, case: &str) -> PathBuf {
        let folder = self.path.join(HIDDEN).join("cases");
        folder.join(format!("{case}.json"))
    }

    /// Removes the folder for temporary files.
    pub(super) fn tidy(&self) {
        // What is left is removed by the next run.
        let _ = fs::remove_dir_all(self.path.join(HIDDEN).join("work"));
    }
}

/// A path without links, also where its last folders are not there yet.
fn whole(path: &Path) -> Result<PathBuf, ImportError> {
    let absolute = std::path::absolute(path).map_err(ImportError::disk(path))?;
    let mut missing = Vec::new();
    let mut there = absolute.as_path();
    loop {
        if let Ok(mut found) = there.canonicalize() {
            found.extend(missing.iter().rev());
            return Ok(found);
        }
        match (there.parent(), there.file_name()) {
            (Some(parent), Some(name)) => {
                missing.push(name);
                there = parent;
            }
            _ => return Ok(absolute),
        }
    }
}

/// Reads the salt, or writes a fresh one where no case was named yet.
fn salt(path: &Path, needed: bool, fresh: [u8; SALT]) -> Result<[u8; SALT], ImportError> {
    let found = match fs::read(path) {
        Ok(bytes) => <[u8; SALT]>::try_from(bytes).ok(),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(ImportError::disk(path)(error)),
    };
    if let Some(found) = found {
        return Ok(found);
    }
    if needed {
        return Err(ImportError::Salt(path.into()));
    }
    program::files::replace(path, |file| file.write_all(&fresh))
        .map_err(ImportError::disk(path))?;
    Ok(fresh)
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, ImportError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ImportError::disk(path)(error)),
    };
    let found = serde_json::from_slice(&bytes);
    found.map(Some).map_err(|error| ImportError::Record {
        path: path.into(),
        what: error.to_string(),
    })
}

pub(super) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), ImportError> {
    let text = serde_json::to_string_pretty(value).map_err(std::io::Error::other);
    text.and_then(|text| {
        program::files::replace(path, |file| file.write_all((text + "\n").as_bytes()))
    })
    .map_err(ImportError::disk(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(folder: &tempfile::TempDir, salt: u8) -> Result<Folder, ImportError> {
        let input = folder.path().join("export");
        fs::create_dir_all(&input).unwrap();
        Folder::open(&folder.path().join("out"), &input, [salt; SALT])
    }

    #[test]
    fn names_stay_over_runs_and_a_lost_salt_is_no_new_start() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = open(&folder, 1).unwrap();
        let patient = first.names.patient("17");
        let (cases, late) = first.cases(&patient, &["b", "c"]);
        assert_eq!(cases, [format!("{patient}_1"), format!("{patient}_2")]);
        assert!(!late);
        first.remember().unwrap();
        assert!(matches!(open(&folder, 2), Err(ImportError::Locked(_))));
        drop(first);
        let mut second = open(&folder, 2).unwrap();
        assert_eq!(second.names.patient("17"), patient);
        let (cases, late) = second.cases(&patient, &["a", "b", "c"]);
        assert_eq!(cases, [3, 1, 2].map(|number| format!("{patient}_{number}")));
        assert!(late);
        drop(second);
        fs::remove_file(folder.path().join("out/.import/salt")).unwrap();
        assert!(matches!(open(&folder, 2), Err(ImportError::Salt(_))));
    }

    #[cfg(unix)]
    #[test]
    fn the_salt_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let opened = open(&folder, 1).unwrap();
        for path in ["", ".import", ".import/salt"] {
            assert_eq!(private::open_to_others(&opened.path().join(path)), None);
        }
    }

    #[test]
    fn a_folder_of_something_else_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("export");
        fs::create_dir_all(folder.path().join("other/x")).unwrap();
        fs::create_dir(&input).unwrap();
        let open = |out: &str| Folder::open(&folder.path().join(out), &input, [0; SALT]);
        assert!(matches!(open("other"), Err(ImportError::Occupied(_))));
        for nested in ["export", "export/below/out", "other/../export/out", "."] {
            assert!(
                matches!(open(nested), Err(ImportError::Nested { .. })),
                "{nested}"
            );
        }
        fs::write(folder.path().join("file"), "").unwrap();
        assert!(matches!(open("file"), Err(ImportError::NotAFolder(_))));
        assert!(!folder.path().join("other/.import").exists());
    }
}
