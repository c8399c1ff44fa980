//! Synthetic multi-centre cohorts: heads with metastases and what can be taken for them, as NIfTI files.
//!
//! What is modelled, and what is not: `docs/PHANTOMS.md`.

mod draw;
mod examine;
mod field;
mod findings;
mod head;
mod scanner;
mod settings;
mod shape;
mod tissue;
mod vessels;

use crate::failure::Failure;
pub use examine::{Phantom, examine};
pub use settings::{Cohort, Disease, ScannerChoice, SettingsError};
pub use tissue::SEQUENCES;

/// Arguments of `phantom`.
#[derive(clap::Args)]
pub struct Args {}

/// Runs it.
pub fn run(_args: &Args) -> Result<(), Failure> {
    Ok(())
}
