//! The threads that a program's network runs on.

use crate::failure::{Class, Failure};
use tokio::runtime::{Builder, Runtime};

/// A runtime on several threads: as many as there are processors, or so many.
///
/// # Errors
/// The system gives no threads.
pub fn runtime(threads: Option<usize>) -> Result<Runtime, Failure> {
    let mut builder = Builder::new_multi_thread();
    if let Some(threads) = threads {
        builder.worker_threads(threads);
    }
    let started = builder.enable_all().build();
    started.map_err(|error| Failure::new(Class::Internal, format!("cannot start threads: {error}")))
}
