//! Long computations on threads of their own: in the network runtime they would delay heartbeats,
//! and the coordinator would take the site for lost.

use std::any::Any;
use std::io;
use std::thread::{Builder, JoinHandle};

/// Runs `work` on an operating system thread of its own, with a pool of `threads` for the tensor
/// operations inside.
///
/// The tensor library parallelises over the rayon pool that it is called in, so two computations
/// never share threads. Results do not depend on `threads`. [`JoinHandle::join`] returns panics.
///
/// # Errors
/// When the system refuses more threads.
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

/// The message of a panic.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> &str {
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
