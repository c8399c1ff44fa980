//! The connection over QUIC. No other module of the site-agent uses quinn.

mod close_reason;
mod enrol;
mod reach;

use super::tunnel::Tunnel;
use super::{LinkConfig, LinkError, LinkEvent, Probed, Way};
pub(super) use close_reason::EXPIRED;
use close_reason::{Ended, explain};
pub(super) use enrol::ask_for_certificate;
use protocol::codec::CloseCode;
use protocol::codec::transfer::Receiving;
use protocol::message::{CoordinatorMessage, Hello, SiteMessage, TransferHeader};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{RecvStream, SendStream, VarInt};
pub(super) use reach::{Target, Trust};
use reach::{reach, reach_over_udp, reach_through_tunnel};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::timeout;
use transport::WireError;
use transport::certificates::CertificateError;
use transport::file_transfer::{self, ChunkHashes, Destination};
use transport::frame;
use transport::quic::{self, FAREWELL, code_of, number};

/// How long a refusal of our certificate, or of an update, may take to arrive.
const REFUSAL: Duration = Duration::from_secs(2);
/// The longest wait for the coordinator's first message.
const WELCOME: Duration = Duration::from_secs(60);
/// Streams that the coordinator may have open at once: one, for a transfer.
const STREAMS: u32 = 1;
/// Messages, and events, that may wait to be read.
const QUEUE: usize = 64;

/// A connection with a welcome.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    quic: quinn::Connection,
    /// The length of the model, once it is known.
    expected: Arc<watch::Sender<Option<u64>>>,
}

/// A connection that was made, and its queues.
pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) outbox: mpsc::Sender<SiteMessage>,
    pub(super) events: mpsc::Receiver<LinkEvent>,
}

/// The stream of messages, in both directions.
struct MessageStream {
    sending: SendStream,
    receiving: RecvStream,
}

/// Why this end closes the connection.
struct CloseReason {
    code: CloseCode,
    text: String,
}

fn client(target: &Target, tls: rustls::ClientConfig) -> Result<quinn::ClientConfig, LinkError> {
    let folder = match &target.trust {
        Trust::Folder(folder) => folder.as_path(),
        Trust::Authority(_) => Path::new("TLS"),
    };
    let crypto =
        QuicClientConfig::try_from(tls).map_err(|error| CertificateError::new(folder, error))?;
    let mut client = quinn::ClientConfig::new(Arc::new(crypto));
    client.transport_config(Arc::new(quic::settings(STREAMS)));
    Ok(client)
}

/// Connects one way, and leaves without a message.
pub(super) async fn probe(
    config: &LinkConfig,
    tls: rustls::ClientConfig,
    way: Way,
) -> Result<Probed, LinkError> {
    let target = Target::of(config);
    let client = client(&target, tls)?;
    let reached = match (way, &config.fallback) {
        (Way::Tunnel, Some(fallback)) => reach_through_tunnel(&target, fallback, &client).await?,
        (Way::Tunnel, None) | (Way::Udp, _) => reach_over_udp(&config.coordinator, &client).await?,
    };
    // Whether our certificate is accepted is known only after our end has finished.
    let refused = timeout(REFUSAL, reached.quic.closed()).await;
    let key_exchange = quic::key_exchange(&reached.quic);
    reached.quic.close(VarInt::from_u32(0), b"");
    reached.endpoint.wait_idle().await;
    match refused {
        Ok(error) => Err(explain(&config.coordinator, &error)),
        Err(_) => Ok(Probed {
            ahead_s: reached.tunnel.and_then(|tunnel| tunnel.ahead_s),
            key_exchange,
        }),
    }
}

pub(super) async fn connect(
    config: LinkConfig,
    tls: rustls::ClientConfig,
    hello: Hello,
) -> Result<Opened, LinkError> {
    let target = Target::of(&config);
    let reached = reach(&target, &client(&target, tls)?).await?;
    let quic = reached.quic;
    let (sending, receiving) = quic
        .open_bi()
        .await
        .map_err(|error| explain(&config.coordinator, &error))?;
    let mut stream = MessageStream { sending, receiving };
    let first = match greet(&mut stream, hello).await {
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
    let (sender, events) = mpsc::channel(QUEUE);
    let connection = Connection {
        quic,
        expected: Arc::new(watch::Sender::new(None)),
    };
    let session = Session {
        connection: connection.clone(),
        endpoint: reached.endpoint,
        events: sender,
        incoming: config.incoming,
        models: config.models,
    };
    tokio::spawn(session.run(reached.tunnel, stream, messages, first));
    Ok(Opened {
        connection,
        outbox,
        events,
    })
}

/// Sends the greeting and reads the answer. A certificate that the coordinator does not accept is
/// noticed here, too: in TLS 1.3 the client's handshake ends before the server has checked it.
async fn greet(stream: &mut MessageStream, hello: Hello) -> Result<CoordinatorMessage, WireError> {
    frame::write_frame(&mut stream.sending, &SiteMessage::Hello(hello)).await?;
    let answer = frame::read_frame::<CoordinatorMessage>(&mut stream.receiving);
    match timeout(WELCOME, answer).await {
        Ok(Ok(Some(message))) => Ok(message),
        Ok(Ok(None)) => Err(WireError::Stream(io::ErrorKind::UnexpectedEof.into())),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(WireError::Stream(io::ErrorKind::TimedOut.into())),
    }
}

impl Connection {
    pub(super) fn set_model_bytes(&self, bytes: u64) {
        self.expected.send_replace(Some(bytes));
    }

    pub(super) fn leave(&self, reason: &str) {
        self.quic.close(number(CloseCode::Done), reason.as_bytes());
    }

    pub(super) fn closed(&self) -> LinkError {
        let reason = match self.quic.close_reason() {
            Some(error) => Ended::by(&error).reason,
            None => "it was closed here".into(),
        };
        LinkError::Closed { reason }
    }

    pub(super) async fn send_parameters(
        &self,
        header: TransferHeader,
        file: PathBuf,
    ) -> Result<(), LinkError> {
        let (mut sending, mut receiving) = self.quic.open_bi().await.map_err(|_| self.closed())?;
        let hashes = ChunkHashes::new(header.bytes);
        let sent =
            file_transfer::send_file(&mut sending, &mut receiving, header, file, hashes).await;
        let Err(error) = sent else { return Ok(()) };
        if matches!(error, WireError::Stalled) {
            // A slow line, or a busy coordinator. If only the stream were reset, the coordinator
            // would take that as the end of this update.
            self.quic
                .close(number(CloseCode::Stalled), error.to_string().as_bytes());
        }
        if self.quic.close_reason().is_some() {
            return Err(self.closed());
        }
        let reason = match &error {
            // The coordinator stopped the stream, or ended its own: the code says why.
            WireError::Stream(_) => {
                let mut code = CloseCode::Transfer;
                if let Ok(Ok(Some(number))) = timeout(REFUSAL, sending.stopped()).await
                    && let Some(known) = CloseCode::from_number(number.into_inner())
                {
                    code = known;
                }
                format!("the coordinator says that {}", code.meaning())
            }
            error => error.to_string(),
        };
        sending.reset(number(CloseCode::Transfer)).ok();
        Err(LinkError::Transfer { reason })
    }
}

/// The task of a connection.
struct Session {
    connection: Connection,
    endpoint: quinn::Endpoint,
    events: mpsc::Sender<LinkEvent>,
    /// As in [`LinkConfig`].
    incoming: PathBuf,
    /// As in [`LinkConfig`].
    models: PathBuf,
}

impl Session {
    async fn run(
        self,
        mut tunnel: Option<Tunnel>,
        stream: MessageStream,
        messages: mpsc::Receiver<SiteMessage>,
        first: CoordinatorMessage,
    ) {
        self.tell(LinkEvent::Message(first)).await;
        let hung_up = Notify::new();
        let close = tokio::select! {
            close = self.listen(stream.receiving, &hung_up) => close,
            close = self.speak(stream.sending, messages, &hung_up) => close,
            close = self.fetch() => close,
            text = end_of(&mut tunnel) => CloseReason { code: CloseCode::Closed, text },
        };
        let quic = &self.connection.quic;
        let ended = match quic.close_reason() {
            Some(error) => Ended::by(&error),
            None => Ended {
                reason: close.text.clone(),
                again: true,
            },
        };
        quic.close(number(close.code), close.text.as_bytes());
        self.tell(LinkEvent::Closed {
            reason: ended.reason,
            again: ended.again,
        })
        .await;
        timeout(FAREWELL, self.endpoint.wait_idle()).await.ok();
    }

    /// Reads the coordinator's messages. Returns when the stream fails; at its end it notifies
    /// `hung_up` and waits for the other tasks.
    async fn listen(&self, mut stream: RecvStream, hung_up: &Notify) -> CloseReason {
        loop {
            match frame::read_frame::<CoordinatorMessage>(&mut stream).await {
                Ok(Some(message)) => self.tell(LinkEvent::Message(message)).await,
                Ok(None) => {
                    hung_up.notify_one();
                    return std::future::pending().await;
                }
                Err(error) => return CloseReason::failed(&error),
            }
        }
    }

    /// Sends the site's messages, until every [`super::Link`] is dropped or the coordinator has
    /// ended its stream.
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
                return CloseReason::failed(&error);
            }
        }
        stream.finish().ok();
        timeout(FAREWELL, self.connection.quic.closed()).await.ok();
        CloseReason::new(CloseCode::Done, "the site leaves")
    }

    /// Receives parameters from the coordinator, one transfer at a time.
    async fn fetch(&self) -> CloseReason {
        for transfer in 0u64.. {
            let Ok((mut sending, mut receiving)) = self.connection.quic.accept_bi().await else {
                break;
            };
            let header = match frame::read_frame::<TransferHeader>(&mut receiving).await {
                Ok(Some(header)) => header,
                Ok(None) => {
                    return CloseReason::new(CloseCode::Violation, "a stream without a header");
                }
                Err(error) => return CloseReason::failed(&error),
            };
            let Some(bytes) = self.expected_bytes().await else {
                break;
            };
            let id = header.parameters;
            let file = self.incoming.join(format!("{id}-{transfer}.f32"));
            let destination = Destination {
                parts: self.incoming.clone(),
                place: file.clone(),
                known: Some(self.models.join(id.hex()).with_extension("f32")),
                lasting: false,
            };
            let received = match Receiving::begin(header, bytes) {
                Ok(begun) => {
                    file_transfer::receive_file(&mut sending, &mut receiving, begun, destination)
                        .await
                }
                Err(error) => Err(error.into()),
            };
            match received {
                Ok(arrived) => {
                    let header = arrived.header();
                    self.tell(LinkEvent::Parameters { header, file }).await;
                }
                Err(error) => {
                    if let WireError::Disk(error) = &error {
                        let reason = error.to_string();
                        self.tell(LinkEvent::Unstored { file, reason }).await;
                    }
                    return CloseReason::failed(&error);
                }
            }
        }
        CloseReason::new(CloseCode::Done, "the connection ended")
    }

    /// Waits until the length of the model is known; `None` if it never will be.
    async fn expected_bytes(&self) -> Option<u64> {
        let mut expected = self.connection.expected.subscribe();
        let bytes = expected.wait_for(Option::is_some).await.ok()?;
        *bytes
    }

    /// Waits while the site has not read earlier events: this slows the coordinator down.
    async fn tell(&self, event: LinkEvent) {
        self.events.send(event).await.ok();
    }
}

impl CloseReason {
    fn new(code: CloseCode, text: &str) -> Self {
        let text = text.to_owned();
        Self { code, text }
    }

    fn failed(error: &WireError) -> Self {
        Self {
            code: code_of(error),
            text: error.to_string(),
        }
    }
}

/// Waits for the end of the tunnel, if the connection goes through one.
async fn end_of(tunnel: &mut Option<Tunnel>) -> String {
    match tunnel {
        Some(tunnel) => tunnel.ended().await,
        None => std::future::pending().await,
    }
}
