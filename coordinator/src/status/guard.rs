//! Who may look at the page and who may steer, decided from a request's headers alone.
//!
//! Every user of this machine may look at a page that only this machine can reach. But a web page
//! from elsewhere must not be able to read it through the user's browser (DNS rebinding: a foreign
//! name that resolves to this machine), so the request's host must be this machine. A page that
//! others can reach needs the token, or the cookie that the token was exchanged for. Steering
//! always needs the token, in a header that a page of another origin cannot set; a cookie is not
//! enough, because a browser adds it by itself.

use super::token::Token;
use axum::http::header::{AUTHORIZATION, COOKIE, HOST};
use axum::http::{HeaderMap, HeaderName};
use std::net::IpAddr;

pub(super) const COOKIE_NAME: &str = "lacuna_status";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// The token is missing or wrong.
    NoToken,
    /// The host in the request is not this machine.
    Host,
}

/// The rules of one page.
#[derive(Debug)]
pub(super) struct Guard {
    pub(super) token: Token,
    /// Only this machine can reach the page.
    pub(super) local: bool,
}

impl Guard {
    pub(super) fn may_look(&self, headers: &HeaderMap) -> Result<(), Denied> {
        if self.local {
            return self.host(headers);
        }
        if cookies(headers).any(|cookie| self.token.is_cookie(cookie)) {
            return Ok(());
        }
        self.bearer(headers)
    }

    pub(super) fn may_steer(&self, headers: &HeaderMap) -> Result<(), Denied> {
        if self.local {
            self.host(headers)?;
        }
        self.bearer(headers)
    }

    fn bearer(&self, headers: &HeaderMap) -> Result<(), Denied> {
        let given = text(headers, AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
        if given.is_some_and(|token| self.token.is(token)) {
            Ok(())
        } else {
            Err(Denied::NoToken)
        }
    }

    fn host(&self, headers: &HeaderMap) -> Result<(), Denied> {
        if text(headers, HOST).is_some_and(is_this_machine) {
            Ok(())
        } else {
            Err(Denied::Host)
        }
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok());
    let pairs = lines
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    pairs
        .filter(|(name, _)| *name == COOKIE_NAME)
        .map(|(_, value)| value)
}

/// Whether this is `localhost` or a loopback address, with any port: an SSH tunnel may have another
/// port than the page.
fn is_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port))
            if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            name
        }
        _ => host,
    };
    let name = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are() {
        for host in [
            "localhost",
            "LOCALHOST:8433",
            "127.0.0.1",
            "127.0.0.1:9000",
            "[::1]:8433",
            "[::1]",
            "127.1.2.3",
        ] {
            assert!(is_this_machine(host), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "10.0.0.1:8433",
            "",
            ":8433",
            "127.0.0.1.evil",
            "[::2]",
        ] {
            assert!(!is_this_machine(host), "{host}");
        }
    }
}
