//! An address of this machine that may be left out, as the command line and the coordinator's file
//! write it.

use serde::Deserialize;
use std::net::SocketAddr;

/// An address, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum OptionalAddress {
    /// Nothing is listened on.
    Off,
    /// Here.
    At(SocketAddr),
}

impl TryFrom<String> for OptionalAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl std::str::FromStr for OptionalAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let address = text
            .parse()
            .map_err(|_| format!("{text:?} is neither an address like 127.0.0.1:8433 nor off"))?;
        Ok(Self::At(address))
    }
}

/// Remedies for an address that is in use, that a program may not take, and that is not this
/// machine's.
pub(crate) type Addresses = [&'static str; 3];

pub(crate) const UDP: Addresses = [
    "another program listens there, maybe another coordinator (`ss -ulnp` shows which): stop it, or name another port in \
     serve.listen or with --listen",
    "ports below 1024 need a right: name another one in serve.listen or with --listen",
    "this machine has no such address: 0.0.0.0 in serve.listen or --listen stands for all it has",
];
pub(crate) const FALLBACK: Addresses = [
    "another program listens there (`ss -tlnp` shows which): name another address in serve.fallback or with --fallback, or say \
     \"off\"",
    "ports below 1024 need a right: docs/users/OPERATIONS.md says how to be allowed to use 443; another port in serve.fallback or \
     --fallback needs none",
    "this machine has no such address: 0.0.0.0 in serve.fallback or --fallback stands for all it has",
];
pub(crate) const STATUS: Addresses = [
    "another program listens there, maybe another coordinator's page (`ss -tlnp` shows which): name another address in \
     serve.status or with --status, or say \"off\"",
    "ports below 1024 need a right: name another address in serve.status or with --status, or say \"off\"",
    "this machine has no such address: name another one in serve.status or with --status, or say \"off\"",
];

/// What to do about an address that cannot be listened on.
pub(crate) fn of_address(
    error: &std::io::Error,
    [used, denied, unknown]: Addresses,
) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => denied,
        std::io::ErrorKind::AddrNotAvailable => unknown,
        _ => used,
    }
}
