//! An address of this machine, or `off`, on the command line and in the settings file; and what to
//! do when an address cannot be listened on.

use serde::Deserialize;
use std::net::SocketAddr;

/// An address, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum OptionalAddress {
    Off,
    At(SocketAddr),
}

/// A text that is no address of a port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is neither an address like 127.0.0.1:8433 nor off")]
pub struct InvalidAddress {
    found: String,
}

impl TryFrom<String> for OptionalAddress {
    type Error = InvalidAddress;

    fn try_from(text: String) -> Result<Self, InvalidAddress> {
        text.parse()
    }
}

impl std::str::FromStr for OptionalAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        if text == "off" {
            return Ok(Self::Off);
        }
        match text.parse() {
            Ok(address) => Ok(Self::At(address)),
            Err(_) => Err(InvalidAddress { found: text.into() }),
        }
    }
}

/// What to do about an address that cannot be listened on.
pub(crate) struct Remedies {
    in_use: &'static str,
    /// A program without privileges may not use the port.
    denied: &'static str,
    /// No interface of this machine has the address.
    unknown: &'static str,
}

pub(crate) const UDP: Remedies = Remedies {
    in_use: "another program listens there, maybe another coordinator (`ss -ulnp` shows which): \
             stop it, or name another port in serve.listen or with --listen",
    denied: "ports below 1024 need a privilege: name another one in serve.listen or with --listen",
    unknown: "this machine has no such address: 0.0.0.0 in serve.listen or --listen means all of \
              its addresses",
};
pub(crate) const FALLBACK: Remedies = Remedies {
    in_use: "another program listens there (`ss -tlnp` shows which): name another address in \
             serve.fallback or with --fallback, or say \"off\"",
    denied: "ports below 1024 need a privilege: docs/users/OPERATIONS.md says how to be allowed \
             to use 443; another port in serve.fallback or --fallback needs none",
    unknown: "this machine has no such address: 0.0.0.0 in serve.fallback or --fallback means \
              all of its addresses",
};
pub(crate) const STATUS: Remedies = Remedies {
    in_use: "another program listens there, maybe another coordinator's page (`ss -tlnp` shows \
             which): name another address in serve.status or with --status, or say \"off\"",
    denied: "ports below 1024 need a privilege: name another address in serve.status or with \
             --status, or say \"off\"",
    unknown: "this machine has no such address: name another one in serve.status or with \
              --status, or say \"off\"",
};

impl Remedies {
    pub(crate) fn of(&self, error: &std::io::Error) -> &'static str {
        match error.kind() {
            std::io::ErrorKind::PermissionDenied => self.denied,
            std::io::ErrorKind::AddrNotAvailable => self.unknown,
            _ => self.in_use,
        }
    }
}
