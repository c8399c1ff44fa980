//! The sites' connections over QUIC. Nothing of the coordinator outside this module names quinn.
//!
//! ```text
//! handshake      a new connection, until the site is admitted or refused
//! enrol          a connection that asks for a certificate
//! connection     an admitted site's connection: messages and parameters, both ways
//! close_reason   why a connection ends
//! ```

mod close_reason;
mod connection;
mod enrol;
mod handshake;

use super::enrolment::Enrolment;
use super::peers::Peers;
use super::tunnel::Origins;
use super::{Inbound, ServerConfig, ServerError};
use protocol::codec::CloseCode;
use protocol::identity::SiteName;
use protocol::message::TransferHeader;
use protocol::parameters::ParametersId;
use quinn::Connection;
use quinn::crypto::rustls::QuicServerConfig;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use transport::certificates::CertificateError;
use transport::file_transfer::ChunkHashes;
use transport::quic::{self, FAREWELL, number};

/// Connections at the same time, finished handshakes or not.
const CONNECTIONS: usize = 1024;
/// How often the record of members is looked at, and each connection compares itself with it: a
/// revoked site is disconnected within twice this time.
const LOOK: Duration = Duration::from_millis(250);
/// Streams that a site may have open: one for messages, one for parameters. The number is raised,
/// for all sites and by one, when a site is asked whether it is still there.
const STREAMS: u32 = 2;

/// The listening socket with its connections.
#[derive(Debug)]
pub(super) struct Endpoint {
    endpoint: quinn::Endpoint,
    local: SocketAddr,
    shared: Arc<Shared>,
    watching: JoinHandle<()>,
}

/// What all connections share.
#[derive(Debug)]
struct Shared {
    config: ServerConfig,
    enrolment: Arc<Enrolment>,
    peers: Peers,
    origins: Origins,
    events: mpsc::Sender<Inbound>,
    connections: Mutex<BTreeMap<SiteName, KnownConnection>>,
    /// The number of streams that was last given to a site to see whether it answers.
    streams: AtomicU32,
    /// Of the parameters that were sent last, usually a round's model.
    hashes: Mutex<Option<SentHashes>>,
}

/// The connection of an admitted site.
#[derive(Clone, Debug)]
struct KnownConnection {
    connection: Connection,
    /// Where it comes from, for people.
    from: String,
}

#[derive(Debug)]
struct SentHashes {
    parameters: ParametersId,
    hashes: ChunkHashes,
}

impl Shared {
    /// Removes a site's connection that has ended, unless a newer one has replaced it.
    fn forget(&self, site: &SiteName, connection: &Connection) {
        let mut connections = self.connections();
        if let Some(known) = connections.get(site)
            && known.connection.stable_id() == connection.stable_id()
        {
            connections.remove(site);
        }
    }

    fn connections(&self) -> MutexGuard<'_, BTreeMap<SiteName, KnownConnection>> {
        // A panic cannot have left the map half changed: every change is a single step.
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The chunk hashes of these parameters, shared with other transfers of the same.
    fn hashes(&self, header: TransferHeader) -> ChunkHashes {
        // As in `connections`.
        let mut sent = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sent) = &*sent
            && sent.parameters == header.parameters
        {
            return sent.hashes.clone();
        }
        let hashes = ChunkHashes::new(header.bytes);
        *sent = Some(SentHashes {
            parameters: header.parameters,
            hashes: hashes.clone(),
        });
        hashes
    }
}

/// Keeps the record of members as it is on the disk. Each connection looks at it by itself.
async fn watch_members(shared: Arc<Shared>) {
    let mut looks = tokio::time::interval(LOOK);
    let mut has_failed = false;
    loop {
        looks.tick().await;
        let enrolment = shared.enrolment.clone();
        // It reads a file.
        match tokio::task::spawn_blocking(move || enrolment.refresh()).await {
            Ok(()) => has_failed = false,
            // The runtime ends, and this program with it.
            Err(error) if error.is_cancelled() => return,
            Err(error) if has_failed => tracing::debug!(%error, "the record of members again"),
            Err(error) => {
                has_failed = true;
                tracing::error!(
                    %error,
                    "the record of members cannot be looked at: a site that is revoked now may \
                     stay connected"
                );
            }
        }
    }
}

impl Endpoint {
    pub(super) fn open(
        config: ServerConfig,
        tls: rustls::ServerConfig,
        events: mpsc::Sender<Inbound>,
        origins: Origins,
        enrolment: Arc<Enrolment>,
    ) -> Result<Self, ServerError> {
        let crypto = QuicServerConfig::try_from(tls)
            .map_err(|error| CertificateError::new(&config.certificates, error))?;
        let mut server = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        let mut transport = quic::settings(STREAMS);
        // Raised for a site that is admitted.
        transport.receive_window(quic::STRANGERS_WINDOW.into());
        server
            .transport_config(Arc::new(transport))
            .max_incoming(CONNECTIONS);
        let listen = config.listen;
        let (endpoint, local) =
            bind(listen, server).map_err(|reason| ServerError::Listen { listen, reason })?;
        let shared = Arc::new(Shared {
            config,
            enrolment,
            peers: Peers::default(),
            origins,
            events,
            connections: Mutex::default(),
            streams: AtomicU32::new(STREAMS),
            hashes: Mutex::default(),
        });
        tokio::spawn(accept(endpoint.clone(), shared.clone()));
        let watching = tokio::spawn(watch_members(shared.clone()));
        Ok(Self {
            endpoint,
            local,
            shared,
            watching,
        })
    }

    pub(super) fn local_addr(&self) -> SocketAddr {
        self.local
    }

    pub(super) fn peers(&self) -> &Peers {
        &self.shared.peers
    }

    pub(super) async fn shutdown(&self) {
        self.endpoint.set_server_config(None);
        let closed = self.shared.peers.close_all("the coordinator stops");
        timeout(FAREWELL + Duration::from_secs(1), closed)
            .await
            .ok();
        self.endpoint
            .close(number(CloseCode::Done), b"the coordinator stops");
        timeout(FAREWELL, self.endpoint.wait_idle()).await.ok();
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.watching.abort();
        self.endpoint
            .close(number(CloseCode::Done), b"the coordinator stopped");
    }
}

fn bind(
    listen: SocketAddr,
    server: quinn::ServerConfig,
) -> std::io::Result<(quinn::Endpoint, SocketAddr)> {
    let socket = quic::socket(listen)?;
    let local = socket.local_addr()?;
    Ok((quic::endpoint(socket, Some(server))?, local))
}

async fn accept(endpoint: quinn::Endpoint, shared: Arc<Shared>) {
    while let Some(incoming) = endpoint.accept().await {
        if endpoint.open_connections() >= CONNECTIONS {
            incoming.refuse();
        } else if incoming.remote_address_validated() {
            tokio::spawn(handshake::serve(incoming, shared.clone()));
        } else {
            // The address may be forged: only its real owner receives and answers the retry. Fails
            // only for an address that was validated.
            incoming.retry().ok();
        }
    }
}
