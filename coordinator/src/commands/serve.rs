//! The `serve` subcommand: serves a federation, shows what happens, and writes the report.

mod configure;

use crate::address::OptionalAddress;
use crate::progress::View;
use crate::report;
use crate::serve::{ServeConfig, ServeError, serve};
pub(crate) use configure::{
    DEFAULT_PORT, Listening, check_table, listening, read_text, run_folder,
};
use program::Failure;
use program::signal::{self, Signal};
use protocol::outcome::Outcome;
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::sync::{mpsc, watch};

/// Arguments of `serve`.
#[derive(clap::Args)]
pub struct Args {
    /// The federation's settings with a [serve] table, such as configs/coordinator.toml.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The run folder, instead of serve.run_folder. A run of the same settings in it is continued.
    #[arg(long, value_name = "DIR")]
    run_folder: Option<PathBuf>,
    /// The UDP address to listen on, instead of serve.listen.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// The TCP address for sites whose network lets no UDP through, or `off`, instead of
    /// serve.fallback.
    #[arg(long, value_name = "ADDRESS")]
    fallback: Option<OptionalAddress>,
    /// The status page's TCP address, or `off`, instead of serve.status.
    #[arg(long, value_name = "ADDRESS")]
    status: Option<OptionalAddress>,
    /// Also train each site alone for the same rounds, and report these models and their consensus
    /// for comparison.
    #[arg(long)]
    with_local: bool,
    /// Start from these weights instead of random ones: a model file, or a torchvision DeepLabV3's
    /// state dict as safetensors.
    #[arg(long, value_name = "FILE")]
    start: Option<PathBuf>,
    /// Print report.json at the end instead of a table.
    #[arg(long)]
    json: bool,
}

/// Runs it.
///
/// # Errors
/// A configuration that cannot work, a network or disk that refuses, too few sites, an
/// interruption.
pub fn run(args: &Args) -> Result<(), Failure> {
    let config = configure::configure(args)?;
    let folder = config.run_folder.clone();
    eprintln!("run folder: {}", folder.display());
    eprintln!("listening on {} (UDP)", config.listen);
    if let Some(address) = config.fallback {
        eprintln!("listening on {address} (TLS over TCP, for sites without UDP)");
    }
    if let Some(page) = &config.status {
        eprintln!("{}", page.greeting(&folder));
    }
    let runtime = program::threads::runtime(None)?;
    let outcome = runtime.block_on(async {
        let signal = signal::listen().map_err(Failure::no_signals)?;
        Ok::<_, Failure>(serve_and_show(config, signal).await?)
    });
    // After a second signal, unfinished work on the disk is not waited for.
    runtime.shutdown_background();
    let outcome = outcome?;
    report::write(&outcome, &folder)?;
    Ok(report::show(&outcome, &folder, args.json)?)
}

/// Serves, and shows the progress. The first Ctrl-C or SIGTERM lets running work finish, the second
/// one stops at once.
async fn serve_and_show(
    config: ServeConfig,
    signal: impl Future<Output = Signal> + Send + 'static,
) -> Result<Outcome, ServeError> {
    let (notifications, mut received) = mpsc::unbounded_channel();
    let (stop, shutdown) = watch::channel(None);
    let (stop_now, mut stopped_now) = mpsc::channel(1);
    tokio::spawn(async move {
        let _ = stop.send(Some(signal.await));
        if let Ok(second) = signal::listen() {
            let _ = stop_now.send(second.await).await;
        }
    });
    let mut view = View::new(&config.federation.sites.expected);
    let serving = serve(config, notifications, shutdown);
    tokio::pin!(serving);
    let outcome = loop {
        tokio::select! {
            biased;
            Some(signal) = stopped_now.recv() => break Err(ServeError::Asked(signal)),
            Some(notification) = received.recv() => view.show(&notification),
            outcome = &mut serving => break outcome,
        }
    };
    view.clear();
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_with_a_serve_table_can_be_served() {
        let examples = crate::examples::with("serve");
        assert_eq!(examples.keys().collect::<Vec<_>>(), ["coordinator.toml"]);
        for name in examples.keys() {
            let config = crate::examples::folder().join(name);
            let status = Some(OptionalAddress::Off);
            let args = Args {
                config,
                run_folder: None,
                listen: None,
                fallback: None,
                status,
                with_local: false,
                start: None,
                json: false,
            };
            let served =
                configure::configure(&args).unwrap_or_else(|failure| panic!("{}", failure.what));
            // Relative paths are relative to where the command is started.
            assert_eq!(
                served.certificates,
                std::path::Path::new("pki/coordinator"),
                "{name}"
            );
            assert!(!served.federation.sites.expected.is_empty(), "{name}");
        }
    }
}
