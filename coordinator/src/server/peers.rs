//! Which site is connected, by which connection, and the queues that lead to it.

use super::SendError;
use protocol::codec::CloseCode;
use protocol::message::{CoordinatorMessage, TransferHeader};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::{mpsc, watch};

/// Messages that may wait for one site. Far more than a federation ever has at once.
const MESSAGES: usize = 256;
/// Transfers that may wait for one site.
const TRANSFERS: usize = 16;

/// What the application wants of a connection.
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
    dismiss: watch::Sender<Disconnect>,
    /// Closed when the connection's `Closed` was delivered.
    ended: mpsc::Receiver<()>,
}

/// Whether, and why, a connection is to end at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disconnect {
    Stay,
    Replaced,
    Overrun,
}

/// The connection's end of the same.
#[derive(Debug)]
pub(super) struct ConnectionHandle {
    pub(super) control: mpsc::Receiver<Outbound>,
    pub(super) transfers: mpsc::Receiver<(TransferHeader, PathBuf)>,
    pub(super) dismissed: watch::Receiver<Disconnect>,
    /// The connection's number.
    pub(super) connection: u64,
    /// Held until `Closed` was delivered.
    pub(super) alive: mpsc::Sender<()>,
}

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Peers(Mutex<Roster>);

#[derive(Debug, Default)]
struct Roster {
    peers: BTreeMap<String, Peer>,
    /// The number of the youngest connection.
    last: u64,
}

impl Peers {
    /// Enters a connection under its site's name, and waits until the one before it has ended.
    pub(super) async fn enter(&self, site: &str) -> ConnectionHandle {
        let (control, outbox) = mpsc::channel(MESSAGES);
        let (transfers, waiting) = mpsc::channel(TRANSFERS);
        let (dismiss, dismissed) = watch::channel(Disconnect::Stay);
        let (alive, ended) = mpsc::channel(1);
        let (connection, before) = {
            let mut roster = self.lock();
            roster.last += 1;
            let connection = roster.last;
            let peer = Peer {
                connection,
                control,
                transfers,
                dismiss,
                ended,
            };
            (connection, roster.peers.insert(site.to_owned(), peer))
        };
        if let Some(mut before) = before {
            before.dismiss.send_replace(Disconnect::Replaced);
            before.ended.recv().await;
        }
        ConnectionHandle {
            control: outbox,
            transfers: waiting,
            dismissed,
            connection,
            alive,
        }
    }

    /// Strikes a connection out, unless another one has its place already.
    pub(super) fn leave(&self, site: &str, connection: u64) {
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

    /// Queues an order; a site whose queue is full is dismissed.
    pub(super) fn order(&self, site: &str, outbound: Outbound) -> Result<(), SendError> {
        let roster = self.lock();
        let absent = || SendError::Absent(site.to_owned());
        let peer = roster.peers.get(site).ok_or_else(absent)?;
        let full = match outbound {
            Outbound::Parameters(header, file) => match peer.transfers.try_send((header, file)) {
                Ok(()) => return Ok(()),
                Err(error) => matches!(error, mpsc::error::TrySendError::Full(_)),
            },
            other => match peer.control.try_send(other) {
                Ok(()) => return Ok(()),
                Err(error) => matches!(error, mpsc::error::TrySendError::Full(_)),
            },
        };
        if !full {
            return Err(absent());
        }
        peer.dismiss.send_replace(Disconnect::Overrun);
        Err(SendError::Overrun(site.to_owned()))
    }

    /// Asks every site to end its connection, and waits until it did.
    pub(super) async fn dismiss_all(&self, reason: &str) {
        let peers = std::mem::take(&mut self.lock().peers);
        for peer in peers.values() {
            if peer
                .control
                .try_send(Outbound::Close(CloseCode::Done, reason.to_owned()))
                .is_err()
            {
                peer.dismiss.send_replace(Disconnect::Overrun);
            }
        }
        for (_, mut peer) in peers {
            peer.ended.recv().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Roster> {
        // A panic while the map was held left it whole: every change to it is a single step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
