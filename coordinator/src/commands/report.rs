//! The `report` subcommand: writes the report of a run, or of an experiment, again.

use crate::experiment;
use crate::report::{read, show, write};
use crate::status::no_run_folder;
use crate::store::OUTCOME;
use program::{Class, Failure};
use std::path::PathBuf;

/// Arguments of `report`.
#[derive(clap::Args)]
pub struct Args {
    /// The run folder, with its outcome.json; or an experiment's folder.
    run_folder: PathBuf,
    /// Write the report here instead of into the run folder.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
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
    let settings = args.run_folder.join(experiment::FILE);
    if settings.exists() {
        let experiment = super::experiment::read(&settings)?;
        return experiment::show(&experiment, &args.run_folder, out, args.json);
    }
    let folder = &args.run_folder;
    if !folder.join(OUTCOME).exists() {
        if !folder.join("settings.json").exists() {
            return Err(no_run_folder(folder));
        }
        let what = format!("the run in {} is not finished: there is no {OUTCOME} yet", folder.display());
        return Err(Failure::new(Class::Configuration, what).hint("`coordinator status` says how far it is"));
    }
    let outcome = read(folder)?;
    write(&outcome, out)?;
    Ok(show(&outcome, out, args.json)?)
}
