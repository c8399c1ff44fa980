//! The `simulate` subcommand: a whole federation on this machine, sites as child processes, one report.

mod children;
mod federate;
pub(crate) mod folder;
pub(crate) mod plan;
mod view;

use crate::failure::{Class, Failure};
use crate::outcome::Outcome;
use crate::report;
use crate::serve::{read_text, serve};
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
    /// Also train each site alone for the same rounds, and show it and the consensus of all of them beside.
    #[arg(long)]
    with_local: bool,
    /// Begin from these weights instead of random ones: a model file, or a torchvision DeepLabV3's state dict as
    /// safetensors.
    #[arg(long, value_name = "FILE")]
    start: Option<PathBuf>,
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
    let text = read(&args.config)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let plan = Plan::from_toml(&text, cores).map_err(|error| named(&args.config, &error))?;
    children::binary()?;
    let out = args.out.clone().unwrap_or_else(|| fresh(Path::new("runs"), &plan.federation.name));
    let folder = Folder::open(&out, &plan, None)?;
    let out = folder.path().to_owned();
    eprintln!("run folder: {}", out.display());
    let outcome = execute(plan, folder, args.with_local, args.start.clone())?;
    Ok(report::show(&outcome, &out, args.json)?)
}

/// Runs a plan to its outcome, and writes the report into its folder.
///
/// # Errors
/// A child process that fails, an interruption, a disk that refuses.
pub(crate) fn execute(
    plan: Plan,
    folder: Folder,
    with_local: bool,
    start: Option<PathBuf>,
) -> Result<Outcome, Failure> {
    let simulation = Simulation { plan, folder, agent: children::binary()?, with_local, start };
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
    Ok(outcome)
}

/// A folder that is not there yet: `PARENT/NAME-20260131-093000`, numbered when that one is.
pub(crate) fn fresh(parent: &Path, name: &str) -> PathBuf {
    let now = OffsetDateTime::now_utc();
    let (date, clock) = (now.date(), now.time());
    let day = format!("{:04}{:02}{:02}", date.year(), u8::from(date.month()), date.day());
    let now = format!("{day}-{:02}{:02}{:02}", clock.hour(), clock.minute(), clock.second());
    let base = format!("{name}-{now}");
    let names = std::iter::once(base.clone()).chain((2..).map(|number| format!("{base}-{number}")));
    let mut paths = names.map(|name| parent.join(name));
    paths.find(|path| !path.exists()).unwrap_or_else(|| parent.join(base))
}

/// The text of a file with a `[simulate]` table.
pub(crate) fn read(path: &Path) -> Result<String, Failure> {
    read_text(path).map_err(|failure| failure.hint("configs/demo.toml is an example that runs as it stands"))
}

pub(crate) fn named(path: &Path, error: &PlanError) -> Failure {
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
            FolderError::Foreign(_) | FolderError::OtherPhantoms(_) => {
                Self::new(Class::Configuration, &error).hint("name another folder with --out")
            }
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
        let path = fresh(Path::new("runs"), "demo");
        assert!(path.starts_with("runs") && !path.exists());
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("demo-20") && name.len() == "demo-20260131-093000".len(), "{name}");
    }

    const EXAMPLES: [&str; 7] = [
        "compressed.toml",
        "demo-smoke.toml",
        "demo.toml",
        "glioma.toml",
        "lacking.toml",
        "paper-small.toml",
        "paper.toml",
    ];

    #[test]
    fn every_example_with_a_simulate_table_can_be_simulated() {
        let examples = crate::examples::with("simulate");
        assert_eq!(examples.keys().collect::<Vec<_>>(), EXAMPLES);
        for (name, text) in examples {
            let plan = Plan::from_toml(&text, 2).unwrap_or_else(|error| panic!("{name}: {error}"));
            let held_out = plan.sites.iter().filter(|site| site.role == shared::case::Role::Evaluate).count();
            assert_eq!(held_out, 1, "{name}");
        }
    }
}
