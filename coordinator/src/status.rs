//! The status of a federation as seen from outside: one [`Status`], kept up to date from
//! notifications and checkpoints, for the web page, the `status` command and Prometheus; and the
//! commands that steer a federation.
//!
//! ```text
//! state, fold        Status: plain data, and how it follows from notifications and checkpoints (no
//!                    IO; time is an argument)
//! history            the rounds before the last one, which are not kept in memory
//! text, metrics      the status in words for a terminal, in numbers for Prometheus
//! settings, token    where the page is, and who may use it
//! page_file          how the commands find the page
//! web, guard, limited_listener, page   the page: who may look, and what is shown
//! command            what the operator can ask of a coordinator, and its answers
//! client, running    how the commands read the status and steer, by the run folder
//! ```

mod client;
mod command;
mod fold;
mod guard;
mod history;
mod limited_listener;
mod metrics;
mod page;
mod page_file;
mod running;
mod settings;
mod state;
#[cfg(test)]
mod tests;
pub(crate) mod text;
mod token;
mod web;

pub use client::ClientError;
pub(crate) use command::{Action, Command, Done, Refusal};
pub(crate) use running::{look, no_run_folder, steer};
pub use settings::{Page, bind};
pub use state::{Phase, RoundStatus, RunStatus, SiteState, SiteStatus, Status, Task, Trouble};
pub use token::TokenError;
pub(crate) use web::Web;

use crate::address;
use program::{Class, Explain};
use std::borrow::Cow;

/// Seconds since 1970, UTC: the one clock of every [`Status`].
#[must_use]
pub fn now() -> f64 {
    match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
        Ok(since) => since.as_secs_f64(),
        Err(_) => 0.0,
    }
}

/// Why the status page cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    #[error("serve.status: cannot listen on {address}: {reason}")]
    Listen {
        address: std::net::SocketAddr,
        reason: std::io::Error,
    },
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The file in the run folder that says where the page is.
    #[error("cannot {action} {}: {reason}", path.display())]
    PageFile {
        action: &'static str,
        path: std::path::PathBuf,
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
            Self::PageFile { .. } => Class::Disk,
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Listen { reason, .. } => Some(address::STATUS.of(reason).into()),
            Self::Token(TokenError::File { .. }) => Some(
                "serve.status_token_file names it; without that key it is in the run folder".into(),
            ),
            Self::Token(TokenError::Unusable(_)) => Some(
                "remove the file, and leave serve.status_token_file out: then a token is made"
                    .into(),
            ),
            Self::Token(TokenError::Random) | Self::PageFile { .. } => None,
        }
    }
}
