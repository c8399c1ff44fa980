//! The way to the coordinator where the network blocks UDP: the datagrams of QUIC through a
//! WebSocket, through TLS over TCP.
//!
//! This TLS only has to pass through proxies. The QUIC in it is encrypted, and both of its ends
//! prove who they are. So a certificate of any authority that the system trusts is enough, such as
//! that of a proxy that inspects TLS.

use super::quic::Trust;
use super::{Fallback, LinkError, tls};
use rustls::pki_types::ServerName;
use std::fmt::Display;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::http::{Uri, header};
use tokio_tungstenite::tungstenite::{Error, client::IntoClientRequest};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use transport::relay::{Ended, PATH, limits, relay};

/// The longest wait for a proxy, TCP, TLS and the WebSocket together.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// A tunnel whose other end is open.
pub(super) struct Opening {
    web: WebSocketStream<TlsStream<TcpStream>>,
    /// How many seconds our clock is ahead of the coordinator's, if it said what time it is.
    pub(super) ahead_s: Option<i64>,
}

/// A tunnel in use; dropped, it ends.
#[derive(Debug)]
pub(super) struct Tunnel {
    /// Where the local socket has to send its datagrams.
    pub(super) address: SocketAddr,
    relay: JoinHandle<Ended>,
    /// As [`Opening::ahead_s`].
    pub(super) ahead_s: Option<i64>,
}

/// The proxy on the way to the fallback's address, `host:port`.
pub(super) fn proxy(fallback: &Fallback) -> Result<Option<String>, LinkError> {
    let proxy = fallback.proxies.to(&uri(&fallback.address)?);
    Ok(proxy.map(|proxy| proxy.name()))
}

/// Opens a tunnel to the coordinator's TLS address. The authority of `trust` is trusted as the
/// system's are.
pub(super) async fn open(fallback: &Fallback, trust: &Trust) -> Result<Opening, LinkError> {
    match timeout(HANDSHAKE, shake_hands(fallback, trust.clone())).await {
        Ok(opened) => opened,
        Err(_) => Err(no_way(&fallback.address, &"no answer")),
    }
}

async fn shake_hands(fallback: &Fallback, trust: Trust) -> Result<Opening, LinkError> {
    let address = &fallback.address;
    let stream = dial(fallback).await?;
    // The system's certificates are files.
    let config = spawn_blocking(move || tls::tunnel(&trust))
        .await
        .map_err(|error| no_way(address, &error))??;
    let name =
        ServerName::try_from(host(address)?.to_owned()).map_err(|error| no_way(address, &error))?;
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .map_err(|error| no_way(address, &format!("TLS: {error}")))?;
    let request = format!("wss://{address}{PATH}")
        .into_client_request()
        .map_err(|error| no_way(address, &error))?;
    match client_async_with_config(request, stream, Some(limits())).await {
        Ok((web, answer)) => Ok(Opening {
            web,
            ahead_s: seconds_ahead(&answer, SystemTime::now()),
        }),
        Err(Error::Http(answer)) => {
            let status = answer.status();
            let reason = format!("what answers there is not a coordinator: {status}");
            Err(no_way(address, &reason))
        }
        Err(error) => Err(no_way(address, &error)),
    }
}

/// TCP to the address, through a proxy where there is one.
async fn dial(fallback: &Fallback) -> Result<TcpStream, LinkError> {
    let address = &fallback.address;
    if let Some(proxy) = fallback.proxies.to(&uri(address)?) {
        return match proxy.connect(address).await {
            Ok(stream) => Ok(stream),
            Err(error) => Err(LinkError::Proxy {
                proxy: proxy.name(),
                address: address.clone(),
                reason: error.to_string(),
            }),
        };
    }
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| no_way(address, &error))?;
    stream
        .set_nodelay(true)
        .map_err(|error| no_way(address, &error))?;
    Ok(stream)
}

fn uri(address: &str) -> Result<Uri, LinkError> {
    format!("https://{address}")
        .parse()
        .map_err(|error| no_way(address, &error))
}

/// The host of `host:port`, an IPv6 address without its brackets.
pub(super) fn host(address: &str) -> Result<&str, LinkError> {
    match address.rsplit_once(':') {
        Some((host, _)) => Ok(host.trim_start_matches('[').trim_end_matches(']')),
        None => Err(LinkError::Address {
            coordinator: address.to_owned(),
            reason: "it is not of the form host:port".into(),
        }),
    }
}

fn no_way(address: &str, reason: &dyn Display) -> LinkError {
    LinkError::Tunnel {
        address: address.to_owned(),
        reason: reason.to_string(),
    }
}

/// How many seconds our clock is ahead of the one that dated the answer.
fn seconds_ahead(answer: &Response, now: SystemTime) -> Option<i64> {
    let date = answer.headers().get(header::DATE)?.to_str().ok()?;
    let theirs = httpdate::parse_http_date(date).ok()?;
    match now.duration_since(theirs) {
        Ok(ahead) => i64::try_from(ahead.as_secs()).ok(),
        Err(behind) => {
            let seconds = i64::try_from(behind.duration().as_secs()).ok()?;
            Some(-seconds)
        }
    }
}

impl Opening {
    /// Relays between the tunnel and `local`, a UDP socket of this process.
    pub(super) async fn lead_to(self, local: SocketAddr) -> io::Result<Tunnel> {
        let door = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        door.connect((Ipv4Addr::LOCALHOST, local.port())).await?;
        let address = door.local_addr()?;
        let web = self.web;
        Ok(Tunnel {
            address,
            relay: tokio::spawn(async move { relay(web, &door).await }),
            ahead_s: self.ahead_s,
        })
    }
}

impl Tunnel {
    /// Waits for the end of the tunnel, and returns why it ended.
    pub(super) async fn ended(&mut self) -> String {
        match (&mut self.relay).await {
            Ok(ended) => format!("the TLS tunnel ended: {ended}"),
            Err(error) => format!("the TLS tunnel ended: {error}"),
        }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.relay.abort();
    }
}
