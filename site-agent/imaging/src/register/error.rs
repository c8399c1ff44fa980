//! Why nothing was registered.

use crate::folder::FolderError;
use crate::nifti::NiftiError;
use program::{Class, Explain};
use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

/// Why two images, or a folder, could not be registered. Trouble with one case does not stop a
/// folder: that is in the report.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    #[error("{0:?} voxels (depth, height, width) are too few to register")]
    Small([usize; 3]),
    #[error("an image has almost nothing but one value")]
    Constant,
    #[error("no move was found under which the images lie over each other")]
    Apart,
    #[error("{}: {source}", .path.display())]
    Image { path: PathBuf, source: NiftiError },
    #[error("{}: {source}", .path.display())]
    Unregistered {
        path: PathBuf,
        source: Box<RegisterError>,
    },
    #[error("the reference is to be {0:?}, and the patient has no such image")]
    NoReference(String),
    #[error("{} is there already, and was not made from these images", .0.display())]
    Exists(PathBuf),
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("{:?} is no mask and its sequence: write NAME=SEQUENCE", .0)]
    Mask(String),
    #[error("{} cannot be started: {source}", .program.display())]
    NoElastix { program: PathBuf, source: io::Error },
    #[error("{} does not answer as elastix does", .0.display())]
    OtherProgram(PathBuf),
    #[error("the picture of a doubtful image: {0}")]
    Picture(image::ImageError),
    #[error("elastix ended with {status}: {words}")]
    Elastix { status: String, words: String },
    /// The report says which.
    #[error("not all images could be used: {0}")]
    NotAll(String),
}

impl RegisterError {
    /// Names the image that could not be registered.
    pub(super) fn of(self, path: &Path) -> Self {
        Self::Unregistered {
            path: path.into(),
            source: Box::new(self),
        }
    }

    pub(super) fn disk(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let refused = FolderError::disk(path);
        move |source| Self::Folder(refused(source))
    }
}

impl Explain for RegisterError {
    fn class(&self) -> Class {
        match self {
            Self::Unregistered { source, .. } => source.class(),
            Self::Small(_)
            | Self::Constant
            | Self::Apart
            | Self::Elastix { .. }
            | Self::Image { .. } => Class::Data,
            Self::NotAll(_) => Class::Data,
            Self::Picture(_) => Class::Internal,
            Self::Exists(_)
            | Self::Mask(_)
            | Self::NoReference(_)
            | Self::NoElastix { .. }
            | Self::OtherProgram(_) => Class::Configuration,
            Self::Folder(error) => error.class(),
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = match self {
            Self::Exists(_) => "use --force to replace it",
            Self::NoElastix { .. } | Self::OtherProgram(_) => {
                "install elastix (Debian and Ubuntu: apt install elastix), name the program with \
                 --elastix=PROGRAM, or leave the option out"
            }
            Self::NoReference(_) => "name one of the patient's sequences with --reference",
            Self::Unregistered { source, .. } => return source.hint(),
            Self::Mask(_) => "NAME is a file CASE/NAME.nii.gz that was drawn on SEQUENCE",
            Self::NotAll(_) => {
                "register.json says why; look at the doubtful images and their pictures, which are \
                 in .register/doubtful"
            }
            Self::Small(_)
            | Self::Constant
            | Self::Apart
            | Self::Elastix { .. }
            | Self::Picture(_)
            | Self::Image { .. } => return None,
            Self::Folder(error) => return error.hint(),
        };
        Some(hint.into())
    }
}
