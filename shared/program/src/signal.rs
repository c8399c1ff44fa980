//! The signals that ask the program to end.

use std::io;

/// Which signal it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C, SIGINT.
    Interrupt,
    /// SIGTERM, as service managers and batch systems send it.
    Terminate,
}

/// Listens from now on, on the current tokio runtime; the future ends with the first signal.
///
/// # Errors
/// When the system refuses to tell of signals.
#[cfg(unix)]
pub fn listen() -> io::Result<impl Future<Output = Signal>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    Ok(async move {
        tokio::select! {
            Some(()) = interrupt.recv() => Signal::Interrupt,
            Some(()) = terminate.recv() => Signal::Terminate,
            else => std::future::pending().await,
        }
    })
}

/// Listens for Ctrl-C; the future ends with it.
///
/// # Errors
/// Never.
#[cfg(not(unix))]
pub fn listen() -> io::Result<impl Future<Output = Signal>> {
    Ok(async {
        match tokio::signal::ctrl_c().await {
            Ok(()) => Signal::Interrupt,
            Err(_) => std::future::pending().await,
        }
    })
}
