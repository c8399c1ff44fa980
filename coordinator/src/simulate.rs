//! The `simulate` subcommand: a whole federation on this machine, sites as child processes, one report.

mod children;
mod federate;
mod folder;
mod plan;
mod view;

use crate::failure::{Class, Failure};
use crate::report;
use crate::serve::serve;
use children::ChildError;
use federate::Simulation;
use folder::{Folder, FolderError};
use plan::{Plan, PlanError};
use std::path::{Path, PathBuf};
use std::time::Duration;
use time::OffsetDateTime;
pub use view::View;

/// Arguments of `simulate`.
#[derive(clap::Args)]
pub struct Args {
    /// The federation's settings with a [simulate] table, such as configs/demo.toml.
    config: PathBuf,
    /// Also train each site alone for the same rounds, and show it beside.
    #[arg(long)]
    with_local: bool,
    /// The run folder [default: runs/NAME-DATE]. One that holds an unfinished run of the same file goes on.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print report.json at the end instead of a table.
    #[arg(long)]
    json: bool,
}

/// Runs it.
///
/// # Errors
/// A configuration that cannot work, a child process that fails, an interruption, a disk that refuses.
pub fn run(args: &Args) -> Result<(), Failure> {
    let text = std::fs::read_to_string(&args.config).map_err(|error| unreadable(&args.config, &error))?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let plan = Plan::from_toml(&text, cores).map_err(|error| named(&args.config, &error))?;
    let agent = children::binary()?;
    let out = args.out.clone().unwrap_or_else(|| fresh(&plan.federation.name));
    let folder = Folder::open(&out, &plan)?;
    eprintln!("run folder: {}", folder.path().display());
    let simulation = Simulation { plan, folder, agent, with_local: args.with_local };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Class::Internal, format!("cannot start threads: {error}")))?;
    let outcome =
        runtime.block_on(simulation.run(|config, happen, stop| async move { Ok(serve(config, happen, stop).await?) }));
    runtime.shutdown_timeout(Duration::from_secs(2));
    let outcome = outcome?;
    report::write(&outcome, simulation.folder.path())?;
    Ok(report::show(&outcome, simulation.folder.path(), args.json)?)
}

/// A run folder that is not there yet: `runs/NAME-20260131-093000`, numbered when that one is.
fn fresh(name: &str) -> PathBuf {
    let now = OffsetDateTime::now_utc();
    let (date, clock) = (now.date(), now.time());
    let day = format!("{:04}{:02}{:02}", date.year(), u8::from(date.month()), date.day());
    let now = format!("{day}-{:02}{:02}{:02}", clock.hour(), clock.minute(), clock.second());
    let base = format!("{name}-{now}");
    let names = std::iter::once(base.clone()).chain((2..).map(|number| format!("{base}-{number}")));
    let mut paths = names.map(|name| Path::new("runs").join(name));
    paths.find(|path| !path.exists()).unwrap_or_else(|| Path::new("runs").join(base))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Class::Configuration, format!("cannot read {}: {error}", path.display()))
        .hint("configs/demo.toml is an example that runs as it stands")
}

fn named(path: &Path, error: &PlanError) -> Failure {
    Failure::new(Class::Configuration, format!("{}: {error}", path.display()))
}

impl From<ChildError> for Failure {
    fn from(error: ChildError) -> Self {
        match &error {
            ChildError::NoBinary(_) => Self::new(Class::Configuration, &error)
                .hint("build it: cargo build --release (it builds both binaries into one folder)"),
            ChildError::Start { .. } => Self::new(Class::Disk, &error),
            ChildError::Ended { status, .. } => Self::new(Class::of_exit(status.code()), &error),
        }
    }
}

impl Class {
    /// What an agent's exit code says about the kind of its failure: they share their codes with ours.
    fn of_exit(code: Option<i32>) -> Self {
        match code {
            Some(2 | 3) => Self::Configuration,
            Some(4) => Self::Data,
            Some(6) => Self::Disk,
            Some(130) => Self::Interrupted,
            Some(143) => Self::Terminated,
            _ => Self::Federation,
        }
    }
}

impl From<FolderError> for Failure {
    fn from(error: FolderError) -> Self {
        match &error {
            FolderError::Disk { .. } => Self::new(Class::Disk, &error),
            FolderError::Foreign(_) => Self::new(Class::Configuration, &error).hint("name another folder with --out"),
            FolderError::Finished(path) => Self::new(Class::Configuration, &error)
                .hint(format!("write its report again with: coordinator report {}", path.display())),
            FolderError::Certificates(_) | FolderError::Encode(_) | FolderError::Cohort { .. } => {
                Self::new(Class::Internal, &error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_run_folder_is_named_after_the_federation() {
        let path = fresh("demo");
        assert!(path.starts_with("runs") && !path.exists());
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("demo-20") && name.len() == "demo-20260131-093000".len(), "{name}");
    }

    #[test]
    fn every_example_with_a_simulate_table_can_be_simulated() {
        let examples = crate::examples::with("simulate");
        assert_eq!(examples.keys().collect::<Vec<_>>(), ["demo-smoke.toml", "demo.toml", "glioma.toml"]);
        for (name, text) in examples {
            let plan = Plan::from_toml(&text, 2).unwrap_or_else(|error| panic!("{name}: {error}"));
            let held_out = plan.sites.iter().filter(|site| site.role == shared::case::Role::Evaluate).count();
            assert_eq!(held_out, 1, "{name}");
        }
    }
}
