//! The `experiment` subcommand: runs an experiment, or continues it.

use super::simulate::fresh;
use crate::experiment::{self, Experiment, ExperimentError};
use program::{Class, Failure};
use std::path::{Path, PathBuf};

/// Arguments of `experiment`.
#[derive(clap::Args)]
pub struct Args {
    /// The experiment's settings, with [simulate] and [experiment] tables, such as
    /// configs/paper-small.toml.
    config: PathBuf,
    /// The folder of the experiment [default: runs/NAME-DATE]. An experiment in it is continued,
    /// also with more arms or seeds.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print experiment.json at the end instead of a table.
    #[arg(long)]
    json: bool,
}

/// Runs it.
///
/// # Errors
/// A configuration that cannot work, a run that fails, an interruption, a disk that refuses.
pub fn run(args: &Args) -> Result<(), Failure> {
    let experiment = read(&args.config)?;
    let out = match &args.out {
        Some(out) => out.clone(),
        None => fresh(Path::new("runs"), &experiment.name),
    };
    experiment::run(&experiment, &out, args.json)
}

/// An experiment's settings.
///
/// # Errors
/// They cannot be read, or cannot work.
pub(super) fn read(path: &Path) -> Result<Experiment, Failure> {
    let text = super::simulate::read(path)?;
    Experiment::from_toml(&text).map_err(|error| refused(path, &error))
}

fn refused(path: &Path, error: &ExperimentError) -> Failure {
    Failure::new(Class::Configuration, format!("{}: {error}", path.display()))
}
