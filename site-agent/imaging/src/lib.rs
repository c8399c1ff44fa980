//! Medical images, without any network: NIfTI volumes, what a mask's values mean, lesions as a
//! table, DICOM objects of a result, and the import of DICOM exports.
//!
//! Start reading at [`nifti::read`]: everything else works on the volumes that it gives.

pub mod dicom;
pub mod import;
pub mod label;
pub mod lesions;
pub mod nifti;
mod vector;
