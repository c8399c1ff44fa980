//! Why there is no brain mask.

use crate::folder::FolderError;
use crate::mask::NoMask;
use crate::nifti::NiftiError;
use ::program::{Class, Explain};
use std::borrow::Cow;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

/// Why an image has no brain mask. The texts are for the site's staff.
#[derive(Debug, thiserror::Error)]
pub enum BrainError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("{}: {source}", .path.display())]
    Image { path: PathBuf, source: NiftiError },
    #[error("{} is there already, and was not made from these images", .0.display())]
    Exists(PathBuf),
    #[error("the command {0:?} does not name both {{in}} and {{out}}")]
    Places(String),
    #[error("a time limit of {0} minutes: expected more than 0 and at most 1440")]
    Minutes(f64),
    #[error("the program {program:?} could not be started: {source}")]
    Start { program: String, source: io::Error },
    #[error("the command was ended after {minutes} minutes; {said}")]
    Late { minutes: f64, said: String },
    #[error("the command failed ({status}); {said}")]
    Failed { status: ExitStatus, said: String },
    #[error("the command succeeded, but wrote no file {{out}}; {0}")]
    Nothing(String),
    #[error("what the command wrote is no image: {0}")]
    Result(NiftiError),
    #[error("what the command wrote is not on the grid of the image")]
    OtherGrid,
    #[error("{file} is not on the grid of {reference}; site-agent register brings images onto one")]
    Grid { file: String, reference: String },
    #[error(
        "what the command wrote is no mask ({0}), and not the image with zeros outside of the brain"
    )]
    NoMask(NoMask),
    #[error("the network cannot find the brain: {0}")]
    Network(Box<dyn std::error::Error + Send + Sync>),
    #[error("the mask is no brain: it has {ml:.1} ml, {percent:.1} % of the volume")]
    NoBrain { ml: f64, percent: f64 },
    /// The report says which.
    #[error("{0} cases could not be given a brain mask")]
    NotAll(usize),
}

impl Explain for BrainError {
    fn class(&self) -> Class {
        match self {
            Self::Folder(error) => error.class(),
            Self::Exists(_) | Self::Places(_) | Self::Minutes(_) | Self::Start { .. } => {
                Class::Configuration
            }
            _ => Class::Data,
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = match self {
            Self::Folder(error) => return error.hint(),
            Self::Exists(_) => "use --force to replace it",
            Self::Places(_) => "write it as in: hd-bet -i {in} -o {out}",
            Self::Start { .. } => "install it, or write its full path",
            Self::NotAll(_) => "brain.json says why",
            _ => return None,
        };
        Some(hint.into())
    }
}
