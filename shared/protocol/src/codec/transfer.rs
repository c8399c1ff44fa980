//! Parameters on their way: a [`TransferHeader`] frame, the receiver's [`TransferAnswer`] that says
//! from where on it wants them, then chunks of [`CHUNK`] bytes (the last one shorter), each with
//! its hash after it, and the receiver's word that it has everything. The length follows from the
//! header alone, and the header is refused before a byte of content is read unless it is exactly
//! the length that the manifest asks for.
//!
//! BLAKE3 is a tree, and a chunk is one of its branches: a chunk's hash is that branch's chaining
//! value at the chunk's place, and the whole content's hash follows from the chunks' hashes without
//! reading the content again (O'Connor et al., "BLAKE3", 2020, section 2.1; the same is done by
//! Bao). So each end hashes every byte once.

use crate::message::{TransferAnswer, TransferHeader};
use crate::parameters::ParametersId;
use blake3::Hasher;
use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root,
};
use std::io::{self, Read};

/// Bytes of content behind one hash: a whole branch of BLAKE3's tree, which a power of two of at
/// least 1024 is.
pub const CHUNK: usize = 1 << 20;
/// Bytes of a chunk's hash.
pub const HASH: usize = 32;

/// Why a transfer is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// The header announces another length than the model has.
    #[error("{announced} bytes of parameters announced where the model has {expected}")]
    Length {
        /// What the manifest asks for.
        expected: u64,
        /// What the header says.
        announced: u64,
    },
    /// A chunk is not what its hash says.
    #[error("chunk {index} is corrupted")]
    Corrupted {
        /// The chunk, from 0.
        index: u64,
    },
    /// A chunk has another length than follows from the header.
    #[error("a chunk of {found} bytes where {expected} are due")]
    Chunk {
        /// What follows from the header.
        expected: usize,
        /// What was given.
        found: usize,
    },
    /// All chunks are sound, but together they are not the announced parameters.
    #[error("the parameters are {found}, not {announced}")]
    Content {
        /// What the header says.
        announced: ParametersId,
        /// What came.
        found: ParametersId,
    },
    /// What was kept of an earlier transfer and what came now are not the announced parameters: the
    /// former is forgotten.
    #[error("what was kept of an earlier transfer is damaged; it starts from the beginning")]
    Stale,
    /// More bytes follow than were announced.
    #[error("more bytes follow than were announced")]
    Long,
    /// The transfer ended early.
    #[error("{missing} bytes of parameters are missing")]
    Short {
        /// How many.
        missing: u64,
    },
    /// The receiver wants the rest from a place that is not between two chunks, or claims to have
    /// other parameters.
    #[error("the receiver's answer does not fit the transfer")]
    Answer,
}

/// Checks a transfer while it arrives, piece by piece; holds no content.
#[derive(Debug)]
pub struct Receiving {
    header: TransferHeader,
    content: Tree,
    chunk: ChunkHash,
    /// Bytes of whole chunks.
    done: u64,
    /// Bytes of the chunk at work.
    begun: usize,
    /// Whether anything came over an earlier connection.
    resumed: bool,
    not_finite: Option<u64>,
}

/// The hash of one chunk, made of its pieces: its branch's chaining value, or the content's hash
/// where that is one chunk.
#[derive(Debug)]
pub struct ChunkHash {
    /// Two kilobytes, and moved about with the transfer's state.
    hasher: Box<Hasher>,
    whole: bool,
}

impl ChunkHash {
    /// The hash of chunk `index` (from 0) of `bytes` bytes of content, before its first piece.
    #[must_use]
    pub fn new(index: u64, bytes: u64) -> Self {
        let (mut hasher, whole) = (Box::new(Hasher::new()), bytes <= CHUNK as u64);
        if !whole {
            hasher.set_input_offset(index * CHUNK as u64);
        }
        Self { hasher, whole }
    }

    /// Takes the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.hasher.update(piece);
    }

    /// The hash of all pieces.
    #[must_use]
    pub fn finish(&self) -> [u8; HASH] {
        if self.whole {
            *self.hasher.finalize().as_bytes()
        } else {
            self.hasher.finalize_non_root()
        }
    }
}

/// A finished transfer: the bytes that were taken, in their order, hash to what the header says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arrived {
    header: TransferHeader,
    not_finite: Option<u64>,
}

impl Arrived {
    /// What was announced, and came.
    #[must_use]
    pub fn header(&self) -> TransferHeader {
        self.header
    }

    /// The index of the first value that is no finite `f32`, if there is one.
    #[must_use]
    pub fn not_finite(&self) -> Option<u64> {
        self.not_finite
    }
}

impl Receiving {
    /// Accepts or refuses a header; `expected` is the manifest's length in bytes.
    pub fn begin(header: TransferHeader, expected: u64) -> Result<Self, TransferError> {
        if header.bytes != expected {
            return Err(TransferError::Length {
                expected,
                announced: header.bytes,
            });
        }
        let chunk = ChunkHash::new(0, header.bytes);
        Ok(Self {
            header,
            content: Tree::default(),
            chunk,
            done: 0,
            begun: 0,
            resumed: false,
            not_finite: None,
        })
    }

    /// What is being received.
    #[must_use]
    pub fn header(&self) -> TransferHeader {
        self.header
    }

    /// Bytes until the next hash: 0 when everything is here.
    #[must_use]
    pub fn due(&self) -> usize {
        due(self.left()) - self.begun
    }

    /// Bytes of content that are still to come, from the last whole chunk on.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.header.bytes - self.done
    }

    /// Bytes of whole chunks that are here.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.done
    }

    /// What to tell the sender: from where on the content is wanted.
    #[must_use]
    pub fn answer(&self) -> TransferAnswer {
        TransferAnswer::Wanted { from: self.done }
    }

    /// Takes what an earlier transfer left, `length` bytes of it, as far as whole chunks go. That
    /// they are the right ones shows at the end.
    ///
    /// # Errors
    /// Of `kept`, when it cannot be read.
    pub fn resume(&mut self, kept: &mut impl Read, length: u64) -> io::Result<()> {
        let mut chunk = Vec::new();
        while self.due() > 0 && self.done + self.due() as u64 <= length {
            chunk.resize(self.due(), 0);
            kept.read_exact(&mut chunk)?;
            let sealed = self
                .take(&chunk)
                .and_then(|()| self.seal(&self.chunk.finish()));
            sealed.map_err(io::Error::other)?;
            self.resumed = true;
        }
        Ok(())
    }

    /// Takes the next piece of a chunk.
    pub fn take(&mut self, piece: &[u8]) -> Result<(), TransferError> {
        let expected = self.due();
        if piece.is_empty() || piece.len() > expected {
            return Err(TransferError::Chunk {
                expected,
                found: piece.len(),
            });
        }
        self.chunk.update(piece);
        if self.not_finite.is_none() {
            let bad = first_not_finite(
                piece
                    .as_chunks::<4>()
                    .0
                    .iter()
                    .map(|quad| f32::from_le_bytes(*quad)),
            );
            self.not_finite = bad.map(|index| (self.done + self.begun as u64) / 4 + index);
        }
        self.begun += piece.len();
        Ok(())
    }

    /// Ends a chunk with the hash that came after it.
    pub fn seal(&mut self, hash: &[u8; HASH]) -> Result<(), TransferError> {
        let (missing, index) = (self.due(), self.done / CHUNK as u64);
        if missing > 0 || self.begun == 0 {
            return Err(TransferError::Chunk {
                expected: missing + self.begun,
                found: self.begun,
            });
        }
        let found = self.chunk.finish();
        if found != *hash {
            return Err(TransferError::Corrupted { index });
        }
        self.content.push(found);
        self.done += self.begun as u64;
        self.begun = 0;
        self.chunk = ChunkHash::new(index + 1, self.header.bytes);
        Ok(())
    }

    /// Compares the whole with the header.
    pub fn finish(&self) -> Result<Arrived, TransferError> {
        if self.left() > 0 {
            return Err(TransferError::Short {
                missing: self.left(),
            });
        }
        let (found, announced) = (ParametersId(self.content.root()), self.header.parameters);
        match found == announced {
            true => Ok(Arrived {
                header: self.header,
                not_finite: self.not_finite,
            }),
            false if self.resumed => Err(TransferError::Stale),
            false => Err(TransferError::Content { announced, found }),
        }
    }
}

/// Where a sender goes on after the receiver's answer to its header, as an index of chunks.
pub fn begin_at(header: &TransferHeader, answer: &TransferAnswer) -> Result<u64, TransferError> {
    match answer {
        TransferAnswer::Wanted { from } if *from == header.bytes => Ok(from.div_ceil(CHUNK as u64)),
        TransferAnswer::Wanted { from }
            if *from < header.bytes && from.is_multiple_of(CHUNK as u64) =>
        {
            Ok(from / CHUNK as u64)
        }
        _ => Err(TransferError::Answer),
    }
}

/// Whether the receiver's last word says that it has what was sent.
pub fn taken(header: &TransferHeader, answer: &TransferAnswer) -> Result<(), TransferError> {
    match answer {
        TransferAnswer::Taken { parameters } if *parameters == header.parameters => Ok(()),
        _ => Err(TransferError::Answer),
    }
}

/// The length of the chunk that comes next when `left` bytes are left to send or to receive.
#[must_use]
pub fn due(left: u64) -> usize {
    left.min(CHUNK as u64) as usize
}

/// The index of the first value that is not finite. The first look is without branches, so that it
/// costs next to nothing.
fn first_not_finite(values: impl Iterator<Item = f32> + Clone) -> Option<u64> {
    let finite = values
        .clone()
        .fold(true, |finite, value| finite & value.is_finite());
    if finite {
        None
    } else {
        values
            .zip(0u64..)
            .find(|(value, _)| !value.is_finite())
            .map(|(_, index)| index)
    }
}

/// The hash of contents from the hashes of their chunks, in order.
#[derive(Debug, Default)]
struct Tree {
    /// Whole subtrees to the left of the youngest chunk, the largest first.
    stack: Vec<ChainingValue>,
    /// Chunks in the stack.
    count: u64,
    /// The youngest chunk. What its hash is joined with depends on whether another one comes.
    last: Option<ChainingValue>,
}

impl Tree {
    fn push(&mut self, hash: ChainingValue) {
        let Some(mut subtree) = self.last.replace(hash) else {
            return;
        };
        // Two subtrees of the same size become one, as often as the binary counter carries.
        for _ in 0..self.count.trailing_ones() {
            if let Some(left) = self.stack.pop() {
                subtree = merge_subtrees_non_root(&left, &subtree, Mode::Hash);
            }
        }
        self.stack.push(subtree);
        self.count += 1;
    }

    fn root(&self) -> [u8; HASH] {
        let Some(last) = self.last else {
            return *blake3::hash(&[]).as_bytes();
        };
        // One chunk is the whole content, and its hash is there already.
        let Some((whole, rest)) = self.stack.split_first() else {
            return last;
        };
        let right = rest.iter().rev().fold(last, |right, left| {
            merge_subtrees_non_root(left, &right, Mode::Hash)
        });
        *merge_subtrees_root(whole, &right, Mode::Hash).as_bytes()
    }
}

#[cfg(test)]
mod tests;
