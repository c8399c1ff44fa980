//! The sites' connections over QUIC. No other file of the coordinator names quinn.

use super::peers::{ConnectionHandle, Disconnect, Outbound, Peers};
use super::tunnel::Origins;
use super::{Inbound, ServerConfig, ServerError, tls, twice};
use protocol::codec::CloseCode;
use protocol::codec::transfer::{Receiving, TransferError};
use protocol::message::{CoordinatorMessage, Hello, PROTOCOL, SiteMessage, TransferHeader};
use protocol::parameters::ParametersId;
use protocol::site::TWICE;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Incoming, RecvStream, SendStream};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;
use transport::certificates::CertificateError;
use transport::clock;
use transport::quic::{self, CONNECTION_WINDOW, FAREWELL, IDLE, SEND_WINDOW, code_of, number};
use transport::wire::{self, Destination, Hashes, WireError};

/// From the first packet to the first words.
const GREETING: Duration = Duration::from_secs(10);
/// How long after one of its streams a connection may end: a close may overtake what was sent
/// before.
const MOMENT: Duration = Duration::from_secs(1);
/// Connections at once, finished handshakes or not.
const CONNECTIONS: usize = 1024;
/// What all connections together may have in flight each way, so that memory does not grow with the
/// number of sites; as long as each has the least that keeps a line of 20 Mbit/s with 200 ms of
/// delay full.
const ALL_WINDOWS: u64 = 64 << 20;
const LEAST_WINDOW: u64 = 512 << 10;

/// Streams that a site may have open: one for what is said, one for what is sent. The number goes
/// up, for all and by one, when a site is asked whether it is there.
const STREAMS: u32 = 2;
const MOST_STREAMS: u32 = 64;

/// The listening socket with its connections.
#[derive(Debug)]
pub(super) struct Endpoint {
    endpoint: quinn::Endpoint,
    local: SocketAddr,
    shared: Arc<Shared>,
}

/// What all connections share.
#[derive(Debug)]
struct Shared {
    config: ServerConfig,
    peers: Peers,
    origins: Origins,
    events: mpsc::Sender<Inbound>,
    /// The sites' connections, and where each comes from.
    visitors: Mutex<BTreeMap<String, (Connection, String)>>,
    /// The streams that were last given to a site to see whether it answers.
    streams: AtomicU32,
    /// Of the parameters that were sent last, which are a round's model as a rule.
    hashes: Mutex<Option<(ParametersId, Hashes)>>,
}

impl Shared {
    /// Why a site may not come from here: another agent of its name is at work elsewhere.
    async fn doubled(&self, site: &str, from: &str) -> Option<CloseReason> {
        let (other, place) = self.visitors().get(site).cloned()?;
        // More streams than before are a message that the other end has to acknowledge.
        let streams = self
            .streams
            .fetch_add(1, Ordering::Relaxed)
            .saturating_add(1)
            .min(MOST_STREAMS);
        let ask = || other.set_max_concurrent_bi_streams(quinn::VarInt::from_u32(streams));
        let there = twice::is_there(
            || other.close_reason().is_none(),
            || other.stats().udp_rx.datagrams,
            ask,
        )
        .await;
        let reason = format!(
            "{site} {TWICE}, from {place}: a second agent with the same certificate came from {from}, which is not let in"
        );
        there.then_some(CloseReason(CloseCode::Stranger, reason))
    }

    /// A site's connection has ended, unless another one has its place already.
    fn leave(&self, site: &str, connection: &Connection) {
        let mut visitors = self.visitors();
        if visitors
            .get(site)
            .is_some_and(|(other, _)| other.stable_id() == connection.stable_id())
        {
            visitors.remove(site);
        }
    }

    fn visitors(&self) -> MutexGuard<'_, BTreeMap<String, (Connection, String)>> {
        // A panic while it was held left it whole: every change to it is a single step.
        self.visitors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hashes(&self, header: TransferHeader) -> Hashes {
        // A panic while they were held left them whole: they change in a single step.
        let mut held = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        match &*held {
            Some((parameters, hashes)) if *parameters == header.parameters => hashes.clone(),
            _ => held
                .insert((header.parameters, Hashes::new(header.bytes)))
                .1
                .clone(),
        }
    }
}

/// Why a connection ends, in words that the other end may read.
struct CloseReason(CloseCode, String);

impl Endpoint {
    pub(super) fn open(
        config: ServerConfig,
        tls: rustls::ServerConfig,
        events: mpsc::Sender<Inbound>,
        origins: Origins,
    ) -> Result<Self, ServerError> {
        let crypto = QuicServerConfig::try_from(tls)
            .map_err(|error| CertificateError::new(&config.certificates, error))?;
        let mut server = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        server
            .transport_config(Arc::new(quic::settings(STREAMS)))
            .max_incoming(CONNECTIONS);
        let listen = config.listen;
        let opened = quic::socket(listen).and_then(|socket| {
            let local = socket.local_addr()?;
            Ok((quic::endpoint(socket, Some(server))?, local))
        });
        let (endpoint, local) = opened.map_err(|reason| ServerError::Listen { listen, reason })?;
        let (peers, visitors, hashes) = (Peers::default(), Mutex::default(), Mutex::default());
        let streams = AtomicU32::new(STREAMS);
        let shared = Arc::new(Shared {
            config,
            peers,
            origins,
            events,
            visitors,
            streams,
            hashes,
        });
        tokio::spawn(listen_on(endpoint.clone(), shared.clone()));
        Ok(Self {
            endpoint,
            local,
            shared,
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
        let asked = self.shared.peers.dismiss_all("the coordinator stops");
        timeout(FAREWELL + Duration::from_secs(1), asked).await.ok();
        self.endpoint
            .close(number(CloseCode::Done), b"the coordinator stops");
        timeout(FAREWELL, self.endpoint.wait_idle()).await.ok();
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.endpoint
            .close(number(CloseCode::Done), b"the coordinator stopped");
    }
}

async fn listen_on(endpoint: quinn::Endpoint, shared: Arc<Shared>) {
    while let Some(incoming) = endpoint.accept().await {
        if endpoint.open_connections() >= CONNECTIONS {
            incoming.refuse();
        } else if incoming.remote_address_validated() {
            tokio::spawn(serve(incoming, shared.clone()));
        } else {
            // Nobody's address is taken on trust: a forged one never answers. Fails only if it was
            // validated.
            incoming.retry().ok();
        }
    }
}

/// One connection from its first packet to its last.
async fn serve(incoming: Incoming, shared: Arc<Shared>) {
    let remote = incoming.remote_address();
    let from = shared.origins.of(remote);
    let connection = match timeout(GREETING, incoming).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            let error = clock::in_words(&error.to_string());
            return tracing::warn!(%from, error, "a connection was refused");
        }
        Err(_) => return tracing::warn!(%from, "a connection never finished its handshake"),
    };
    let greeted = timeout(GREETING, greet(&connection, &shared)).await;
    let silent = || Err(CloseReason(CloseCode::Violation, "no first words".into()));
    match greeted.unwrap_or_else(|_| silent()) {
        Ok((site, hello, streams)) => {
            if let Some(CloseReason(code, reason)) = shared.doubled(&site, &from.to_string()).await
            {
                tracing::warn!(%from, reason, "a connection was refused");
                connection.close(number(code), reason.as_bytes());
                return;
            }
            tracing::info!(%from, site, "a site connected");
            shared
                .visitors()
                .insert(site.clone(), (connection.clone(), from.to_string()));
            shared.origins.admit(remote);
            attend(
                &connection,
                &shared,
                (site, hello, streams),
                from.is_tunnel(),
            )
            .await;
        }
        Err(CloseReason(code, reason)) => {
            tracing::warn!(%from, reason, "a connection was refused");
            connection.close(number(code), reason.as_bytes());
        }
    }
}

type Streams = (SendStream, RecvStream);

/// Who is it, may they come in, and do they speak our language?
async fn greet(
    connection: &Connection,
    shared: &Shared,
) -> Result<(String, Hello, Streams), CloseReason> {
    let site = identity(connection).ok_or_else(|| {
        CloseReason(
            CloseCode::Stranger,
            "the certificate does not name one site".into(),
        )
    })?;
    let expected = &shared.config.expected_sites;
    if !expected.is_empty() && !expected.contains(&site) {
        return Err(CloseReason(
            CloseCode::Stranger,
            format!("{site} is not one of this federation's sites"),
        ));
    }
    let (sending, mut receiving) = connection.accept_bi().await.map_err(|error| lost(&error))?;
    let Some(SiteMessage::Hello(hello)) = wire::read_frame(&mut receiving).await.map_err(broken)?
    else {
        return Err(CloseReason(
            CloseCode::Violation,
            "the first words are not a greeting".into(),
        ));
    };
    if hello.protocol != PROTOCOL {
        let reason = format!(
            "the site speaks protocol {}, the coordinator {PROTOCOL}",
            hello.protocol
        );
        return Err(CloseReason(CloseCode::Version, reason));
    }
    Ok((site, hello, (sending, receiving)))
}

fn identity(connection: &Connection) -> Option<String> {
    let chain = connection
        .peer_identity()?
        .downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>()
        .ok()?;
    tls::site_name(chain.first()?)
}

/// A welcome site's connection, until it ends.
async fn attend(
    connection: &Connection,
    shared: &Shared,
    (site, hello, streams): (String, Hello, Streams),
    tunnelled: bool,
) {
    let handle = shared.peers.enter(&site).await;
    let ConnectionHandle {
        control,
        transfers,
        mut dismissed,
        connection: number_of,
        alive,
    } = handle;
    let attended = SiteConnection {
        site,
        number: number_of,
        connection,
        shared,
        parting: OnceLock::new(),
    };
    attended
        .tell(|site, connection| Inbound::Connected {
            site,
            connection,
            hello,
            tunnelled,
        })
        .await;
    let (sending, receiving) = streams;
    let CloseReason(code, reason) = tokio::select! {
        ending = attended.listen(receiving) => ending,
        ending = attended.speak(sending, control) => ending,
        ending = attended.fetch() => ending,
        ending = attended.deliver(transfers) => ending,
        dismissal = dismissed.wait_for(|state| *state != Disconnect::Stay) => match dismissal.as_deref() {
            Ok(Disconnect::Overrun) => CloseReason(CloseCode::Stalled, "the site does not read what it is sent".into()),
            _ => CloseReason(CloseCode::Replaced, CloseCode::Replaced.meaning().into()),
        },
    };
    connection.close(number(code), reason.as_bytes());
    shared.leave(&attended.site, connection);
    shared.peers.leave(&attended.site, number_of);
    attended
        .tell(|site, connection| Inbound::Closed {
            site,
            connection,
            reason,
        })
        .await;
    drop(alive);
}

/// A file that the application was not told of: dropped, it is removed.
struct TempFile(Option<std::path::PathBuf>);

impl TempFile {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        // Usually there is none.
        self.0.take().map(std::fs::remove_file);
    }
}

/// One connection of one site.
struct SiteConnection<'a> {
    site: String,
    number: u64,
    connection: &'a Connection,
    shared: &'a Shared,
    /// What to close with, once the application asked for it.
    parting: OnceLock<(CloseCode, String)>,
}

impl SiteConnection<'_> {
    /// Waits for the application when it is behind: that is the backpressure.
    async fn tell(&self, event: impl FnOnce(String, u64) -> Inbound) {
        // Without a listener there is nobody to tell; the server is about to be dropped.
        self.shared
            .events
            .send(event(self.site.clone(), self.number))
            .await
            .ok();
    }

    /// The site's messages.
    async fn listen(&self, mut stream: RecvStream) -> CloseReason {
        loop {
            match wire::read_frame::<SiteMessage>(&mut stream).await {
                Ok(Some(SiteMessage::Hello(_))) => {
                    return CloseReason(CloseCode::Violation, "a second greeting".into());
                }
                Ok(Some(message)) => {
                    self.tell(|site, connection| Inbound::Message {
                        site,
                        connection,
                        message,
                    })
                    .await;
                }
                Ok(None) => return self.parted(),
                Err(error) => return self.explain(error).await,
            }
        }
    }

    /// The application's messages.
    async fn speak(
        &self,
        mut stream: SendStream,
        mut outbox: mpsc::Receiver<Outbound>,
    ) -> CloseReason {
        while let Some(outbound) = outbox.recv().await {
            let message = match outbound {
                Outbound::Message(message) => message,
                Outbound::Close(code, reason) => {
                    self.parting.set((code, reason)).ok();
                    stream.finish().ok();
                    // A site that reads answers with the end of its own stream, which ends this
                    // wait.
                    tokio::time::sleep(FAREWELL).await;
                    return self.parted();
                }
                Outbound::Parameters(..) => continue,
            };
            if let Err(error) = wire::write_frame::<CoordinatorMessage>(&mut stream, &message).await
            {
                return self.explain(error).await;
            }
        }
        // Replaced: the dismissal is on its way.
        std::future::pending().await
    }

    /// Takes no more than its share of what all connections may have in flight. Seen to before each
    /// transfer, as sites come and go.
    fn share_windows(&self) {
        let share = ALL_WINDOWS / self.shared.peers.count().max(1) as u64;
        self.connection
            .set_send_window(share.clamp(LEAST_WINDOW, SEND_WINDOW));
        let receiving = u32::try_from(share.max(LEAST_WINDOW)).unwrap_or(u32::MAX);
        self.connection
            .set_receive_window(receiving.min(CONNECTION_WINDOW).into());
    }

    /// Parameters from the site, one transfer at a time.
    async fn fetch(&self) -> CloseReason {
        for transfer in 0u64.. {
            let (mut sending, mut receiving) = match self.connection.accept_bi().await {
                Ok(streams) => streams,
                Err(error) => return lost(&error),
            };
            let header = match timeout(GREETING, wire::read_frame::<TransferHeader>(&mut receiving))
                .await
            {
                Ok(Ok(Some(header))) => header,
                Ok(Err(error)) => return self.explain(error).await,
                Ok(Ok(None)) | Err(_) => {
                    return CloseReason(CloseCode::Violation, "a stream without a header".into());
                }
            };
            let parts = self.shared.config.incoming.join(&self.site);
            let file = parts.join(format!("{}-{transfer}.f32", self.number));
            let destination = Destination {
                parts,
                place: file.clone(),
                known: None,
                lasting: true,
            };
            let temporary = TempFile(Some(file.clone()));
            // No content comes before the answer to the header.
            self.share_windows();
            let outcome = match Receiving::begin(header, self.shared.config.expected_bytes) {
                Ok(begun) => {
                    wire::receive_file((&mut sending, &mut receiving), begun, destination).await
                }
                Err(error) => Err(error.into()),
            };
            let error = match outcome {
                Ok(arrived) => {
                    self.tell(|site, connection| Inbound::Parameters {
                        site,
                        connection,
                        arrived,
                        file,
                    })
                    .await;
                    temporary.keep();
                    continue;
                }
                Err(error) => error,
            };
            receiving.stop(number(code_of(&error))).ok();
            sending.reset(number(code_of(&error))).ok();
            let reason = error.to_string();
            match &error {
                WireError::Disk(_) => self.tell(|_, _| Inbound::DiskFailed { reason }).await,
                _ if self.is_line(&error).await => {}
                _ => {
                    self.tell(|site, connection| Inbound::ParametersRefused {
                        site,
                        connection,
                        header,
                        reason,
                    })
                    .await;
                    continue;
                }
            }
            return self.explain(error).await;
        }
        CloseReason(CloseCode::Done, String::new())
    }

    /// Whether the line failed, not the update: the site comes back, is asked again and has it
    /// still. A stream that the site itself broke off on a sound line is another matter: it cannot
    /// send.
    async fn is_line(&self, error: &WireError) -> bool {
        match error {
            WireError::Stalled | WireError::Transfer(TransferError::Stale) => true,
            // A stream may end a moment before the connection does, whose end is what it ended by.
            WireError::Stream(_) => timeout(MOMENT, self.connection.closed()).await.is_ok(),
            _ => self.connection.close_reason().is_some(),
        }
    }

    /// Parameters to the site, one transfer at a time.
    async fn deliver(
        &self,
        mut transfers: mpsc::Receiver<(TransferHeader, std::path::PathBuf)>,
    ) -> CloseReason {
        while let Some((header, file)) = transfers.recv().await {
            self.share_windows();
            let (mut sending, mut receiving) = match self.connection.open_bi().await {
                Ok(streams) => streams,
                Err(error) => return lost(&error),
            };
            if let Err(error) = wire::send_file(
                (&mut sending, &mut receiving),
                header,
                (file, self.shared.hashes(header)),
            )
            .await
            {
                sending.reset(number(code_of(&error))).ok();
                if let WireError::Disk(_) = &error {
                    let reason = error.to_string();
                    self.tell(|_, _| Inbound::DiskFailed { reason }).await;
                }
                return self.explain(error).await;
            }
        }
        std::future::pending().await
    }

    /// A stream's failure usually means that the connection is gone, which knows better why.
    async fn explain(&self, error: WireError) -> CloseReason {
        match (error, self.connection.close_reason()) {
            (WireError::Stream(_), Some(reason)) => lost(&reason),
            (error, _) => broken(error),
        }
    }

    /// The site has read everything and says no more.
    fn parted(&self) -> CloseReason {
        let (code, reason) = self
            .parting
            .get()
            .cloned()
            .unwrap_or((CloseCode::Done, "the site left".into()));
        CloseReason(code, reason)
    }
}

fn broken(error: WireError) -> CloseReason {
    CloseReason(code_of(&error), error.to_string())
}

/// Why a connection is gone, as the end of "the connection ended: ...".
fn lost(error: &quinn::ConnectionError) -> CloseReason {
    let reason = match error {
        quinn::ConnectionError::ApplicationClosed(close) => {
            let text = quic::words(close);
            let meaning = CloseCode::from_number(close.error_code.into_inner())
                .map_or("", CloseCode::meaning);
            if text.is_empty() {
                format!("the site closed it: {meaning}")
            } else {
                format!("the site closed it: {text}")
            }
        }
        quinn::ConnectionError::TimedOut => {
            format!("nothing was heard for {} seconds", IDLE.as_secs())
        }
        other => other.to_string(),
    };
    CloseReason(CloseCode::Closed, reason)
}
