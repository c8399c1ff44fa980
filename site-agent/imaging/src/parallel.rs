//! The same work for many things, on several threads.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many things are done, and whom to tell.
struct Told<'a> {
    done: usize,
    progress: &'a mut (dyn FnMut(usize, usize) + Send),
}

/// Does `work` for each thing and gives the results in order.
pub(crate) fn in_parallel<T: Sync, R: Send>(
    things: &[T],
    threads: usize,
    work: &(dyn Fn(&T) -> R + Sync),
    progress: &mut (dyn FnMut(usize, usize) + Send),
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let told = Mutex::new(Told { done: 0, progress });
    let run = || {
        let mut results = Vec::new();
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(thing) = things.get(place) else {
                return results;
            };
            results.push((place, work(thing)));
            // Only a panic in `progress` could poison the lock; what is told does not matter then.
            if let Ok(mut told) = told.lock() {
                told.done += 1;
                let done = told.done;
                (told.progress)(done, things.len());
            }
        }
    };
    let mut all = Vec::with_capacity(things.len());
    std::thread::scope(|scope| {
        let mut workers = Vec::new();
        for _ in 1..threads.clamp(1, things.len().max(1)) {
            workers.push(scope.spawn(run));
        }
        all.extend(run());
        for worker in workers {
            match worker.join() {
                Ok(results) => all.extend(results),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    all.sort_by_key(|(place, _)| *place);
    all.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_order_whatever_the_threads() {
        let things: Vec<usize> = (0..50).collect();
        for threads in [0, 1, 7, 80] {
            let mut last = 0;
            let doubled = in_parallel(&things, threads, &|thing| thing * 2, &mut |done, _| {
                last = last.max(done);
            });
            assert_eq!(doubled, (0..50).map(|thing| thing * 2).collect::<Vec<_>>());
            assert_eq!(last, 50);
        }
        assert_eq!(
            in_parallel(&[0usize; 0], 4, &|thing| *thing, &mut |_, _| ()),
            [0usize; 0]
        );
    }
}
