//! What the end of a QUIC connection means.

use crate::link::LinkError;
use protocol::codec::CloseCode;
use quinn::ConnectionError;
use transport::quic;

/// What the coordinator says of a certificate that is not valid by its clock.
pub(in crate::link) const EXPIRED: &str = "it has expired, or is not valid yet";

/// The TLS alert `no_application_protocol` (RFC 7301).
const NO_COMMON_PROTOCOL: u8 = 120;

/// Why a connection that worked has ended.
pub(super) struct Ended {
    pub(super) reason: String,
    /// Whether another connection may work.
    pub(super) again: bool,
}

impl Ended {
    pub(super) fn by(error: &ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => {
                let code = CloseCode::from_number(close.error_code.into_inner());
                let mut reason = quic::words(close);
                if reason.is_empty() {
                    reason = code.map_or("no reason given", CloseCode::meaning).into();
                }
                Self {
                    reason,
                    again: !code.is_some_and(CloseCode::is_final),
                }
            }
            ConnectionError::TimedOut => Self {
                reason: "nothing was heard from the coordinator for too long".into(),
                again: true,
            },
            ConnectionError::LocallyClosed => Self {
                reason: "it was closed here".into(),
                again: true,
            },
            other => Self {
                reason: other.to_string(),
                again: true,
            },
        }
    }
}

/// Why there is no connection.
pub(super) fn explain(coordinator: &str, error: &ConnectionError) -> LinkError {
    match error {
        ConnectionError::ConnectionClosed(close) => match alert(close.error_code) {
            Some(NO_COMMON_PROTOCOL) => no_common_version(),
            Some(alert) => LinkError::OurCertificate {
                reason: alert_text(alert),
            },
            None => unreachable(coordinator, close.to_string()),
        },
        ConnectionError::TransportError(error) => match alert(error.code) {
            Some(NO_COMMON_PROTOCOL) => no_common_version(),
            Some(_) => LinkError::TheirCertificate {
                reason: error.reason.clone(),
            },
            None => unreachable(coordinator, error.to_string()),
        },
        ConnectionError::VersionMismatch => LinkError::Protocol {
            reason: "it speaks another version of QUIC".into(),
        },
        ConnectionError::ApplicationClosed(close) => {
            let reason = Ended::by(error).reason;
            match CloseCode::from_number(close.error_code.into_inner()) {
                Some(CloseCode::Version) => LinkError::Protocol { reason },
                Some(CloseCode::Stranger) => LinkError::Refused { reason },
                _ => LinkError::Closed { reason },
            }
        }
        ConnectionError::TimedOut => unreachable(coordinator, "no answer".into()),
        other => unreachable(coordinator, other.to_string()),
    }
}

fn no_common_version() -> LinkError {
    LinkError::Protocol {
        reason: "it offers no version that we know".into(),
    }
}

fn unreachable(coordinator: &str, reason: String) -> LinkError {
    LinkError::Unreachable {
        coordinator: coordinator.to_owned(),
        reason,
    }
}

/// The TLS alert in a QUIC error code (RFC 9001, section 4.8).
fn alert(code: quinn::TransportErrorCode) -> Option<u8> {
    let alert = u64::from(code).checked_sub(0x100)?;
    u8::try_from(alert).ok()
}

/// What a peer's alert about our certificate says (RFC 8446, section 6.2).
fn alert_text(alert: u8) -> String {
    match alert {
        42 => "it is damaged".into(),
        43 => "it is of an unsupported kind".into(),
        44 => "it was revoked".into(),
        45 => EXPIRED.into(),
        46 => "it cannot be used here".into(),
        48 => "it is not from the federation's authority".into(),
        51 => "its signature is wrong".into(),
        116 => "none was shown".into(),
        other => format!("TLS alert {other}"),
    }
}
