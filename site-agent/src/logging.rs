//! Logs on standard error, and how many programs were compiled for a GPU.

use std::sync::atomic::{AtomicUsize, Ordering};
use tracing_log::{LogTracer, log};

/// Where cubecl says that it compiled a program.
const COMPILATION: &str = "cubecl::compilation";

static COMPILED: AtomicUsize = AtomicUsize::new(0);

/// How many programs were compiled for a GPU since this one started.
pub(crate) fn compiled() -> usize {
    COMPILED.load(Ordering::Relaxed)
}

/// Starts logging, at `level` unless `RUST_LOG` says otherwise, in words or as a JSON object a
/// line.
pub(crate) fn start(level: &str, json: bool) {
    // cubecl says what it compiles from `info` on.
    let counting = Box::new(Counting(LogTracer::new()));
    program::logging::start_through(level, json, counting, log::LevelFilter::Info);
}

/// Counts what cubecl compiles, and hands on everything else.
struct Counting(LogTracer);

impl log::Log for Counting {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target() == COMPILATION || self.0.enabled(metadata)
    }

    fn log(&self, record: &log::Record<'_>) {
        if record.target() == COMPILATION {
            COMPILED.fetch_add(1, Ordering::Relaxed);
        } else if self.0.enabled(record.metadata()) {
            self.0.log(record);
        }
    }

    fn flush(&self) {
        self.0.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_log::log::Log;

    #[test]
    fn only_compilations_are_counted() {
        let counting = Counting(LogTracer::new());
        let before = compiled();
        for target in [COMPILATION, "cubecl::memory", "quinn"] {
            counting.log(
                &log::Record::builder()
                    .target(target)
                    .level(log::Level::Info)
                    .build(),
            );
        }
        assert_eq!(compiled() - before, 1);
    }
}
