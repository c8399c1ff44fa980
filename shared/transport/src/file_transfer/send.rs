//! The sender of a file.

use super::{PIECE, Piece, thread_failed};
use crate::error::{STALL, WireError};
use crate::frame::{read_frame, write_frame};
use bytes::Bytes;
use protocol::codec::transfer::{CHUNK, ChunkHash, HASH, begin_at, due, taken};
use protocol::message::{TransferAnswer, TransferHeader};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// The longest time that the receiver may take to store a whole model after its last byte.
const STORING: Duration = Duration::from_secs(300);
/// Buffers that are kept for reuse after their content was acknowledged: as many as are on the
/// network at a time.
const IDLE_BUFFERS: usize = 64;

/// The hashes of a file's chunks, as far as they are known. Transfers of the same file share them,
/// so that a file that goes to many sites is hashed once.
#[derive(Clone, Debug)]
pub struct ChunkHashes(Arc<[OnceLock<[u8; HASH]>]>);

impl ChunkHashes {
    /// For a file of this length, with no hash known.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        let mut hashes = Vec::new();
        for _ in 0..bytes.div_ceil(CHUNK as u64) {
            hashes.push(OnceLock::new());
        }
        Self(hashes.into())
    }
}

/// A stream that sends a buffer without copying it.
pub trait ZeroCopySink: AsyncWrite + Unpin {
    /// Sends all of it.
    fn give(&mut self, bytes: Bytes) -> impl Future<Output = io::Result<()>> + Send;
}

/// A buffer that returns to its pool when its content was acknowledged.
struct PooledBuffer {
    bytes: Vec<u8>,
    pool: mpsc::Sender<Vec<u8>>,
}

impl AsRef<[u8]> for PooledBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for PooledBuffer {
    fn drop(&mut self) {
        // Fails when the pool is full or the transfer is over.
        self.pool.try_send(std::mem::take(&mut self.bytes)).ok();
    }
}

/// Offers a file, sends the part that the receiver does not have, and waits until the receiver
/// confirms that all of it is stored.
///
/// # Errors
/// The file cannot be read or has another length than the header says, the connection failed, or
/// the receiver refused.
pub async fn send_file(
    sending: &mut impl ZeroCopySink,
    receiving: &mut (impl AsyncRead + Unpin),
    header: TransferHeader,
    path: PathBuf,
    hashes: ChunkHashes,
) -> Result<(), WireError> {
    // Opened before the receiver hears of it: from then on the file may be removed.
    let file = spawn_blocking(move || open(&path, header.bytes))
        .await
        .map_err(thread_failed)?
        .map_err(WireError::Disk)?;
    write_frame(sending, &header).await?;
    let first = begin_at(&header, &read_answer(receiving, STALL).await?)?;
    let (pieces, mut next_piece) = mpsc::channel::<Piece>(1);
    let (pool, idle) = mpsc::channel(IDLE_BUFFERS);
    let source = Source {
        file,
        bytes: header.bytes,
        hashes,
    };
    let reader = spawn_blocking(move || source.read_pieces(first, &pieces, idle));
    while let Some(Piece { bytes, hash }) = next_piece.recv().await {
        let content = Bytes::from_owner(PooledBuffer {
            bytes,
            pool: pool.clone(),
        });
        let sent = timeout(STALL, async {
            sending.give(content).await?;
            match hash {
                Some(hash) => sending.write_all(&hash).await,
                None => Ok(()),
            }
        });
        sent.await
            .map_err(|_| WireError::Stalled)?
            .map_err(WireError::Stream)?;
    }
    reader
        .await
        .map_err(thread_failed)?
        .map_err(WireError::Disk)?;
    sending.shutdown().await.map_err(WireError::Stream)?;
    Ok(taken(&header, &read_answer(receiving, STORING).await?)?)
}

async fn read_answer(
    stream: &mut (impl AsyncRead + Unpin),
    longest: Duration,
) -> Result<TransferAnswer, WireError> {
    match timeout(longest, read_frame(stream)).await {
        Ok(Ok(Some(answer))) => Ok(answer),
        Ok(Ok(None)) => Err(WireError::Stream(io::ErrorKind::UnexpectedEof.into())),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(WireError::Stalled),
    }
}

fn open(path: &Path, bytes: u64) -> io::Result<File> {
    let file = File::open(path)?;
    if file.metadata()?.len() != bytes {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the file has another length than was announced",
        ));
    }
    Ok(file)
}

/// A file that is sent.
struct Source {
    file: File,
    bytes: u64,
    hashes: ChunkHashes,
}

impl Source {
    /// Streams the file from chunk `first` on, and computes the chunk hashes that are not known.
    /// Returns `Ok` early when the sender is gone.
    fn read_pieces(
        mut self,
        first: u64,
        pieces: &mpsc::Sender<Piece>,
        mut idle: mpsc::Receiver<Vec<u8>>,
    ) -> io::Result<()> {
        let start = (first * CHUNK as u64).min(self.bytes);
        self.file.seek(SeekFrom::Start(start))?;
        for (index, known) in (0u64..).zip(self.hashes.0.iter()) {
            if index < first {
                continue;
            }
            let mut hashing = match known.get() {
                Some(_) => None,
                None => Some(ChunkHash::new(index, self.bytes)),
            };
            let mut left = due(self.bytes - index * CHUNK as u64);
            while left > 0 {
                let mut bytes = idle.try_recv().unwrap_or_default();
                bytes.resize(left.min(PIECE), 0);
                self.file.read_exact(&mut bytes)?;
                left -= bytes.len();
                if let Some(hashing) = &mut hashing {
                    hashing.update(&bytes);
                }
                let mut hash = None;
                if left == 0 {
                    if let Some(hashing) = &hashing {
                        // Another transfer of the same file may have been faster.
                        known.set(hashing.finish()).ok();
                    }
                    hash = known.get().copied();
                }
                if pieces.blocking_send(Piece { bytes, hash }).is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
