//! The `import` subcommand: a DICOM export becomes a folder that the site can train on.

mod ask;
mod say;

use crate::progress_bar::ProgressBar;
use imaging::import::{
    Answers, CaseReport, Converter, Folder, ImportError, Plan, Report, Rules, convert, data_table,
    scan, write_key,
};
use program::{Class, Failure};
use std::io::{IsTerminal, Write};
use std::path::PathBuf;

/// Arguments of `import`.
#[derive(clap::Args)]
pub struct Args {
    /// The folder of the DICOM export, with any folders and file names below it.
    #[arg(value_name = "DICOM")]
    input: PathBuf,
    /// Where the images go, as CASE/SEQUENCE.nii.gz: a new folder, or that of an earlier import,
    /// which is continued.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Convert nothing: only say which series would become which sequence.
    #[arg(long)]
    plan: bool,
    /// Ask nothing: leave out what is in doubt. Nothing is asked without a terminal either.
    #[arg(long)]
    yes: bool,
    /// Other rules than the built-in ones (configs/sequences.toml).
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// The converter, where it is not in the path.
    #[arg(long, value_name = "PROGRAM")]
    dcm2niix: Option<PathBuf>,
    /// Also write which case is which patient, as CSV. It has PatientIDs and dates: keep it where
    /// no one else can read it.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Convert everything again, and replace images that are there.
    #[arg(long)]
    force: bool,
    /// Cases that are converted at the same time; all cores when left out.
    #[arg(long, value_name = "COUNT")]
    threads: Option<usize>,
    /// Print the report as JSON instead of tables.
    #[arg(long)]
    json: bool,
}

/// Runs it.
///
/// # Errors
/// No image, no converter, a folder that cannot be used, a full disk; and exit code 4 where
/// something was left out that could have been wanted.
pub fn run(args: &Args) -> Result<(), Failure> {
    let rules = match &args.rules {
        Some(path) => Rules::read(path),
        None => Rules::built_in(),
    };
    let rules = rules.map_err(ImportError::from)?;
    // Before anything is read or asked.
    let converter = if args.plan {
        None
    } else {
        Some(Converter::find(args.dcm2niix.as_deref())?)
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = args.threads.unwrap_or(cores);
    let mut folder = Folder::open(&args.out, &args.input, rand::random())?;
    let mut answers = Answers::read(folder.path())?;
    let mut bar = None;
    let scan = scan(&args.input, threads, &mut |done, total| {
        bar.get_or_insert_with(|| ProgressBar::new("headers read", total))
            .at(done);
    })?;
    let mut plan = Plan::make(&scan, &rules, &answers, &mut folder)?;
    let terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if terminal && !args.yes && !args.plan {
        plan = ask::all(&scan, &rules, &mut answers, &mut folder, plan)?;
    }
    if let Some(key) = &args.key {
        write_key(key, &plan, &scan, &folder)?;
    }
    let cases = match &converter {
        Some(converter) => {
            let mut bar = None;
            convert(
                &plan,
                &scan,
                &folder,
                converter,
                args.force,
                threads,
                &mut |done, total| {
                    bar.get_or_insert_with(|| ProgressBar::new("cases converted", total))
                        .at(done);
                },
            )
        }
        None => plan.cases.iter().map(CaseReport::planned).collect(),
    };
    let report = Report::new(&args.input, &scan, &plan, cases, converter.as_ref());
    report.write(&folder)?;
    let data = if args.plan {
        None
    } else {
        data_table(&report, &folder)?
    };
    let text = if args.json {
        serde_json::to_string_pretty(&report)
            .map_err(|error| Failure::new(Class::Internal, error))?
    } else {
        say::report(&report, &folder, data.as_ref())
    };
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            return Err(Failure::new(Class::Disk, error));
        }
        _ => {}
    }
    match report.left_out() {
        None => Ok(()),
        Some(what) => Err(ImportError::NotAll(what).into()),
    }
}
