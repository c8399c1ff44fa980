//! The `serve` subcommand: a federation from its first round to its report.

use crate::driver::{DriveError, Driver};
use crate::failure::{Class, Failure};
use crate::happening::Happening;
use crate::outcome::Outcome;
use crate::report;
use crate::server::{Server, ServerConfig, ServerError};
use crate::simulate::View;
use crate::store::{Place, Store, StoreError};
use serde::Deserialize;
use shared::architecture;
use shared::federation::Federation;
use shared::round::{Machine, Plan};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tracing_subscriber::EnvFilter;

/// Events that wait for the loop; past that the sites wait.
const INBOUND: usize = 256;

/// Arguments of `serve`.
#[derive(clap::Args)]
pub struct Args {
    /// The federation's settings with a [serve] table, a TOML file: see configs/coordinator.toml.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Listen here instead of at `serve.listen`.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Use this run folder instead of `serve.run_folder`. One with an unfinished run of the same settings goes on.
    #[arg(long, value_name = "DIR")]
    run_folder: Option<PathBuf>,
    /// Also train each site alone for the same rounds, and show it beside.
    #[arg(long)]
    with_local: bool,
    /// Print report.json at the end instead of a table.
    #[arg(long)]
    json: bool,
}

/// What to serve, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct ServeConfig {
    /// The settings.
    pub federation: Federation,
    /// The UDP address.
    pub listen: SocketAddr,
    /// The coordinator's certificate folder.
    pub certificates: PathBuf,
    /// The run folder.
    pub run_folder: PathBuf,
    /// Also train each site alone.
    pub with_local: bool,
    /// Keep every round's models and updates, for an auditor.
    pub keep_updates: bool,
}

/// Why a federation was not served to its end.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// No server.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The run folder refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The federation ended early.
    #[error(transparent)]
    Drive(DriveError),
}

/// The `[serve]` table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    listen: SocketAddr,
    certificates: PathBuf,
    run_folder: PathBuf,
    #[serde(default)]
    keep_updates: bool,
}

/// The one table of the file that is read here; the others are the federation's.
#[derive(Deserialize)]
struct File {
    serve: Option<Table>,
}

impl ServeConfig {
    fn read(args: &Args) -> Result<Self, Failure> {
        let wrong = |error: &dyn std::fmt::Display| {
            Failure::new(Class::Configuration, format!("{}: {error}", args.config.display()))
                .hint("configs/coordinator.toml shows every key")
        };
        let text = std::fs::read_to_string(&args.config).map_err(|error| wrong(&error))?;
        let federation = Federation::from_toml(&text).map_err(|error| wrong(&error))?;
        let file: File = toml::from_str(&text).map_err(|error| wrong(&error))?;
        let table = file.serve.ok_or_else(|| wrong(&"the table [serve] is missing"))?;
        let folder = args.config.parent().unwrap_or(Path::new("."));
        Ok(Self {
            federation,
            listen: args.listen.unwrap_or(table.listen),
            certificates: folder.join(table.certificates),
            run_folder: args.run_folder.clone().unwrap_or_else(|| folder.join(table.run_folder)),
            with_local: args.with_local,
            keep_updates: table.keep_updates,
        })
    }
}

/// Serves a federation until it is finished, or `stop` turns true. What happens goes to `happen`.
///
/// # Errors
/// See [`ServeError`]; the run folder then holds everything up to the last finished round, and the same call goes on
/// from there.
pub async fn serve(
    config: ServeConfig,
    happen: mpsc::UnboundedSender<Happening>,
    stop: watch::Receiver<bool>,
) -> Result<Outcome, ServeError> {
    let began = Instant::now();
    let federation = config.federation;
    let manifest = Arc::new(architecture::manifest(&federation.model, &federation.input));
    let (store, snapshot) = Store::open(&config.run_folder, &federation, config.keep_updates)?;
    let initial = architecture::initial(&manifest, federation.seed);
    let id = initial.id();
    if snapshot.is_none() {
        store.put_model(Place { run: "federation", round: 0 }, &initial)?;
    }
    drop(initial);
    for run in snapshot.iter().flat_map(|snapshot| &snapshot.runs) {
        let place = Place { run: &run.outcome.name, round: run.outcome.rounds.len() as u32 };
        run.model.map(|model| store.verify(place, &manifest, model)).transpose()?;
    }
    let (events, inbound) = mpsc::channel(INBOUND);
    let server = ServerConfig {
        listen: config.listen,
        certificates: config.certificates,
        incoming: store.incoming(),
        expected_bytes: manifest.bytes(),
        expected_sites: federation.sites.expected.clone(),
    };
    let server = Server::bind(server, events).await?;
    tracing::info!(address = %server.local_addr(), federation = %federation.name, "listening");
    let plan = Plan {
        federation: federation.clone(),
        with_local: config.with_local,
        initial: id,
        model_bytes: manifest.bytes(),
    };
    let machine = Machine::new(plan, snapshot.clone(), Duration::ZERO);
    let driver = Driver::new(machine, (store, server), (federation, manifest), happen, began, snapshot.as_ref());
    driver.run(inbound, stop).await.map_err(ServeError::Drive)
}

/// Runs it.
///
/// # Errors
/// Settings, certificates, the run folder or the federation refuse, or Ctrl-C or SIGTERM end the program.
pub fn run(args: &Args) -> Result<(), Failure> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
    let config = ServeConfig::read(args)?;
    let folder = config.run_folder.clone();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Class::Internal, format!("cannot start threads: {error}")))?;
    let outcome = runtime.block_on(async {
        let (stop, stopping) = watch::channel(false);
        let (happen, mut happenings) = mpsc::unbounded_channel();
        let mut view = View::new(&config.federation.sites.expected);
        let serving = tokio::spawn(serve(config, happen, stopping));
        tokio::spawn(async move {
            crate::simulate::interrupted().await;
            stop.send_replace(true);
            // Held for as long as the program lives.
            std::future::pending::<()>().await;
        });
        while let Some(happening) = happenings.recv().await {
            view.show(&happening);
        }
        view.clear();
        serving.await
    });
    runtime.shutdown_timeout(Duration::from_secs(2));
    let outcome = outcome.map_err(|error| Failure::new(Class::Internal, error))??;
    report::write(&outcome, &folder)?;
    Ok(report::show(&outcome, &folder, args.json)?)
}
