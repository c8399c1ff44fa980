//! The `status` subcommand: the status of a federation, whether a coordinator runs it or not.

use super::serve;
use crate::status::{look, text};
use program::{Class, Failure};
use std::path::PathBuf;

/// Which federation.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
pub struct Where {
    /// The federation's settings, with serve.run_folder.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The run folder, such as a simulation's.
    #[arg(long, value_name = "DIR")]
    run_folder: Option<PathBuf>,
}

/// Arguments of `status`.
#[derive(clap::Args)]
pub struct StatusArgs {
    #[command(flatten)]
    place: Where,
    /// Print status.json, as the page reads it.
    #[arg(long)]
    json: bool,
}

impl Where {
    /// The run folder.
    ///
    /// # Errors
    /// The settings cannot be read or name none.
    pub(super) fn folder(&self) -> Result<PathBuf, Failure> {
        match (&self.run_folder, &self.config) {
            (Some(folder), _) => Ok(folder.clone()),
            (None, Some(config)) => serve::run_folder(config),
            (None, None) => Err(Failure::new(
                Class::Configuration,
                "neither --config nor --run-folder is given",
            )),
        }
    }
}

/// Shows the status that the coordinator reports or, when none runs, that of the run folder.
///
/// # Errors
/// No run folder, or a coordinator that does not answer.
pub fn run(args: &StatusArgs) -> Result<(), Failure> {
    let (status, address) = look(&args.place.folder()?)?;
    if args.json {
        let text =
            serde_json::to_string(&status).map_err(|error| Failure::new(Class::Internal, error))?;
        println!("{text}");
    } else {
        print!("{}", text::write(&status, address));
    }
    Ok(())
}
