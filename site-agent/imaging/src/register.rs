//! Co-registration: the sequences of a case onto the grid of one of them.
//!
//! [`register()`] finds the rigid move between two images of one head by their mutual information,
//! from coarse to fine, and judges the result. [`resample`] writes the moving image onto the fixed
//! grid. [`Job`] does both for a folder of cases, [`Patient`] for the files of one patient. The same input gives the same bytes, on any number
//! of threads; nothing is asked or printed here.

mod elastix;
mod error;
mod field;
mod folder;
mod information;
mod judge;
mod patient;
mod picture;
mod report;
mod resample;
mod rigid;
mod search;

#[cfg(test)]
mod tests;

pub use elastix::Elastix;
pub use error::RegisterError;
pub use folder::{Job, Mask};
pub use judge::{Judgement, Verdict};
pub use patient::{Image, Moved, Patient};
pub use picture::checkerboard;
pub use report::{CaseReport, ImageReport, Report, State};
pub use resample::{resample, resample_mask};
pub use rigid::Rigid;
pub use search::{Registration, register};
