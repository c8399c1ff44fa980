//! The one place where an error becomes words for a person, a hint and an exit code.

use crate::certificates::CertificatesError;
use crate::server::ServerError;
use crate::signal::Signal;
use crate::status::{ClientError, StatusError, TokenError};
use shared::visible::visible_lines;
use std::process::ExitCode;

/// Shown under `--help`.
pub const EXIT_CODES: &str = "Exit codes: 0 done, 1 internal error, 2 wrong usage, 3 bad configuration, 4 bad or missing data, \
5 federation or network, 6 disk, 130 interrupted (Ctrl-C), 143 terminated (SIGTERM)";

/// What kind of failure ended the program: its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A fault of ours.
    Internal = 1,
    /// A configuration file or option that cannot work.
    Configuration = 3,
    /// Data that is missing or unusable.
    Data = 4,
    /// The federation or the network refused.
    Federation = 5,
    /// Reading or writing files.
    Disk = 6,
    /// Ctrl-C, SIGINT.
    Interrupted = 130,
    /// SIGTERM.
    Terminated = 143,
}

impl From<Signal> for Class {
    fn from(signal: Signal) -> Self {
        match signal {
            Signal::Interrupt => Self::Interrupted,
            Signal::Terminate => Self::Terminated,
        }
    }
}

/// A failure in words: what happened and where, and what to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// The exit code's kind.
    pub class: Class,
    /// What happened, with file, case or site.
    pub what: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without a hint.
    pub fn new(class: Class, what: impl std::fmt::Display) -> Self {
        Self { class, what: what.to_string(), hint: None }
    }

    /// The system tells of no signals.
    pub(crate) fn deaf(error: std::io::Error) -> Self {
        Self::new(Class::Internal, format!("cannot listen for signals: {error}"))
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Prints a failure, if any, and gives the exit code.
#[must_use]
pub fn report(outcome: Result<(), Failure>) -> ExitCode {
    let Err(failure) = outcome else { return ExitCode::SUCCESS };
    // Names in it may come from files of others.
    eprintln!("error: {}", visible_lines(&failure.what));
    if let Some(hint) = failure.hint {
        eprintln!("hint: {}", visible_lines(&hint));
    }
    ExitCode::from(failure.class as u8)
}

impl From<CertificatesError> for Failure {
    fn from(error: CertificatesError) -> Self {
        use CertificatesError as E;
        let class = match error {
            E::SiteName(_) | E::CoordinatorName { .. } | E::NoCoordinatorName | E::Authority { .. } => {
                Class::Configuration
            }
            E::Disk { .. } => Class::Disk,
            E::Crypto(_) => Class::Internal,
        };
        let hint = match error {
            E::NoCoordinatorName => Some("give it with --coordinator-name, such as lacuna.example.org or 10.0.0.5"),
            E::Authority { .. } => Some("give another folder with --out to start a new federation"),
            _ => None,
        };
        Self { class, what: error.to_string(), hint: hint.map(Into::into) }
    }
}

impl From<ServerError> for Failure {
    fn from(error: ServerError) -> Self {
        let (class, hint) = match error {
            ServerError::Certificates { .. } => (Class::Configuration, Some("`coordinator init` writes certificates")),
            ServerError::Listen { .. } => (Class::Federation, None),
            ServerError::Fallback { .. } => (
                Class::Configuration,
                Some(
                    "name another address in serve.fallback or with --fallback, or say \"off\"; docs/OPERATIONS.md says how to be allowed to use 443",
                ),
            ),
            ServerError::Incoming { .. } => (Class::Disk, None),
        };
        Self { class, what: error.to_string(), hint: hint.map(Into::into) }
    }
}

impl From<StatusError> for Failure {
    fn from(error: StatusError) -> Self {
        let (class, hint) = match &error {
            StatusError::Listen { .. } => {
                (Class::Configuration, Some("name another address in serve.status or with --status, or say \"off\""))
            }
            StatusError::Token(TokenError::File { .. }) => (
                Class::Configuration,
                Some("serve.status_token_file names it; without that key it lies in the run folder"),
            ),
            StatusError::Token(TokenError::Unusable(_)) => (
                Class::Configuration,
                Some("remove the file and name none in serve.status_token_file: a token is made"),
            ),
            StatusError::Token(TokenError::Random) => (Class::Internal, None),
            StatusError::Beacon { .. } => (Class::Disk, None),
        };
        Self { class, what: error.to_string(), hint: hint.map(Into::into) }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::new(Class::Federation, error)
    }
}
