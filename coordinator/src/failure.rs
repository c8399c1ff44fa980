//! What errors mean to a person: an exit code, and what to do.

use crate::certificates::CertificatesError;
use crate::server::ServerError;
use crate::status::{ClientError, StatusError, TokenError};
use program::{Class, Failure};

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
                    "name another address in serve.fallback or with --fallback, or say \"off\"; docs/users/OPERATIONS.md says how to be allowed to use 443",
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
