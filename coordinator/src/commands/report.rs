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
        let failure = Failure::new(
            Class::Configuration,
            format!("{} exists already", report.display()),
        );
        return Err(
            failure.hint("name another folder with --out, or say --force to replace the report")
        );
    }
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
        let what = format!(
            "the run in {} is not finished: there is no {OUTCOME} yet",
            folder.display()
        );
        return Err(Failure::new(Class::Configuration, what)
            .hint("`coordinator status` says how far it is"));
    }
    let outcome = read(folder)?;
    write(&outcome, out)?;
    Ok(show(&outcome, out, args.json)?)
}

/// A report in the folder of `--out`, which may be another run's. In the run's own folder it is the
/// run's.
fn anothers_report(args: &Args) -> Option<PathBuf> {
    if args.force {
        return None;
    }
    let out = args.out.as_ref()?;
    if out.canonicalize().ok() == args.run_folder.canonicalize().ok() {
        return None;
    }
    for name in [
        "report.html",
        "report.json",
        "curves.csv",
        "experiment.html",
        "experiment.json",
    ] {
        let file = out.join(name);
        if file.symlink_metadata().is_ok() {
            return Some(file);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::outcome;
    use crate::store::OUTCOME;
    use std::path::Path;

    #[test]
    fn a_report_is_not_written_over_another_runs() {
        let (run_folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let text = serde_json::to_vec(&outcome(false)).unwrap();
        std::fs::write(run_folder.path().join(OUTCOME), text).unwrap();
        let args = |out: Option<&Path>, force| Args {
            run_folder: run_folder.path().into(),
            out: out.map(Into::into),
            force,
            json: false,
        };
        for _ in 0..2 {
            run(&args(None, false)).unwrap();
            run(&args(Some(run_folder.path()), false)).unwrap();
        }
        run(&args(Some(other.path()), false)).unwrap();
        assert!(
            run(&args(Some(other.path()), false))
                .unwrap_err()
                .what
                .contains("exists already")
        );
        run(&args(Some(other.path()), true)).unwrap();
    }
}
