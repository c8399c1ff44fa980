//! What an import came to: `import.json`, and the `[data]` table that reads the images.

use super::error::ImportError;
use super::folder::{Folder, write_json};
use super::judge::Certainty;
use super::plan::{Plan, PlannedCase, PlannedSeries};
use super::redact::Redactor;
use super::scan::Scan;
use crate::nifti::Source;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

/// What became of one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// To be written.
    Planned,
    Written,
    /// Written by an earlier run.
    Kept,
    Failed,
}

/// The grid of an image.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Geometry {
    /// Width, height and depth (right, front, top).
    pub voxels: [usize; 3],
    pub spacing_mm: [f32; 3],
}

impl Geometry {
    pub(super) fn of(source: &Source) -> Self {
        let grid = source.grid();
        let [depth, height, width] = grid.dims;
        let [z, y, x] = grid.spacing_mm;
        Self {
            voxels: [width, height, depth],
            spacing_mm: [x, y, z],
        }
    }
}

impl std::fmt::Display for Geometry {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [width, height, depth] = self.voxels;
        let [x, y, z] = self.spacing_mm;
        write!(
            formatter,
            "{width} x {height} x {depth} voxels of {x:.2} x {y:.2} x {z:.2} mm"
        )
    }
}

/// One image of a case.
#[derive(Clone, Debug, Serialize)]
pub struct SequenceReport {
    pub sequence: String,
    /// The series that it is made from.
    pub series: String,
    /// Below the folder of the images.
    pub file: String,
    pub state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub geometry: Option<Geometry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl SequenceReport {
    pub(super) fn planned(case: &PlannedCase, series: &PlannedSeries, sequence: &str) -> Self {
        Self {
            sequence: sequence.to_owned(),
            series: series.series.clone(),
            file: format!("{}/{sequence}.nii.gz", case.case),
            state: State::Planned,
            geometry: None,
            trouble: None,
            remedy: None,
        }
    }

    pub(super) fn fail(&mut self, trouble: &str, remedy: &str) {
        self.state = State::Failed;
        self.trouble = Some(trouble.to_owned());
        self.remedy = Some(remedy.to_owned());
    }
}

/// One case.
#[derive(Clone, Debug, Serialize)]
pub struct CaseReport {
    pub case: String,
    pub patient: String,
    /// Its images.
    pub sequences: Vec<SequenceReport>,
    /// Whether its images are on different grids, so that they must be registered.
    pub grids_differ: bool,
    /// All series of the study.
    pub series: Vec<PlannedSeries>,
}

impl CaseReport {
    /// `places` are the grids of the images that are there.
    pub(super) fn new(
        case: &PlannedCase,
        sequences: Vec<SequenceReport>,
        places: &[(String, Source)],
    ) -> Self {
        let differ = |(_, other): &(String, Source)| match places.first() {
            Some((_, first)) => !first.same_place(other),
            None => false,
        };
        Self {
            case: case.case.clone(),
            patient: case.patient.clone(),
            sequences,
            grids_differ: places.iter().any(differ),
            series: case.series.clone(),
        }
    }

    /// What would be written of a case.
    #[must_use]
    pub fn planned(case: &PlannedCase) -> Self {
        let mut sequences = Vec::new();
        for series in &case.series {
            if let Some(sequence) = &series.taken {
                sequences.push(SequenceReport::planned(case, series, sequence));
            }
        }
        Self::new(case, sequences, &[])
    }
}

/// A file that cannot be used.
#[derive(Clone, Debug, Serialize)]
pub struct FileReport {
    /// Its path below the export, with what could identify a patient hidden.
    pub file: String,
    pub trouble: String,
}

/// What became of all files.
#[derive(Clone, Debug, Serialize)]
pub struct FilesReport {
    pub seen: usize,
    pub images: usize,
    /// Further copies of an image.
    pub copies: usize,
    /// DICOM objects that are no images, by Modality.
    pub no_images: BTreeMap<String, usize>,
    pub dicomdir: usize,
    pub not_dicom: Vec<String>,
    pub damaged: Vec<FileReport>,
}

/// `import.json`. Holds no patient's data.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The converter's version; missing where nothing was converted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub converter: Option<String>,
    pub files: FilesReport,
    pub cases: Vec<CaseReport>,
    pub notes: Vec<String>,
}

/// How many of each there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub written: usize,
    pub kept: usize,
    pub planned: usize,
    pub failed: usize,
    /// Series that are not decided.
    pub in_doubt: usize,
    /// Cases with an image.
    pub cases: usize,
}

impl Report {
    /// Brings together what became of the files in `input` and of the cases.
    #[must_use]
    pub fn new(
        input: &Path,
        scan: &Scan,
        plan: &Plan,
        cases: Vec<CaseReport>,
        converter: Option<&super::Converter>,
    ) -> Self {
        let redactor = Redactor::of(scan);
        let files = &scan.files;
        let mut damaged = Vec::new();
        for (path, fault) in &files.damaged {
            damaged.push(FileReport {
                file: redactor.path(input, path),
                trouble: fault.to_string(),
            });
        }
        let foreign = files.foreign.iter();
        Self {
            converter: converter.map(|converter| converter.version.clone()),
            files: FilesReport {
                seen: files.seen,
                images: files.images,
                copies: files.copies,
                no_images: files.no_images.clone(),
                dicomdir: files.directories,
                not_dicom: foreign.map(|path| redactor.path(input, path)).collect(),
                damaged,
            },
            cases,
            notes: plan.notes.clone(),
        }
    }

    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for case in &self.cases {
            for image in &case.sequences {
                match image.state {
                    State::Planned => counts.planned += 1,
                    State::Written => counts.written += 1,
                    State::Kept => counts.kept += 1,
                    State::Failed => counts.failed += 1,
                }
            }
            let doubts = case.series.iter();
            counts.in_doubt += doubts
                .filter(|one| one.certainty == Certainty::InDoubt)
                .count();
            counts.cases += usize::from(
                case.sequences
                    .iter()
                    .any(|image| image.state != State::Failed),
            );
        }
        counts
    }

    /// What was left out that could have been wanted, in words; `None` where that is nothing.
    #[must_use]
    pub fn left_out(&self) -> Option<String> {
        let counts = self.counts();
        let mut parts = Vec::new();
        for (count, one, several) in [
            (self.files.damaged.len(), "damaged file", "damaged files"),
            (counts.in_doubt, "series in doubt", "series in doubt"),
            (
                counts.failed,
                "series that was not converted",
                "series that were not converted",
            ),
        ] {
            match count {
                0 => {}
                1 => parts.push(format!("1 {one}")),
                _ => parts.push(format!("{count} {several}")),
            }
        }
        (!parts.is_empty()).then(|| parts.join(", "))
    }

    /// Writes `import.json`.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn write(&self, folder: &Folder) -> Result<(), ImportError> {
        write_json(&folder.path().join("import.json"), self)
    }

    /// The sequences of which there is an image.
    fn sequences(&self) -> BTreeSet<&str> {
        let mut names = BTreeSet::new();
        for case in &self.cases {
            for image in &case.sequences {
                if image.state != State::Failed {
                    names.insert(image.sequence.as_str());
                }
            }
        }
        names
    }
}

/// Writes the `[data]` table of a site's settings that reads the images, as `data.toml` in their
/// folder, and gives its path and text. `None` where there is no image.
///
/// # Errors
/// The disk refuses.
pub fn data_table(
    report: &Report,
    folder: &Folder,
) -> Result<Option<(PathBuf, String)>, ImportError> {
    let sequences = report.sequences();
    if sequences.is_empty() {
        return Ok(None);
    }
    let root = toml::Value::String(folder.path().display().to_string());
    let mut text = format!(
        "[data]\nroot = {root}\n# label = \"{{patient}}_{{case}}/lesion.nii.gz\"   # needed for \
         training: the lesions' masks\n# lesion_labels = [1]\n# brain = \
         \"{{patient}}_{{case}}/brain.nii.gz\"    # needed where skulls are not removed: brain \
         masks\n\n[data.sequences]\n"
    );
    for name in sequences {
        text += &format!("{name} = \"{{patient}}_{{case}}/{name}.nii.gz\"\n");
    }
    let path = folder.path().join("data.toml");
    program::files::replace(&path, |file| file.write_all(text.as_bytes()))
        .map_err(ImportError::disk(&path))?;
    Ok(Some((path, text)))
}
