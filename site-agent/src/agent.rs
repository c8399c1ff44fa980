//! The `run` subcommand: joins a federation and works for it until it is finished.
//!
//! The network runtime never trains: data is prepared and tasks are worked on threads of their own, which tell the
//! site's state machine ([`shared::site`]) how they get on. What the machine says is done in order.

mod config;
mod journal;
mod models;
mod session;
mod worker;

use crate::failure::{Class, Failure};
use crate::signal;
pub use config::{FallbackAddress, SiteConfig, SiteConfigError};
use std::io::IsTerminal;
use std::path::PathBuf;
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

/// Arguments of `run`.
#[derive(clap::Args)]
pub struct Args {
    /// The site's settings, a TOML file: see configs/site-train.toml.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Log as JSON, a line per event.
    #[arg(long)]
    json: bool,
}

/// Runs it.
///
/// # Errors
/// Settings, data, certificates or the federation refuse, or Ctrl-C or SIGTERM end the program.
pub fn run(args: &Args) -> Result<(), Failure> {
    log_to_stderr(args.json);
    let config = SiteConfig::read(&args.config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Class::Internal, error))?;
    let outcome = runtime.block_on(async {
        let signal = signal::listen().map_err(Failure::deaf)?;
        let (stop, stopped) = watch::channel(None);
        tokio::spawn(async move { stop.send(Some(signal.await)) });
        session::work(config, stopped).await
    });
    // A training that is still in its last step must not hold the program back.
    runtime.shutdown_background();
    outcome
}

fn log_to_stderr(json: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    let log = log.with_target(false);
    if json { log.json().init() } else { log.init() }
}
