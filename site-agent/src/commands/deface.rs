//! The `deface` subcommand: the images of each case without the face.

use super::print::print;
use crate::progress_bar::ProgressBar;
use imaging::brain::NAME;
use imaging::deface::{Job, MARGIN_MM};
use program::Failure;
use std::path::PathBuf;

/// Arguments of `deface`.
#[derive(clap::Args)]
pub struct Args {
    /// The folder of the cases, as CASE/SEQUENCE.nii.gz and CASE/brain.nii.gz, all of a case on one
    /// grid: what `register` and `brain` write.
    #[arg(value_name = "DIR")]
    input: PathBuf,
    /// Where the images go: a new folder, or that of an earlier run, which is continued.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The brain mask is CASE/NAME.nii.gz.
    #[arg(long, value_name = "NAME", default_value = NAME)]
    brain: String,
    /// CASE/NAME.nii.gz is a mask of lesions: it is copied, and its voxels are never changed. Can
    /// be given several times.
    #[arg(long = "mask", value_name = "NAME")]
    masks: Vec<String>,
    /// How far below the brain the images are cut, millimetres.
    #[arg(long, value_name = "MM", default_value_t = MARGIN_MM)]
    margin: f64,
    /// De-face everything again, and replace images that are there.
    #[arg(long)]
    force: bool,
    /// Processor cores to use; all when left out.
    #[arg(long, value_name = "COUNT")]
    threads: Option<usize>,
    /// Print the report as JSON instead of lines.
    #[arg(long)]
    json: bool,
}

/// Runs it.
///
/// # Errors
/// Folders that cannot be used; and exit code 4 where an image could not be de-faced.
pub fn run(args: &Args) -> Result<(), Failure> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let job = Job {
        input: args.input.clone(),
        out: args.out.clone(),
        brain: args.brain.clone(),
        lesions: args.masks.clone(),
        margin_mm: args.margin,
        force: args.force,
        threads: args.threads.unwrap_or(cores),
    };
    let mut bar = None;
    let report = job.run(&mut |done, total| {
        bar.get_or_insert_with(|| ProgressBar::new("cases de-faced", total))
            .at(done);
    })?;
    print(&report, args.json)?;
    match report.left_out() {
        None => Ok(()),
        Some(error) => Err(error.into()),
    }
}
