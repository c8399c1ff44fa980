//! What a finished federation is worth: `report.json` for programs, `report.html` for radiologists, and the pictures
//! as files of their own.

mod comparison;
pub mod contract;
pub(crate) mod experiment;
mod figures;
mod heat;
mod html;
mod look;
mod matrix;
mod missing;
mod overlays;
mod plot;
mod points;
mod roc;
mod summary;
mod tables;
#[cfg(test)]
mod tests;
pub(crate) mod words;

use crate::failure::{Class, Failure};
use crate::outcome::Outcome;
use crate::store::StoreError;
pub use plot::DrawError;
use std::path::{Path, PathBuf};
pub use summary::summarise;

/// Where a run folder keeps its outcome.
pub(crate) const OUTCOME: &str = "outcome.json";

/// Arguments of `report`.
#[derive(clap::Args)]
pub struct Args {
    /// The run folder, with its outcome.json; or an experiment's folder.
    run_folder: PathBuf,
    /// Write the report here instead of into the run folder.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace a report that is in the folder of `--out` already.
    #[arg(long, requires = "out")]
    force: bool,
    /// Print report.json instead of a table.
    #[arg(long)]
    json: bool,
}

/// Runs it.
///
/// # Errors
/// The run folder holds no outcome, or the report cannot be written.
pub fn run(args: &Args) -> Result<(), Failure> {
    let out = args.out.as_deref().unwrap_or(&args.run_folder);
    if let Some(report) = anothers_report(args) {
        let failure = Failure::new(Class::Configuration, format!("{} exists already", report.display()));
        return Err(failure.hint("name another folder with --out, or say --force to replace the report"));
    }
    if args.run_folder.join(crate::experiment::FILE).exists() {
        return crate::experiment::report(&args.run_folder, out, args.json);
    }
    let outcome = read(&args.run_folder)?;
    write(&outcome, out)?;
    Ok(show(&outcome, out, args.json)?)
}

/// A report in the folder of `--out` that could be another run's; a run's own folder has its own.
fn anothers_report(args: &Args) -> Option<PathBuf> {
    let out = args.out.as_ref().filter(|_| !args.force)?;
    if out.canonicalize().ok() == args.run_folder.canonicalize().ok() {
        return None;
    }
    let files = ["report.html", "report.json", "experiment.html", "experiment.json"].map(|name| out.join(name));
    files.into_iter().find(|file| file.symlink_metadata().is_ok())
}

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

impl From<ReportError> for Failure {
    fn from(error: ReportError) -> Self {
        let missing = "a run folder gets its outcome.json when the federation ends";
        match &error {
            ReportError::Disk { action: "read", .. } => Self::new(Class::Disk, &error).hint(missing),
            ReportError::Disk { .. } => Self::new(Class::Disk, &error),
            ReportError::Outcome { .. } => Self::new(Class::Data, &error),
            ReportError::Draw(_) | ReportError::Encode(_) => Self::new(Class::Internal, &error),
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

/// Writes `report.json`, `report.html` and `figures/*.svg` into the folder `out`, which is made if need be.
///
/// # Errors
/// [`ReportError::Disk`]; [`ReportError::Draw`] would be a fault of ours.
pub fn write(outcome: &Outcome, out: &Path) -> Result<(), ReportError> {
    let report = summarise(outcome);
    let figures = figures::draw(&report, outcome)?;
    let folder = out.join("figures");
    std::fs::create_dir_all(&folder).map_err(disk("create", &folder))?;
    for figure in &figures {
        put(&folder.join(format!("{}.svg", figure.name)), &figure.svg)?;
    }
    put(&out.join("report.json"), &json(&report)?)?;
    put(&out.join("report.html"), &html::page(&report, &figures, outcome))
}

fn json(report: &contract::Report) -> Result<String, ReportError> {
    Ok(serde_json::to_string_pretty(report).map_err(ReportError::Encode)? + "\n")
}

/// Writes a file whole or not at all.
fn put(path: &Path, text: &str) -> Result<(), ReportError> {
    crate::store::write_whole(path, text.as_bytes()).map_err(|error| {
        let source = match error {
            StoreError::Io { error, .. } => error,
            other => std::io::Error::other(other),
        };
        ReportError::Disk { action: "write", path: path.to_owned(), source }
    })
}

fn disk<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> ReportError + 'a {
    move |source| ReportError::Disk { action, path: path.to_owned(), source }
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
        println!("{}\nreport: {}", words::table(&report), out.join("report.html").display());
    }
    Ok(())
}
