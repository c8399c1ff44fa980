//! A federation on this machine: sites are child processes, and there is one report.

pub(crate) mod children;
mod federate;
pub(crate) mod folder;
pub(crate) mod plan;

use crate::report;
use crate::serve::{ServeError, serve};
use federate::Simulation;
use folder::Folder;
use plan::Plan;
use program::Failure;
use protocol::outcome::Outcome;
use std::path::PathBuf;
use std::time::Duration;

/// How many cores the sites of a simulation share.
pub(crate) fn cores() -> usize {
    match std::thread::available_parallelism() {
        Ok(cores) => cores.get(),
        Err(_) => 1,
    }
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
    // Said before phantoms are made, not after.
    if plan.federation.rounds == 0 && start.is_none() {
        return Err(ServeError::NothingToEvaluate.into());
    }
    let simulation = Simulation {
        plan,
        folder,
        agent: children::binary()?,
        with_local,
        start,
    };
    let runtime = program::threads::runtime(Some(2))?;
    let outcome = runtime.block_on(simulation.run(|config, notifications, stop| async move {
        Ok(serve(config, notifications, stop).await?)
    }));
    runtime.shutdown_timeout(Duration::from_secs(2));
    let outcome = outcome?;
    report::write(&outcome, simulation.folder.path())?;
    Ok(outcome)
}
