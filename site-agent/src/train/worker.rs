//! Heavy work beside the network runtime: a blocked heartbeat looks like a dead hospital.

use std::any::Any;
use std::io;
use std::thread::{Builder, JoinHandle};

/// Runs `work` on an operating system thread of its own, with a pool of `threads` for the tensor
/// operations inside.
///
/// The tensor library parallelises over the rayon pool that it is called in, so two works never
/// share threads and neither takes more than it was given. Results do not depend on `threads`.
/// Panics come out of [`JoinHandle::join`].
///
/// # Errors
/// When the system gives no more threads.
pub fn on_own_thread<T: Send + 'static>(
    threads: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads.max(1))
        .thread_name(|index| format!("tensor-{index}"))
        .build()
        .map_err(io::Error::other)?;
    Builder::new()
        .name("work".into())
        .spawn(move || pool.install(work))
}

/// What a thread said when it panicked.
pub(crate) fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no reason given")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_work_sees_a_pool_of_the_size_it_was_given() {
        for threads in [1, 3] {
            assert_eq!(
                on_own_thread(threads, rayon::current_num_threads)
                    .unwrap()
                    .join()
                    .unwrap(),
                threads
            );
        }
    }
}
