//! The received part of a file on the disk.

use super::Piece;
use crate::error::WireError;
use program::private;
use protocol::codec::transfer::{Arrived, Receiving, TransferError};
use protocol::message::TransferHeader;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tokio::sync::{mpsc, oneshot};

/// The extension of files that are not complete. Their name is the hash of the whole content.
const PART: &str = "part";
/// The file in a folder of parts that its writer holds locked.
const LOCK: &str = ".turn";
/// Bytes after which the received content is synced, so that the disk works while the network does.
const SYNC: u64 = 16 << 20;

/// Where a transfer is stored.
#[derive(Debug)]
pub struct Destination {
    /// A folder of this sender alone: chunks from before a connection broke are kept there for the
    /// next attempt.
    pub parts: PathBuf,
    /// The whole file. It exists only once everything is verified and synced, and then the sender
    /// is told.
    pub place: PathBuf,
    /// A file that may already hold the same parameters.
    pub known: Option<PathBuf>,
    /// Whether the file must survive a power cut. One that can be fetched again does not wait for
    /// the disk.
    pub lasting: bool,
}

/// What is here of a transfer before its first byte.
pub(super) enum Begun {
    /// Everything, in its place.
    Known(Arrived),
    /// Some chunks, or none.
    Partial(PartialFile),
}

/// What is here of one transfer: whole chunks.
pub(super) struct PartialFile {
    pub(super) path: PathBuf,
    place: PathBuf,
    file: File,
    pub(super) receiving: Receiving,
    lasting: bool,
    /// Locked until this is dropped: only one writer at a time in a folder, even after its
    /// connection has ended.
    _lock: File,
}

impl Destination {
    pub(super) fn begin(self, receiving: Receiving) -> io::Result<Begun> {
        if let Some(known) = &self.known
            && let Some(arrived) = self.link(known, receiving.header())
        {
            return Ok(Begun::Known(arrived));
        }
        PartialFile::open(self, receiving).map(Begun::Partial)
    }

    /// Links a file to its place if it holds what the header announces.
    fn link(&self, known: &Path, header: TransferHeader) -> Option<Arrived> {
        let arrived = verify(known, header).ok().flatten()?;
        std::fs::hard_link(known, &self.place).ok()?;
        Some(arrived)
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
    /// Opens the part that an earlier connection brought of the same parameters, or a new file, and
    /// removes parts of other parameters. Waits for the writer of a connection that has just ended.
    fn open(destination: Destination, mut receiving: Receiving) -> io::Result<Self> {
        let parts = &destination.parts;
        private::create_folder(parts)?;
        let lock = File::create(parts.join(LOCK))?;
        lock.lock()?;
        let path = parts
            .join(receiving.header().parameters.hex())
            .with_extension(PART);
        for entry in std::fs::read_dir(parts)? {
            let other = entry?.path();
            if other != path && is_part(&other) {
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
            // Not otherwise: ext4 flushes a file on close that was truncated to nothing.
            file.set_len(receiving.done())?;
        }
        Ok(Self {
            path,
            place: destination.place,
            file,
            receiving,
            lasting: destination.lasting,
            _lock: lock,
        })
    }

    /// Stores the rest, and moves the file to its place when all of it is on the disk. When the
    /// connection breaks, whole chunks are kept; when the content is wrong or the disk fails,
    /// nothing is.
    pub(super) fn store(
        mut self,
        pieces: mpsc::Receiver<Option<Piece>>,
        free: &mpsc::Sender<Vec<u8>>,
        done: oneshot::Sender<Result<Arrived, WireError>>,
    ) {
        let stored = self.write_all(pieces, free);
        if let Err(error) = &stored {
            let broke_off = matches!(error, WireError::Transfer(TransferError::Short { .. }));
            let has_chunks = self.receiving.done() > 0;
            let kept = broke_off && has_chunks && self.file.set_len(self.receiving.done()).is_ok();
            if !kept {
                std::fs::remove_file(&self.path).ok();
            }
        }
        if let Err(Ok(_)) = done.send(stored) {
            // The connection ended meanwhile: the next one finds everything here.
            std::fs::rename(&self.place, &self.path).ok();
        }
    }

    fn write_all(
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
                    if let Some(hash) = hash {
                        self.receiving.seal(&hash)?;
                    }
                    unsynced += bytes.len() as u64;
                    free.try_send(bytes).ok();
                }
                Some(None) => break,
                None => {
                    let missing = self.receiving.left();
                    return Err(TransferError::Short { missing }.into());
                }
            }
            if self.lasting && unsynced >= SYNC {
                self.file.sync_data().map_err(WireError::Disk)?;
                unsynced = 0;
            }
        }
        let arrived = self.receiving.finish()?;
        self.move_to_place().map_err(WireError::Disk)?;
        Ok(arrived)
    }

    fn move_to_place(&self) -> io::Result<()> {
        if !self.lasting {
            return std::fs::rename(&self.path, &self.place);
        }
        self.file.sync_all()?;
        std::fs::rename(&self.path, &self.place)?;
        match self.place.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }
}

fn is_part(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == PART)
}

/// Removes whole files that were received before a crash and not taken over: they are offered
/// again. Parts stay, to be continued. Creates the folder if there is none.
///
/// # Errors
/// The folder cannot be created or read, or a file cannot be removed.
pub fn remove_whole_files(folder: &Path) -> io::Result<()> {
    private::create_folder(folder)?;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let kind = entry.file_type()?;
        if kind.is_dir() {
            remove_whole_files(&path)?;
        } else if kind.is_file() && !path.ends_with(LOCK) && !is_part(&path) {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}
