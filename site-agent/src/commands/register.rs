//! The `register` subcommand: all sequences of each case onto one grid.

use super::print::print;
use crate::progress_bar::ProgressBar;
use imaging::register::{Elastix, Job, Mask};
use program::Failure;
use std::path::PathBuf;

/// Arguments of `register`.
#[derive(clap::Args)]
pub struct Args {
    /// The folder of the cases, as CASE/SEQUENCE.nii.gz: what `import` writes.
    #[arg(value_name = "DIR")]
    input: PathBuf,
    /// Where the images go: a new folder, or that of an earlier run, which is continued.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// A mask CASE/NAME.nii.gz that was drawn on SEQUENCE moves with it. Can be given several times.
    #[arg(long = "mask", value_name = "NAME=SEQUENCE")]
    masks: Vec<String>,
    /// Find the moves with elastix instead of this program's own search: the program of that name,
    /// or --elastix=PROGRAM. Results are judged in the same way.
    #[arg(
        long,
        value_name = "PROGRAM",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "elastix"
    )]
    elastix: Option<PathBuf>,
    /// Register everything again, and replace images that are there.
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
/// Folders that cannot be used; and exit code 4 where an image is doubtful or failed.
pub fn run(args: &Args) -> Result<(), Failure> {
    let mut masks: Vec<Mask> = Vec::new();
    for text in &args.masks {
        masks.push(text.parse()?);
    }
    let elastix = match &args.elastix {
        Some(program) => Some(Elastix::find(program)?),
        None => None,
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let job = Job {
        input: args.input.clone(),
        out: args.out.clone(),
        masks,
        force: args.force,
        threads: args.threads.unwrap_or(cores),
        elastix,
    };
    let mut bar = None;
    let report = job.run(&mut |done, total| {
        bar.get_or_insert_with(|| ProgressBar::new("cases registered", total))
            .at(done);
    })?;
    print(&report, args.json)?;
    match report.left_out() {
        None => Ok(()),
        Some(error) => Err(error.into()),
    }
}
