//! Datagrams between a WebSocket and a local UDP socket, one binary message each. It knows neither
//! what the datagrams are nor who sends them.
//!
//! A side that is behind costs no memory: what the system's buffer for the local socket cannot hold
//! is dropped, as it would be on any line, and QUIC sends it again.

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

/// What the WebSocket's request asks for.
pub const PATH: &str = "/quic";
/// The longest datagram, in bytes: the longest that QUIC probes for.
const DATAGRAM: usize = crate::quic::DATAGRAM as usize;
/// Bytes that are gathered before they are written or taken apart.
const GATHERED: usize = 64 << 10;
/// Silence, or unread bytes, after which the other end is gone. QUIC lets a packet pass every 5
/// seconds.
const SILENCE: Duration = Duration::from_secs(35);

/// Why no more is relayed.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// The other end ended it.
    #[error("the other end closed it")]
    Closed,
    /// No datagram came, or none could be written.
    #[error("nothing moved for {} seconds", SILENCE.as_secs())]
    Silent,
    /// What came is none of ours.
    #[error("a message came that is no datagram")]
    Stray,
    /// The WebSocket failed.
    #[error("{0}")]
    Web(tungstenite::Error),
    /// The socket on this machine failed.
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
            // Whoever is in a hurry leaves without a word; QUIC has said what there was to say.
            E::Io(error)
                if matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof) =>
            {
                Self::Closed
            }
            error => Self::Web(error),
        }
    }
}

/// What a WebSocket may hold in memory, and the longest message.
pub fn limits() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(GATHERED)
        .write_buffer_size(GATHERED)
        .max_write_buffer_size(2 * GATHERED)
        .max_message_size(Some(DATAGRAM))
        .max_frame_size(Some(DATAGRAM))
}

/// Relays until one side ends. Both ways at once: two ends that wait for each other to read would
/// wait for ever.
pub async fn relay<S>(web: WebSocketStream<S>, local: &UdpSocket) -> Ended
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (to_web, from_web) = web.split();
    let ended = tokio::select! {
        ended = inward(from_web, local) => ended,
        ended = outward(local, to_web) => ended,
    };
    let Err(ended) = ended;
    ended
}

/// Never ends well.
enum Never {}

async fn inward<S>(
    mut from: SplitStream<WebSocketStream<S>>,
    local: &UdpSocket,
) -> Result<Never, Ended>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut last = Instant::now();
    loop {
        // Only datagrams are a sign of life: whoever sends pings alone has no connection in here.
        match timeout_at(last + SILENCE, from.next())
            .await
            .map_err(|_| Ended::Silent)?
            .ok_or(Ended::Closed)??
        {
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

async fn outward<S>(
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
            // What waits already goes out in one piece.
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
