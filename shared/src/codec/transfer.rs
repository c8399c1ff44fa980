//! Parameters on their way: a [`TransferHeader`] frame, the receiver's [`TransferAnswer`] that says from where on it wants
//! them, then chunks of [`CHUNK`] bytes (the last one shorter), each behind its hash, and the receiver's word that it has
//! everything. The length follows from the header alone, and the header is refused before a byte of content is read unless
//! it is exactly the length that the manifest asks for.
//!
//! BLAKE3 is a tree, and a chunk is one of its branches: a chunk's hash is that branch's chaining value at the
//! chunk's place, and the whole content's hash follows from the chunks' hashes without reading the content again
//! (O'Connor et al., "BLAKE3", 2020, section 2.1; the same is done by Bao). So each end hashes every byte once.

use crate::message::{TransferAnswer, TransferHeader};
use crate::parameters::ParametersId;
use blake3::Hasher;
use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

/// Bytes of content behind one hash: a whole branch of BLAKE3's tree, which a power of two of at least 1024 is.
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
    /// What was kept of an earlier transfer and what came now are not the announced parameters: the former is forgotten.
    #[error("what was kept of an earlier transfer is damaged; it begins anew")]
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
    /// The receiver wants the rest from a place that is not between two chunks, or claims to have other parameters.
    #[error("the receiver's answer does not fit the transfer")]
    Answer,
}

/// Checks a transfer while it arrives; holds no content.
#[derive(Debug)]
pub struct Receiving {
    header: TransferHeader,
    content: Tree,
    left: u64,
    index: u64,
    /// Chunks that an earlier connection brought.
    kept: u64,
    not_finite: Option<u64>,
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
            return Err(TransferError::Length { expected, announced: header.bytes });
        }
        Ok(Self { header, content: Tree::default(), left: header.bytes, index: 0, kept: 0, not_finite: None })
    }

    /// What is being received.
    #[must_use]
    pub fn header(&self) -> TransferHeader {
        self.header
    }

    /// The next chunk's length: 0 when everything is here.
    #[must_use]
    pub fn due(&self) -> usize {
        due(self.left)
    }

    /// Bytes of content that are still to come.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Bytes of content that are here.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.header.bytes - self.left
    }

    /// What to tell the sender: from where on the content is wanted.
    #[must_use]
    pub fn answer(&self) -> TransferAnswer {
        TransferAnswer::Wanted { from: self.done() }
    }

    /// Takes the next chunk from what was kept of an earlier transfer; that it is the right one shows at the end.
    pub fn resume(&mut self, chunk: &[u8]) -> Result<(), TransferError> {
        self.add(chunk, |_, _| Ok(()))?;
        self.kept += 1;
        Ok(())
    }

    /// Takes the next chunk behind its hash.
    pub fn take(&mut self, hash: &[u8; HASH], chunk: &[u8]) -> Result<(), TransferError> {
        let same =
            |index, found: &[u8; HASH]| if found == hash { Ok(()) } else { Err(TransferError::Corrupted { index }) };
        self.add(chunk, same)
    }

    fn add(
        &mut self,
        chunk: &[u8],
        accept: impl FnOnce(u64, &[u8; HASH]) -> Result<(), TransferError>,
    ) -> Result<(), TransferError> {
        let expected = self.due();
        if chunk.len() != expected || expected == 0 {
            return Err(TransferError::Chunk { expected, found: chunk.len() });
        }
        let hash = chunk_hash(self.index, self.header.bytes, chunk);
        accept(self.index, &hash)?;
        self.content.push(hash);
        if self.not_finite.is_none() {
            let values = chunk.as_chunks::<4>().0.iter().map(|quad| f32::from_le_bytes(*quad));
            let bad = first_not_finite(values);
            self.not_finite = bad.map(|index| self.index * (CHUNK / 4) as u64 + index);
        }
        self.left -= chunk.len() as u64;
        self.index += 1;
        Ok(())
    }

    /// Compares the whole with the header.
    pub fn finish(&self) -> Result<Arrived, TransferError> {
        if self.left > 0 {
            return Err(TransferError::Short { missing: self.left });
        }
        let (found, announced) = (ParametersId(self.content.root()), self.header.parameters);
        match found == announced {
            true => Ok(Arrived { header: self.header, not_finite: self.not_finite }),
            false if self.kept > 0 => Err(TransferError::Stale),
            false => Err(TransferError::Content { announced, found }),
        }
    }
}

/// Where a sender goes on after the receiver's answer to its header, as an index of chunks.
pub fn begin_at(header: &TransferHeader, answer: &TransferAnswer) -> Result<u64, TransferError> {
    match answer {
        TransferAnswer::Wanted { from } if *from == header.bytes => Ok(from.div_ceil(CHUNK as u64)),
        TransferAnswer::Wanted { from } if *from < header.bytes && from.is_multiple_of(CHUNK as u64) => {
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

/// What goes before the chunk `index` (from 0) of `bytes` bytes of content: its branch's chaining value, or the content's
/// hash where the content is one chunk.
#[must_use]
pub fn chunk_hash(index: u64, bytes: u64, chunk: &[u8]) -> [u8; HASH] {
    if bytes <= CHUNK as u64 {
        return *blake3::hash(chunk).as_bytes();
    }
    Hasher::new().set_input_offset(index * CHUNK as u64).update(chunk).finalize_non_root()
}

/// The index of the first value that is not finite. The first look is without branches, so that it costs next to nothing.
fn first_not_finite(values: impl Iterator<Item = f32> + Clone) -> Option<u64> {
    let finite = values.clone().fold(true, |finite, value| finite & value.is_finite());
    if finite { None } else { values.zip(0u64..).find(|(value, _)| !value.is_finite()).map(|(_, index)| index) }
}

/// The hash of contents from the hashes of their chunks, in order.
#[derive(Debug, Default)]
struct Tree {
    /// Whole subtrees to the left of the youngest chunk, the largest first.
    stack: Vec<ChainingValue>,
    /// Chunks in the stack.
    count: u64,
    /// The youngest chunk. What stands beside it depends on whether another one comes.
    last: Option<ChainingValue>,
}

impl Tree {
    fn push(&mut self, hash: ChainingValue) {
        let Some(mut subtree) = self.last.replace(hash) else { return };
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
        let Some(last) = self.last else { return *blake3::hash(&[]).as_bytes() };
        // One chunk is the whole content, and its hash stands there already.
        let Some((whole, rest)) = self.stack.split_first() else { return last };
        let right = rest.iter().rev().fold(last, |right, left| merge_subtrees_non_root(left, &right, Mode::Hash));
        *merge_subtrees_root(whole, &right, Mode::Hash).as_bytes()
    }
}

#[cfg(test)]
mod tests;
