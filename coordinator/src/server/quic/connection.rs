//! An admitted site's connection: messages and parameters, both ways.

use super::close_reason::CloseReason;
use super::handshake::GREETING;
use super::{KnownConnection, LOOK, Shared};
use crate::server::Inbound;
use crate::server::enrolment::{Enrolment, Shown};
use crate::server::peers::{ConnectionHandle, Disconnect, Outbound};
use protocol::codec::CloseCode;
use protocol::codec::transfer::{Receiving, TransferError};
use protocol::coordinator::UpdateRejection;
use protocol::identity::SiteName;
use protocol::message::{CoordinatorMessage, Hello, SiteMessage, TransferHeader};
use quinn::{Connection, RecvStream, SendStream};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use transport::WireError;
use transport::file_transfer::{self, Destination};
use transport::frame;
use transport::quic::{CONNECTION_WINDOW, FAREWELL, SEND_WINDOW, code_of, number};

/// How long after one of its streams a connection may end: its close may arrive before what was
/// sent earlier.
const MOMENT: Duration = Duration::from_secs(1);
/// Bytes that all connections together may have in flight each way, so that memory does not grow
/// with the number of sites, as long as each has [`LEAST_WINDOW`].
const ALL_WINDOWS: u64 = 64 << 20;
/// Bytes in flight that fill a line of 20 Mbit/s with 200 ms of delay.
const LEAST_WINDOW: u64 = 512 << 10;

/// A site that was admitted, and the streams of its messages.
pub(super) struct Admitted {
    /// Its certificate.
    pub(super) shown: Shown,
    /// When its certificate expires.
    pub(super) until: SystemTime,
    pub(super) hello: Hello,
    pub(super) sending: SendStream,
    pub(super) receiving: RecvStream,
}

/// Serves an admitted site's connection until it ends.
pub(super) async fn serve_site(
    known: &KnownConnection,
    shared: &Shared,
    admitted: Admitted,
    tunnelled: bool,
) {
    let Admitted {
        shown,
        until,
        hello,
        sending,
        receiving,
    } = admitted;
    let connection = &known.connection;
    let ConnectionHandle {
        control,
        transfers,
        disconnect,
        connection: number_of,
        alive,
    } = shared.peers.enter(&shown.site).await;
    // Not before: of two connections that come together, the one that stays must be known.
    shared
        .connections()
        .insert(shown.site.clone(), known.clone());
    shared.enrolment.note_use(&shown);
    let site = SiteConnection {
        site: shown.site.clone(),
        number: number_of,
        connection,
        shared,
        requested_close: OnceLock::new(),
    };
    site.share_windows();
    site.report(Inbound::Connected {
        site: site.site.clone(),
        connection: site.number,
        hello,
        tunnelled,
        key_exchange: transport::quic::key_exchange(connection),
    })
    .await;
    let CloseReason { code, reason } = tokio::select! {
        // First: what is refused must not be read any more.
        biased;
        ended = no_longer_accepted(&shown, until, &shared.enrolment) => ended,
        ended = disconnected(disconnect) => ended,
        ended = site.send_messages(sending, control) => ended,
        ended = site.send_parameters(transfers) => ended,
        ended = site.receive_messages(receiving) => ended,
        ended = site.receive_parameters() => ended,
    };
    connection.close(number(code), reason.as_bytes());
    shared.forget(&site.site, connection);
    shared.peers.leave(&site.site, site.number);
    site.report(Inbound::Closed {
        site: site.site.clone(),
        connection: site.number,
        reason,
    })
    .await;
    drop(alive);
}

/// Waits until a connection's certificate is revoked or has expired.
async fn no_longer_accepted(
    shown: &Shown,
    until: SystemTime,
    enrolment: &Enrolment,
) -> CloseReason {
    let mut looks = tokio::time::interval(LOOK);
    loop {
        looks.tick().await;
        if let Some(reason) = enrolment.refusal(shown) {
            return CloseReason::new(CloseCode::Stranger, reason);
        }
        if until < SystemTime::now() {
            let reason = "the certificate of this connection has expired";
            return CloseReason::new(CloseCode::Closed, reason);
        }
    }
}

async fn disconnected(mut disconnect: watch::Receiver<Disconnect>) -> CloseReason {
    let wanted = disconnect
        .wait_for(|state| *state != Disconnect::Stay)
        .await;
    match wanted.as_deref() {
        Ok(Disconnect::Overrun) => {
            CloseReason::new(CloseCode::Stalled, "the site does not read what it is sent")
        }
        _ => CloseReason::new(CloseCode::Replaced, CloseCode::Replaced.meaning()),
    }
}

/// A received file that is removed unless the application takes it.
struct TempFile(Option<PathBuf>);

impl TempFile {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if let Some(file) = &self.0 {
            // Usually there is none: only a whole transfer creates it.
            std::fs::remove_file(file).ok();
        }
    }
}

/// Whose fault a failed transfer from a site is.
enum Fault {
    /// The connection's: the site still has the update, reconnects and is asked again.
    Connection,
    /// The update's, or the site cannot send it.
    Site,
}

/// One connection of one site.
struct SiteConnection<'a> {
    site: SiteName,
    number: u64,
    connection: &'a Connection,
    shared: &'a Shared,
    /// What to close with, once the application has asked for it.
    requested_close: OnceLock<(CloseCode, String)>,
}

impl SiteConnection<'_> {
    /// Waits while the application is behind: that is the backpressure.
    async fn report(&self, event: Inbound) {
        // Without a receiver the server is about to be dropped.
        self.shared.events.send(event).await.ok();
    }

    async fn receive_messages(&self, mut stream: RecvStream) -> CloseReason {
        loop {
            match frame::read_frame::<SiteMessage>(&mut stream).await {
                Ok(Some(SiteMessage::Hello(_))) => {
                    return CloseReason::new(CloseCode::Violation, "a second greeting");
                }
                Ok(Some(message)) => {
                    self.report(Inbound::Message {
                        site: self.site.clone(),
                        connection: self.number,
                        message,
                    })
                    .await;
                }
                Ok(None) => return self.close_of_finished_stream(),
                Err(error) => return self.close_after(error),
            }
        }
    }

    async fn send_messages(
        &self,
        mut stream: SendStream,
        mut outbox: mpsc::Receiver<Outbound>,
    ) -> CloseReason {
        while let Some(outbound) = outbox.recv().await {
            let message = match outbound {
                Outbound::Message(message) => message,
                Outbound::Close(code, reason) => {
                    self.requested_close.set((code, reason)).ok();
                    stream.finish().ok();
                    // A site that reads everything ends its own stream, which ends this wait.
                    tokio::time::sleep(FAREWELL).await;
                    return self.close_of_finished_stream();
                }
                // These have a queue of their own.
                Outbound::Parameters(..) => continue,
            };
            let written = frame::write_frame::<CoordinatorMessage>(&mut stream, &message).await;
            if let Err(error) = written {
                return self.close_after(error);
            }
        }
        // The queue is gone: this connection was replaced, and is about to be told so.
        std::future::pending().await
    }

    /// Limits this connection to its share of what all connections may have in flight. Repeated
    /// before each transfer, because sites come and go.
    fn share_windows(&self) {
        let share = ALL_WINDOWS / self.shared.peers.count().max(1) as u64;
        self.connection
            .set_send_window(share.clamp(LEAST_WINDOW, SEND_WINDOW));
        let receiving = u32::try_from(share.max(LEAST_WINDOW)).unwrap_or(u32::MAX);
        self.connection
            .set_receive_window(receiving.min(CONNECTION_WINDOW).into());
    }

    /// Receives parameters, one transfer after the other.
    async fn receive_parameters(&self) -> CloseReason {
        for transfer in 0u64.. {
            if let Err(ended) = self.receive_transfer(transfer).await {
                return ended;
            }
        }
        CloseReason::new(CloseCode::Done, "")
    }

    /// Receives one transfer. A transfer that is refused does not end the connection.
    async fn receive_transfer(&self, transfer: u64) -> Result<(), CloseReason> {
        let (mut sending, mut receiving) = match self.connection.accept_bi().await {
            Ok(streams) => streams,
            Err(error) => return Err(CloseReason::lost(&error)),
        };
        let header = frame::read_frame::<TransferHeader>(&mut receiving);
        let header = match timeout(GREETING, header).await {
            Ok(Ok(Some(header))) => header,
            Ok(Err(error)) => return Err(self.close_after(error)),
            Ok(Ok(None)) | Err(_) => {
                let reason = "a stream without a header";
                return Err(CloseReason::new(CloseCode::Violation, reason));
            }
        };
        let parts = self.shared.config.incoming.join(self.site.as_str());
        let file = parts.join(format!("{}-{transfer}.f32", self.number));
        let temporary = TempFile(Some(file.clone()));
        let destination = Destination {
            parts,
            place: file.clone(),
            known: None,
            lasting: true,
        };
        // In time: no content comes before the answer to the header.
        self.share_windows();
        let received = match Receiving::begin(header, self.shared.config.expected_bytes) {
            Ok(begun) => {
                file_transfer::receive_file(&mut sending, &mut receiving, begun, destination).await
            }
            Err(error) => Err(error.into()),
        };
        let error = match received {
            Ok(arrived) => {
                self.report(Inbound::Parameters {
                    site: self.site.clone(),
                    connection: self.number,
                    arrived,
                    file,
                })
                .await;
                temporary.keep();
                return Ok(());
            }
            Err(error) => error,
        };
        receiving.stop(number(code_of(&error))).ok();
        sending.reset(number(code_of(&error))).ok();
        if matches!(error, WireError::Disk(_)) {
            let reason = error.to_string();
            self.report(Inbound::DiskFailed { reason }).await;
            return Err(self.close_after(error));
        }
        match self.fault(&error).await {
            Fault::Connection => Err(self.close_after(error)),
            Fault::Site => {
                let reason = match error {
                    WireError::Transfer(error) => UpdateRejection::Transfer(error),
                    other => UpdateRejection::Stream(other.to_string()),
                };
                self.report(Inbound::ParametersRefused {
                    site: self.site.clone(),
                    connection: self.number,
                    header,
                    reason,
                })
                .await;
                Ok(())
            }
        }
    }

    async fn fault(&self, error: &WireError) -> Fault {
        let connection_failed = match error {
            WireError::Stalled | WireError::Transfer(TransferError::Stale) => true,
            // A stream may end a moment before its connection does, and because of it. On a sound
            // connection the site itself broke it off.
            WireError::Stream(_) => timeout(MOMENT, self.connection.closed()).await.is_ok(),
            _ => self.connection.close_reason().is_some(),
        };
        if connection_failed {
            Fault::Connection
        } else {
            Fault::Site
        }
    }

    /// Sends parameters, one transfer after the other.
    async fn send_parameters(
        &self,
        mut transfers: mpsc::Receiver<(TransferHeader, PathBuf)>,
    ) -> CloseReason {
        while let Some((header, file)) = transfers.recv().await {
            self.share_windows();
            let (mut sending, mut receiving) = match self.connection.open_bi().await {
                Ok(streams) => streams,
                Err(error) => return CloseReason::lost(&error),
            };
            let hashes = self.shared.hashes(header);
            let sent =
                file_transfer::send_file(&mut sending, &mut receiving, header, file, hashes).await;
            if let Err(error) = sent {
                sending.reset(number(code_of(&error))).ok();
                if matches!(error, WireError::Disk(_)) {
                    let reason = error.to_string();
                    self.report(Inbound::DiskFailed { reason }).await;
                }
                return self.close_after(error);
            }
        }
        std::future::pending().await
    }

    /// A stream's failure usually means that the connection is gone, whose own error says why.
    fn close_after(&self, error: WireError) -> CloseReason {
        match (&error, self.connection.close_reason()) {
            (WireError::Stream(_), Some(reason)) => CloseReason::lost(&reason),
            _ => error.into(),
        }
    }

    /// The site has read everything and sends no more.
    fn close_of_finished_stream(&self) -> CloseReason {
        match self.requested_close.get() {
            Some((code, reason)) => CloseReason::new(*code, reason.clone()),
            None => CloseReason::new(CloseCode::Done, "the site left"),
        }
    }
}
