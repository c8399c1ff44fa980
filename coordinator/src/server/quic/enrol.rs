//! A connection that asks for a certificate: one request, one answer.

use super::Shared;
use super::close_reason::CloseReason;
use super::handshake::{GREETING, shown};
use crate::server::enrolment::Asked;
use protocol::codec::CloseCode;
use protocol::enrol::{EXPORTER, EnrolAnswer, EnrolRequest};
use quinn::Connection;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::time::timeout;
use transport::frame;
use transport::quic::{FAREWELL, number};

/// Answers one request and ends the connection.
pub(super) async fn serve(connection: &Connection, shared: &Arc<Shared>, from: IpAddr) {
    let ended = match timeout(GREETING, converse(connection, shared, from)).await {
        Ok(Ok(())) => {
            // The site closes when it has the answer.
            timeout(FAREWELL, connection.closed()).await.ok();
            CloseReason::new(CloseCode::Done, "")
        }
        Ok(Err(ended)) => ended,
        Err(_) => CloseReason::new(CloseCode::Violation, "no request for a certificate came"),
    };
    let CloseReason { code, reason } = ended;
    connection.close(number(code), reason.as_bytes());
}

async fn converse(
    connection: &Connection,
    shared: &Arc<Shared>,
    from: IpAddr,
) -> Result<(), CloseReason> {
    let (mut sending, mut receiving) = match connection.accept_bi().await {
        Ok(streams) => streams,
        Err(error) => return Err(CloseReason::lost(&error)),
    };
    let Some(request) = frame::read_frame::<EnrolRequest>(&mut receiving).await? else {
        let reason = "a stream without a request";
        return Err(CloseReason::new(CloseCode::Violation, reason));
    };
    let mut exported = [0; 32];
    if connection
        .export_keying_material(&mut exported, EXPORTER, b"")
        .is_err()
    {
        let reason = "the session has no keying material";
        return Err(CloseReason::new(CloseCode::Violation, reason));
    }
    let shown = shown(connection);
    let enrolment = shared.enrolment.clone();
    // It reads and writes files.
    let answering = tokio::task::spawn_blocking(move || {
        enrolment.answer(&Asked {
            request: &request,
            exported,
            shown,
            from,
        })
    });
    let answer = match answering.await {
        Ok(answer) => answer,
        Err(error) => return Err(CloseReason::new(CloseCode::Closed, error.to_string())),
    };
    match &answer {
        EnrolAnswer::Granted(grant) => {
            tracing::info!(%from, site = grant.site, "a site was given a certificate");
        }
        EnrolAnswer::Refused { reason } => {
            tracing::warn!(%from, reason, "a request for a certificate was refused");
        }
    }
    frame::write_frame(&mut sending, &answer).await?;
    sending.finish().ok();
    Ok(())
}
