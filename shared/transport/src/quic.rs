//! The settings of QUIC, the same at both ends.

use crate::error::WireError;
use crate::file_transfer::ZeroCopySink;
use protocol::codec::CloseCode;
use quinn::{SendStream, VarInt};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The longest wait for the other end to read what was queued before a connection is closed.
/// Closing discards messages that were not read yet, so both control streams are ended first.
pub const FAREWELL: Duration = Duration::from_secs(3);
/// Silence after which the other end counts as gone. Keep-alives are sent while a site trains.
pub const IDLE: Duration = Duration::from_secs(30);
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Bytes that one stream may have in flight: enough for a gigabit line with 30 ms of delay. It is
/// also the most memory that one peer can make a process hold.
const STREAM_WINDOW: u32 = 4 << 20;
/// Bytes that a connection may have in flight towards this end.
pub const CONNECTION_WINDOW: u32 = STREAM_WINDOW + (256 << 10);
/// The same while it is not known who the other end is: enough for a greeting and for a request for
/// a certificate.
pub const STRANGERS_WINDOW: u32 = 128 << 10;
/// Bytes that a connection may have in flight towards the other end.
pub const SEND_WINDOW: u64 = 8 << 20;
/// Largest datagrams to probe for, in bytes: jumbo frames and loopback. quinn hands the system up
/// to ten at once, as one buffer that may have 65,507 bytes; a longer buffer would be dropped
/// silently, again and again.
pub const DATAGRAM: u16 = 6500;
/// The initial congestion window, in bytes. It must hold a probe and some full datagrams: with the
/// default of 14,720 bytes, a probe in flight would hold back the frame that says why a connection
/// is closed, and that frame would never be sent.
const INITIAL_WINDOW: u64 = 4 * DATAGRAM as u64;
/// Bytes to ask the system for; it may give less.
const SOCKET_BUFFER: usize = 4 << 20;

/// The settings of a connection whose other end may have this many streams open.
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

/// QUIC over a socket, on the current tokio runtime; with a `server` it accepts connections.
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

/// The group in which a connection's keys were exchanged, such as `X25519MLKEM768`.
#[must_use]
pub fn key_exchange(connection: &quinn::Connection) -> Option<String> {
    let data = connection.handshake_data()?;
    let handshake = data
        .downcast::<quinn::crypto::rustls::HandshakeData>()
        .ok()?;
    Some(format!("{:?}", handshake.negotiated_key_exchange_group))
}

/// A close code as QUIC's number.
#[must_use]
pub fn number(code: CloseCode) -> VarInt {
    VarInt::from_u32(code.number())
}

/// The code to close a connection or a stream with after an error.
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

/// The reason in the other end's close, without control characters, which could change a terminal.
#[must_use]
pub fn words(close: &quinn::ApplicationClose) -> String {
    String::from_utf8_lossy(&close.reason)
        .chars()
        .filter(|c| !c.is_control())
        .collect()
}
