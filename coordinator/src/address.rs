//! An address of this machine that may be left out, as the command line and the coordinator's file write it.

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
        let address =
            text.parse().map_err(|_| format!("{text:?} is neither an address like 127.0.0.1:8433 nor off"))?;
        Ok(Self::At(address))
    }
}
