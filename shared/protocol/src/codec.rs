//! Frames: how messages become bytes, and how bytes that come from a network become messages or an
//! error.
//!
//! A frame is its payload's length as four little-endian bytes, then the payload: bincode 2,
//! standard configuration (variable-length integers). Decoding is strict: an announced length past
//! [`MAX_PAYLOAD`] is refused before anything is read, the payload must be used up to the last
//! byte, and every value is checked for meaning, so that nothing past this module has to ask
//! whether a histogram is in order. [`transfer`] does the same for the parameters, which travel
//! outside frames.

mod check;
mod close;
pub mod transfer;

pub use close::CloseCode;

use crate::message::{CoordinatorMessage, SiteMessage, TransferAnswer, TransferHeader};
use crate::settings::SettingsError;
use metrics::voxel::HistogramError;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes of the length before each payload.
pub const PREFIX: usize = 4;
/// The longest payload: a frame stays below 64 KiB.
pub const MAX_PAYLOAD: usize = (1 << 16) - 1 - PREFIX;
/// The most that a payload's numbers may take once decoded. A number of eight bytes travels in one
/// at least, so nothing that fits a frame comes near; what claims more is a length that no payload
/// can have.
const MAX_DECODED: usize = 16 * MAX_PAYLOAD;
/// The longest [`sentence`].
const SENTENCE: usize = 1000;

/// Why bytes are not a frame, or a value is not one that may travel.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CodecError {
    /// The announced or resulting payload is too long.
    #[error("a frame of {bytes} bytes, where {MAX_PAYLOAD} are the most")]
    Oversized {
        /// The payload's length.
        bytes: usize,
    },
    /// The bytes do not spell a value of the type.
    #[error("not a {what}: {reason}")]
    Malformed {
        /// The type.
        what: &'static str,
        /// The decoder's reason.
        reason: String,
    },
    /// Bytes are left after the value.
    #[error("{left} bytes left over after a {what}")]
    Trailing {
        /// The type.
        what: &'static str,
        /// How many.
        left: usize,
    },
    /// The value is well spelt and means nothing.
    #[error("{field} of a {what} is {reason}")]
    Meaningless {
        /// The type.
        what: &'static str,
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A score's histogram is not one.
    #[error("a score that means nothing: {0}")]
    Histogram(#[from] HistogramError),
    /// The federation's settings do not pass their own check.
    #[error("settings that cannot work: {0}")]
    Settings(#[from] SettingsError),
}

/// What may travel in a frame.
pub trait Frame: Serialize + DeserializeOwned {
    /// For error messages.
    const NAME: &'static str;

    /// Whether the value means something; both ends ask.
    fn check(&self) -> Result<(), CodecError>;
}

impl Frame for SiteMessage {
    const NAME: &'static str = "site message";

    fn check(&self) -> Result<(), CodecError> {
        check::site_message(self)
    }
}

impl Frame for CoordinatorMessage {
    const NAME: &'static str = "coordinator message";

    fn check(&self) -> Result<(), CodecError> {
        check::coordinator_message(self)
    }
}

impl Frame for TransferHeader {
    const NAME: &'static str = "transfer header";

    fn check(&self) -> Result<(), CodecError> {
        Ok(())
    }
}

impl Frame for TransferAnswer {
    const NAME: &'static str = "transfer answer";

    fn check(&self) -> Result<(), CodecError> {
        Ok(())
    }
}

/// The payload's length that a frame's first bytes announce, if it is one that may be read.
pub fn payload_length(prefix: [u8; PREFIX]) -> Result<usize, CodecError> {
    let bytes = u32::from_le_bytes(prefix) as usize;
    if bytes > MAX_PAYLOAD {
        Err(CodecError::Oversized { bytes })
    } else {
        Ok(bytes)
    }
}

/// The whole frame: prefix and payload.
pub fn encode<T: Frame>(value: &T) -> Result<Vec<u8>, CodecError> {
    value.check()?;
    let mut frame = vec![0; PREFIX];
    bincode::serde::encode_into_std_write(value, &mut frame, configuration()).map_err(|error| {
        CodecError::Malformed {
            what: T::NAME,
            reason: error.to_string(),
        }
    })?;
    let bytes = frame.len() - PREFIX;
    let length = u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes();
    payload_length(length)?;
    frame[..PREFIX].copy_from_slice(&length);
    Ok(frame)
}

/// The value of a payload, the bytes after the prefix.
pub fn decode<T: Frame>(payload: &[u8]) -> Result<T, CodecError> {
    if payload.len() > MAX_PAYLOAD {
        return Err(CodecError::Oversized {
            bytes: payload.len(),
        });
    }
    let (value, used): (T, usize) = bincode::serde::decode_from_slice(payload, configuration())
        .map_err(|error| CodecError::Malformed {
            what: T::NAME,
            reason: error.to_string(),
        })?;
    if used != payload.len() {
        return Err(CodecError::Trailing {
            what: T::NAME,
            left: payload.len() - used,
        });
    }
    value.check()?;
    Ok(value)
}

/// A sentence as it may travel: one line without control characters, of at most 1000 characters.
#[must_use]
pub fn sentence(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(SENTENCE)
        .collect()
}

fn configuration() -> bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Varint,
    bincode::config::Limit<MAX_DECODED>,
> {
    bincode::config::standard().with_limit::<MAX_DECODED>()
}

#[cfg(test)]
mod tests;
