//! Brain masks: from images whose background is zero, by a network, or by a program such as HD-BET.
//!
//! [`Program`] runs a command on one image and checks what it gives. A [`Network`] is handed in.
//! [`Job`] makes the masks for a folder of cases, and writes them next to the images.

mod cache;
mod error;
mod folder;
mod network;
mod program;
mod report;
mod result;

#[cfg(test)]
mod tests;

pub use cache::MaskCache;
pub use error::BrainError;
pub use folder::{Job, NAME, Way};
pub use network::Network;
pub use program::Program;
pub use report::{CaseReport, Report, State};
pub use result::Mask;
