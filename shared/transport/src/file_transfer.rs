//! Files over byte streams, resumable after a broken connection.
//!
//! A transfer keeps few pieces in memory, whatever the size of the model: a blocking thread hashes
//! and writes (or reads) one piece while another one is on the network, and a sent piece stays in
//! the buffer that it was read into until it is acknowledged. What a broken connection brought is
//! kept, chunk by chunk, in a file next to the final place, and the next connection continues from
//! there.

mod partial_file;
mod receive;
mod send;

use crate::error::WireError;
pub use partial_file::{Destination, remove_whole_files};
use protocol::codec::transfer::HASH;
pub use receive::receive_file;
pub use send::{ChunkHashes, ZeroCopySink, send_file};

/// Content that is read, sent and written at a time; a chunk is several pieces.
const PIECE: usize = 128 << 10;

/// A piece of content. The last piece of a chunk also has the chunk's hash.
struct Piece {
    bytes: Vec<u8>,
    hash: Option<[u8; HASH]>,
}

/// The error of a blocking thread that panicked or was cancelled.
fn thread_failed(error: tokio::task::JoinError) -> WireError {
    WireError::Disk(error.into())
}
