//! The way to the coordinator where the network lets no UDP through: TLS over TCP, in it a
//! WebSocket, in it the datagrams of QUIC.
//!
//! This TLS has to get past proxies and no more: what it carries is QUIC, in which both ends prove
//! who they are and which cannot be read on the way. That is why a certificate of the system's
//! authorities, such as that of a proxy that looks into TLS, is good enough for it.

use super::{Fallback, LinkError, tls};
use rustls::pki_types::ServerName;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
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
    /// How much our clock is ahead of the coordinator's, in seconds, where it said what time it is.
    pub(super) ahead: Option<i64>,
}

/// A tunnel in use; dropped, it ends.
#[derive(Debug)]
pub(super) struct Tunnel {
    relay: JoinHandle<Ended>,
    /// As [`Opening::ahead`].
    pub(super) ahead: Option<i64>,
}

/// The proxy on the way to the fallback's address, `host:port`.
pub(super) fn proxy(fallback: &Fallback) -> Result<Option<String>, LinkError> {
    Ok(fallback
        .proxies
        .to(&target(&fallback.address)?)
        .map(|proxy| proxy.name()))
}

/// Opens a tunnel to the coordinator's TLS address. `certificates` is the site's folder: its
/// authority is trusted as the system's are.
pub(super) async fn open(fallback: &Fallback, certificates: &Path) -> Result<Opening, LinkError> {
    let opened = timeout(HANDSHAKE, shake_hands(fallback, certificates.to_owned())).await;
    opened.unwrap_or_else(|_| Err(shut(&fallback.address, &"no answer")))
}

async fn shake_hands(fallback: &Fallback, certificates: PathBuf) -> Result<Opening, LinkError> {
    let address = &fallback.address;
    let stream = dial(fallback).await?;
    // The system's certificates are files.
    let config = spawn_blocking(move || tls::tunnel(&certificates))
        .await
        .map_err(|error| shut(address, &error))??;
    let name =
        ServerName::try_from(host(address)?.to_owned()).map_err(|error| shut(address, &error))?;
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await;
    let stream = stream.map_err(|error| shut(address, &format!("TLS: {error}")))?;
    let request = format!("wss://{address}{PATH}")
        .into_client_request()
        .map_err(|error| shut(address, &error))?;
    match client_async_with_config(request, stream, Some(limits())).await {
        Ok((web, answer)) => Ok(Opening {
            web,
            ahead: ahead(&answer, SystemTime::now()),
        }),
        Err(Error::Http(answer)) => Err(shut(
            address,
            &format!(
                "what answers there is not a coordinator: {}",
                answer.status()
            ),
        )),
        Err(error) => Err(shut(address, &error)),
    }
}

/// TCP to the address, through a proxy where there is one.
async fn dial(fallback: &Fallback) -> Result<TcpStream, LinkError> {
    let address = &fallback.address;
    if let Some(proxy) = fallback.proxies.to(&target(address)?) {
        let failed = |reason| LinkError::Proxy {
            proxy: proxy.name(),
            address: address.clone(),
            reason,
        };
        return proxy.connect(address).await.map_err(failed);
    }
    let connected = TcpStream::connect(address.as_str())
        .await
        .and_then(|stream| {
            stream.set_nodelay(true)?;
            Ok(stream)
        });
    connected.map_err(|error| shut(address, &error))
}

fn target(address: &str) -> Result<Uri, LinkError> {
    format!("https://{address}")
        .parse()
        .map_err(|error| shut(address, &error))
}

/// The host of `host:port`, an IPv6 address without its brackets.
pub(super) fn host(address: &str) -> Result<&str, LinkError> {
    let malformed = || LinkError::Address {
        coordinator: address.to_owned(),
        reason: "it is not of the form host:port".into(),
    };
    let (host, _) = address.rsplit_once(':').ok_or_else(malformed)?;
    Ok(host.trim_start_matches('[').trim_end_matches(']'))
}

fn shut(address: &str, reason: &dyn std::fmt::Display) -> LinkError {
    LinkError::Tunnel {
        address: address.to_owned(),
        reason: reason.to_string(),
    }
}

fn ahead(answer: &Response, now: SystemTime) -> Option<i64> {
    let theirs =
        httpdate::parse_http_date(answer.headers().get(header::DATE)?.to_str().ok()?).ok()?;
    match now.duration_since(theirs) {
        Ok(ahead) => i64::try_from(ahead.as_secs()).ok(),
        Err(behind) => i64::try_from(behind.duration().as_secs())
            .ok()
            .map(|seconds| -seconds),
    }
}

impl Opening {
    /// Relays between the tunnel and a local UDP socket of this process, which is to send its
    /// datagrams to the address that this gives.
    pub(super) async fn lead_to(self, local: SocketAddr) -> std::io::Result<(SocketAddr, Tunnel)> {
        let door = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        door.connect((Ipv4Addr::LOCALHOST, local.port())).await?;
        let address = door.local_addr()?;
        let web = self.web;
        let relay = tokio::spawn(async move { relay(web, &door).await });
        Ok((
            address,
            Tunnel {
                relay,
                ahead: self.ahead,
            },
        ))
    }
}

impl Tunnel {
    /// Waits for its end, and says why it came.
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
