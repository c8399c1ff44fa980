//! The `serve` subcommand: a federation over the network, from its settings to its outcome.

mod configure;

use crate::address::OptionalAddress;
use crate::driver::{Accepted, Books, Driver, End, Inlets};
use crate::failure::{Class, Failure};
use crate::happening::Happening;
use crate::outcome::Outcome;
use crate::report;
use crate::server::{Server, ServerConfig, ServerError};
use crate::signal::{self, Signal};
use crate::simulate::View;
use crate::status::{self, Page, Status, StatusError, Web};
use crate::store::{Place, Store, StoreError};
pub(crate) use configure::run_folder;
use shared::architecture::{initial, manifest};
use shared::federation::Federation;
use shared::message::{RunId, TaskId, Trained};
use shared::model_file::{ModelFileError, import_state_dict};
use shared::parameters::{Manifest, Parameters, ParametersId};
use shared::round::{Machine, Plan, Snapshot};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// Arguments of `serve`.
#[derive(clap::Args)]
pub struct Args {
    /// The federation's settings with a [serve] table, such as configs/coordinator.toml.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The run folder, instead of serve.run_folder. One that holds a run of the same settings goes on.
    #[arg(long, value_name = "DIR")]
    run_folder: Option<PathBuf>,
    /// The UDP address to listen on, instead of serve.listen.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// The TCP address for sites whose network lets no UDP through, or `off`, instead of serve.fallback.
    #[arg(long, value_name = "ADDRESS")]
    fallback: Option<OptionalAddress>,
    /// The status page's TCP address, or `off`, instead of serve.status.
    #[arg(long, value_name = "ADDRESS")]
    status: Option<OptionalAddress>,
    /// Also train each site alone for the same rounds, and show it and the consensus of all of them beside.
    #[arg(long)]
    with_local: bool,
    /// Begin from these weights instead of random ones: a model file, or a torchvision DeepLabV3's state dict as
    /// safetensors.
    #[arg(long, value_name = "FILE")]
    start: Option<PathBuf>,
    /// Print report.json at the end instead of a table.
    #[arg(long)]
    json: bool,
}

/// What to serve, and where.
#[derive(Clone, Debug)]
pub struct ServeConfig {
    /// The federation's settings.
    pub federation: Federation,
    /// The UDP address to listen on.
    pub listen: SocketAddr,
    /// The TCP address for sites whose network lets no UDP through, if they are to have one.
    pub fallback: Option<SocketAddr>,
    /// The coordinator's certificate folder.
    pub certificates: PathBuf,
    /// Where everything is kept.
    pub run_folder: PathBuf,
    /// Also train each site alone.
    pub with_local: bool,
    /// The weights to begin from; random ones from the federation's seed where there is no file.
    pub start: Option<PathBuf>,
    /// Keep every round's updates and models, so that each average can be computed again.
    pub keep_updates: bool,
    /// The status page, if there is to be one.
    pub status: Option<Page>,
}

/// Why a federation was not served to its end.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The network refuses.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The run folder refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The status page cannot be shown.
    #[error(transparent)]
    Status(#[from] StatusError),
    /// The federation cannot go on.
    #[error("the federation stopped: {0}")]
    Stopped(String),
    /// It was asked to stop.
    #[error("asked to stop")]
    Asked(Signal),
    /// The weights to begin from cannot be read.
    #[error("the weights {}: {error}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the disk said.
        error: std::io::Error,
    },
    /// The weights to begin from are not of this network.
    #[error("the weights {}: {error}", .path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        error: ModelFileError,
    },
}

impl From<End> for ServeError {
    fn from(end: End) -> Self {
        match end {
            End::Stopped(reason) => Self::Stopped(reason),
            End::Asked(signal) => Self::Asked(signal),
            End::Store(error) => Self::Store(error),
        }
    }
}

/// Serves a federation until its outcome, which is in the run folder then, or until `shutdown` holds a signal. With the
/// folder of a run of the same settings it goes on where that run stopped, with the updates that were accepted.
///
/// # Errors
/// See [`ServeError`]; what was finished before stands in the run folder.
pub async fn serve(
    config: ServeConfig,
    happenings: mpsc::UnboundedSender<Happening>,
    shutdown: watch::Receiver<Option<Signal>>,
) -> Result<Outcome, ServeError> {
    let began = Instant::now();
    let mut picture = Status::new(&config.federation, status::now());
    let federation = Arc::new(config.federation);
    let manifest = Arc::new(manifest(&federation.model, &federation.input));
    let (store, mut snapshot) = Store::open(&config.run_folder, &federation, config.keep_updates)?;
    let accepted = snapshot.as_mut().map(|snapshot| recover(&store, &manifest, snapshot)).unwrap_or_default();
    let start = match &config.start {
        Some(file) => read_weights(file, &federation)?,
        None => initial(&manifest, federation.seed),
    };
    let start = prepare(&store, start, &manifest, snapshot.as_ref())?;
    picture.keep(&snapshot.clone().unwrap_or_default());
    if picture.paused {
        // Who starts it again has to hear why nothing begins.
        let _ = happenings.send(Happening::Paused);
    }
    let (picture, looked_at) = watch::channel(picture);
    let (commands, control) = mpsc::channel(16);
    let web = config.status.map(|page| Web::open(page, &config.run_folder, looked_at, commands)).transpose()?;
    let (events, inbound) = mpsc::channel(64);
    let server = ServerConfig {
        listen: config.listen,
        fallback: config.fallback,
        certificates: config.certificates,
        incoming: store.incoming(),
        expected_bytes: store.update_bytes(&manifest),
        expected_sites: federation.sites.expected.clone(),
    };
    let server = Server::bind(server, events).await?;
    tracing::info!(address = %server.local_addr(), "listening");
    if let Some(address) = server.fallback_addr() {
        tracing::info!(%address, "listening for sites without UDP");
    }
    let plan = Plan {
        federation: (*federation).clone(),
        with_local: config.with_local,
        initial: start,
        model_bytes: manifest.bytes(),
        update_bytes: store.update_bytes(&manifest),
    };
    let machine = Machine::new(plan, snapshot, Duration::ZERO);
    let (store, books) = (Arc::new(store), Books::new(began, accepted));
    let driver = Driver { machine, store, server, federation, manifest, happenings, picture, books };
    let ended = driver.run(Inlets { inbound, control, shutdown }).await;
    if let Some(web) = web {
        web.close().await;
    }
    Ok(ended?)
}

/// The updates that were accepted before a restart. One whose file is lost or damaged is asked for again.
fn recover(store: &Store, manifest: &Manifest, snapshot: &mut Snapshot) -> Accepted {
    let mut accepted = Accepted::new();
    for (index, run) in snapshot.runs.iter_mut().enumerate() {
        let (name, id) = (run.outcome.name.clone(), RunId(u16::try_from(index).unwrap_or(u16::MAX)));
        let mut sound = |site: &str, trained: &Trained| {
            let place = Place { run: &name, round: trained.task.round };
            match store.accepted(place, site, manifest, trained.parameters) {
                Ok(checked) => {
                    accepted.insert((TaskId { run: id, ..trained.task }, site.to_string()), checked);
                    true
                }
                Err(error) => {
                    tracing::warn!(%error, site, "an accepted update is asked for again");
                    false
                }
            }
        };
        if let Some(open) = &mut run.open {
            open.updates.retain(|site, trained| sound(site, trained));
        }
        if let Some(buffer) = &mut run.buffer {
            buffer.forget_updates(|site, trained| !sound(site, trained));
        }
    }
    accepted
}

fn read_weights(file: &Path, federation: &Federation) -> Result<Parameters, ServeError> {
    let bytes = std::fs::read(file).map_err(|error| ServeError::Unreadable { path: file.into(), error })?;
    let imported = import_state_dict(&bytes, &federation.model, &federation.input);
    let imported = imported.map_err(|error| ServeError::Weights { path: file.into(), error })?;
    if !imported.hashed {
        tracing::warn!(file = %file.display(), "the weights to begin from carry no hash: damage to the file cannot be seen");
    }
    Ok(imported.parameters)
}

/// Stores the initial model, and checks the models that a resumed run goes on from. The parameters end here: nobody needs
/// them in memory any more.
fn prepare(
    store: &Store,
    start: Parameters,
    manifest: &Arc<Manifest>,
    snapshot: Option<&Snapshot>,
) -> Result<ParametersId, StoreError> {
    let (place, id) = (Place { run: "federation", round: 0 }, start.id());
    match snapshot {
        Some(_) => store.same_start(place, manifest, id)?,
        None => store.put_model(place, &start)?,
    }
    for run in snapshot.iter().flat_map(|snapshot| &snapshot.runs) {
        let name = run.outcome.name.as_str();
        let last = run.model.map(|id| (run.finished, id));
        let best = run.best.map(|best| (best.round, best.parameters));
        let used = run.buffer.iter().flat_map(|buffer| &buffer.models).filter(|(round, _)| **round > 0);
        for (round, id) in last.into_iter().chain(best).chain(used.map(|(round, id)| (*round, *id))) {
            store.verify(Place { run: name, round }, manifest, id)?;
        }
    }
    Ok(id)
}

/// Runs it.
///
/// # Errors
/// A configuration that cannot work, a network or disk that refuses, too few sites, an interruption.
pub fn run(args: &Args) -> Result<(), Failure> {
    let config = configure::configure(args)?;
    let folder = config.run_folder.clone();
    eprintln!("run folder: {}", folder.display());
    eprintln!("listening on {} (UDP)", config.listen);
    config
        .fallback
        .iter()
        .for_each(|address| eprintln!("listening on {address} (TLS over TCP, for sites without UDP)"));
    config.status.iter().for_each(|page| eprintln!("{}", page.greeting(&folder)));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Class::Internal, format!("cannot start threads: {error}")))?;
    let outcome = runtime.block_on(async {
        let signal = signal::listen().map_err(Failure::deaf)?;
        Ok::<_, Failure>(watched(config, signal).await?)
    });
    // Who was asked to stop twice does not wait for work on the disk that nobody will look at.
    runtime.shutdown_background();
    let outcome = outcome?;
    report::write(&outcome, &folder)?;
    Ok(report::show(&outcome, &folder, args.json)?)
}

/// Serves, shows what happens, and heeds Ctrl-C and SIGTERM: the first drains, the second ends at once.
async fn watched(
    config: ServeConfig,
    signal: impl Future<Output = Signal> + Send + 'static,
) -> Result<Outcome, ServeError> {
    let (happenings, mut happened) = mpsc::unbounded_channel();
    let (stop, shutdown) = watch::channel(None);
    let (hurry, mut hurried) = mpsc::channel(1);
    tokio::spawn(async move {
        let _ = stop.send(Some(signal.await));
        if let Ok(second) = signal::listen() {
            let _ = hurry.send(second.await).await;
        }
    });
    let mut view = View::new(&config.federation.sites.expected);
    let serving = serve(config, happenings, shutdown);
    tokio::pin!(serving);
    let outcome = loop {
        tokio::select! {
            biased;
            Some(signal) = hurried.recv() => break Err(ServeError::Asked(signal)),
            Some(happening) = happened.recv() => view.show(&happening),
            outcome = &mut serving => break outcome,
        }
    };
    view.clear();
    outcome
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        let resume = "the same command goes on where it stopped";
        match error {
            ServeError::Server(error) => error.into(),
            ServeError::Store(error) => error.into(),
            ServeError::Status(error) => error.into(),
            ServeError::Stopped(_) => Self::new(Class::Federation, error).hint(resume),
            ServeError::Asked(signal) => Self::new(signal.into(), error).hint(resume),
            ServeError::Unreadable { .. } => Self::new(Class::Disk, error),
            ServeError::Weights { .. } => Self::new(Class::Configuration, error)
                .hint("they must be of the network that [model] and [input] describe; docs/ARCHITECTURE.md says how to save one"),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let (class, hint) = match &error {
            StoreError::Io { .. } => (Class::Disk, "what was finished stands; free the disk and start again"),
            StoreError::InUse(_) => (Class::Configuration, "stop it, or name another run folder"),
            StoreError::Settings { .. } => (Class::Configuration, "name another run folder for other settings"),
            StoreError::Release { .. } => {
                (Class::Configuration, "go on with the release that began the run, or name another run folder")
            }
            StoreError::Record { .. } => {
                (Class::Disk, "put a copy in its place, or remove it: the report then lacks what that round did")
            }
            StoreError::Damaged { .. } => {
                (Class::Disk, "state.previous.json, put in place of state.json, goes on from the facts before")
            }
        };
        Self::new(class, error).hint(hint)
    }
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
            let served = configure::configure(&args).unwrap_or_else(|failure| panic!("{}", failure.what));
            // Relative paths are meant from where the command is started, as the file's first lines start it.
            assert_eq!(served.certificates, std::path::Path::new("pki/coordinator"), "{name}");
            assert!(!served.federation.sites.expected.is_empty(), "{name}");
        }
    }
}
