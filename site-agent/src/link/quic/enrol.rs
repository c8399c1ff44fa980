//! A connection that asks for a certificate.

use super::client;
use super::close_reason::explain;
use super::reach::{Reached, Target, reach};
use crate::link::LinkError;
use protocol::codec::CloseCode;
use protocol::enrol::{EXPORTER, EnrolAnswer, EnrolRequest};
use quinn::Connection;
use rustls::pki_types::CertificateDer;
use std::time::Duration;
use tokio::time::timeout;
use transport::WireError;
use transport::frame;
use transport::quic::number;

/// The longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(30);

/// The longest time from the first packet to the end of the conversation.
const LONGEST: Duration = Duration::from_secs(120);

/// What the coordinator said, and the certificates that it showed, in DER.
pub(in crate::link) struct Answered {
    pub(in crate::link) answer: EnrolAnswer,
    pub(in crate::link) chain: Vec<Vec<u8>>,
}

/// Connects, sends the request for this session, and returns the answer. `request` is given the
/// session's keying material. Takes no longer than [`LONGEST`], whatever the other end does.
pub(in crate::link) async fn ask_for_certificate(
    target: &Target,
    tls: rustls::ClientConfig,
    request: impl FnOnce([u8; 32]) -> EnrolRequest,
) -> Result<Answered, LinkError> {
    match timeout(LONGEST, ask(target, tls, request)).await {
        Ok(answered) => answered,
        Err(_) => Err(LinkError::Unreachable {
            coordinator: target.coordinator.clone(),
            reason: format!("no certificate came within {} seconds", LONGEST.as_secs()),
        }),
    }
}

async fn ask(
    target: &Target,
    tls: rustls::ClientConfig,
    request: impl FnOnce([u8; 32]) -> EnrolRequest,
) -> Result<Answered, LinkError> {
    let Reached {
        endpoint,
        quic,
        tunnel,
    } = reach(target, &client(target, tls)?).await?;
    let mut exported = [0; 32];
    if quic
        .export_keying_material(&mut exported, EXPORTER, b"")
        .is_err()
    {
        return Err(LinkError::Protocol {
            reason: "the session has no keying material".into(),
        });
    }
    let answered = match converse(&quic, &request(exported)).await {
        Ok(answer) => Ok(Answered {
            answer,
            chain: shown(&quic),
        }),
        Err(WireError::Codec(error)) => Err(LinkError::Protocol {
            reason: error.to_string(),
        }),
        Err(error) => Err(match quic.close_reason() {
            Some(reason) => explain(&target.coordinator, &reason),
            None => LinkError::Unreachable {
                coordinator: target.coordinator.clone(),
                reason: error.to_string(),
            },
        }),
    };
    quic.close(number(CloseCode::Done), b"");
    endpoint.wait_idle().await;
    drop(tunnel);
    answered
}

async fn converse(quic: &Connection, request: &EnrolRequest) -> Result<EnrolAnswer, WireError> {
    let (mut sending, mut receiving) = quic
        .open_bi()
        .await
        .map_err(|error| WireError::Stream(error.into()))?;
    frame::write_frame(&mut sending, request).await?;
    sending.finish().ok();
    match timeout(ANSWER, frame::read_frame::<EnrolAnswer>(&mut receiving)).await {
        Ok(Ok(Some(answer))) => Ok(answer),
        Ok(Ok(None)) => Err(WireError::Stream(std::io::ErrorKind::UnexpectedEof.into())),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(WireError::Stream(std::io::ErrorKind::TimedOut.into())),
    }
}

/// The certificates that the other end has shown.
fn shown(quic: &Connection) -> Vec<Vec<u8>> {
    let chain = quic
        .peer_identity()
        .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok());
    match chain {
        Some(chain) => chain
            .iter()
            .map(|certificate| certificate.to_vec())
            .collect(),
        None => Vec::new(),
    }
}
