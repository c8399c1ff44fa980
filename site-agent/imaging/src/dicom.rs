//! From a mask to the original DICOM series: segmentation objects and structure sets.
//!
//! A mask is placed on the series' own pixels ([`PlacedMask::on`]), then written as a segmentation
//! ([`segmentation`]) or as contours ([`structure_set`]). What is written repeats the patient and
//! the study of the series, as every object of a study does: it is as confidential as the images.

mod placed;
pub mod segmentation;
mod series;
pub mod structure_set;
#[cfg(test)]
mod tests;
mod write;

pub use placed::{PlaceError, PlacedMask, SliceMasks};
pub use series::{Series, SeriesError, Slice};
pub use write::{Making, ObjectError, utc_now};
