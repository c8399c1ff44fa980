//! A new connection, until its site is admitted or refused.

use super::close_reason::CloseReason;
use super::connection::{Admitted, serve_site};
use super::{KnownConnection, Shared, enrol};
use crate::server::enrolment::Shown;
use crate::server::{second_agent, tls};
use protocol::codec::CloseCode;
use protocol::identity::SiteName;
use protocol::message::{PROTOCOL, SiteMessage};
use protocol::site::TWICE;
use quinn::crypto::rustls::HandshakeData;
use quinn::{Connection, Incoming};
use rustls::pki_types::CertificateDer;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::timeout;
use transport::certificates::{identity, site_name};
use transport::quic::number;
use transport::{clock, frame};

/// From the first packet to the site's greeting, and from a stream's first byte to its header.
pub(super) const GREETING: Duration = Duration::from_secs(10);
/// The most streams that the question whether a site is still there raises the limit to.
const MOST_STREAMS: u32 = 64;

/// Serves one connection from its first packet to its last.
pub(super) async fn serve(incoming: Incoming, shared: Arc<Shared>) {
    let remote = incoming.remote_address();
    let from = shared.origins.of(remote);
    let connection = match timeout(GREETING, incoming).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            let error = clock::in_words(&error.to_string());
            tracing::warn!(%from, error, "a connection was refused");
            return;
        }
        Err(_) => {
            tracing::warn!(%from, "a connection never finished its handshake");
            return;
        }
    };
    let Some(handshake) = handshake(&connection) else {
        return connection.close(number(CloseCode::Violation), b"the handshake says nothing");
    };
    if handshake.protocol.as_deref() == Some(protocol::enrol::ALPN) {
        enrol::serve(&connection, &shared, from.address()).await;
        return;
    }
    match admit(&connection, &shared, &from.to_string()).await {
        Ok(admitted) => {
            tracing::info!(%from, site = %admitted.shown.site, "a site connected");
            shared.origins.admit(remote);
            let known = KnownConnection {
                connection,
                from: from.to_string(),
            };
            serve_site(&known, &shared, admitted, from.is_tunnel()).await;
        }
        Err(CloseReason { code, reason }) => {
            tracing::warn!(%from, reason, "a connection was refused");
            connection.close(number(code), reason.as_bytes());
        }
    }
}

/// Reads the site's greeting. Refuses a site that is not expected, that uses another protocol, or
/// of which another agent is connected.
async fn admit(
    connection: &Connection,
    shared: &Shared,
    from: &str,
) -> Result<Admitted, CloseReason> {
    let admitted = match timeout(GREETING, greet(connection, shared)).await {
        Ok(greeted) => greeted?,
        Err(_) => return Err(CloseReason::new(CloseCode::Violation, "no greeting came")),
    };
    match second_agent(shared, &admitted.shown.site, from).await {
        Some(refusal) => Err(refusal),
        None => Ok(admitted),
    }
}

async fn greet(connection: &Connection, shared: &Shared) -> Result<Admitted, CloseReason> {
    let Some(certificate) = certificate(connection) else {
        let reason = "no certificate was shown";
        return Err(CloseReason::new(CloseCode::Stranger, reason));
    };
    let (Some(site), Some(identity)) = (site_name(&certificate), identity(&certificate)) else {
        let reason = "the certificate does not name one site";
        return Err(CloseReason::new(CloseCode::Stranger, reason));
    };
    if let Some(reason) = shared.enrolment.unexpected(&site) {
        return Err(CloseReason::new(CloseCode::Stranger, reason));
    }
    let (sending, mut receiving) = match connection.accept_bi().await {
        Ok(streams) => streams,
        Err(error) => return Err(CloseReason::lost(&error)),
    };
    let Some(SiteMessage::Hello(hello)) = frame::read_frame(&mut receiving).await? else {
        let reason = "the first words are not a greeting";
        return Err(CloseReason::new(CloseCode::Violation, reason));
    };
    if hello.protocol != PROTOCOL {
        let reason = format!(
            "the site speaks protocol {}, the coordinator {PROTOCOL}",
            hello.protocol
        );
        return Err(CloseReason::new(CloseCode::Version, reason));
    }
    if let Some(role) = shared.enrolment.role(site.as_str())
        && role != hello.role
    {
        let reason = format!(
            "{site} was invited with the role {}, and its settings say {}",
            role.word(),
            hello.role.word()
        );
        return Err(CloseReason::new(CloseCode::Stranger, reason));
    }
    Ok(Admitted {
        shown: Shown {
            site,
            serial: identity.serial,
        },
        until: identity.validity.until,
        hello,
        sending,
        receiving,
    })
}

fn handshake(connection: &Connection) -> Option<HandshakeData> {
    let data = connection.handshake_data()?;
    Some(*data.downcast::<HandshakeData>().ok()?)
}

/// The verified certificate that the other end has shown, if it has shown one.
fn certificate(connection: &Connection) -> Option<CertificateDer<'static>> {
    let chain = connection
        .peer_identity()?
        .downcast::<Vec<CertificateDer<'static>>>()
        .ok()?;
    chain.first().cloned()
}

/// The site whose certificate the other end has shown.
pub(super) fn shown(connection: &Connection) -> Option<Shown> {
    tls::shown(&certificate(connection)?)
}

/// Why a site may not connect from here: another agent with its certificate is at work elsewhere.
async fn second_agent(shared: &Shared, site: &SiteName, from: &str) -> Option<CloseReason> {
    let known = shared.connections().get(site).cloned()?;
    let streams = shared.streams.fetch_add(1, Ordering::Relaxed) + 1;
    let answers = second_agent::answers(
        || known.connection.close_reason().is_none(),
        || known.connection.stats().udp_rx.datagrams,
        || {
            // The other end has to acknowledge that it may open more streams than before.
            let streams = quinn::VarInt::from_u32(streams.min(MOST_STREAMS));
            known.connection.set_max_concurrent_bi_streams(streams);
        },
    );
    if !answers.await {
        return None;
    }
    let reason = format!(
        "{site} {TWICE}, from {}: a second agent with the same certificate came from {from}, \
         which is not let in",
        known.from
    );
    Some(CloseReason::new(CloseCode::Stranger, reason))
}
