//! The `brain` subcommand: a brain mask next to the images of each case.

use super::print::print;
use crate::progress_bar::ProgressBar;
use imaging::brain::{Job, Program, Way};
use program::Failure;
use std::path::PathBuf;

/// Arguments of `brain`.
#[derive(clap::Args)]
pub struct Args {
    /// The folder of the cases, as CASE/SEQUENCE.nii.gz. It receives CASE/brain.nii.gz.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    #[command(flatten)]
    way: WayArgs,
    /// How long the command may take for one case, minutes.
    #[arg(long, value_name = "MINUTES", default_value_t = 30.0)]
    minutes: f64,
    /// Make all masks again, and replace those that are there.
    #[arg(long)]
    force: bool,
    /// Print the report as JSON instead of lines.
    #[arg(long)]
    json: bool,
}

/// One of the ways to make a mask.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct WayArgs {
    /// Run this program for each case, such as "hd-bet -i {in} -o {out}". {in} is its image, and
    /// {out} the mask, or the image with zeros outside of the brain. There is no shell.
    #[arg(long, value_name = "LINE")]
    command: Option<String>,
    /// The images have no skull: brain is what is not zero.
    #[arg(long)]
    zeros: bool,
}

/// Runs it.
///
/// # Errors
/// A folder or command that cannot be used; and exit code 4 where a case has no mask.
pub fn run(args: &Args) -> Result<(), Failure> {
    let way = match &args.way.command {
        Some(line) => Way::Program(Program::parse(line, args.minutes)?),
        None => Way::Zeros,
    };
    let job = Job {
        folder: args.folder.clone(),
        way,
        force: args.force,
    };
    let mut bar = None;
    let report = job.run(&mut |done, total| {
        bar.get_or_insert_with(|| ProgressBar::new("brain masks", total))
            .at(done);
    })?;
    print(&report, args.json)?;
    match report.left_out() {
        None => Ok(()),
        Some(error) => Err(error.into()),
    }
}
