//! The files of a result.

use super::PredictError;
use imaging::dicom::structure_set::{self, Structure};
use imaging::dicom::{Making, Series, SliceMasks, segmentation, utc_now};
use imaging::lesions::Lesion;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Series numbers far from those of scanners.
const SEGMENTATION_SERIES: u32 = 9001;
const STRUCTURE_SET_SERIES: u32 = 9002;

/// Where each file of a result is.
pub(super) struct Outputs {
    pub(super) mask: PathBuf,
    pub(super) probability: PathBuf,
    /// The table of lesions.
    pub(super) lesions: PathBuf,
    /// The mask as a DICOM segmentation, where a series was given.
    pub(super) segmentation: PathBuf,
    /// The lesions as DICOM contours, where a series was given.
    pub(super) structure_set: PathBuf,
}

impl Outputs {
    pub(super) fn in_folder(out: &Path) -> Self {
        Self {
            mask: out.join("mask.nii.gz"),
            probability: out.join("probability.nii.gz"),
            lesions: out.join("lesions.csv"),
            segmentation: out.join("mask.seg.dcm"),
            structure_set: out.join("lesions.rtstruct.dcm"),
        }
    }

    /// All of them, the mask first.
    pub(super) fn all(&self) -> [&Path; 5] {
        [
            &self.mask,
            &self.probability,
            &self.lesions,
            &self.segmentation,
            &self.structure_set,
        ]
    }

    /// One line for each lesion, the largest first.
    pub(super) fn write_table(&self, lesions: &[Lesion]) -> io::Result<()> {
        let mut text = String::from(
            "number,right_mm,front_mm,top_mm,voxels,volume_mm3,slices,longest_mm,across_mm,mean_probability,\
             max_probability,measurable\n",
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
