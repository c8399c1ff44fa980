//! The files of a result.

use super::PredictError;
use super::summary::Summary;
use imaging::dicom::structure_set::{self, Structure};
use imaging::dicom::{Making, Series, SliceMasks, segmentation, utc_now};
use imaging::lesions::Lesion;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The file with the mask.
pub(super) const MASK: &str = "mask.nii.gz";

/// Series numbers far from those of scanners.
const SEGMENTATION_SERIES: u32 = 9001;
const STRUCTURE_SET_SERIES: u32 = 9002;

/// Where each file of a result is.
pub(super) struct Outputs {
    pub(super) folder: PathBuf,
    pub(super) mask: PathBuf,
    pub(super) probability: PathBuf,
    /// The table of lesions.
    pub(super) lesions: PathBuf,
    /// The lesions on slices of the patient; where there is none, there is no picture.
    pub(super) picture: PathBuf,
    /// The mask as a DICOM segmentation, where a series was given.
    pub(super) segmentation: PathBuf,
    /// The lesions as DICOM contours, where a series was given.
    pub(super) structure_set: PathBuf,
    /// The summary as JSON.
    pub(super) summary: PathBuf,
    /// A folder with the registered images, where that was asked for.
    pub(super) registered: PathBuf,
    /// The mask on the own grid of each sequence that was registered.
    on_inputs: Vec<PathBuf>,
}

impl Outputs {
    pub(super) fn in_folder(out: &Path, sequences: &[String]) -> Self {
        let mut on_inputs = Vec::with_capacity(sequences.len());
        for name in sequences {
            on_inputs.push(mask_on(out, name));
        }
        Self {
            folder: out.into(),
            mask: out.join(MASK),
            probability: out.join("probability.nii.gz"),
            lesions: out.join("lesions.csv"),
            picture: out.join("lesions.png"),
            segmentation: out.join("mask.seg.dcm"),
            structure_set: out.join("lesions.rtstruct.dcm"),
            summary: out.join("summary.json"),
            registered: out.join("registered"),
            on_inputs,
        }
    }

    /// The mask on the own grid of a sequence.
    pub(super) fn mask_on(&self, sequence: &str) -> PathBuf {
        mask_on(&self.folder, sequence)
    }

    /// All files, the mask first.
    pub(super) fn files(&self) -> Vec<&Path> {
        let mut files: Vec<&Path> = vec![
            &self.mask,
            &self.probability,
            &self.lesions,
            &self.picture,
            &self.segmentation,
            &self.structure_set,
            &self.summary,
        ];
        for path in &self.on_inputs {
            files.push(path);
        }
        files
    }

    /// All files, and the folder of registered images.
    pub(super) fn all(&self) -> Vec<&Path> {
        let mut all = self.files();
        all.push(&self.registered);
        all
    }

    /// Removes an earlier result, its summary first: without it no result counts as finished.
    pub(super) fn remove_earlier(&self) -> io::Result<()> {
        ignore_missing(fs::remove_file(&self.summary))?;
        for path in self.files() {
            ignore_missing(fs::remove_file(path))?;
        }
        ignore_missing(fs::remove_dir_all(&self.registered))
    }

    pub(super) fn write_summary(&self, summary: &Summary) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(summary)?;
        program::files::replace(&self.summary, |file| file.write_all(&text))
    }

    /// The summary of an earlier run; `None` where there is none that can be read.
    pub(super) fn read_summary(&self) -> Option<Summary> {
        let bytes = fs::read(&self.summary).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// One line for each lesion, the largest first.
    pub(super) fn write_table(&self, lesions: &[Lesion]) -> io::Result<()> {
        let mut text = String::from(
            "number,right_mm,front_mm,top_mm,voxels,volume_mm3,slices,longest_mm,across_mm,mean_probability,max_probability,measurable\n",
        );
        for lesion in lesions {
            let [right, front, top] = lesion.centre_mm;
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "{},{right:.2},{front:.2},{top:.2},{},{:.2},{},{:.2},{:.2},{:.4},{:.4},{}",
                lesion.number,
                lesion.voxels,
                lesion.volume_mm3,
                lesion.slices,
                lesion.longest_mm,
                lesion.across_mm,
                lesion.mean_probability,
                lesion.max_probability,
                lesion.measurable
            );
        }
        program::files::replace(&self.lesions, |file| file.write_all(text.as_bytes()))
    }

    /// The mask as one segment, and each lesion as a structure of its own, on the series' pixels.
    pub(super) fn write_dicom(
        &self,
        series: &Series,
        slices: &SliceMasks,
        lesions: &[Lesion],
        made_by: &str,
    ) -> Result<(), PredictError> {
        let (date, time) = utc_now();
        let making = Making {
            date: &date,
            time: &time,
            version: env!("CARGO_PKG_VERSION"),
            model: made_by,
            series_number: SEGMENTATION_SERIES,
        };
        segmentation::write(&self.segmentation, series, slices, &making).map_err(|error| {
            PredictError::Object {
                path: self.segmentation.clone(),
                error,
            }
        })?;
        let mut structures = Vec::with_capacity(lesions.len());
        for lesion in lesions {
            structures.push(Structure {
                name: format!("Lesion {}", lesion.number),
                label: lesion.label,
            });
        }
        let making = Making {
            series_number: STRUCTURE_SET_SERIES,
            ..making
        };
        structure_set::write(&self.structure_set, series, slices, &structures, &making).map_err(
            |error| PredictError::Object {
                path: self.structure_set.clone(),
                error,
            },
        )
    }
}

fn mask_on(folder: &Path, sequence: &str) -> PathBuf {
    folder.join(format!("mask_on_{sequence}.nii.gz"))
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
