//! A request to the coordinator that works in a run folder. Plain HTTP/1.1 over one connection;
//! both ends are ours.

use program::{Class, Explain};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// To reach the coordinator, on this machine or its own network.
const CONNECT: Duration = Duration::from_secs(5);
/// For an answer: the coordinator may be writing models.
const ANSWER: Duration = Duration::from_secs(90);
/// More than any answer takes.
const LONGEST: u64 = 64 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody opens.
    #[error("the coordinator's page at {address} does not answer: {reason}")]
    Silent {
        /// Where.
        address: SocketAddr,
        /// Why.
        reason: std::io::Error,
    },
    /// What came back is no answer of ours.
    #[error("what answers at {0} is no coordinator")]
    Strange(SocketAddr),
    /// It says no.
    #[error("the coordinator refuses: {0}")]
    Refused(String),
}

impl Explain for ClientError {
    fn class(&self) -> Class {
        Class::Federation
    }
}

/// What to ask, with the token where it is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'a> {
    pub(super) method: &'static str,
    pub(super) path: &'a str,
    pub(super) token: Option<&'a str>,
}

/// Asks, and gives the answer's text.
///
/// # Errors
/// [`ClientError`].
pub(super) fn ask(address: SocketAddr, request: Request<'_>) -> Result<String, ClientError> {
    let answer =
        exchange(address, request).map_err(|reason| ClientError::Silent { address, reason })?;
    let text = String::from_utf8(answer).map_err(|_| ClientError::Strange(address))?;
    let (head, body) = text
        .split_once("\r\n\r\n")
        .ok_or(ClientError::Strange(address))?;
    let code = head
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3))
        .and_then(|code| code.parse::<u16>().ok());
    match code {
        Some(200) => Ok(body.into()),
        Some(_) => Err(ClientError::Refused(body.trim().into())),
        None => Err(ClientError::Strange(address)),
    }
}

fn exchange(
    address: SocketAddr,
    Request {
        method,
        path,
        token,
    }: Request<'_>,
) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, CONNECT)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(CONNECT))?;
    let token = token.map_or(String::new(), |token| {
        format!("Authorization: Bearer {token}\r\n")
    });
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\n{token}Content-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer)?;
    Ok(answer)
}
