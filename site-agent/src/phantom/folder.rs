//! A cohort's files: one folder for each case, and the `[data]` table that reads them.

use super::examine::{Phantom, examine};
use super::settings::{Cohort, SettingsError};
use super::tissue::SEQUENCES;
use imaging::nifti::{self, Form, NiftiError, Source};
use program::{Class, Explain};
use rayon::prelude::*;
use serde::Serialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Why a cohort was not written.
#[derive(Debug, thiserror::Error)]
pub enum PhantomError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Files of another cohort could be mistaken for this one's.
    #[error("{} is not empty", .0.display())]
    Occupied(PathBuf),
    #[error("{}: {source}", .path.display())]
    Disk { path: PathBuf, source: io::Error },
    #[error("{}: {source}", .path.display())]
    Volume { path: PathBuf, source: NiftiError },
}

impl Explain for PhantomError {
    fn class(&self) -> Class {
        match self {
            Self::Settings(_) | Self::Occupied(_) => Class::Configuration,
            Self::Disk { .. } | Self::Volume { .. } => Class::Disk,
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Occupied(_) => Some("name a new folder with --out, or empty this one".into()),
            _ => None,
        }
    }
}

/// What was written of one site. One line of JSON under `--json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Written {
    pub site: String,
    /// Its folder, absolute.
    pub folder: PathBuf,
    /// The file with its `[data]` table, absolute.
    pub data: PathBuf,
    /// The number of cases.
    pub cases: usize,
    /// The number of lesions in all cases.
    pub lesions: usize,
    /// The sequences that were written.
    pub sequences: Vec<String>,
}

/// The `[data]` table of a site's file.
#[derive(Serialize)]
struct Snippet {
    data: Data,
}

#[derive(Serialize)]
struct Data {
    root: PathBuf,
    label: String,
    lesion_labels: [u8; 1],
    brain: String,
    sequences: BTreeMap<String, String>,
}

/// Writes a site's cohort into a new or empty folder: `CASE/SEQUENCE.nii.gz`, `CASE/lesion.nii.gz`,
/// `CASE/brain.nii.gz`, and last `data.toml`. `done` is called after each case, with the number of
/// cases written.
///
/// # Errors
/// When the folder is not empty, or cannot be written.
pub fn write(
    folder: &Path,
    cohort: &Cohort,
    done: &mut dyn FnMut(usize),
) -> Result<Written, PhantomError> {
    std::fs::create_dir_all(folder).map_err(disk(folder))?;
    check_empty(folder)?;
    let folder = folder.canonicalize().map_err(disk(folder))?;
    let mut lesions = 0;
    for index in 0..cohort.cases {
        let phantom = examine(cohort, index);
        write_case(&folder, cohort, &phantom)?;
        lesions += phantom.diameters_mm.len();
        done(index + 1);
    }
    let mut sequences = Vec::new();
    for sequence in cohort.sequences().iter() {
        sequences.push(SEQUENCES[sequence].to_owned());
    }
    let data = folder.join("data.toml");
    let table = snippet(&folder, cohort, &sequences);
    program::files::replace(&data, |file| file.write_all(table.as_bytes())).map_err(disk(&data))?;
    Ok(Written {
        site: cohort.site.clone(),
        folder,
        data,
        cases: cohort.cases,
        lesions,
        sequences,
    })
}

/// Refuses a folder that is not empty. A folder that does not exist yet is empty.
///
/// # Errors
/// [`PhantomError::Occupied`], or the folder cannot be read.
pub fn check_empty(folder: &Path) -> Result<(), PhantomError> {
    match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(disk(folder)(error)),
        Ok(mut entries) => match entries.next() {
            Some(_) => Err(PhantomError::Occupied(folder.into())),
            None => Ok(()),
        },
    }
}

/// One file of a case.
enum CaseFile<'a> {
    Image { path: PathBuf, values: &'a [f32] },
    Mask { path: PathBuf, voxels: &'a [u8] },
}

impl CaseFile<'_> {
    fn write(&self, source: &Source) -> Result<(), PhantomError> {
        match self {
            Self::Image { path, values } => {
                nifti::write_f32(path, values, source).map_err(volume(path))
            }
            Self::Mask { path, voxels } => {
                nifti::write_u8(path, voxels, source).map_err(volume(path))
            }
        }
    }
}

fn write_case(folder: &Path, cohort: &Cohort, phantom: &Phantom) -> Result<(), PhantomError> {
    let folder = folder.join(&phantom.case);
    std::fs::create_dir(&folder).map_err(disk(&folder))?;
    let source =
        Source::new(&phantom.grid, phantom.orientation, Form::Sform).map_err(volume(&folder))?;
    let mut files = vec![
        CaseFile::Mask {
            path: folder.join(file_name("lesion")),
            voxels: &phantom.lesion,
        },
        CaseFile::Mask {
            path: folder.join(file_name("brain")),
            voxels: &phantom.brain,
        },
    ];
    for sequence in cohort.sequences().iter() {
        files.push(CaseFile::Image {
            path: folder.join(file_name(SEQUENCES[sequence])),
            values: &phantom.volumes[sequence],
        });
    }
    files.par_iter().try_for_each(|file| file.write(&source))
}

fn file_name(name: &str) -> String {
    format!("{name}.nii.gz")
}

/// The pattern of a file's path, for the `[data]` table.
fn pattern(name: &str) -> String {
    format!("{{case}}/{}", file_name(name))
}

fn snippet(folder: &Path, cohort: &Cohort, sequences: &[String]) -> String {
    let mut patterns = BTreeMap::new();
    for name in sequences {
        patterns.insert(name.clone(), pattern(name));
    }
    let data = Data {
        root: folder.into(),
        label: pattern("lesion"),
        lesion_labels: [1],
        brain: pattern("brain"),
        sequences: patterns,
    };
    // Only a path that is not Unicode has no TOML form. Then the file says so.
    let table = toml::to_string(&Snippet { data }).unwrap_or_else(|error| format!("# {error}\n"));
    format!(
        "# The data of the synthetic site {}: paste into its site file.\n{table}",
        cohort.site
    )
}

fn disk(path: &Path) -> impl FnOnce(io::Error) -> PhantomError {
    let path = path.to_path_buf();
    move |source| PhantomError::Disk { path, source }
}

fn volume(path: &Path) -> impl FnOnce(NiftiError) -> PhantomError {
    let path = path.to_path_buf();
    move |source| PhantomError::Volume { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phantom::{Common, ScannerChoice, Site};

    fn cohort() -> Cohort {
        let site = Site {
            name: "west".into(),
            cases: 2,
            lacks: vec!["flair".into()],
            scanner: ScannerChoice::Auto,
        };
        Cohort::new(
            &Common {
                plane: 24,
                slices: 9,
                ..Common::default()
            },
            &site,
        )
        .unwrap()
    }

    #[test]
    fn files_read_back_as_they_were_drawn_whatever_the_orientation() {
        let folder = tempfile::tempdir().unwrap();
        let written = write(&folder.path().join("west"), &cohort(), &mut |_| ()).unwrap();
        assert_eq!((written.cases, written.sequences.len()), (2, 3));
        let phantom = examine(&cohort(), 1);
        let case = written.folder.join("west-0002");
        let volume = nifti::read(&case.join("t1_post.nii.gz")).unwrap();
        assert_eq!(volume.values, phantom.volumes[2]);
        assert_eq!(volume.grid, phantom.grid);
        let lesion = nifti::read(&case.join("lesion.nii.gz")).unwrap();
        assert!(
            lesion
                .values
                .iter()
                .zip(&phantom.lesion)
                .all(|(read, drawn)| *read == f32::from(*drawn))
        );
        assert!(case.join("brain.nii.gz").exists() && !case.join("flair.nii.gz").exists());
    }

    #[test]
    fn the_snippet_names_what_was_written_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let written = write(folder.path(), &cohort(), &mut |_| ()).unwrap();
        let table: toml::Table = std::fs::read_to_string(&written.data)
            .unwrap()
            .parse()
            .unwrap();
        let data = &table["data"];
        assert_eq!(data["root"].as_str(), written.folder.to_str());
        assert_eq!(data["lesion_labels"].as_array().map(Vec::len), Some(1));
        let sequences = data["sequences"].as_table().unwrap();
        assert_eq!(
            sequences.keys().collect::<Vec<_>>(),
            ["bravo", "t1_post", "t1_pre"]
        );
        let patterns = sequences.values().chain([&data["label"], &data["brain"]]);
        for pattern in patterns.map(|pattern| pattern.as_str().unwrap()) {
            assert!(
                written
                    .folder
                    .join(pattern.replace("{case}", "west-0001"))
                    .exists(),
                "{pattern}"
            );
        }
    }

    #[test]
    fn a_site_reads_its_phantoms_by_their_own_data_table() {
        #[derive(serde::Deserialize)]
        struct Site {
            data: crate::data::Archives,
        }
        let folder = tempfile::tempdir().unwrap();
        let written = write(&folder.path().join("west"), &cohort(), &mut |_| ()).unwrap();
        let site: Site = toml::from_str(&std::fs::read_to_string(&written.data).unwrap()).unwrap();
        let input = protocol::settings::Input {
            sequences: SEQUENCES.map(Into::into).into(),
            slices: 5,
            plane: 24,
            spacing_mm: None,
            clip_percentiles: None,
        };
        let read = crate::data::open(
            &site.data,
            &input,
            &folder.path().join("work"),
            &mut |_, _| (),
        )
        .unwrap();
        assert_eq!((read.cases.len(), read.skipped.len()), (2, 0));
        let phantom = examine(&cohort(), 0);
        let case = &read.cases[0];
        assert_eq!(
            (case.id(), case.present(), case.grid()),
            ("west-0001", cohort().sequences(), phantom.grid)
        );
        let native = case.native().unwrap();
        assert_eq!(
            (native.brain, native.lesion),
            (phantom.brain, Some(phantom.lesion))
        );
    }

    #[test]
    fn a_folder_that_holds_something_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("notes.txt"), "mine").unwrap();
        assert!(matches!(
            write(folder.path(), &cohort(), &mut |_| ()),
            Err(PhantomError::Occupied(_))
        ));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
