//! The connection over QUIC. No other file of the site-agent names quinn.

use super::race::race;
use super::tunnel::{self, Tunnel};
use super::{Fallback, LinkConfig, LinkError, LinkEvent, Way};
use protocol::codec::CloseCode;
use protocol::codec::transfer::Receiving;
use protocol::message::{CoordinatorMessage, Hello, SiteMessage, TransferHeader};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ConnectionError, RecvStream, SendStream, VarInt};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{sleep, timeout};
use transport::WireError;
use transport::certificates::CertificateError;
use transport::file_transfer::{self, ChunkHashes, Destination};
use transport::frame;
use transport::quic::{self, FAREWELL, code_of, number};

/// The longest handshake with one address.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long UDP is waited for alone, before the tunnel is begun beside it. A packet that is lost is
/// sent again within it.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a refusal of our certificate may take to arrive.
const REFUSAL: Duration = Duration::from_secs(2);
/// The longest wait for the coordinator's first word.
const WELCOME: Duration = Duration::from_secs(60);
/// What the coordinator may open at once: one stream for a transfer.
const STREAMS: u32 = 1;
/// Messages and events that may wait.
const QUEUE: usize = 64;

/// A connection with a welcome.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    quic: quinn::Connection,
    expected: Arc<watch::Sender<Option<u64>>>,
}

/// Why a connection ends at this end's wish.
struct CloseReason(CloseCode, String);

type Opened = (
    Connection,
    mpsc::Sender<SiteMessage>,
    mpsc::Receiver<LinkEvent>,
);

fn client(
    config: &LinkConfig,
    tls: rustls::ClientConfig,
) -> Result<quinn::ClientConfig, LinkError> {
    let crypto = QuicClientConfig::try_from(tls)
        .map_err(|error| CertificateError::new(&config.certificates, error))?;
    let mut client = quinn::ClientConfig::new(Arc::new(crypto));
    client.transport_config(Arc::new(quic::settings(STREAMS)));
    Ok(client)
}

/// Shakes hands and leaves without a word.
pub(super) async fn probe(
    config: &LinkConfig,
    tls: rustls::ClientConfig,
    way: Way,
) -> Result<Option<i64>, LinkError> {
    let client = client(config, tls)?;
    let reached = match (way, &config.fallback) {
        (Way::Tunnel, Some(fallback)) => through(config, fallback, &client).await?,
        (Way::Tunnel, None) | (Way::Udp, _) => direct(&config.coordinator, &client).await?,
    };
    let Reached {
        endpoint,
        quic,
        tunnel,
    } = reached;
    // Whether our certificate is accepted is known only after our end has finished.
    let refused = timeout(REFUSAL, quic.closed()).await;
    quic.close(VarInt::from_u32(0), b"");
    endpoint.wait_idle().await;
    let ahead = tunnel.and_then(|tunnel| tunnel.ahead);
    refused.map_or(Ok(ahead), |reason| {
        Err(explain(&config.coordinator, &reason))
    })
}

pub(super) async fn connect(
    config: LinkConfig,
    tls: rustls::ClientConfig,
    hello: Hello,
) -> Result<Opened, LinkError> {
    let Reached {
        endpoint,
        quic,
        tunnel,
    } = reach(&config, &client(&config, tls)?).await?;
    let (mut sending, mut receiving) = quic
        .open_bi()
        .await
        .map_err(|error| explain(&config.coordinator, &error))?;
    let first = match greet(&mut sending, &mut receiving, &hello).await {
        Ok(CoordinatorMessage::Refused { reason }) => return Err(LinkError::Refused { reason }),
        Ok(message) => message,
        Err(WireError::Codec(error)) => {
            return Err(LinkError::Protocol {
                reason: error.to_string(),
            });
        }
        Err(error) => {
            return Err(match quic.close_reason() {
                Some(reason) => explain(&config.coordinator, &reason),
                None => LinkError::Unreachable {
                    coordinator: config.coordinator,
                    reason: error.to_string(),
                },
            });
        }
    };
    let (outbox, messages) = mpsc::channel(QUEUE);
    let (events, inbox) = mpsc::channel(QUEUE);
    let expected = Arc::new(watch::Sender::new(None));
    let connection = Connection { quic, expected };
    let LinkConfig {
        incoming, models, ..
    } = config;
    let session = Session {
        connection: connection.clone(),
        events,
        incoming,
        models,
    };
    tokio::spawn(session.run((endpoint, tunnel), (sending, receiving), messages, first));
    Ok((connection, outbox, inbox))
}

/// A connection, and what it needs to go on.
struct Reached {
    endpoint: quinn::Endpoint,
    quic: quinn::Connection,
    tunnel: Option<Tunnel>,
}

/// Over UDP or, when that seems to be blocked, through the tunnel.
async fn reach(config: &LinkConfig, client: &quinn::ClientConfig) -> Result<Reached, LinkError> {
    let direct = direct(&config.coordinator, client);
    let Some(fallback) = &config.fallback else {
        return direct.await;
    };
    let reached = race(direct, through(config, fallback, client), sleep(PATIENCE)).await?;
    if reached.tunnel.is_some() {
        let proxy = tunnel::proxy(fallback)?
            .map(|proxy| format!(", by the proxy {proxy}"))
            .unwrap_or_default();
        tracing::warn!(
            "UDP seems to be blocked: no answer from {} over it so far. The connection goes through TLS over TCP at \
             {}{proxy}, which is slower",
            config.coordinator,
            fallback.address
        );
    }
    Ok(reached)
}

/// Through the tunnel. Inside, the coordinator shows the same certificate as over UDP, with the
/// same name in it.
async fn through(
    config: &LinkConfig,
    fallback: &Fallback,
    client: &quinn::ClientConfig,
) -> Result<Reached, LinkError> {
    let host = tunnel::host(&config.coordinator)?;
    let shut = |reason: String| LinkError::Tunnel {
        address: fallback.address.clone(),
        reason,
    };
    let opening = tunnel::open(fallback, &config.certificates).await?;
    let socket = quic::socket(any((Ipv4Addr::LOCALHOST, 0).into()))
        .map_err(|error| shut(error.to_string()))?;
    let led = async { opening.lead_to(socket.local_addr()?).await }.await;
    let (remote, tunnel) = led.map_err(|error| shut(error.to_string()))?;
    match shake_hands(socket, remote, host, client).await {
        Ok((endpoint, quic)) => Ok(Reached {
            endpoint,
            quic,
            tunnel: Some(tunnel),
        }),
        Err(Attempt::Local(reason)) => Err(shut(reason)),
        Err(Attempt::Connection(error)) => Err(match explain(&config.coordinator, &error) {
            LinkError::Unreachable { reason, .. } => shut(format!("QUIC within it: {reason}")),
            answer => answer,
        }),
    }
}

/// Over UDP: tries each address of the coordinator's name.
async fn direct(coordinator: &str, client: &quinn::ClientConfig) -> Result<Reached, LinkError> {
    let host = tunnel::host(coordinator)?;
    let address = |reason: String| LinkError::Address {
        coordinator: coordinator.to_owned(),
        reason,
    };
    let found = tokio::net::lookup_host(coordinator)
        .await
        .map_err(|error| address(error.to_string()))?;
    let mut last = address("its name has no address".into());
    for remote in found {
        let shaken = match quic::socket(any(remote)) {
            Ok(socket) => shake_hands(socket, remote, host, client).await,
            Err(error) => Err(Attempt::Local(error.to_string())),
        };
        match shaken {
            Ok((endpoint, quic)) => {
                return Ok(Reached {
                    endpoint,
                    quic,
                    tunnel: None,
                });
            }
            Err(Attempt::Connection(error)) => last = explain(coordinator, &error),
            Err(Attempt::Local(reason)) => {
                last = LinkError::Unreachable {
                    coordinator: coordinator.to_owned(),
                    reason,
                };
            }
        }
    }
    Err(last)
}

enum Attempt {
    Connection(ConnectionError),
    Local(String),
}

async fn shake_hands(
    socket: std::net::UdpSocket,
    remote: SocketAddr,
    host: &str,
    client: &quinn::ClientConfig,
) -> Result<(quinn::Endpoint, quinn::Connection), Attempt> {
    let local = |error: &dyn std::fmt::Display| Attempt::Local(error.to_string());
    let endpoint = quic::endpoint(socket, None).map_err(|error| local(&error))?;
    let connecting = endpoint
        .connect_with(client.clone(), remote, host)
        .map_err(|error| local(&error))?;
    match timeout(HANDSHAKE, connecting).await {
        Ok(Ok(connection)) => Ok((endpoint, connection)),
        Ok(Err(error)) => Err(Attempt::Connection(error)),
        Err(_) => Err(Attempt::Connection(ConnectionError::TimedOut)),
    }
}

/// Any free address of this machine that reaches another one.
fn any(remote: SocketAddr) -> SocketAddr {
    match remote {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// First words, and the answer. A certificate that the coordinator does not take shows here, too:
/// in TLS 1.3 the client's handshake ends before the server has looked at it.
async fn greet(
    sending: &mut SendStream,
    receiving: &mut RecvStream,
    hello: &Hello,
) -> Result<CoordinatorMessage, WireError> {
    frame::write_frame(sending, &SiteMessage::Hello(hello.clone())).await?;
    let answer = timeout(WELCOME, frame::read_frame::<CoordinatorMessage>(receiving)).await;
    let ended = || WireError::Stream(std::io::ErrorKind::UnexpectedEof.into());
    answer
        .map_err(|_| WireError::Stream(std::io::ErrorKind::TimedOut.into()))??
        .ok_or_else(ended)
}

impl Connection {
    pub(super) fn set_model_bytes(&self, bytes: u64) {
        self.expected.send_replace(Some(bytes));
    }

    pub(super) fn closed(&self) -> LinkError {
        let reason = self
            .quic
            .close_reason()
            .map_or_else(|| "it was closed here".into(), |error| lost(&error).0);
        LinkError::Closed { reason }
    }

    pub(super) async fn send_parameters(
        &self,
        header: TransferHeader,
        file: PathBuf,
    ) -> Result<(), LinkError> {
        let (mut sending, mut receiving) = self.quic.open_bi().await.map_err(|_| self.closed())?;
        let error = match file_transfer::send_file(
            &mut sending,
            &mut receiving,
            header,
            file,
            ChunkHashes::new(header.bytes),
        )
        .await
        {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if matches!(error, WireError::Stalled) {
            // The line, or an end that is busy: a stream that this end broke off would count as a
            // refusal of its update.
            self.quic
                .close(number(CloseCode::Stalled), error.to_string().as_bytes());
        }
        if self.quic.close_reason().is_some() {
            return Err(self.closed());
        }
        let reason = match &error {
            // The coordinator stopped the stream, or ended its own: the code says why.
            WireError::Stream(_) => {
                let stopped = timeout(REFUSAL, sending.stopped()).await;
                let code = stopped.ok().and_then(Result::ok).flatten();
                let code = code.and_then(|code| CloseCode::from_number(code.into_inner()));
                format!(
                    "the coordinator says that {}",
                    code.unwrap_or(CloseCode::Transfer).meaning()
                )
            }
            error => error.to_string(),
        };
        sending.reset(number(CloseCode::Transfer)).ok();
        Err(LinkError::Transfer { reason })
    }
}

/// The connection's own task.
struct Session {
    connection: Connection,
    events: mpsc::Sender<LinkEvent>,
    incoming: PathBuf,
    models: PathBuf,
}

impl Session {
    async fn run(
        self,
        (endpoint, mut tunnel): (quinn::Endpoint, Option<Tunnel>),
        (sending, receiving): (SendStream, RecvStream),
        messages: mpsc::Receiver<SiteMessage>,
        first: CoordinatorMessage,
    ) {
        self.events.send(LinkEvent::Message(first)).await.ok();
        let hung_up = Notify::new();
        let CloseReason(code, wish) = tokio::select! {
            ending = self.listen(receiving, &hung_up) => ending,
            ending = self.speak(sending, messages, &hung_up) => ending,
            ending = self.fetch() => ending,
            reason = end_of(&mut tunnel) => CloseReason(CloseCode::Closed, reason),
        };
        let quic = &self.connection.quic;
        let (reason, again) = quic
            .close_reason()
            .map_or((wish.clone(), true), |error| lost(&error));
        quic.close(number(code), wish.as_bytes());
        self.events
            .send(LinkEvent::Closed { reason, again })
            .await
            .ok();
        timeout(FAREWELL, endpoint.wait_idle()).await.ok();
    }

    /// The coordinator's messages.
    async fn listen(&self, mut stream: RecvStream, hung_up: &Notify) -> CloseReason {
        loop {
            match frame::read_frame::<CoordinatorMessage>(&mut stream).await {
                Ok(Some(message)) => self.tell(LinkEvent::Message(message)).await,
                Ok(None) => {
                    hung_up.notify_one();
                    return std::future::pending().await;
                }
                Err(error) => return broken(&error),
            }
        }
    }

    /// The site's messages, until none can come any more, or the coordinator says no
    /// more.
    async fn speak(
        &self,
        mut stream: SendStream,
        mut messages: mpsc::Receiver<SiteMessage>,
        hung_up: &Notify,
    ) -> CloseReason {
        loop {
            let message = tokio::select! {
                message = messages.recv() => message,
                () = hung_up.notified() => None,
            };
            let Some(message) = message else { break };
            if let Err(error) = frame::write_frame(&mut stream, &message).await {
                return broken(&error);
            }
        }
        stream.finish().ok();
        timeout(FAREWELL, self.connection.quic.closed()).await.ok();
        CloseReason(CloseCode::Done, "the site leaves".into())
    }

    /// Parameters from the coordinator, one transfer at a time.
    async fn fetch(&self) -> CloseReason {
        let mut expected = self.connection.expected.subscribe();
        for transfer in 0u64.. {
            let Ok((mut sending, mut receiving)) = self.connection.quic.accept_bi().await else {
                break;
            };
            let header = match frame::read_frame::<TransferHeader>(&mut receiving).await {
                Ok(Some(header)) => header,
                Ok(None) => {
                    return CloseReason(CloseCode::Violation, "a stream without a header".into());
                }
                Err(error) => return broken(&error),
            };
            let Ok(bytes) = expected
                .wait_for(Option::is_some)
                .await
                .map(|bytes| bytes.unwrap_or(0))
            else {
                break;
            };
            let file = self
                .incoming
                .join(format!("{}-{transfer}.f32", header.parameters));
            let known = self
                .models
                .join(header.parameters.hex())
                .with_extension("f32");
            let destination = Destination {
                parts: self.incoming.clone(),
                place: file.clone(),
                known: Some(known),
                lasting: false,
            };
            let taken = match Receiving::begin(header, bytes) {
                Ok(begun) => {
                    file_transfer::receive_file(&mut sending, &mut receiving, begun, destination)
                        .await
                }
                Err(error) => Err(error.into()),
            };
            match taken {
                Ok(arrived) => {
                    self.tell(LinkEvent::Parameters {
                        header: arrived.header(),
                        file,
                    })
                    .await
                }
                Err(error) => {
                    if let WireError::Disk(error) = &error {
                        self.tell(LinkEvent::Unstored {
                            file,
                            reason: error.to_string(),
                        })
                        .await;
                    }
                    return broken(&error);
                }
            }
        }
        CloseReason(CloseCode::Done, "the connection ended".into())
    }

    /// Waits for the site when it is behind: that is the backpressure.
    async fn tell(&self, event: LinkEvent) {
        self.events.send(event).await.ok();
    }
}

/// Waits for the end of the tunnel, if the connection goes through one.
async fn end_of(tunnel: &mut Option<Tunnel>) -> String {
    match tunnel {
        Some(tunnel) => tunnel.ended().await,
        None => std::future::pending().await,
    }
}

fn broken(error: &WireError) -> CloseReason {
    CloseReason(code_of(error), error.to_string())
}

/// Why a connection is gone, and whether another one may fare better.
fn lost(error: &ConnectionError) -> (String, bool) {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            let code = CloseCode::from_number(close.error_code.into_inner());
            let text = quic::words(close);
            let meaning = code.map_or("no reason given", CloseCode::meaning);
            let reason = if text.is_empty() {
                meaning.to_owned()
            } else {
                text
            };
            (reason, !code.is_some_and(CloseCode::is_final))
        }
        ConnectionError::TimedOut => (
            "nothing was heard from the coordinator for too long".into(),
            true,
        ),
        ConnectionError::LocallyClosed => ("it was closed here".into(), true),
        other => (other.to_string(), true),
    }
}

/// Why there is no connection.
fn explain(coordinator: &str, error: &ConnectionError) -> LinkError {
    let coordinator = coordinator.to_owned();
    match error {
        ConnectionError::ConnectionClosed(close) => match alert(close.error_code) {
            Some(120) => LinkError::Protocol {
                reason: "it offers no version that we know".into(),
            },
            Some(number) => LinkError::OurCertificate {
                reason: alert_text(number),
            },
            None => LinkError::Unreachable {
                coordinator,
                reason: close.to_string(),
            },
        },
        ConnectionError::TransportError(error) => match alert(error.code) {
            Some(120) => LinkError::Protocol {
                reason: "it offers no version that we know".into(),
            },
            Some(_) => LinkError::TheirCertificate {
                reason: error.reason.clone(),
            },
            None => LinkError::Unreachable {
                coordinator,
                reason: error.to_string(),
            },
        },
        ConnectionError::VersionMismatch => LinkError::Protocol {
            reason: "it speaks another version of QUIC".into(),
        },
        ConnectionError::ApplicationClosed(close) => {
            let reason = lost(error).0;
            match CloseCode::from_number(close.error_code.into_inner()) {
                Some(CloseCode::Version) => LinkError::Protocol { reason },
                Some(CloseCode::Stranger) => LinkError::Refused { reason },
                _ => LinkError::Closed { reason },
            }
        }
        ConnectionError::TimedOut => LinkError::Unreachable {
            coordinator,
            reason: "no answer".into(),
        },
        other => LinkError::Unreachable {
            coordinator,
            reason: other.to_string(),
        },
    }
}

/// The TLS alert in a QUIC error code.
fn alert(code: quinn::TransportErrorCode) -> Option<u8> {
    u64::from(code)
        .checked_sub(0x100)
        .and_then(|alert| u8::try_from(alert).ok())
}

/// What the coordinator says of a certificate that is not valid by its clock.
pub(super) const EXPIRED: &str = "it has expired, or is not valid yet";

/// What a peer's alert about our certificate says (RFC 8446, section 6.2).
fn alert_text(alert: u8) -> String {
    match alert {
        42 => "it is damaged".into(),
        43 => "it is of an unsupported kind".into(),
        44 => "it was revoked".into(),
        45 => EXPIRED.into(),
        46 => "it cannot be used here".into(),
        48 => "it is not from the federation's authority".into(),
        51 => "its signature is wrong".into(),
        116 => "none was shown".into(),
        other => format!("TLS alert {other}"),
    }
}
