//! The tunnel for sites whose network blocks UDP: TLS over TCP, inside it a WebSocket, and inside
//! that the datagrams of QUIC.
//!
//! Each tunnel has a local socket of its own, which sends its datagrams to the QUIC port and
//! nowhere else. A tunnel gives no trust: identity and secrecy come from QUIC, inside a tunnel as
//! outside.

mod origins;
#[cfg(test)]
mod tests;

pub(super) use origins::Origins;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode, header};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config};
use transport::relay::{Ended, PATH, limits, relay};

/// How much of this process strangers may occupy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Tunnels at once, finished handshakes or not. Each takes two files of this process.
    tunnels: usize,
    /// From the first packet of TCP to the open WebSocket.
    handshake: Duration,
    /// From the open WebSocket to a site that is admitted through it.
    admission: Duration,
}

/// Far more tunnels than a federation has sites, and far fewer files than a process may open.
pub(super) const LIMITS: Limits = Limits {
    tunnels: 128,
    handshake: Duration::from_secs(10),
    admission: Duration::from_secs(30),
};
/// The pause after the system had no file left for another connection.
const PAUSE: Duration = Duration::from_millis(100);

/// The listener with its tunnels. Dropping it ends them all.
#[derive(Debug)]
pub(super) struct Tunnels {
    local: SocketAddr,
    listening: JoinHandle<()>,
}

/// What all tunnels share.
struct Shared {
    tls: TlsAcceptor,
    quic: SocketAddr,
    origins: Origins,
    limits: Limits,
}

impl Tunnels {
    /// Listens on a TCP address for tunnels to a QUIC port of this machine.
    pub(super) async fn open(
        listen: SocketAddr,
        tls: rustls::ServerConfig,
        quic: SocketAddr,
        origins: Origins,
        limits: Limits,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let local = listener.local_addr()?;
        let shared = Arc::new(Shared {
            tls: Arc::new(tls).into(),
            quic: reachable(quic),
            origins,
            limits,
        });
        Ok(Self {
            local,
            listening: tokio::spawn(listen_on(listener, shared)),
        })
    }

    pub(super) fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

impl Drop for Tunnels {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// The address at which this machine reaches a socket of its own that listens on all addresses.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    address
}

async fn listen_on(listener: TcpListener, shared: Arc<Shared>) {
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((_, from)) if open.len() >= shared.limits.tunnels => {
                    tracing::warn!(%from, "a tunnel was refused: {} are open", open.len());
                }
                Ok((stream, from)) => {
                    open.spawn(serve_tunnel(shared.clone(), stream, from));
                }
                Err(error) => {
                    tracing::warn!(%error, "no tunnel can be opened");
                    sleep(PAUSE).await;
                }
            },
            Some(_) = open.join_next() => {}
        }
    }
}

/// Serves one tunnel from its first packet to its last.
async fn serve_tunnel(shared: Arc<Shared>, stream: TcpStream, from: SocketAddr) {
    // Strangers probe every TLS port, so a failed handshake is not worth a warning.
    let web = match timeout(shared.limits.handshake, shared.shake_hands(stream)).await {
        Ok(Ok(web)) => web,
        Ok(Err(error)) => return tracing::info!(%from, %error, "no tunnel"),
        Err(_) => return tracing::info!(%from, "no tunnel: the handshake never finished"),
    };
    let reason = shared.carry(web, from).await;
    tracing::info!(%from, reason, "a tunnel ended");
}

impl Shared {
    async fn shake_hands(
        &self,
        stream: TcpStream,
    ) -> Result<WebSocketStream<TlsStream<TcpStream>>, Ended> {
        stream.set_nodelay(true)?;
        let stream = self.tls.accept(stream).await?;
        Ok(accept_hdr_async_with_config(stream, answer, Some(limits())).await?)
    }

    /// Relays until the tunnel ends, and returns the reason.
    async fn carry(&self, web: WebSocketStream<TlsStream<TcpStream>>, from: SocketAddr) -> String {
        let local = match self.local_socket().await {
            Ok(local) => local,
            Err(error) => return error.to_string(),
        };
        let tunnel = match local.local_addr() {
            Ok(address) => self.origins.enter(address, from),
            Err(error) => return error.to_string(),
        };
        tokio::select! {
            ended = relay(web, &local) => ended.to_string(),
            () = tunnel.not_admitted(self.limits.admission) => "no site was let in through it".into(),
        }
    }

    /// A socket that is connected to the QUIC port.
    async fn local_socket(&self) -> io::Result<UdpSocket> {
        let local = UdpSocket::bind((self.quic.ip(), 0)).await?;
        local.connect(self.quic).await?;
        Ok(local)
    }
}

/// The answer to the WebSocket's request. It has this machine's time, because a site's clock may be
/// wrong.
#[allow(clippy::result_large_err)] // the library's own type
fn answer(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    if request.uri().path() != PATH {
        let mut refusal = ErrorResponse::new(None);
        *refusal.status_mut() = StatusCode::NOT_FOUND;
        return Err(refusal);
    }
    if let Ok(now) = HeaderValue::from_str(&httpdate::fmt_http_date(SystemTime::now())) {
        response.headers_mut().insert(header::DATE, now);
    }
    Ok(response)
}
