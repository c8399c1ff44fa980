//! Synthetic multi-centre cohorts, heads with metastases and what can be taken for them,
//! as NIfTI files.
//!
//! What is modelled, and what is not: `docs/science/PHANTOMS.md`.

mod draw;
mod examine;
mod field;
mod findings;
mod folder;
mod head;
mod scanner;
mod settings;
mod shape;
mod tissue;
mod vessels;

pub use examine::{Phantom, examine};
pub use folder::{PhantomError, Written, check_empty, write};
pub use settings::{Cohort, Common, Disease, ScannerChoice, SettingsError, Site};
pub use tissue::SEQUENCES;
