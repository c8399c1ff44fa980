//! De-facing: images of a head without the face, and with the brain as it was.
//!
//! [`Face`] is where the face is, by the brain mask. [`Job`] removes it from all images of a folder
//! of cases. [`is_defaced`] tells whether an image is one that this made. The same input gives the
//! same bytes, on any number of threads; nothing is asked or printed here.

mod error;
mod face;
mod folder;
mod picture;
mod record;
mod report;

#[cfg(test)]
mod tests;

pub use error::DefaceError;
pub use face::{Face, FaceError, MARGIN_MM};
pub use folder::Job;
pub use record::is_defaced;
pub use report::{CaseReport, ImageReport, Report, State};
