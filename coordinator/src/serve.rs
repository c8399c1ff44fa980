//! A federation over the network, from its settings to its outcome.

mod accepted;
mod start;

use crate::driver::{Driver, DriverState, Inputs, Interruption};
use crate::members::MembersFile;
use crate::server::{Server, ServerConfig, ServerError};
use crate::status::{self, Page, Status, StatusError, Web};
use crate::store::{Store, StoreError};
use program::private;
use program::signal::Signal;
use program::{Class, Explain};
use protocol::architecture::{initial, manifest};
use protocol::coordinator::{Plan, StateMachine};
use protocol::model_file::ModelFileError;
use protocol::notification::Notification;
use protocol::operating::OperatingPoints;
use protocol::outcome::Outcome;
use protocol::settings::Federation;
use start::StartModel;
use std::borrow::Cow;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// What to serve, and where.
#[derive(Clone, Debug)]
pub struct ServeConfig {
    pub federation: Federation,
    /// The UDP address to listen on.
    pub listen: SocketAddr,
    /// The TCP address for sites whose network lets no UDP through; `None` for no such address.
    pub fallback: Option<SocketAddr>,
    /// The coordinator's certificate folder.
    pub certificates: PathBuf,
    pub run_folder: PathBuf,
    /// Also train each site alone.
    pub with_local: bool,
    /// The file with the weights to start from; `None` for random ones from the federation's seed.
    pub start: Option<PathBuf>,
    /// Keep every round's updates and models, so that each average can be computed again.
    pub keep_updates: bool,
    pub status: Option<Page>,
}

/// Why a federation was not served to its end.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Status(#[from] StatusError),
    /// The federation cannot continue.
    #[error("the federation stopped: {0}")]
    Stopped(String),
    #[error("asked to stop")]
    Asked(Signal),
    #[error("rounds = 0 evaluates a given model, and none is given")]
    NothingToEvaluate,
    #[error("the weights {}: {error}", .path.display())]
    Unreadable {
        path: PathBuf,
        error: std::io::Error,
    },
    /// The weights to start from are damaged or not of this network.
    #[error("the weights {}: {error}", .path.display())]
    Weights {
        path: PathBuf,
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
            Self::NothingToEvaluate | Self::Weights { .. } => Class::Configuration,
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Server(error) => error.hint(),
            Self::Store(error) => error.hint(),
            Self::Status(error) => error.hint(),
            Self::Stopped(_) | Self::Asked(_) => {
                Some("the same command goes on where it stopped".into())
            }
            Self::NothingToEvaluate => Some("name a model file with --start".into()),
            Self::Unreadable { .. } => None,
            Self::Weights { error, .. } => Some(remedy(error)),
        }
    }
}

/// What to do about a file of weights that cannot be started from.
fn remedy(error: &ModelFileError) -> Cow<'static, str> {
    match error {
        ModelFileError::Network { key, found, .. } => {
            format!("set {key} = {found} in the settings, or start from another file").into()
        }
        ModelFileError::Header | ModelFileError::Weights { .. } => {
            "copy the file again from where it came from".into()
        }
        _ => "they must be of the network that [model] and [input] describe; \
              docs/developers/ARCHITECTURE.md says how to save one"
            .into(),
    }
}

impl From<Interruption> for ServeError {
    fn from(interruption: Interruption) -> Self {
        match interruption {
            Interruption::Stopped(reason) => Self::Stopped(reason),
            Interruption::Asked(signal) => Self::Asked(signal),
            Interruption::Store(error) => Self::Store(error),
        }
    }
}

/// Serves a federation until its outcome, which is then in the run folder, or until `shutdown`
/// holds a signal. With the folder of an earlier run of the same settings it continues where that
/// run stopped, with the updates that were accepted.
///
/// # Errors
/// See [`ServeError`]; what was finished before is in the run folder.
pub async fn serve(
    config: ServeConfig,
    notifications: mpsc::UnboundedSender<Notification>,
    shutdown: watch::Receiver<Option<Signal>>,
) -> Result<Outcome, ServeError> {
    let began = Instant::now();
    let mut status = Status::new(&config.federation, status::now());
    let federation = Arc::new(config.federation);
    let manifest = Arc::new(manifest(&federation.model, &federation.input));
    let (store, mut checkpoint) =
        Store::open(&config.run_folder, &federation, config.keep_updates)?;
    let accepted = match &mut checkpoint {
        Some(checkpoint) => accepted::recover(&store, &manifest, checkpoint),
        None => Default::default(),
    };
    let start = match &config.start {
        Some(file) => start::read_model(file, &federation)?,
        None if federation.rounds == 0 => return Err(ServeError::NothingToEvaluate),
        None => StartModel {
            parameters: initial(&manifest, federation.seed),
            points: OperatingPoints::default(),
        },
    };
    let initial = start::prepare(&store, start.parameters, &manifest, checkpoint.as_ref())?;
    status.apply_checkpoint(&checkpoint.clone().unwrap_or_default());
    if status.paused {
        // The person who starts it again must learn why nothing begins.
        let _ = notifications.send(Notification::Paused);
    }
    let (status, status_reader) = watch::channel(status);
    let (commands, control) = mpsc::channel(16);
    let web = match config.status {
        Some(page) => Some(Web::open(
            page,
            &config.run_folder,
            status_reader,
            commands,
        )?),
        None => None,
    };
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
    let members = MembersFile::of_coordinator(&server.certificates);
    private::warn("the authority's key", &members.folder().join("ca.key"));
    let server = Server::bind(server, events).await?;
    tracing::info!(record = %members.path().display(), "invitations and revocations");
    tracing::info!(address = %server.local_addr(), "listening");
    if let Some(address) = server.fallback_addr() {
        tracing::info!(%address, "listening for sites without UDP");
    }
    let plan = Plan {
        federation: (*federation).clone(),
        with_local: config.with_local,
        initial,
        initial_points: start.points,
        model_bytes: manifest.bytes(),
        update_bytes: store.update_bytes(&manifest),
    };
    let driver = Driver {
        machine: StateMachine::new(plan, checkpoint, Duration::ZERO),
        store: Arc::new(store),
        server,
        federation,
        manifest,
        notifications,
        status,
        state: DriverState::new(began, accepted),
    };
    let inputs = Inputs {
        inbound,
        control,
        shutdown,
    };
    let ended = driver.run(inputs).await;
    if let Some(web) = web {
        web.close().await;
    }
    Ok(ended?)
}
