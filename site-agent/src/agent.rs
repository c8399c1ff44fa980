//! The `run` subcommand: joins a federation and works for it until it is finished.
//!
//! The network runtime never trains: data is prepared and tasks are worked on threads of their own, which tell the
//! site's state machine ([`shared::site`]) how they get on. What the machine says is done in order.

mod config;
mod journal;
mod lock;
mod models;
mod session;
mod worker;

use crate::device;
use crate::failure::{Class, Failure};
use crate::signal;
pub use config::{FallbackAddress, SiteConfig, SiteConfigError};
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
