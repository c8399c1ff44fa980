//! Parameters on their way: a [`TransferHeader`] frame, then chunks of [`CHUNK`] bytes (the last one shorter), each
//! behind its BLAKE3 hash. The length follows from the header alone, and the header is refused before a byte of
//! content is read unless it is exactly the length that the manifest asks for.

use crate::message::TransferHeader;
use crate::parameters::ParametersId;

/// Bytes of content behind one hash.
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
    /// More bytes follow than were announced.
    #[error("more bytes follow than were announced")]
    Long,
    /// The transfer ended early.
    #[error("{missing} bytes of parameters are missing")]
    Short {
        /// How many.
        missing: u64,
    },
}

/// Checks a transfer while it arrives; holds no content.
#[derive(Debug)]
pub struct Receiving {
    header: TransferHeader,
    content: blake3::Hasher,
    left: u64,
    index: u64,
}

impl Receiving {
    /// Accepts or refuses a header; `expected` is the manifest's length in bytes.
    pub fn begin(header: TransferHeader, expected: u64) -> Result<Self, TransferError> {
        if header.bytes != expected {
            return Err(TransferError::Length { expected, announced: header.bytes });
        }
        Ok(Self { header, content: blake3::Hasher::new(), left: header.bytes, index: 0 })
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

    /// Takes the next chunk behind its hash.
    pub fn take(&mut self, hash: &[u8; HASH], chunk: &[u8]) -> Result<(), TransferError> {
        let expected = self.due();
        if chunk.len() != expected || expected == 0 {
            return Err(TransferError::Chunk { expected, found: chunk.len() });
        }
        if blake3::hash(chunk) != blake3::Hash::from_bytes(*hash) {
            return Err(TransferError::Corrupted { index: self.index });
        }
        self.content.update(chunk);
        self.left -= chunk.len() as u64;
        self.index += 1;
        Ok(())
    }

    /// Compares the whole with the header.
    pub fn finish(self) -> Result<TransferHeader, TransferError> {
        if self.left > 0 {
            return Err(TransferError::Short { missing: self.left });
        }
        let found = ParametersId(*self.content.finalize().as_bytes());
        let announced = self.header.parameters;
        if found == announced { Ok(self.header) } else { Err(TransferError::Content { announced, found }) }
    }
}

/// The length of the chunk that comes next when `left` bytes are left to send or to receive.
#[must_use]
pub fn due(left: u64) -> usize {
    left.min(CHUNK as u64) as usize
}

/// What goes before a chunk.
#[must_use]
pub fn chunk_hash(chunk: &[u8]) -> [u8; HASH] {
    *blake3::hash(chunk).as_bytes()
}
