//! The threads of a program's network.

use crate::failure::{Class, Failure};
use tokio::runtime::{Builder, Runtime};

/// A tokio runtime with this many threads, or with one for each processor.
///
/// # Errors
/// The system starts no threads.
pub fn runtime(threads: Option<usize>) -> Result<Runtime, Failure> {
    let mut builder = Builder::new_multi_thread();
    if let Some(threads) = threads {
        builder.worker_threads(threads);
    }
    let started = builder.enable_all().build();
    started.map_err(|error| Failure::new(Class::Internal, format!("cannot start threads: {error}")))
}
