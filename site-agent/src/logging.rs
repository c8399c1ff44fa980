//! Logs on standard error, and how many programs were compiled for a card.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicUsize, Ordering};
use tracing_log::{AsLog, LogTracer, log};
use tracing_subscriber::EnvFilter;

/// Where cubecl says that it compiled a program.
const COMPILATION: &str = "cubecl::compilation";

static COMPILED: AtomicUsize = AtomicUsize::new(0);

/// How many programs were compiled for a card since this one started.
pub(crate) fn compiled() -> usize {
    COMPILED.load(Ordering::Relaxed)
}

/// Starts logging, at `level` unless `RUST_LOG` says otherwise, in words or as a JSON object a line.
pub(crate) fn start(level: &str, json: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let colours = std::io::stderr().is_terminal();
    let most = filter.max_level_hint();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    let log = log.with_target(false);
    let started = if json {
        tracing::subscriber::set_global_default(log.json().finish())
    } else {
        tracing::subscriber::set_global_default(log.finish())
    };
    // Libraries that log by the crate `log` come through this. cubecl's words are needed from `info` on.
    if started.is_ok() && log::set_boxed_logger(Box::new(Counting(LogTracer::new()))).is_ok() {
        let most = most.map_or(log::LevelFilter::Trace, |most| match most.into_level() {
            Some(level) => level.as_log().to_level_filter(),
            None => log::LevelFilter::Off,
        });
        log::set_max_level(most.max(log::LevelFilter::Info));
    }
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
            counting.log(&log::Record::builder().target(target).level(log::Level::Info).build());
        }
        assert_eq!(compiled() - before, 1);
    }
}
