//! Logs on standard error, from a given level on or as `RUST_LOG` says.

use std::io::IsTerminal;
use tracing_log::{AsLog, LogTracer, log};
use tracing_subscriber::EnvFilter;

/// Starts logging, at `level` unless `RUST_LOG` says otherwise.
pub fn start(level: &str) {
    start_through(
        level,
        false,
        Box::new(LogTracer::new()),
        log::LevelFilter::Off,
    );
}

/// Starts logging, as text or as one JSON object per line. Messages that libraries log through the
/// crate `log` go to `logger`, which receives at least those up to the level `needed`.
pub fn start_through(level: &str, json: bool, logger: Box<dyn log::Log>, needed: log::LevelFilter) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let colours = std::io::stderr().is_terminal();
    let most = filter.max_level_hint();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours);
    let log = log.with_target(false);
    let started = if json {
        tracing::subscriber::set_global_default(log.json().finish())
    } else {
        tracing::subscriber::set_global_default(log.finish())
    };
    if started.is_ok() && log::set_boxed_logger(logger).is_ok() {
        let shown = match most {
            None => log::LevelFilter::Trace,
            Some(most) => match most.into_level() {
                Some(level) => level.as_log().to_level_filter(),
                None => log::LevelFilter::Off,
            },
        };
        log::set_max_level(shown.max(needed));
    }
}
