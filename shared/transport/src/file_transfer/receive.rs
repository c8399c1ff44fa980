//! The receiver of a file: from the stream to the thread that writes it.

use super::partial_file::{Begun, Destination};
use super::{PIECE, Piece, thread_failed};
use crate::error::{STALL, WireError};
use crate::frame::write_frame;
use protocol::codec::transfer::{Arrived, HASH, Receiving, TransferError, due};
use protocol::message::TransferAnswer;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Pieces that are received before one of them is written.
const BUFFERS: usize = 3;

/// Receives what an accepted header announced, as far as it is not here already.
///
/// # Errors
/// The connection or the disk failed, or the content is not what was announced.
pub async fn receive_file(
    sending: &mut (impl AsyncWrite + Unpin),
    stream: &mut (impl AsyncRead + Unpin),
    receiving: Receiving,
    destination: Destination,
) -> Result<Arrived, WireError> {
    let header = receiving.header();
    let begun = spawn_blocking(move || destination.begin(receiving))
        .await
        .map_err(thread_failed)?
        .map_err(WireError::Disk)?;
    let arrived = match begun {
        Begun::Known(arrived) => {
            let nothing = TransferAnswer::Wanted { from: header.bytes };
            write_frame(sending, &nothing).await?;
            expect_end(stream).await?;
            arrived
        }
        Begun::Partial(partial) => {
            write_frame(sending, &partial.receiving.answer()).await?;
            let (pieces, next_piece) = mpsc::channel(1);
            let (free, empty) = buffers();
            let left = partial.receiving.left();
            let path = partial.path.clone();
            let (done, stored) = oneshot::channel();
            spawn_blocking(move || partial.store(next_piece, &free, done));
            let received = read_pieces(stream, left, pieces, empty).await;
            let stored = match stored.await {
                Ok(stored) => stored,
                Err(_) => return Err(WireError::Disk(io::ErrorKind::Interrupted.into())),
            };
            if let Err(WireError::Transfer(_)) = received {
                // A sender of more than was announced starts from nothing the next time.
                std::fs::remove_file(path).ok();
            }
            // When the writer gives up, reading just ends. When the stream fails, the writer only
            // knows that the file is too short, so the stream's error counts.
            received?;
            stored?
        }
    };
    let parameters = header.parameters;
    write_frame(sending, &TransferAnswer::Taken { parameters }).await?;
    sending.shutdown().await.map_err(WireError::Stream)?;
    Ok(arrived)
}

/// Hands `left` bytes to the writer piece by piece, and then `None`, if the stream ends where it
/// must. Returns `Ok` early when the writer has given up.
async fn read_pieces(
    stream: &mut (impl AsyncRead + Unpin),
    mut left: u64,
    pieces: mpsc::Sender<Option<Piece>>,
    mut empty: mpsc::Receiver<Vec<u8>>,
) -> Result<(), WireError> {
    while left > 0 {
        let mut chunk = due(left);
        left -= chunk as u64;
        while chunk > 0 {
            let Some(mut bytes) = empty.recv().await else {
                return Ok(());
            };
            bytes.resize(chunk.min(PIECE), 0);
            chunk -= bytes.len();
            let hash = read_piece(stream, &mut bytes, chunk == 0).await?;
            if pieces.send(Some(Piece { bytes, hash })).await.is_err() {
                return Ok(());
            }
        }
    }
    expect_end(stream).await?;
    pieces.send(None).await.ok();
    Ok(())
}

/// Fills the buffer, and reads the chunk's hash when this is the chunk's last piece.
async fn read_piece(
    stream: &mut (impl AsyncRead + Unpin),
    bytes: &mut [u8],
    is_last: bool,
) -> Result<Option<[u8; HASH]>, WireError> {
    let read = timeout(STALL, async {
        stream.read_exact(bytes).await?;
        if !is_last {
            return Ok(None);
        }
        let mut hash = [0; HASH];
        stream.read_exact(&mut hash).await?;
        Ok(Some(hash))
    });
    match read.await {
        Ok(read) => read.map_err(WireError::Stream),
        Err(_) => Err(WireError::Stalled),
    }
}

async fn expect_end(stream: &mut (impl AsyncRead + Unpin)) -> Result<(), WireError> {
    match timeout(STALL, stream.read(&mut [0])).await {
        Ok(Ok(0)) => Ok(()),
        Ok(Ok(_)) => Err(TransferError::Long.into()),
        Ok(Err(error)) => Err(WireError::Stream(error)),
        Err(_) => Err(WireError::Stalled),
    }
}

/// Empty buffers, and the sender that returns used ones.
fn buffers() -> (mpsc::Sender<Vec<u8>>, mpsc::Receiver<Vec<u8>>) {
    let (free, empty) = mpsc::channel(BUFFERS);
    for _ in 0..BUFFERS {
        free.try_send(Vec::with_capacity(PIECE)).ok();
    }
    (free, empty)
}
