//! Frames and files over any pair of byte streams. The file's twin stands in the other binary, word for word: `shared`
//! does no IO and the binaries do not see each other.
//!
//! A transfer holds [`BUFFERS`] chunks in memory, whatever the model's size: one is hashed and written (or read) on a
//! blocking thread while the other one travels.

use shared::codec::transfer::{CHUNK, HASH, Receiving, TransferError, chunk_hash, due};
use shared::codec::{CodecError, Frame, PREFIX, decode, encode, payload_length};
use shared::message::TransferHeader;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// The longest that one chunk may take: 1 MiB in a minute is slower than any line a model should travel over.
const STALL: Duration = Duration::from_secs(60);
/// Chunks of one transfer in memory.
const BUFFERS: usize = 2;

/// Why a frame or a file did not pass.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    /// Bytes came that are no frame, or a value was to be sent that may not travel.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The transfer is not what it should be.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// The stream failed: usually the connection is gone, and knows why.
    #[error("the stream ended: {0}")]
    Stream(io::Error),
    /// The peer takes or gives nothing.
    #[error("no chunk moved for {} seconds", STALL.as_secs())]
    Stalled,
    /// The parameters' file failed at this end.
    #[error("parameters could not be stored or read: {0}")]
    Disk(io::Error),
}

/// The extension of files that are not complete.
const PART: &str = "part";

type Chunk = ([u8; HASH], Vec<u8>);

/// Reads one frame; `None` when the stream ended before it.
pub(super) async fn read_frame<T: Frame>(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<T>, WireError> {
    let mut prefix = [0; PREFIX];
    match stream.read(&mut prefix[..1]).await.map_err(WireError::Stream)? {
        0 => return Ok(None),
        _ => stream.read_exact(&mut prefix[1..]).await.map_err(WireError::Stream)?,
    };
    let mut payload = vec![0; payload_length(prefix)?];
    stream.read_exact(&mut payload).await.map_err(WireError::Stream)?;
    Ok(Some(decode(&payload)?))
}

/// Writes one frame.
pub(super) async fn write_frame<T: Frame>(stream: &mut (impl AsyncWrite + Unpin), value: &T) -> Result<(), WireError> {
    let frame = encode(value)?;
    stream.write_all(&frame).await.map_err(WireError::Stream)
}

/// Sends a header and the file it announces.
pub(super) async fn send_file(
    stream: &mut (impl AsyncWrite + Unpin),
    header: TransferHeader,
    path: PathBuf,
) -> Result<(), WireError> {
    let (full, mut chunks) = mpsc::channel(1);
    let (free, empty) = buffers();
    let reader = spawn_blocking(move || load(&path, header.bytes, &full, empty));
    write_frame(stream, &header).await?;
    while let Some((hash, chunk)) = chunks.recv().await {
        let sent = timeout(STALL, async {
            stream.write_all(&hash).await?;
            stream.write_all(&chunk).await
        });
        sent.await.map_err(|_| WireError::Stalled)?.map_err(WireError::Stream)?;
        free.try_send(chunk).ok();
    }
    reader.await.map_err(|error| WireError::Disk(error.into()))?.map_err(WireError::Disk)
}

/// Receives what an accepted header announced into `path`, which exists only once everything is verified and synced.
pub(super) async fn receive_file(
    stream: &mut (impl AsyncRead + Unpin),
    receiving: Receiving,
    path: PathBuf,
) -> Result<TransferHeader, WireError> {
    let (full, chunks) = mpsc::channel(1);
    let (free, empty) = buffers();
    let left = receiving.left();
    let writer = spawn_blocking(move || store(&path, receiving, chunks, &free));
    let fed = feed(stream, left, full, empty).await;
    let stored = writer.await.map_err(|error| WireError::Disk(error.into()))?;
    // When the writer gives up, feeding just ends; when the stream fails, the writer only sees a short file.
    fed.and(stored)
}

/// Hands chunks to the writer, and the end only when the stream ends where it must.
async fn feed(
    stream: &mut (impl AsyncRead + Unpin),
    mut left: u64,
    full: mpsc::Sender<Option<Chunk>>,
    mut empty: mpsc::Receiver<Vec<u8>>,
) -> Result<(), WireError> {
    while left > 0 {
        let Some(mut chunk) = empty.recv().await else { return Ok(()) };
        chunk.resize(due(left), 0);
        left -= chunk.len() as u64;
        let hash = read_chunk(stream, &mut chunk).await?;
        if full.send(Some((hash, chunk))).await.is_err() {
            return Ok(());
        }
    }
    ends(stream).await?;
    full.send(None).await.ok();
    Ok(())
}

async fn read_chunk(stream: &mut (impl AsyncRead + Unpin), chunk: &mut [u8]) -> Result<[u8; HASH], WireError> {
    let mut hash = [0; HASH];
    let read = timeout(STALL, async {
        stream.read_exact(&mut hash).await?;
        stream.read_exact(chunk).await
    });
    read.await.map_err(|_| WireError::Stalled)?.map_err(WireError::Stream)?;
    Ok(hash)
}

async fn ends(stream: &mut (impl AsyncRead + Unpin)) -> Result<(), WireError> {
    let more = timeout(STALL, stream.read(&mut [0])).await.map_err(|_| WireError::Stalled)?;
    if more.map_err(WireError::Stream)? == 0 { Ok(()) } else { Err(TransferError::Long.into()) }
}

/// Two empty buffers, and the way back for used ones.
fn buffers() -> (mpsc::Sender<Vec<u8>>, mpsc::Receiver<Vec<u8>>) {
    let (free, empty) = mpsc::channel(BUFFERS);
    for _ in 0..BUFFERS {
        free.try_send(Vec::with_capacity(CHUNK)).ok();
    }
    (free, empty)
}

/// Reads and hashes chunk after chunk. Ends early, and well, when nobody listens any more.
fn load(
    path: &Path,
    bytes: u64,
    full: &mpsc::Sender<Chunk>,
    mut empty: mpsc::Receiver<Vec<u8>>,
) -> Result<(), io::Error> {
    let mut file = File::open(path)?;
    if file.metadata()?.len() != bytes {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file has another length than was announced"));
    }
    let mut left = bytes;
    while left > 0 {
        let Some(mut chunk) = empty.blocking_recv() else { return Ok(()) };
        chunk.resize(due(left), 0);
        file.read_exact(&mut chunk)?;
        left -= chunk.len() as u64;
        if full.blocking_send((chunk_hash(&chunk), chunk)).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Writes beside `path`, and renames when everything is there and on the disk.
fn store(
    path: &Path,
    receiving: Receiving,
    chunks: mpsc::Receiver<Option<Chunk>>,
    free: &mpsc::Sender<Vec<u8>>,
) -> Result<TransferHeader, WireError> {
    let part = path.with_extension(PART);
    let stored = fill(&part, receiving, chunks, free).and_then(|header| {
        std::fs::rename(&part, path).and_then(|()| sync_folder(path)).map_err(WireError::Disk)?;
        Ok(header)
    });
    if stored.is_err() {
        std::fs::remove_file(&part).ok();
    }
    stored
}

fn fill(
    part: &Path,
    mut receiving: Receiving,
    mut chunks: mpsc::Receiver<Option<Chunk>>,
    free: &mpsc::Sender<Vec<u8>>,
) -> Result<TransferHeader, WireError> {
    let mut file = File::create(part).map_err(WireError::Disk)?;
    loop {
        match chunks.blocking_recv() {
            Some(Some((hash, chunk))) => {
                receiving.take(&hash, &chunk)?;
                file.write_all(&chunk).map_err(WireError::Disk)?;
                free.try_send(chunk).ok();
            }
            Some(None) => break,
            None => return Err(TransferError::Short { missing: receiving.left() }.into()),
        }
    }
    let header = receiving.finish()?;
    file.sync_all().map_err(WireError::Disk)?;
    Ok(header)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// Removes what transfers left in a folder before a crash, whole or cut short, and makes the folder if there is none:
/// what was received and not taken in yet is sent again.
pub(super) fn sweep(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
