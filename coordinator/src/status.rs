//! What a federation at work looks like from outside: one picture, folded from what happens and from the facts that
//! are kept, for the web page, the `status` command and Prometheus alike; and the commands that steer it.
//!
//! ```text
//! picture, fold   Status: plain data, and how it follows from what happens (no IO; time is an argument)
//! history         the rounds before the last one, which no memory holds
//! text, metrics   the picture in words for a terminal, in numbers for Prometheus
//! settings, token, beacon   where the page is, who may ask, and how the commands find it
//! web, guard, bounded, page   the page: who is let in, and what is shown
//! client, commands   coordinator status | stop | pause | resume | drop
//! ```

mod beacon;
mod bounded;
mod client;
mod commands;
mod fold;
mod guard;
mod history;
mod metrics;
mod page;
mod picture;
mod settings;
#[cfg(test)]
mod tests;
mod text;
mod token;
mod web;

pub use client::ClientError;
pub(crate) use commands::no_run_folder;
pub use commands::{DropArgs, StatusArgs, Where, drop_site, pause, resume, show, stop};
pub use picture::{Phase, RoundStatus, RunStatus, SiteState, SiteStatus, Status, Task, Trouble};
pub use settings::{Page, bind};
pub use token::TokenError;
pub(crate) use web::{Action, Command, Web};

/// Seconds since 1970, UTC: the one clock of every [`Status`].
#[must_use]
pub fn now() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// Why the status page cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// The address cannot be listened on.
    #[error("serve.status: cannot listen on {address}: {reason}")]
    Listen {
        /// Which.
        address: std::net::SocketAddr,
        /// Why.
        reason: std::io::Error,
    },
    /// The token does not work.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The run folder cannot be told where the page is.
    #[error("cannot {action} {}: {reason}", path.display())]
    Beacon {
        /// What was tried.
        action: &'static str,
        /// Which file.
        path: std::path::PathBuf,
        /// Why.
        reason: std::io::Error,
    },
}
