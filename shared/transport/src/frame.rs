//! Frames over byte streams: one message with its length before it.

use crate::error::WireError;
use protocol::codec::{Frame, PREFIX, decode, encode, payload_length};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Reads one frame; `None` when the stream ended before it.
///
/// # Errors
/// The stream failed, or the bytes are not a frame of this type.
pub async fn read_frame<T: Frame>(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Option<T>, WireError> {
    let mut prefix = [0; PREFIX];
    let first = stream
        .read(&mut prefix[..1])
        .await
        .map_err(WireError::Stream)?;
    if first == 0 {
        return Ok(None);
    }
    stream
        .read_exact(&mut prefix[1..])
        .await
        .map_err(WireError::Stream)?;
    let mut payload = vec![0; payload_length(prefix)?];
    stream
        .read_exact(&mut payload)
        .await
        .map_err(WireError::Stream)?;
    Ok(Some(decode(&payload)?))
}

/// # Errors
/// The stream failed, or the value is not allowed on the wire.
pub async fn write_frame<T: Frame>(
    stream: &mut (impl AsyncWrite + Unpin),
    value: &T,
) -> Result<(), WireError> {
    let frame = encode(value)?;
    stream.write_all(&frame).await.map_err(WireError::Stream)
}
