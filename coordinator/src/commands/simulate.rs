//! The `simulate` subcommand: a federation on this machine, and where its run folder is.

use super::serve::read_text;
use crate::report;
use crate::simulate::children;
use crate::simulate::folder::Folder;
use crate::simulate::plan::{Plan, PlanError};
use crate::simulate::{cores, execute};
use program::{Class, Failure};
use std::path::{Path, PathBuf};
use time::OffsetDateTime;

/// Arguments of `simulate`.
#[derive(clap::Args)]
pub struct Args {
    /// The federation's settings with a [simulate] table, such as configs/demo.toml.
    config: PathBuf,
    /// Also train each site alone for the same rounds, and report these models and their consensus
    /// for comparison.
    #[arg(long)]
    with_local: bool,
    /// Start from these weights instead of random ones: a model file, or a torchvision DeepLabV3's
    /// state dict as safetensors.
    #[arg(long, value_name = "FILE")]
    start: Option<PathBuf>,
    /// The run folder [default: runs/NAME-DATE]. An unfinished run of the same file in it is
    /// continued.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print report.json at the end instead of a table.
    #[arg(long)]
    json: bool,
}

/// Runs it.
///
/// # Errors
/// A configuration that cannot work, a child process that fails, an interruption, a disk that
/// refuses.
pub fn run(args: &Args) -> Result<(), Failure> {
    let text = read(&args.config)?;
    let plan = Plan::from_toml(&text, cores()).map_err(|error| named(&args.config, &error))?;
    children::binary()?;
    let out = match &args.out {
        Some(out) => out.clone(),
        None => fresh(Path::new("runs"), &plan.federation.name),
    };
    let folder = Folder::open(&out, &plan, None)?;
    let out = folder.path().to_owned();
    eprintln!("run folder: {}", out.display());
    let outcome = execute(plan, folder, args.with_local, args.start.clone())?;
    Ok(report::show(&outcome, &out, args.json)?)
}

/// The text of a file with a `[simulate]` table.
///
/// # Errors
/// The file cannot be read, or is in another encoding than UTF-8.
pub(super) fn read(path: &Path) -> Result<String, Failure> {
    read_text(path)
        .map_err(|failure| failure.hint("configs/demo.toml is an example that runs as it is"))
}

/// A folder that does not exist yet: `PARENT/NAME-20260131-093000`, with a number where that one
/// exists.
pub(super) fn fresh(parent: &Path, name: &str) -> PathBuf {
    let now = OffsetDateTime::now_utc();
    let name = format!(
        "{name}-{:04}{:02}{:02}-{:02}{:02}{:02}",
        now.year(),
        u8::from(now.month()),
        now.day(),
        now.hour(),
        now.minute(),
        now.second()
    );
    let mut path = parent.join(&name);
    let mut number = 2;
    while path.exists() {
        path = parent.join(format!("{name}-{number}"));
        number += 1;
    }
    path
}

fn named(path: &Path, error: &PlanError) -> Failure {
    Failure::new(Class::Configuration, format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_run_folder_is_named_after_the_federation() {
        let path = fresh(Path::new("runs"), "demo");
        assert!(path.starts_with("runs") && !path.exists());
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(
            name.starts_with("demo-20") && name.len() == "demo-20260131-093000".len(),
            "{name}"
        );
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
            let held_out = plan
                .sites
                .iter()
                .filter(|site| site.role == protocol::case::Role::Evaluate)
                .count();
            assert_eq!(held_out, 1, "{name}");
        }
    }
}
