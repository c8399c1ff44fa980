//! Where they are who speak through tunnels.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::timeout;

/// The open tunnels, by the local address that each speaks from.
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
    pub(in crate::server) fn is_tunnel(self) -> bool {
        matches!(self, Self::Tunnel(_))
    }
}

/// A tunnel's place among the open ones, for as long as it is open.
#[derive(Debug)]
pub(super) struct Guest {
    origins: Origins,
    local: SocketAddr,
    admitted: Arc<Notify>,
}

impl Origins {
    pub(super) fn enter(&self, local: SocketAddr, from: SocketAddr) -> Guest {
        let admitted = Arc::new(Notify::new());
        self.lock().insert(
            local,
            Entry {
                from,
                admitted: admitted.clone(),
            },
        );
        Guest {
            origins: self.clone(),
            local,
            admitted,
        }
    }

    /// Where whoever speaks from an address really is.
    pub(in crate::server) fn of(&self, remote: SocketAddr) -> Origin {
        self.lock()
            .get(&remote)
            .map_or(Origin::Direct(remote), |entry| Origin::Tunnel(entry.from))
    }

    /// A site was let in: if it came through a tunnel, that one may stay.
    pub(in crate::server) fn admit(&self, remote: SocketAddr) {
        if let Some(entry) = self.lock().get(&remote) {
            entry.admitted.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Entry>> {
        // A panic while the map was held left it whole: every change to it is a single step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guest {
    /// Ends when nobody was let in for so long, else never.
    pub(super) async fn refused(&self, admission: Duration) {
        if timeout(admission, self.admitted.notified()).await.is_ok() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Guest {
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
