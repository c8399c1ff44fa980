//! What a federation at work looks like from outside: one picture, folded from what happens and
//! from the checkpoint that are kept, for the web page, the `status` command and Prometheus alike;
//! and the commands that steer it.
//!
//! ```text
//! picture, fold   Status: plain data, and how it follows from what happens (no IO; time is an argument)
//! history         the rounds before the last one, which no memory holds
//! text, metrics   the picture in words for a terminal, in numbers for Prometheus
//! settings, token, beacon   where the page is, who may ask, and how the commands find it
//! web, guard, bounded, page   the page: who is let in, and what is shown
//! client, running   how the commands ask for the picture and steer, by the run folder
//! ```

mod beacon;
mod bounded;
mod client;
mod fold;
mod guard;
mod history;
mod metrics;
mod page;
mod running;
mod settings;
mod state;
#[cfg(test)]
mod tests;
pub(crate) mod text;
mod token;
mod web;

pub use client::ClientError;
pub(crate) use running::{look, no_run_folder, steer};
pub use settings::{Page, bind};
pub use state::{Phase, RoundStatus, RunStatus, SiteState, SiteStatus, Status, Task, Trouble};
pub use token::TokenError;
pub(crate) use web::{Action, Command, Web};

use crate::address;
use program::{Class, Explain};
use std::borrow::Cow;

/// Seconds since 1970, UTC: the one clock of every [`Status`].
#[must_use]
pub fn now() -> f64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
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

impl Explain for StatusError {
    fn class(&self) -> Class {
        match self {
            Self::Listen { .. }
            | Self::Token(TokenError::File { .. } | TokenError::Unusable(_)) => {
                Class::Configuration
            }
            Self::Token(TokenError::Random) => Class::Internal,
            Self::Beacon { .. } => Class::Disk,
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Listen { reason, .. } => {
                Some(address::of_address(reason, address::STATUS).into())
            }
            Self::Token(TokenError::File { .. }) => Some(
                "serve.status_token_file names it; without that key it lies in the run folder"
                    .into(),
            ),
            Self::Token(TokenError::Unusable(_)) => Some(
                "remove the file and name none in serve.status_token_file: a token is made".into(),
            ),
            Self::Token(TokenError::Random) | Self::Beacon { .. } => None,
        }
    }
}
