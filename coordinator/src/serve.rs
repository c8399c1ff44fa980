//! A federation over the network, from its settings to its outcome.

use crate::driver::{Accepted, Driver, DriverState, End, Inputs};
use crate::server::{Server, ServerConfig, ServerError};
use crate::status::{self, Page, Status, StatusError, Web};
use crate::store::{Place, Store, StoreError};
use program::private;
use program::signal::Signal;
use program::{Class, Explain};
use protocol::architecture::{initial, manifest};
use protocol::coordinator::{Checkpoint, Plan, StateMachine};
use protocol::message::{RunId, TaskId, Trained};
use protocol::model_file::{ModelFileError, import_state_dict};
use protocol::notification::Notification;
use protocol::outcome::Outcome;
use protocol::parameters::{Manifest, Parameters, ParametersId};
use protocol::settings::Federation;
use std::borrow::Cow;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

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

impl Explain for ServeError {
    fn class(&self) -> Class {
        match self {
            Self::Server(error) => error.class(),
            Self::Store(error) => error.class(),
            Self::Status(error) => error.class(),
            Self::Stopped(_) => Class::Federation,
            Self::Asked(signal) => (*signal).into(),
            Self::Unreadable { .. } => Class::Disk,
            Self::Weights { .. } => Class::Configuration,
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Server(error) => error.hint(),
            Self::Store(error) => error.hint(),
            Self::Status(error) => error.hint(),
            Self::Stopped(_) | Self::Asked(_) => Some("the same command goes on where it stopped".into()),
            Self::Unreadable { .. } => None,
            Self::Weights { .. } => Some(
                "they must be of the network that [model] and [input] describe; docs/developers/ARCHITECTURE.md says how to save one"
                    .into(),
            ),
        }
    }
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

/// Serves a federation until its outcome, which is in the run folder then, or until `shutdown`
/// holds a signal. With the folder of a run of the same settings it goes on where that run stopped,
/// with the updates that were accepted.
///
/// # Errors
/// See [`ServeError`]; what was finished before stands in the run folder.
pub async fn serve(
    config: ServeConfig,
    notifications: mpsc::UnboundedSender<Notification>,
    shutdown: watch::Receiver<Option<Signal>>,
) -> Result<Outcome, ServeError> {
    let began = Instant::now();
    let mut picture = Status::new(&config.federation, status::now());
    let federation = Arc::new(config.federation);
    let manifest = Arc::new(manifest(&federation.model, &federation.input));
    let (store, mut checkpoint) =
        Store::open(&config.run_folder, &federation, config.keep_updates)?;
    let accepted = checkpoint
        .as_mut()
        .map(|checkpoint| recover(&store, &manifest, checkpoint))
        .unwrap_or_default();
    let start = match &config.start {
        Some(file) => read_weights(file, &federation)?,
        None => initial(&manifest, federation.seed),
    };
    let start = prepare(&store, start, &manifest, checkpoint.as_ref())?;
    picture.keep(&checkpoint.clone().unwrap_or_default());
    if picture.paused {
        // Who starts it again has to hear why nothing begins.
        let _ = notifications.send(Notification::Paused);
    }
    let (picture, looked_at) = watch::channel(picture);
    let (commands, control) = mpsc::channel(16);
    let web = config
        .status
        .map(|page| Web::open(page, &config.run_folder, looked_at, commands))
        .transpose()?;
    let (events, inbound) = mpsc::channel(64);
    let server = ServerConfig {
        listen: config.listen,
        fallback: config.fallback,
        certificates: config.certificates,
        incoming: store.incoming(),
        expected_bytes: store.update_bytes(&manifest),
        expected_sites: federation.sites.expected.clone(),
    };
    private::warn(
        "the coordinator's key",
        &server.certificates.join("key.pem"),
    );
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
    let machine = StateMachine::new(plan, checkpoint, Duration::ZERO);
    let (store, state) = (Arc::new(store), DriverState::new(began, accepted));
    let driver = Driver {
        machine,
        store,
        server,
        federation,
        manifest,
        notifications,
        picture,
        state,
    };
    let ended = driver
        .run(Inputs {
            inbound,
            control,
            shutdown,
        })
        .await;
    if let Some(web) = web {
        web.close().await;
    }
    Ok(ended?)
}

/// The updates that were accepted before a restart. One whose file is lost or damaged is asked for
/// again.
fn recover(store: &Store, manifest: &Manifest, checkpoint: &mut Checkpoint) -> Accepted {
    let mut accepted = Accepted::new();
    for (index, run) in checkpoint.runs.iter_mut().enumerate() {
        let (name, id) = (
            run.outcome.name.clone(),
            RunId(u16::try_from(index).unwrap_or(u16::MAX)),
        );
        let mut sound = |site: &str, trained: &Trained| {
            let place = Place {
                run: &name,
                round: trained.task.round,
            };
            match store.accepted(place, site, manifest, trained.parameters) {
                Ok(checked) => {
                    accepted.insert(
                        (
                            TaskId {
                                run: id,
                                ..trained.task
                            },
                            site.to_string(),
                        ),
                        checked,
                    );
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
    let bytes = std::fs::read(file).map_err(|error| ServeError::Unreadable {
        path: file.into(),
        error,
    })?;
    let imported = import_state_dict(&bytes, &federation.model, &federation.input);
    let imported = imported.map_err(|error| ServeError::Weights {
        path: file.into(),
        error,
    })?;
    if !imported.hashed {
        tracing::warn!(file = %file.display(), "the weights to begin from carry no hash: damage to the file cannot be seen");
    }
    Ok(imported.parameters)
}

/// Stores the initial model, and checks the models that a resumed run goes on from. The parameters
/// end here: nobody needs them in memory any more.
fn prepare(
    store: &Store,
    start: Parameters,
    manifest: &Arc<Manifest>,
    checkpoint: Option<&Checkpoint>,
) -> Result<ParametersId, StoreError> {
    let (place, id) = (
        Place {
            run: "federation",
            round: 0,
        },
        start.id(),
    );
    match checkpoint {
        Some(_) => store.same_start(place, manifest, id)?,
        None => store.put_model(place, &start)?,
    }
    for run in checkpoint.iter().flat_map(|checkpoint| &checkpoint.runs) {
        let name = run.outcome.name.as_str();
        // A model that is discarded may be replaced on the disk already.
        let last = run
            .model
            .filter(|_| run.discarded.is_none())
            .map(|id| (run.finished, id));
        let best = run.best.map(|best| (best.round, best.parameters));
        let used = run
            .buffer
            .iter()
            .flat_map(|buffer| &buffer.models)
            .filter(|(round, _)| **round > 0);
        for (round, id) in last
            .into_iter()
            .chain(best)
            .chain(used.map(|(round, id)| (*round, *id)))
        {
            store.verify(Place { run: name, round }, manifest, id)?;
        }
    }
    Ok(id)
}
