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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{RunId, TaskId, TaskKind};
    use proptest::prelude::*;

    fn header(content: &[u8]) -> TransferHeader {
        TransferHeader {
            parameters: ParametersId(chunk_hash(content)),
            bytes: content.len() as u64,
            task: TaskId { run: RunId(0), round: 1, kind: TaskKind::Train, pass: 0 },
        }
    }

    fn run(header: TransferHeader, expected: u64, content: &[u8]) -> Result<TransferHeader, TransferError> {
        let mut receiving = Receiving::begin(header, expected)?;
        for chunk in content.chunks(CHUNK) {
            receiving.take(&chunk_hash(chunk), chunk)?;
        }
        receiving.finish()
    }

    #[test]
    fn another_length_than_the_models_is_refused_at_the_header() {
        let content = [1; 40];
        let refused = run(header(&content), 44, &content);
        assert_eq!(refused, Err(TransferError::Length { expected: 44, announced: 40 }));
    }

    #[test]
    fn a_chunk_that_is_not_its_hash_is_refused_by_number() {
        let content = vec![7; CHUNK + 4];
        let mut receiving = Receiving::begin(header(&content), content.len() as u64).unwrap();
        receiving.take(&chunk_hash(&content[..CHUNK]), &content[..CHUNK]).unwrap();
        assert_eq!(receiving.due(), 4);
        assert_eq!(receiving.take(&chunk_hash(&[7; 4]), &[7, 7, 7, 8]), Err(TransferError::Corrupted { index: 1 }));
    }

    #[test]
    fn sound_chunks_of_other_parameters_are_refused_at_the_end() {
        let refused = run(header(&[1; 8]), 8, &[2; 8]);
        assert!(matches!(refused, Err(TransferError::Content { .. })), "{refused:?}");
    }

    #[test]
    fn a_chunk_too_long_a_chunk_too_many_and_an_early_end_are_refused() {
        let content = [3; 8];
        let mut receiving = Receiving::begin(header(&content), 8).unwrap();
        let wrong = TransferError::Chunk { expected: 8, found: 4 };
        assert_eq!(receiving.take(&chunk_hash(&content[..4]), &content[..4]), Err(wrong));
        receiving.take(&chunk_hash(&content), &content).unwrap();
        assert_eq!(receiving.take(&chunk_hash(&[]), &[]), Err(TransferError::Chunk { expected: 0, found: 0 }));
        assert_eq!(run(header(&content), 8, &[]), Err(TransferError::Short { missing: 8 }));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn any_length_arrives_whole(length in 0usize..3 * CHUNK, fill in any::<u8>()) {
            let content = vec![fill; length];
            prop_assert_eq!(run(header(&content), length as u64, &content), Ok(header(&content)));
        }
    }
}
