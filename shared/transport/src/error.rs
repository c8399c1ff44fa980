//! Why a frame or a file could not be transferred.

use protocol::codec::CodecError;
use protocol::codec::transfer::TransferError;
use std::io;
use std::time::Duration;

/// The longest time that one piece of a file may take: 128 KiB in a minute is slower than any line
/// that a model should be sent over.
pub(crate) const STALL: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The received bytes are not a frame, or the value to be sent is not allowed on the wire.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The content does not match what was announced.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// The stream failed. Usually the connection is gone, and its own error says why.
    #[error("the stream ended: {0}")]
    Stream(io::Error),
    #[error("nothing moved for {} seconds", STALL.as_secs())]
    Stalled,
    /// The parameters' file failed at this end.
    #[error("parameters could not be stored or read: {0}")]
    Disk(io::Error),
}
