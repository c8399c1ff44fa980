//! Relays datagrams between a WebSocket and a local UDP socket, each as one binary message. The
//! content of the datagrams does not matter here.
//!
//! A slow side costs no memory: datagrams that the system's buffer of the local socket cannot hold
//! are dropped, as on any network, and QUIC sends their content again.

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Bytes, Message};

/// The path in the WebSocket's request.
pub const PATH: &str = "/quic";
/// The longest datagram, in bytes: the longest that QUIC probes for.
const DATAGRAM: usize = crate::quic::DATAGRAM as usize;
/// Bytes of the WebSocket's read and write buffers, and of datagrams that are written at once.
const GATHERED: usize = 64 << 10;
/// How long nothing may arrive, or written bytes stay unread, before the other end counts as gone.
/// QUIC sends a packet at least every 5 seconds.
const SILENCE: Duration = Duration::from_secs(35);

/// Why a relay ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    #[error("the other end closed it")]
    Closed,
    /// No datagram arrived, or none could be written.
    #[error("nothing moved for {} seconds", SILENCE.as_secs())]
    Silent,
    /// A text message or another one that the relay does not use.
    #[error("a message arrived that is not a datagram")]
    Stray,
    #[error("{0}")]
    Web(tungstenite::Error),
    #[error("the local socket: {0}")]
    Local(#[from] io::Error),
}

impl From<tungstenite::Error> for Ended {
    fn from(error: tungstenite::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
        use tungstenite::Error as E;
        match error {
            E::ConnectionClosed | E::AlreadyClosed => Self::Closed,
            E::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => {
                Self::Closed
            }
            // The other end left without closing the WebSocket; QUIC has already given the reason.
            E::Io(error)
                if matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof) =>
            {
                Self::Closed
            }
            error => Self::Web(error),
        }
    }
}

/// The limits of a WebSocket: its buffers, and the longest message.
pub fn limits() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(GATHERED)
        .write_buffer_size(GATHERED)
        .max_write_buffer_size(2 * GATHERED)
        .max_message_size(Some(DATAGRAM))
        .max_frame_size(Some(DATAGRAM))
}

/// Relays until one side ends. Both directions run at the same time: otherwise two ends could wait
/// for each other to read, for ever.
pub async fn relay<S>(web: WebSocketStream<S>, local: &UdpSocket) -> Ended
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (to_web, from_web) = web.split();
    let ended = tokio::select! {
        ended = web_to_local(from_web, local) => ended,
        ended = local_to_web(local, to_web) => ended,
    };
    let Err(ended) = ended;
    ended
}

/// No value: the two directions end only with an error.
enum Never {}

async fn web_to_local<S>(
    mut from: SplitStream<WebSocketStream<S>>,
    local: &UdpSocket,
) -> Result<Never, Ended>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut last = Instant::now();
    loop {
        let message = match timeout_at(last + SILENCE, from.next()).await {
            Ok(Some(message)) => message?,
            Ok(None) => return Err(Ended::Closed),
            Err(_) => return Err(Ended::Silent),
        };
        // Only datagrams count as a sign of life: an end that sends nothing but pings has no QUIC
        // connection in this tunnel.
        match message {
            Message::Binary(datagram) => {
                last = Instant::now();
                local.send(&datagram).await?;
            }
            Message::Ping(_) | Message::Pong(_) => {}
            Message::Close(_) => return Err(Ended::Closed),
            Message::Text(_) | Message::Frame(_) => return Err(Ended::Stray),
        }
    }
}

async fn local_to_web<S>(
    local: &UdpSocket,
    mut to: SplitSink<WebSocketStream<S>, Message>,
) -> Result<Never, Ended>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut datagram = [0; DATAGRAM];
    loop {
        let mut length = local.recv(&mut datagram).await?;
        let written = timeout(SILENCE, async {
            // Datagrams that have already arrived are written together.
            let mut gathered = 0;
            loop {
                to.feed(Message::Binary(Bytes::copy_from_slice(&datagram[..length])))
                    .await?;
                gathered += length;
                if gathered >= GATHERED {
                    break;
                }
                match local.try_recv(&mut datagram) {
                    Ok(next) => length = next,
                    Err(_) => break,
                }
            }
            to.flush().await
        });
        written.await.map_err(|_| Ended::Silent)??;
    }
}
