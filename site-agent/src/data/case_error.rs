//! Why a case cannot be used, and what to do about it.

use super::file_trouble::{FileTrouble, why_no_content};
use crate::case::CaseFileError;
use imaging::brain::BrainError;
use imaging::label::NoLabel;
use imaging::nifti::{NiftiError, Source};
use program::{Class, Explain};
use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// Why a case cannot be used. The texts name sequences and grids: they are for the site's staff
/// and must not leave the site.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    #[error("no {0} file")]
    Missing(&'static str),
    #[error("{what}: {error}")]
    File {
        /// Which sequence, `label` or `brain mask`.
        what: String,
        error: NiftiError,
    },
    #[error(
        "{first} and {second} have different grids: {first} has {first_grid}; {second} has \
         {second_grid}"
    )]
    Grids {
        /// The sequence that gives the case its grid.
        first: String,
        first_grid: Box<Source>,
        second: String,
        second_grid: Box<Source>,
    },
    /// NaN or infinity.
    #[error("{0} holds values that are not finite")]
    NotFinite(String),
    /// No voxel of any sequence (or of the mask) is brain.
    #[error("there is no brain: no voxel differs from the background (the volume's corners)")]
    NoBrain,
    #[error(
        "{percent:.1} % of the volume would be brain{}",
        if *.mask { ", by the brain mask" } else { ": almost no voxel has the value of the \
                                                    background" }
    )]
    AllBrain {
        percent: f64,
        /// Whether there is a brain mask.
        mask: bool,
    },
    /// Two sequences with the same voxels.
    #[error("{first} and {second} are the same image")]
    SameImage { first: String, second: String },
    #[error("its images are those of {other}, voxel by voxel")]
    SameCase {
        /// The case that is used instead.
        other: String,
    },
    /// A label with other values than the other labels of the site.
    #[error(
        "the label has none of data.lesion_labels {listed:?}, but {held}, which no other label \
         of the site has"
    )]
    ForeignLabel {
        /// Its values, each with the number of voxels.
        held: String,
        listed: Vec<u16>,
    },
    /// A file that exists and has no content to read.
    #[error("{what}: {trouble}")]
    Content {
        /// Which sequence, `label`, `brain mask` or `the case's folder`.
        what: String,
        trouble: FileTrouble,
    },
    /// A folder that could be a case, or a label without images.
    #[error("no file of its sequences exists, such as {}{}", .wanted.display(), found_instead(.found))]
    NoSequences {
        /// The path of the first expected file, below the root.
        wanted: PathBuf,
        /// Some names in its folder.
        found: Vec<String>,
    },
    /// Without variation, z-scores are not defined.
    #[error("{0} has the same value in the whole brain")]
    Constant(String),
    /// A label that is not an integer.
    #[error("the label is no mask: {0}")]
    Label(#[from] NoLabel),
    /// More than fits into memory.
    #[error(
        "the brain needs {depth} slices of {height} x {width} model pixels, more than a case may \
         have"
    )]
    TooLarge {
        depth: usize,
        height: usize,
        width: usize,
    },
    #[error("the brain mask could not be made: {0}")]
    BrainCommand(#[from] BrainError),
    /// `data.require_defaced` is set.
    #[error("{0} is not an image that site-agent deface wrote")]
    NotDefaced(String),
    #[error("a file of the case changed while it was read")]
    Changed,
    #[error("{0}")]
    Cache(#[from] CaseFileError),
}

impl CaseError {
    /// The error of a file that cannot be read: the reader's, or that its content is missing.
    pub(super) fn of_file(what: &str, path: &Path, error: NiftiError) -> Self {
        match why_no_content(path) {
            Some(trouble) => Self::Content {
                what: what.into(),
                trouble,
            },
            None => Self::File {
                what: what.into(),
                error,
            },
        }
    }

    /// What the site's staff can do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Content { trouble, .. } => match trouble {
                FileTrouble::Dangling(_) | FileTrouble::Pointer(_) => {
                    "fetch the content (datalad get, git annex get or git lfs pull), or repair \
                     the link"
                }
                FileTrouble::Folder | FileTrouble::Special => {
                    "put the image file there, or correct the pattern"
                }
                FileTrouble::Empty => "copy or export the file again",
                FileTrouble::Unreadable(_) => {
                    "give the user that runs the program the right to read it"
                }
                FileTrouble::Name => "rename it with UTF-8 characters",
            },
            Self::Missing(_) => "add the file, or leave the case out with data.cases",
            Self::NoSequences { .. } => {
                "correct the pattern or the names of the files; data.cases can leave out folders \
                 that are no cases"
            }
            Self::File { .. } | Self::NotFinite(_) | Self::Constant(_) => {
                "copy or export the file again"
            }
            Self::Grids { .. } => "register the volumes to one grid",
            Self::NoBrain => "check the brain mask, or the images if there is none",
            Self::AllBrain { mask: true, .. } => "check the brain mask",
            Self::AllBrain { mask: false, .. } => {
                "set data.brain to brain masks, or use skull-stripped images"
            }
            Self::SameImage { .. } => {
                "one of the two files has the wrong name, or was copied over the other"
            }
            Self::SameCase { .. } => "delete one of the two, or leave it out with data.cases",
            Self::ForeignLabel { .. } => {
                "use the same values in all labels, or list all of them in data.lesion_labels"
            }
            Self::Label(_) => {
                "resample labels with nearest-neighbour interpolation, or apply a threshold to them"
            }
            Self::TooLarge { .. } => {
                "crop the images to the head, or resample them to a coarser spacing"
            }
            Self::BrainCommand(_) => {
                "run data.brain_command by hand on one image, or put masks where data.brain says"
            }
            Self::NotDefaced(_) => "run site-agent deface, and use the images that it writes",
            Self::Changed => "start again when no other program changes the file",
            Self::Cache(_) => "check the disk of the work folder",
        }
    }
}

impl Explain for CaseError {
    fn class(&self) -> Class {
        match self {
            Self::Cache(error) => error.class(),
            _ => Class::Data,
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Cache(error) => error.hint(),
            _ => None,
        }
    }
}

fn found_instead(names: &[String]) -> String {
    if names.is_empty() {
        String::new()
    } else {
        format!("; its folder contains {}", names.join(", "))
    }
}
