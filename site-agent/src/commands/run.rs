//! The `run` subcommand: joins a federation and works for it until it is finished.

use crate::agent::{SiteConfig, work};
use crate::device;
use program::Failure;
use program::signal;
use std::path::PathBuf;
use tokio::sync::watch;

/// Arguments of `run`.
#[derive(clap::Args)]
pub struct Args {
    /// The site's settings, a TOML file: see configs/site-train.toml.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Log as JSON, a line per event.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Runs it.
///
/// # Errors
/// Settings, data, certificates or the federation refuse, or Ctrl-C or SIGTERM end the program.
pub fn run(args: &Args) -> Result<(), Failure> {
    let config = SiteConfig::read(&args.config)?;
    device::prepare(&config.device);
    let runtime = program::threads::runtime(Some(2))?;
    let outcome = runtime.block_on(async {
        let signal = signal::listen().map_err(Failure::no_signals)?;
        let (stop, stopped) = watch::channel(None);
        tokio::spawn(async move { stop.send(Some(signal.await)) });
        work(config, stopped).await
    });
    // A training that is still in its last step must not hold the program back.
    runtime.shutdown_background();
    outcome
}
