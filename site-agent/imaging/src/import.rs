//! From a DICOM export to a folder that a site can train on.
//!
//! [`scan()`] reads the headers of all files and sorts them into patients, studies and series.
//! [`Plan::make`] tells by [`Rules`] which series is which sequence, and what is in doubt.
//! [`convert()`] has dcm2niix convert the chosen series, one at a time, takes all text out of the
//! results, and writes them as `CASE/SEQUENCE.nii.gz`. [`Folder`] is where they go, with what must
//! be remembered between runs. Randomness is an argument, and nothing is asked or printed here.

mod answers;
mod convert;
mod error;
mod facts;
mod folder;
mod judge;
mod key;
mod lengths;
mod names;
mod plan;
mod redact;
mod report;
mod rules;
mod scan;
mod words;

#[cfg(test)]
mod tests;

pub use answers::Answers;
pub use convert::{Converter, convert};
pub use error::ImportError;
pub use folder::Folder;
pub use judge::Certainty;
pub use key::write_key;
pub use plan::{Doubt, Plan, PlannedCase, PlannedSeries};
pub use report::{CaseReport, Report, State, data_table};
pub use rules::{Rules, RulesError};
pub use scan::{Fault, Files, Patient, Scan, Series, Study, scan};
