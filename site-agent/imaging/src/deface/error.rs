//! Why an image was not de-faced.

use super::face::FaceError;
use crate::folder::FolderError;
use crate::mask::NoMask;
use crate::nifti::NiftiError;
use program::{Class, Explain};
use std::borrow::Cow;
use std::path::PathBuf;

/// Why an image, or a folder, could not be de-faced. Trouble with one case does not stop a folder:
/// that is in the report.
#[derive(Debug, thiserror::Error)]
pub enum DefaceError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("the brain mask {0} is missing; site-agent brain makes one")]
    NoBrain(String),
    #[error("the mask {file} cannot be used: {source}")]
    Mask { file: String, source: NoMask },
    #[error("the brain mask {file} does not say where the face is: {source}")]
    Face { file: String, source: FaceError },
    #[error(
        "{file} is not on the grid of the brain mask; site-agent register brings images onto one"
    )]
    Grid { file: String },
    #[error("{}: {source}", .path.display())]
    Image { path: PathBuf, source: NiftiError },
    #[error("{} is there already, and was not made from these images", .0.display())]
    Exists(PathBuf),
    #[error("the picture could not be made: {0}")]
    Picture(image::ImageError),
    #[error("{0:?} cannot be the name of a mask")]
    Name(String),
    #[error("a margin of {0} mm: expected 0 to 100")]
    Margin(f64),
    /// The report says which.
    #[error("{0} images could not be de-faced")]
    NotAll(usize),
}

impl Explain for DefaceError {
    fn class(&self) -> Class {
        match self {
            Self::Folder(error) => error.class(),
            Self::NoBrain(_) | Self::Mask { .. } | Self::Face { .. } | Self::Grid { .. } => {
                Class::Data
            }
            Self::Image { .. } | Self::NotAll(_) => Class::Data,
            Self::Exists(_) | Self::Name(_) | Self::Margin(_) => Class::Configuration,
            Self::Picture(_) => Class::Internal,
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = match self {
            Self::Folder(error) => return error.hint(),
            Self::Name(_) => "NAME is a file CASE/NAME.nii.gz that is none of the sequences",
            Self::NotAll(_) => "deface.json says why",
            _ => return None,
        };
        Some(hint.into())
    }
}
