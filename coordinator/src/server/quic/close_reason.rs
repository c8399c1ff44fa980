//! Why a connection ends.

use protocol::codec::CloseCode;
use quinn::ConnectionError;
use transport::WireError;
use transport::quic::{self, IDLE, code_of};

/// Why a connection ends, in words that the other end may read.
pub(super) struct CloseReason {
    pub(super) code: CloseCode,
    pub(super) reason: String,
}

impl CloseReason {
    pub(super) fn new(code: CloseCode, reason: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
        }
    }

    /// A connection that is gone, as the end of "the connection ended: ...".
    pub(super) fn lost(error: &ConnectionError) -> Self {
        let reason = match error {
            ConnectionError::ApplicationClosed(close) => {
                let mut words = quic::words(close);
                if words.is_empty()
                    && let Some(code) = CloseCode::from_number(close.error_code.into_inner())
                {
                    words = code.meaning().into();
                }
                format!("the site closed it: {words}")
            }
            ConnectionError::TimedOut => {
                format!("nothing was heard for {} seconds", IDLE.as_secs())
            }
            other => other.to_string(),
        };
        Self::new(CloseCode::Closed, reason)
    }
}

impl From<WireError> for CloseReason {
    fn from(error: WireError) -> Self {
        Self::new(code_of(&error), error.to_string())
    }
}
