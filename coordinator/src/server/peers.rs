//! Which site is connected by which connection, and the queues to it.

use super::SendError;
use protocol::codec::CloseCode;
use protocol::identity::SiteName;
use protocol::message::{CoordinatorMessage, TransferHeader};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};

/// Messages that may wait for one site, far more than a federation has at a time.
const MESSAGES: usize = 256;
/// Transfers that may wait for one site.
const TRANSFERS: usize = 16;

/// What the application sends to a connection.
#[derive(Debug)]
pub(super) enum Outbound {
    Message(Box<CoordinatorMessage>),
    Parameters(TransferHeader, PathBuf),
    Close(CloseCode, String),
}

/// The application's end of one connection.
#[derive(Debug)]
struct Peer {
    connection: u64,
    control: mpsc::Sender<Outbound>,
    transfers: mpsc::Sender<(TransferHeader, PathBuf)>,
    /// Ends the connection at once.
    disconnect: watch::Sender<Disconnect>,
    /// Closed when the connection's `Inbound::Closed` was delivered.
    ended: mpsc::Receiver<()>,
}

/// Whether, and why, a connection must end at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disconnect {
    Stay,
    /// By a newer connection of the same site.
    Replaced,
    /// Its queue is full.
    Overrun,
}

/// The connection's end of the same.
#[derive(Debug)]
pub(super) struct ConnectionHandle {
    pub(super) control: mpsc::Receiver<Outbound>,
    pub(super) transfers: mpsc::Receiver<(TransferHeader, PathBuf)>,
    pub(super) disconnect: watch::Receiver<Disconnect>,
    /// Ascending, never used again.
    pub(super) connection: u64,
    /// Held until `Inbound::Closed` was delivered.
    pub(super) alive: mpsc::Sender<()>,
}

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Peers(Mutex<Roster>);

#[derive(Debug, Default)]
struct Roster {
    peers: BTreeMap<SiteName, Peer>,
    /// The number of the newest connection.
    last: u64,
}

impl Peers {
    /// Enters a connection under its site's name, and waits until the one before it has ended.
    pub(super) async fn enter(&self, site: &SiteName) -> ConnectionHandle {
        let (control, outbox) = mpsc::channel(MESSAGES);
        let (transfers, waiting) = mpsc::channel(TRANSFERS);
        let (disconnect, disconnected) = watch::channel(Disconnect::Stay);
        let (alive, ended) = mpsc::channel(1);
        let connection;
        let replaced;
        {
            let mut roster = self.lock();
            roster.last += 1;
            connection = roster.last;
            let peer = Peer {
                connection,
                control,
                transfers,
                disconnect,
                ended,
            };
            replaced = roster.peers.insert(site.clone(), peer);
        }
        if let Some(mut replaced) = replaced {
            replaced.disconnect.send_replace(Disconnect::Replaced);
            replaced.ended.recv().await;
        }
        ConnectionHandle {
            control: outbox,
            transfers: waiting,
            disconnect: disconnected,
            connection,
            alive,
        }
    }

    /// Removes a connection, unless a newer one has replaced it.
    pub(super) fn leave(&self, site: &SiteName, connection: u64) {
        let peers = &mut self.lock().peers;
        if peers
            .get(site)
            .is_some_and(|peer| peer.connection == connection)
        {
            peers.remove(site);
        }
    }

    /// How many sites are connected.
    pub(super) fn count(&self) -> usize {
        self.lock().peers.len()
    }

    /// Queues something for a site. A site whose queue is full is disconnected.
    pub(super) fn queue(&self, site: &SiteName, outbound: Outbound) -> Result<(), SendError> {
        let roster = self.lock();
        let Some(peer) = roster.peers.get(site) else {
            return Err(SendError::Absent(site.clone()));
        };
        let queued = match outbound {
            Outbound::Parameters(header, file) => state_of(peer.transfers.try_send((header, file))),
            other => state_of(peer.control.try_send(other)),
        };
        match queued {
            Queued::Yes => Ok(()),
            Queued::Full => {
                peer.disconnect.send_replace(Disconnect::Overrun);
                Err(SendError::Overrun(site.clone()))
            }
            Queued::Gone => Err(SendError::Absent(site.clone())),
        }
    }

    /// Asks every site to end its connection, and waits until all have ended.
    pub(super) async fn close_all(&self, reason: &str) {
        let peers = std::mem::take(&mut self.lock().peers);
        for peer in peers.values() {
            if peer
                .control
                .try_send(Outbound::Close(CloseCode::Done, reason.to_owned()))
                .is_err()
            {
                peer.disconnect.send_replace(Disconnect::Overrun);
            }
        }
        for (_, mut peer) in peers {
            peer.ended.recv().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Roster> {
        // A panic cannot have left the map half changed: every change is a single step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Queued {
    Yes,
    Full,
    /// The connection has ended.
    Gone,
}

fn state_of<T>(sent: Result<(), TrySendError<T>>) -> Queued {
    match sent {
        Ok(()) => Queued::Yes,
        Err(TrySendError::Full(_)) => Queued::Full,
        Err(TrySendError::Closed(_)) => Queued::Gone,
    }
}
