//! How QUIC is tuned, the same at both ends.

use crate::wire::{WireError, ZeroCopySink};
use protocol::codec::CloseCode;
use quinn::{SendStream, VarInt};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The longest wait for the other end to read what was queued before a connection is closed. A
/// close that overtakes unread messages discards them, so the end of both control streams goes
/// before it.
pub const FAREWELL: Duration = Duration::from_secs(3);
/// Silence after which the other end is gone. Keep-alives fill the pauses of a training site.
pub const IDLE: Duration = Duration::from_secs(30);
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// What one stream may have in flight: a gigabit line with 30 ms of delay stays full. The most that
/// one peer can make a process hold.
const STREAM_WINDOW: u32 = 4 << 20;
/// What a connection may receive in flight.
pub const CONNECTION_WINDOW: u32 = STREAM_WINDOW + (256 << 10);
/// What a connection may send in flight.
pub const SEND_WINDOW: u64 = 8 << 20;
/// Largest datagrams to probe for: jumbo frames and loopback. quinn hands the system up to ten at
/// once, as one piece that may have 65,507 bytes; a longer piece is thrown away without a word,
/// each time anew.
pub const DATAGRAM: u16 = 6500;
/// The congestion window to begin with. It must hold a probe and some full datagrams: with the
/// default of 14,720 bytes a probe on its way keeps back the frame that says why a connection is
/// closed, for good.
const INITIAL_WINDOW: u64 = 4 * DATAGRAM as u64;
/// What to ask the system for; it gives what it permits.
const SOCKET_BUFFER: usize = 4 << 20;

/// The settings of a connection whose other end may open so many streams at once.
#[must_use]
pub fn settings(streams: u32) -> quinn::TransportConfig {
    let mut transport = quinn::TransportConfig::default();
    let mut probing = quinn::MtuDiscoveryConfig::default();
    probing.upper_bound(DATAGRAM);
    let mut congestion = quinn::congestion::CubicConfig::default();
    congestion.initial_window(INITIAL_WINDOW);
    transport
        .max_concurrent_bidi_streams(streams.into())
        .max_concurrent_uni_streams(0u8.into())
        .stream_receive_window(STREAM_WINDOW.into())
        .receive_window(CONNECTION_WINDOW.into())
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(None)
        .mtu_discovery_config(Some(probing))
        .congestion_controller_factory(Arc::new(congestion))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(IDLE.try_into().ok());
    transport
}

/// A UDP socket at a local address, with buffers as large as the system permits.
///
/// # Errors
/// What the system says, such as that the address is in use.
pub fn socket(local: SocketAddr) -> std::io::Result<std::net::UdpSocket> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(local),
        socket2::Type::DGRAM,
        None,
    )?;
    // Smaller buffers than asked for only cost speed.
    socket.set_recv_buffer_size(SOCKET_BUFFER).ok();
    socket.set_send_buffer_size(SOCKET_BUFFER).ok();
    socket.bind(&local.into())?;
    Ok(socket.into())
}

/// QUIC over a socket, on the current tokio runtime; with a `server` it takes connections.
///
/// # Errors
/// What the system says.
pub fn endpoint(
    socket: std::net::UdpSocket,
    server: Option<quinn::ServerConfig>,
) -> std::io::Result<quinn::Endpoint> {
    let mut config = quinn::EndpointConfig::default();
    // Refused only below 1200 bytes.
    config.max_udp_payload_size(DATAGRAM).ok();
    quinn::Endpoint::new(config, server, socket, Arc::new(quinn::TokioRuntime))
}

impl ZeroCopySink for SendStream {
    async fn give(&mut self, bytes: bytes::Bytes) -> std::io::Result<()> {
        Ok(self.write_chunk(bytes).await?)
    }
}

/// A reason to close with, as QUIC's number.
#[must_use]
pub fn number(code: CloseCode) -> VarInt {
    VarInt::from_u32(code.number())
}

/// What to close a connection or a stream with after an error.
#[must_use]
pub fn code_of(error: &WireError) -> CloseCode {
    match error {
        WireError::Codec(_) => CloseCode::Violation,
        WireError::Transfer(_) => CloseCode::Transfer,
        WireError::Stream(_) => CloseCode::Closed,
        WireError::Stalled => CloseCode::Stalled,
        WireError::Disk(_) => CloseCode::Disk,
    }
}

/// The other end's words in a close, without what could play tricks in a terminal.
#[must_use]
pub fn words(close: &quinn::ApplicationClose) -> String {
    String::from_utf8_lossy(&close.reason)
        .chars()
        .filter(|c| !c.is_control())
        .collect()
}
