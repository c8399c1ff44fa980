//! What a finished federation is worth: `report.json` for programs, `report.html` for radiologists,
//! and the pictures as files of their own.

mod ablation;
mod case_metrics;
mod comparison;
mod csv;
pub(crate) mod experiment;
mod figures;
mod heatmap;
mod html;
mod markup;
mod matrix;
mod overlays;
mod plot;
mod points;
mod roc;
pub mod schema;
mod summary;
mod tables;
pub(super) mod terminal;
#[cfg(test)]
pub(crate) mod tests;
mod wording;

use crate::store::{OUTCOME, StoreError};
pub use plot::DrawError;
use program::private;
use program::{Class, Explain};
use protocol::outcome::Outcome;
use std::borrow::Cow;
use std::path::{Path, PathBuf};
pub use summary::summarise;

/// Why a report could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file or folder.
    #[error("cannot {action} {}: {source}", .path.display())]
    Disk {
        /// `read`, `write` ...
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The run folder's outcome is not one.
    #[error("{} is not an outcome: {source}", .path.display())]
    Outcome {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A picture could not be drawn.
    #[error("cannot draw a figure: {0}")]
    Draw(#[from] DrawError),
    /// The report could not be written as JSON.
    #[error("cannot encode the report: {0}")]
    Encode(serde_json::Error),
}

impl Explain for ReportError {
    fn class(&self) -> Class {
        match self {
            Self::Disk { .. } => Class::Disk,
            Self::Outcome { .. } => Class::Data,
            Self::Draw(_) | Self::Encode(_) => Class::Internal,
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Disk { action: "read", .. } => {
                Some("a run folder gets its outcome.json when the federation ends".into())
            }
            _ => None,
        }
    }
}

/// Reads a run folder's outcome.
///
/// # Errors
/// [`ReportError::Disk`] or [`ReportError::Outcome`].
pub fn read(run_folder: &Path) -> Result<Outcome, ReportError> {
    let path = run_folder.join(OUTCOME);
    let text = std::fs::read(&path).map_err(disk("read", &path))?;
    serde_json::from_slice(&text).map_err(|source| ReportError::Outcome { path, source })
}

/// Writes `report.json`, `report.html`, `curves.csv` and `figures/*.svg` into the folder `out`,
/// which is made if need be; and `cases.csv`, which has a row for each patient, where that is the
/// run folder.
///
/// # Errors
/// [`ReportError::Disk`]; [`ReportError::Draw`] would be a fault of ours.
pub fn write(outcome: &Outcome, out: &Path) -> Result<(), ReportError> {
    let report = summarise(outcome);
    let figures = figures::draw(&report, outcome)?;
    // In the run folder it is as private as what it is made of; a folder of its own is there to be
    // shown.
    let own = out.join(OUTCOME).exists();
    let folder = out.join("figures");
    let made = if own {
        private::create_folder(&folder)
    } else {
        std::fs::create_dir_all(&folder)
    };
    made.map_err(disk("create", &folder))?;
    for figure in &figures {
        put(
            &folder.join(format!("{}.svg", figure.name)),
            &figure.svg,
            own,
        )?;
    }
    put(&out.join("report.json"), &json(&report)?, own)?;
    put(&out.join("curves.csv"), &csv::curves(outcome), own)?;
    if own {
        put(&out.join("cases.csv"), &csv::cases(outcome), own)?;
    }
    put(
        &out.join("report.html"),
        &html::page(&report, &figures, outcome),
        own,
    )
}

fn json(report: &schema::Report) -> Result<String, ReportError> {
    Ok(serde_json::to_string_pretty(report).map_err(ReportError::Encode)? + "\n")
}

/// Writes a file: in a run folder for its owner alone, and whole or not at all.
fn put(path: &Path, text: &str, own: bool) -> Result<(), ReportError> {
    if !own {
        return std::fs::write(path, text).map_err(disk("write", path));
    }
    crate::store::write_whole(path, text.as_bytes()).map_err(|error| {
        let source = match error {
            StoreError::Io { error, .. } => error,
            other => std::io::Error::other(other),
        };
        ReportError::Disk {
            action: "write",
            path: path.to_owned(),
            source,
        }
    })
}

fn disk<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(std::io::Error) -> ReportError + 'a {
    move |source| ReportError::Disk {
        action,
        path: path.to_owned(),
        source,
    }
}

/// Prints what matters and where the rest is, or all of `report.json`.
///
/// # Errors
/// [`ReportError::Encode`] would be a fault of ours.
pub fn show(outcome: &Outcome, out: &Path, as_json: bool) -> Result<(), ReportError> {
    let report = summarise(outcome);
    if as_json {
        print!("{}", json(&report)?);
    } else {
        println!(
            "{}\nreport: {}",
            terminal::table(&report),
            out.join("report.html").display()
        );
    }
    Ok(())
}
