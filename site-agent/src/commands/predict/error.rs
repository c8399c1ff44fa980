//! Why nothing was predicted.

use crate::calibration::CalibrationError;
use crate::data::{CaseError, DataError, SiteFileError};
use crate::device::{DeviceError, DeviceFault};
use crate::model::ModelError;
use crate::output::OutputError;
use crate::predictor::PredictorError;
use imaging::dicom::{ObjectError, PlaceError, SeriesError};
use imaging::nifti::NiftiError;
use imaging::register::RegisterError;
use program::{Class, Explain};
use protocol::model_file::ModelFileError;
use protocol::operating::OperatingError;
use std::borrow::Cow;
use std::io;
use std::path::PathBuf;

/// Why nothing was predicted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PredictError {
    #[error("the model {}: {error}", .path.display())]
    ModelUnreadable { path: PathBuf, error: io::Error },
    #[error("the model {}: {error}", .path.display())]
    ModelFile {
        path: PathBuf,
        error: ModelFileError,
    },
    #[error("the model knows no sequence called {name:?}; it knows {}", .known.join(", "))]
    UnknownSequence { name: String, known: Vec<String> },
    #[error("the sequence {name} is given twice")]
    Twice { name: String },
    #[error("no sequence is given; the model takes any of {}", .known.join(", "))]
    NoSequence { known: Vec<String> },
    #[error("the model does not say from which probability a voxel is lesion")]
    NoThreshold,
    #[error(transparent)]
    OperatingPoint(#[from] OperatingError),
    #[error(transparent)]
    Calibration(#[from] CalibrationError),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error("a threshold of {0} is no probability")]
    Threshold(f32),
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Fault(#[from] DeviceFault),
    #[error("{0}")]
    NotFinite(PredictorError),
    #[error(transparent)]
    Case(#[from] CaseError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error("{}: {error}", .path.display())]
    Write { path: PathBuf, error: NiftiError },
    #[error(transparent)]
    Series(#[from] SeriesError),
    #[error("the result cannot be given back on the DICOM series: {0}")]
    Place(#[from] PlaceError),
    #[error("{}: {error}", .path.display())]
    Object { path: PathBuf, error: ObjectError },
    #[error("the folder {}: {error}", .path.display())]
    Folder { path: PathBuf, error: io::Error },
    #[error(transparent)]
    Register(#[from] RegisterError),
    #[error("the registered images cannot be brought back onto {0}")]
    NoWayBack(String),
    #[error("with --register, the series of --dicom must be one of the sequences")]
    WhichSequence,
    #[error("the picture of the lesions: {0}")]
    Picture(image::ImageError),
    #[error(transparent)]
    SiteFile(#[from] SiteFileError),
    #[error(transparent)]
    Data(#[from] DataError),
    /// One of many patients; the second is what to do.
    #[error("{0}")]
    Unusable(String, Cow<'static, str>),
    #[error("no folder in {} has an image of one of the model's sequences: {}.nii.gz",
        .folder.display(), .known.join(".nii.gz, "))]
    NoCases { folder: PathBuf, known: Vec<String> },
    #[error("{}: {error}", .path.display())]
    Read { path: PathBuf, error: NiftiError },
    #[error("--{option} {found}: expected {expected}")]
    Pattern {
        /// `sequence NAME` or `brain`.
        option: String,
        found: String,
        expected: &'static str,
    },
    /// The table says which.
    #[error("{left_out} of {all} patients have no result")]
    LeftOut { left_out: usize, all: usize },
    #[error("the work ended without a result: {0}")]
    Lost(String),
}

impl Explain for PredictError {
    fn class(&self) -> Class {
        match self {
            Self::Case(error) => error.class(),
            Self::Device(error) => error.class(),
            Self::Fault(fault) => fault.class(),
            Self::Model(error) => error.class(),
            Self::Calibration(error) => error.class(),
            Self::Output(error) => error.class(),
            Self::Register(error) => error.class(),
            Self::SiteFile(error) => error.class(),
            Self::Data(error) => error.class(),
            Self::ModelUnreadable { .. }
            | Self::ModelFile { .. }
            | Self::Read { .. }
            | Self::Unusable(..)
            | Self::NoCases { .. }
            | Self::LeftOut { .. } => Class::Data,
            Self::UnknownSequence { .. }
            | Self::Twice { .. }
            | Self::NoSequence { .. }
            | Self::NoThreshold
            | Self::OperatingPoint(_)
            | Self::WhichSequence
            | Self::Pattern { .. }
            | Self::Threshold(_) => Class::Configuration,
            Self::NotFinite(_) | Self::NoWayBack(_) | Self::Series(_) | Self::Place(_) => {
                Class::Data
            }
            Self::Write { .. } | Self::Folder { .. } | Self::Object { .. } => Class::Disk,
            Self::Lost(_) | Self::Picture(_) => Class::Internal,
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = match self {
            Self::Case(error) => return Some(hint_for(error)),
            Self::Device(error) => return error.hint(),
            Self::Fault(fault) => return fault.hint(),
            Self::Model(error) => return error.hint(),
            Self::Calibration(error) => return error.hint(),
            Self::Output(error) => return error.hint(),
            Self::Register(error) => return error.hint(),
            Self::SiteFile(error) => return error.hint(),
            Self::Data(error) => return error.hint(),
            Self::Unusable(_, hint) => return Some(hint.clone()),
            Self::NoCases { .. } => {
                "say where the images are below the folder with --sequence NAME={case}/FILE"
            }
            Self::WhichSequence => {
                "name it with --dicom-sequence: patients move between sequences, and the result \
                 must go back to where that one was"
            }
            Self::Pattern { .. } => {
                "write it as the patterns of docs/users/DATA.md, below the folder of --cases: \
                 {case}/flair.nii.gz"
            }
            Self::LeftOut { .. } => {
                "predictions.csv says why; run the same command again when it is put right: what \
                 is finished is kept"
            }
            Self::ModelUnreadable { .. } => "give the path of a model file with --model",
            Self::ModelFile { .. } => {
                "copy the file again; the coordinator keeps its models in models/ of the run folder"
            }
            Self::UnknownSequence { .. } | Self::Twice { .. } | Self::NoSequence { .. } => {
                "give each sequence the patient has as --sequence NAME=FILE"
            }
            Self::OperatingPoint(_) => {
                "name another one with --operating-point, give a probability with --threshold, or \
                 find this site's own with `site-agent calibrate`"
            }
            Self::NoThreshold | Self::Threshold(_) => "give one with --threshold, such as 0.5",
            Self::NotFinite(_) => {
                "another model, or another image of the patient, shows which is broken"
            }
            Self::Series(_) | Self::Place(_) => {
                "--dicom is the folder of the series that the images were converted from; --series \
                 names one of several"
            }
            Self::Write { .. } | Self::Folder { .. } | Self::Object { .. } => {
                "choose another folder with --out"
            }
            Self::Lost(_) | Self::Picture(_) | Self::NoWayBack(_) | Self::Read { .. } => {
                return None;
            }
        };
        Some(hint.into())
    }
}

/// What to do about a patient's files.
pub(super) fn hint_for(error: &CaseError) -> Cow<'static, str> {
    error.hint().unwrap_or_else(|| error.remedy().into())
}
