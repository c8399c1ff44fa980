//! Frames and files over any pair of byte streams.
//!
//! A transfer holds few pieces in memory, whatever the model's size: one is hashed and written (or
//! read) on a blocking thread while another one travels, and what is sent stays where it was read
//! until it is acknowledged. What a broken connection brought is kept, chunk by chunk, in a file
//! beside the place of the whole, and the next connection goes on from there.

use bytes::Bytes;
use program::private;
use protocol::codec::transfer::{
    Arrived, CHUNK, ChunkHash, HASH, Receiving, TransferError, begin_at, due, taken,
};
use protocol::codec::{CodecError, Frame, PREFIX, decode, encode, payload_length};
use protocol::message::{TransferAnswer, TransferHeader};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// The longest that one piece may take: 128 KiB in a minute is slower than any line a model should
/// travel over.
const STALL: Duration = Duration::from_secs(60);
/// The longest that storing a whole model may take once its last byte came.
const STORING: Duration = Duration::from_secs(300);
/// Content that is read, sent and written at a time; a chunk is several.
const PIECE: usize = 128 << 10;
/// Pieces that are received before one of them is written.
const BUFFERS: usize = 3;
/// Buffers of pieces that were sent and acknowledged, kept to be read into again: as many as travel
/// at a time.
const IDLE: usize = 64;
/// Content after which what was received is put on the disk, so that the disk works while the line
/// does.
const SYNC: u64 = 16 << 20;

/// Why a frame or a file did not pass.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
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
    #[error("nothing moved for {} seconds", STALL.as_secs())]
    Stalled,
    /// The parameters' file failed at this end.
    #[error("parameters could not be stored or read: {0}")]
    Disk(io::Error),
}

/// The extension of files that are not complete. Their name is the hash of what they will be.
const PART: &str = "part";
/// The file in a folder of parts that its writer holds locked.
const TURN: &str = ".turn";

/// The hashes of a content's chunks, as far as they are known: what goes to many is hashed once.
#[derive(Clone, Debug)]
pub struct Hashes(Arc<[OnceLock<[u8; HASH]>]>);

impl Hashes {
    /// Of so many bytes, none of them known.
    pub fn new(bytes: u64) -> Self {
        Self(
            (0..bytes.div_ceil(CHUNK as u64))
                .map(|_| OnceLock::new())
                .collect(),
        )
    }
}

/// A stream that takes what it sends without a copy.
pub trait ZeroCopySink: AsyncWrite + Unpin {
    /// Sends all of it.
    fn give(&mut self, bytes: Bytes) -> impl Future<Output = io::Result<()>> + Send;
}

/// A buffer that goes back to be used again when what it holds has arrived.
struct PooledBuffer {
    bytes: Vec<u8>,
    home: mpsc::Sender<Vec<u8>>,
}

impl AsRef<[u8]> for PooledBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for PooledBuffer {
    fn drop(&mut self) {
        // There may be enough of them, or the transfer is over.
        self.home.try_send(std::mem::take(&mut self.bytes)).ok();
    }
}

/// A piece of content; with its chunk's hash where it is the chunk's last.
struct Piece {
    bytes: Vec<u8>,
    hash: Option<[u8; HASH]>,
}

/// Reads one frame; `None` when the stream ended before it.
pub async fn read_frame<T: Frame>(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Option<T>, WireError> {
    let mut prefix = [0; PREFIX];
    match stream
        .read(&mut prefix[..1])
        .await
        .map_err(WireError::Stream)?
    {
        0 => return Ok(None),
        _ => stream
            .read_exact(&mut prefix[1..])
            .await
            .map_err(WireError::Stream)?,
    };
    let mut payload = vec![0; payload_length(prefix)?];
    stream
        .read_exact(&mut payload)
        .await
        .map_err(WireError::Stream)?;
    Ok(Some(decode(&payload)?))
}

/// Writes one frame.
pub async fn write_frame<T: Frame>(
    stream: &mut (impl AsyncWrite + Unpin),
    value: &T,
) -> Result<(), WireError> {
    let frame = encode(value)?;
    stream.write_all(&frame).await.map_err(WireError::Stream)
}

/// Offers a file, sends what the other end lacks of it, and waits for its word that all of it is
/// safe there.
pub async fn send_file(
    (sending, receiving): (&mut impl ZeroCopySink, &mut (impl AsyncRead + Unpin)),
    header: TransferHeader,
    (path, hashes): (PathBuf, Hashes),
) -> Result<(), WireError> {
    // Before anybody is told: from here on it may be removed.
    let opened = spawn_blocking(move || open(&path, header.bytes)).await;
    let file = opened
        .map_err(|error| WireError::Disk(error.into()))?
        .map_err(WireError::Disk)?;
    write_frame(sending, &header).await?;
    let first = begin_at(&header, &answer(receiving, STALL).await?)?;
    let (full, mut pieces) = mpsc::channel::<Piece>(1);
    let (home, idle) = mpsc::channel(IDLE);
    let reader = spawn_blocking(move || load((file, &hashes), header.bytes, first, &full, idle));
    while let Some(Piece { bytes, hash }) = pieces.recv().await {
        let content = Bytes::from_owner(PooledBuffer {
            bytes,
            home: home.clone(),
        });
        let sent = timeout(STALL, async {
            sending.give(content).await?;
            sending
                .write_all(hash.as_ref().map_or(&[], |hash| hash.as_slice()))
                .await
        });
        sent.await
            .map_err(|_| WireError::Stalled)?
            .map_err(WireError::Stream)?;
    }
    reader
        .await
        .map_err(|error| WireError::Disk(error.into()))?
        .map_err(WireError::Disk)?;
    sending.shutdown().await.map_err(WireError::Stream)?;
    Ok(taken(&header, &answer(receiving, STORING).await?)?)
}

async fn answer(
    stream: &mut (impl AsyncRead + Unpin),
    patience: Duration,
) -> Result<TransferAnswer, WireError> {
    let answer = timeout(patience, read_frame(stream))
        .await
        .map_err(|_| WireError::Stalled)??;
    answer.ok_or_else(|| WireError::Stream(io::ErrorKind::UnexpectedEof.into()))
}

/// Where a transfer arrives.
#[derive(Debug)]
pub struct Destination {
    /// A folder that belongs to this sender: chunks that came before the line failed are kept there
    /// for the next try.
    pub parts: PathBuf,
    /// The whole file. It exists only once everything is verified and synced; the sender knows
    /// then.
    pub place: PathBuf,
    /// A file that may hold the very parameters already.
    pub known: Option<PathBuf>,
    /// Whether the whole must survive a power cut. What can be had again need not wait for the
    /// disk.
    pub lasting: bool,
}

/// Receives what an accepted header announced, as far as it is not here.
pub async fn receive_file(
    (sending, stream): (
        &mut (impl AsyncWrite + Unpin),
        &mut (impl AsyncRead + Unpin),
    ),
    receiving: Receiving,
    destination: Destination,
) -> Result<Arrived, WireError> {
    let header = receiving.header();
    let begun = spawn_blocking(move || destination.begin(receiving)).await;
    let arrived = match begun
        .map_err(|error| WireError::Disk(error.into()))?
        .map_err(WireError::Disk)?
    {
        Begun::Known(arrived) => {
            write_frame(sending, &TransferAnswer::Wanted { from: header.bytes }).await?;
            ends(stream).await?;
            arrived
        }
        Begun::PartialFile(part) => {
            write_frame(sending, &part.receiving.answer()).await?;
            let (full, pieces) = mpsc::channel(1);
            let (free, empty) = buffers();
            let (left, path) = (part.receiving.left(), part.path.clone());
            let (tell, told) = oneshot::channel();
            spawn_blocking(move || part.store(pieces, &free, tell));
            let fed = feed(stream, left, full, empty).await;
            let ended = |_| WireError::Disk(io::ErrorKind::Interrupted.into());
            let stored = told.await.map_err(ended)?;
            if let Err(WireError::Transfer(_)) = fed {
                // Whoever sends more than was announced is not gone on with.
                std::fs::remove_file(path).ok();
            }
            // When the writer gives up, feeding just ends; when the stream fails, the writer only
            // sees a short file.
            fed.and(stored)?
        }
    };
    write_frame(
        sending,
        &TransferAnswer::Taken {
            parameters: header.parameters,
        },
    )
    .await?;
    sending.shutdown().await.map_err(WireError::Stream)?;
    Ok(arrived)
}

/// Hands pieces to the writer, and the end only when the stream ends where it must.
async fn feed(
    stream: &mut (impl AsyncRead + Unpin),
    mut left: u64,
    full: mpsc::Sender<Option<Piece>>,
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
            if full.send(Some(Piece { bytes, hash })).await.is_err() {
                return Ok(());
            }
        }
    }
    ends(stream).await?;
    full.send(None).await.ok();
    Ok(())
}

/// Reads a piece, and the hash after a chunk's last one.
async fn read_piece(
    stream: &mut (impl AsyncRead + Unpin),
    bytes: &mut [u8],
    last: bool,
) -> Result<Option<[u8; HASH]>, WireError> {
    let read = timeout(STALL, async {
        stream.read_exact(bytes).await?;
        let mut hash = [0; HASH];
        if last {
            stream.read_exact(&mut hash).await?;
        }
        Ok(last.then_some(hash))
    });
    read.await
        .map_err(|_| WireError::Stalled)?
        .map_err(WireError::Stream)
}

async fn ends(stream: &mut (impl AsyncRead + Unpin)) -> Result<(), WireError> {
    let more = timeout(STALL, stream.read(&mut [0]))
        .await
        .map_err(|_| WireError::Stalled)?;
    if more.map_err(WireError::Stream)? == 0 {
        Ok(())
    } else {
        Err(TransferError::Long.into())
    }
}

/// Empty buffers, and the way back for used ones.
fn buffers() -> (mpsc::Sender<Vec<u8>>, mpsc::Receiver<Vec<u8>>) {
    let (free, empty) = mpsc::channel(BUFFERS);
    for _ in 0..BUFFERS {
        free.try_send(Vec::with_capacity(PIECE)).ok();
    }
    (free, empty)
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

/// Reads piece after piece, and hashes what nobody has yet, from the chunk `first` on. Ends early,
/// and well, when nobody listens any more.
fn load(
    (mut file, Hashes(hashes)): (File, &Hashes),
    bytes: u64,
    first: u64,
    full: &mpsc::Sender<Piece>,
    mut idle: mpsc::Receiver<Vec<u8>>,
) -> Result<(), io::Error> {
    file.seek(SeekFrom::Start((first * CHUNK as u64).min(bytes)))?;
    for (index, known) in (0u64..).zip(hashes.iter()).skip(first as usize) {
        let mut hash = known.get().is_none().then(|| ChunkHash::new(index, bytes));
        let mut left = due(bytes - index * CHUNK as u64);
        while left > 0 {
            let mut piece = idle.try_recv().unwrap_or_default();
            piece.resize(left.min(PIECE), 0);
            file.read_exact(&mut piece)?;
            if let Some(hash) = &mut hash {
                hash.update(&piece);
            }
            left -= piece.len();
            if let Some(hash) = hash.as_ref().filter(|_| left == 0) {
                // Another transfer of the same may have been faster.
                known.set(hash.finish()).ok();
            }
            let hash = known.get().copied().filter(|_| left == 0);
            if full.blocking_send(Piece { bytes: piece, hash }).is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// What is here of a transfer before its first byte.
enum Begun {
    /// Everything, in its place.
    Known(Arrived),
    /// Some chunks, or none.
    PartialFile(PartialFile),
}

/// What is here of one transfer: whole chunks.
struct PartialFile {
    path: PathBuf,
    place: PathBuf,
    file: File,
    receiving: Receiving,
    lasting: bool,
    /// Locked until this is dropped: one writer at a time in a folder, whatever became of its
    /// connection.
    _turn: File,
}

impl Destination {
    fn begin(self, receiving: Receiving) -> io::Result<Begun> {
        match self
            .known
            .as_ref()
            .and_then(|known| self.link(known, receiving.header()))
        {
            Some(arrived) => Ok(Begun::Known(arrived)),
            None => PartialFile::open(self, receiving).map(Begun::PartialFile),
        }
    }

    /// Puts a file in its place as it is, if it holds what the header announces.
    fn link(&self, known: &Path, header: TransferHeader) -> Option<Arrived> {
        let arrived = verify(known, header).ok().flatten()?;
        std::fs::hard_link(known, &self.place)
            .ok()
            .map(|()| arrived)
    }
}

/// Reads a file that should hold what a header announces; `None` when it holds something else.
fn verify(path: &Path, header: TransferHeader) -> io::Result<Option<Arrived>> {
    let mut file = File::open(path)?;
    let Ok(mut receiving) = Receiving::begin(header, file.metadata()?.len()) else {
        return Ok(None);
    };
    receiving.resume(&mut file, header.bytes)?;
    Ok(receiving.finish().ok())
}

impl PartialFile {
    /// Opens what an earlier connection brought of the same parameters, or a new file. Others are
    /// forgotten. Waits for the writer of a connection that ended a moment ago.
    fn open(
        Destination {
            parts,
            place,
            lasting,
            ..
        }: Destination,
        mut receiving: Receiving,
    ) -> io::Result<Self> {
        private::create_folder(&parts)?;
        let turn = File::create(parts.join(TURN))?;
        turn.lock()?;
        let path = parts
            .join(receiving.header().parameters.hex())
            .with_extension(PART);
        for entry in std::fs::read_dir(&parts)? {
            let other = entry?.path();
            if other != path && other.extension().is_some_and(|extension| extension == PART) {
                std::fs::remove_file(other)?;
            }
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)?;
        let length = file.metadata()?.len();
        receiving.resume(&mut file, length)?;
        if length != receiving.done() {
            // Only then: some disks write a file out at once that was cut to nothing, though nobody
            // waits for it.
            file.set_len(receiving.done())?;
        }
        Ok(Self {
            path,
            place,
            file,
            receiving,
            lasting,
            _turn: turn,
        })
    }

    /// Takes the rest, and puts the whole in its place when all of it is on the disk. Of a transfer
    /// that broke off the chunks stay; of one that is not what it should be, or that the disk has
    /// no room for, nothing does.
    fn store(
        mut self,
        pieces: mpsc::Receiver<Option<Piece>>,
        free: &mpsc::Sender<Vec<u8>>,
        tell: oneshot::Sender<Result<Arrived, WireError>>,
    ) {
        let stored = self.fill(pieces, free);
        let stored =
            stored.and_then(|arrived| self.settle().map(|()| arrived).map_err(WireError::Disk));
        let broke_off = matches!(
            stored,
            Err(WireError::Transfer(TransferError::Short { .. }))
        );
        let kept = broke_off && self.receiving.done() > 0;
        if stored.is_err() && !(kept && self.file.set_len(self.receiving.done()).is_ok()) {
            std::fs::remove_file(&self.path).ok();
        }
        if let Err(Ok(_)) = tell.send(stored) {
            // The connection ended meanwhile: the next one finds everything here already.
            std::fs::rename(&self.place, &self.path).ok();
        }
    }

    fn fill(
        &mut self,
        mut pieces: mpsc::Receiver<Option<Piece>>,
        free: &mpsc::Sender<Vec<u8>>,
    ) -> Result<Arrived, WireError> {
        let mut unsynced = 0;
        loop {
            match pieces.blocking_recv() {
                Some(Some(Piece { bytes, hash })) => {
                    self.receiving.take(&bytes)?;
                    self.file.write_all(&bytes).map_err(WireError::Disk)?;
                    hash.map_or(Ok(()), |hash| self.receiving.seal(&hash))?;
                    unsynced += bytes.len() as u64;
                    free.try_send(bytes).ok();
                }
                Some(None) => break,
                None => {
                    return Err(TransferError::Short {
                        missing: self.receiving.left(),
                    }
                    .into());
                }
            }
            if self.lasting && unsynced >= SYNC {
                self.file.sync_data().map_err(WireError::Disk)?;
                unsynced = 0;
            }
        }
        Ok(self.receiving.finish()?)
    }

    /// Puts the whole in its place.
    fn settle(&self) -> io::Result<()> {
        if !self.lasting {
            return std::fs::rename(&self.path, &self.place);
        }
        self.file.sync_all()?;
        std::fs::rename(&self.path, &self.place)?;
        sync_folder(&self.place)
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent()
        .map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// Removes what transfers left whole in a folder before a crash, and makes the folder if there is
/// none: what was received and not taken in yet is offered again. What was cut short stays, to be
/// gone on with.
pub fn sweep(folder: &Path) -> io::Result<()> {
    private::create_folder(folder)?;
    for entry in std::fs::read_dir(folder)? {
        let (path, kind) = entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)))?;
        if kind.is_dir() {
            sweep(&path)?;
        } else if kind.is_file()
            && !path.ends_with(TURN)
            && path.extension().is_none_or(|extension| extension != PART)
        {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}
