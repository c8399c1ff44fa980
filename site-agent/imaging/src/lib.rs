//! Medical images, without any network: NIfTI volumes, what a mask's values mean, lesions as a
//! table, DICOM objects of a result, the import of DICOM exports, and the co-registration of a
//! case's sequences.
//!
//! Start reading at [`nifti::read`]: everything else works on the volumes that it gives.

pub mod brain;
mod canvas;
pub mod deface;
pub mod dicom;
pub mod folder;
pub mod import;
pub mod label;
pub mod lesions;
pub mod mask;
pub mod nifti;
mod parallel;
pub mod register;
mod vector;
