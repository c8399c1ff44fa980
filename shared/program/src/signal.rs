//! The signals that ask the program to end.

use std::io;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C, SIGINT.
    Interrupt,
    /// SIGTERM, as service managers and batch systems send it.
    Terminate,
}

/// Listens from now on, on the current tokio runtime. The future ends with the first signal.
///
/// # Errors
/// The system refuses to report signals.
#[cfg(unix)]
pub fn listen() -> io::Result<impl Future<Output = Signal>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
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
