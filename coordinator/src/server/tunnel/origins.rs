//! Where the connections in tunnels come from.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::timeout;

/// The open tunnels, by the local address that each sends from.
#[derive(Clone, Debug, Default)]
pub(in crate::server) struct Origins(Arc<Mutex<BTreeMap<SocketAddr, Entry>>>);

#[derive(Debug)]
struct Entry {
    from: SocketAddr,
    admitted: Arc<Notify>,
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Origin {
    Direct(SocketAddr),
    /// The outer end of its tunnel.
    Tunnel(SocketAddr),
}

impl Origin {
    pub(in crate::server) fn address(self) -> IpAddr {
        match self {
            Self::Direct(from) | Self::Tunnel(from) => from.ip(),
        }
    }

    pub(in crate::server) fn is_tunnel(self) -> bool {
        matches!(self, Self::Tunnel(_))
    }
}

/// A tunnel's entry among the open ones, which is removed when this is dropped.
#[derive(Debug)]
pub(super) struct OpenTunnel {
    origins: Origins,
    local: SocketAddr,
    admitted: Arc<Notify>,
}

impl Origins {
    pub(super) fn enter(&self, local: SocketAddr, from: SocketAddr) -> OpenTunnel {
        let admitted = Arc::new(Notify::new());
        self.lock().insert(
            local,
            Entry {
                from,
                admitted: admitted.clone(),
            },
        );
        OpenTunnel {
            origins: self.clone(),
            local,
            admitted,
        }
    }

    /// The origin of a connection from this address.
    pub(in crate::server) fn of(&self, remote: SocketAddr) -> Origin {
        match self.lock().get(&remote) {
            Some(entry) => Origin::Tunnel(entry.from),
            None => Origin::Direct(remote),
        }
    }

    /// A site was admitted: if it came through a tunnel, that tunnel may stay open.
    pub(in crate::server) fn admit(&self, remote: SocketAddr) {
        if let Some(entry) = self.lock().get(&remote) {
            entry.admitted.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Entry>> {
        // A panic cannot have left the map half changed: every change is a single step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenTunnel {
    /// Ends when no site was admitted in this time, and otherwise never.
    pub(super) async fn not_admitted(&self, admission: Duration) {
        if timeout(admission, self.admitted.notified()).await.is_ok() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for OpenTunnel {
    fn drop(&mut self) {
        self.origins.lock().remove(&self.local);
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct(from) => write!(f, "{from}"),
            Self::Tunnel(from) => write!(f, "{from} through the TLS tunnel"),
        }
    }
}
