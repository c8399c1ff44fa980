//! From an address to a QUIC connection: over UDP, or through the tunnel.

use super::close_reason::explain;
use crate::link::race::race;
use crate::link::tunnel::{self, Tunnel};
use crate::link::{Fallback, LinkConfig, LinkError};
use protocol::enrol::KeyHash;
use quinn::ConnectionError;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use transport::quic;

/// The longest handshake with one address.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long only UDP is tried, before the tunnel is opened too. A lost packet is sent again within
/// it.
const PATIENCE: Duration = Duration::from_secs(3);

/// Whom to connect to.
pub(in crate::link) struct Target {
    /// `host:port` over UDP.
    pub(in crate::link) coordinator: String,
    pub(in crate::link) fallback: Option<Fallback>,
    pub(in crate::link) trust: Trust,
}

/// Which authority the coordinator's certificate must be of.
#[derive(Clone, Debug)]
pub(in crate::link) enum Trust {
    /// That of a site's certificate folder.
    Folder(PathBuf),
    /// One that only a token names.
    Authority(KeyHash),
}

impl Target {
    pub(in crate::link) fn of(config: &LinkConfig) -> Self {
        Self {
            coordinator: config.coordinator.clone(),
            fallback: config.fallback.clone(),
            trust: Trust::Folder(config.certificates.clone()),
        }
    }
}

/// A connection, and what it needs to go on.
pub(super) struct Reached {
    pub(super) endpoint: quinn::Endpoint,
    pub(super) quic: quinn::Connection,
    pub(super) tunnel: Option<Tunnel>,
}

/// Over UDP or, when that seems to be blocked, through the tunnel.
pub(super) async fn reach(
    target: &Target,
    client: &quinn::ClientConfig,
) -> Result<Reached, LinkError> {
    let direct = reach_over_udp(&target.coordinator, client);
    let Some(fallback) = &target.fallback else {
        return direct.await;
    };
    let tunnelled = reach_through_tunnel(target, fallback, client);
    let reached = race(direct, tunnelled, sleep(PATIENCE)).await?;
    if reached.tunnel.is_some() {
        let proxy = match tunnel::proxy(fallback)? {
            Some(proxy) => format!(", by the proxy {proxy}"),
            None => String::new(),
        };
        tracing::warn!(
            "UDP seems to be blocked: no answer from {} over it so far. The connection goes \
             through TLS over TCP at {}{proxy}, which is slower",
            target.coordinator,
            fallback.address
        );
    }
    Ok(reached)
}

/// Through the tunnel. Inside, the coordinator shows the same certificate as over UDP, with the
/// same name in it.
pub(super) async fn reach_through_tunnel(
    target: &Target,
    fallback: &Fallback,
    client: &quinn::ClientConfig,
) -> Result<Reached, LinkError> {
    let no_way = |reason: String| LinkError::Tunnel {
        address: fallback.address.clone(),
        reason,
    };
    let host = tunnel::host(&target.coordinator)?;
    let opening = tunnel::open(fallback, &target.trust).await?;
    let socket = quic::socket(any_port_towards(Ipv4Addr::LOCALHOST.into()))
        .map_err(|error| no_way(error.to_string()))?;
    let local = socket
        .local_addr()
        .map_err(|error| no_way(error.to_string()))?;
    let tunnel = opening
        .lead_to(local)
        .await
        .map_err(|error| no_way(error.to_string()))?;
    let remote = Remote {
        address: tunnel.address,
        host,
    };
    match shake_hands(socket, remote, client).await {
        Ok(mut reached) => {
            reached.tunnel = Some(tunnel);
            Ok(reached)
        }
        Err(HandshakeError::Local(reason)) => Err(no_way(reason)),
        Err(HandshakeError::Connection(error)) => Err(match explain(&target.coordinator, &error) {
            LinkError::Unreachable { reason, .. } => no_way(format!("QUIC within it: {reason}")),
            answer => answer,
        }),
    }
}

/// Over UDP: tries each address of the coordinator's name.
pub(super) async fn reach_over_udp(
    coordinator: &str,
    client: &quinn::ClientConfig,
) -> Result<Reached, LinkError> {
    let no_address = |reason: String| LinkError::Address {
        coordinator: coordinator.to_owned(),
        reason,
    };
    let host = tunnel::host(coordinator)?;
    let addresses = tokio::net::lookup_host(coordinator)
        .await
        .map_err(|error| no_address(error.to_string()))?;
    let mut last = no_address("its name has no address".into());
    for address in addresses {
        let shaken = match quic::socket(any_port_towards(address.ip())) {
            Ok(socket) => shake_hands(socket, Remote { address, host }, client).await,
            Err(error) => Err(HandshakeError::Local(error.to_string())),
        };
        match shaken {
            Ok(reached) => return Ok(reached),
            Err(HandshakeError::Connection(error)) => last = explain(coordinator, &error),
            Err(HandshakeError::Local(reason)) => {
                last = LinkError::Unreachable {
                    coordinator: coordinator.to_owned(),
                    reason,
                };
            }
        }
    }
    Err(last)
}

/// The other end of a handshake.
struct Remote<'a> {
    address: SocketAddr,
    /// The name that its certificate must have.
    host: &'a str,
}

enum HandshakeError {
    Connection(ConnectionError),
    /// This machine could not begin.
    Local(String),
}

async fn shake_hands(
    socket: UdpSocket,
    remote: Remote<'_>,
    client: &quinn::ClientConfig,
) -> Result<Reached, HandshakeError> {
    let endpoint =
        quic::endpoint(socket, None).map_err(|error| HandshakeError::Local(error.to_string()))?;
    let connecting = endpoint
        .connect_with(client.clone(), remote.address, remote.host)
        .map_err(|error| HandshakeError::Local(error.to_string()))?;
    match timeout(HANDSHAKE, connecting).await {
        Ok(Ok(quic)) => Ok(Reached {
            endpoint,
            quic,
            tunnel: None,
        }),
        Ok(Err(error)) => Err(HandshakeError::Connection(error)),
        Err(_) => Err(HandshakeError::Connection(ConnectionError::TimedOut)),
    }
}

/// Any free port of this machine from which an address can be reached.
fn any_port_towards(remote: IpAddr) -> SocketAddr {
    match remote {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}
