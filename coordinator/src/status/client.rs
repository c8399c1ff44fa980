//! A request to the coordinator that works in a run folder: plain HTTP/1.1, one request per
//! connection. Both ends are this program.

use program::{Class, Explain};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const CONNECT: Duration = Duration::from_secs(5);
/// The coordinator may be writing models before it answers.
const ANSWER: Duration = Duration::from_secs(90);
/// More bytes than any answer has.
const LONGEST: u64 = 64 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("the coordinator's page at {address} does not answer: {reason}")]
    Silent {
        address: SocketAddr,
        reason: std::io::Error,
    },
    /// The answer is not a coordinator's.
    #[error("the program that answers at {0} is not a coordinator")]
    Strange(SocketAddr),
    #[error("the coordinator refuses: {0}")]
    Refused(String),
}

impl Explain for ClientError {
    fn class(&self) -> Class {
        Class::Federation
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'a> {
    pub(super) method: &'static str,
    pub(super) path: &'a str,
    pub(super) token: Option<&'a str>,
}

/// Sends a request, and returns the answer's text.
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

fn exchange(address: SocketAddr, request: Request<'_>) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, CONNECT)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(CONNECT))?;
    let token = match request.token {
        Some(token) => format!("Authorization: Bearer {token}\r\n"),
        None => String::new(),
    };
    let request = format!(
        "{} {} HTTP/1.1\r\nHost: {address}\r\n{token}Content-Length: 0\r\nConnection: close\r\n\r\n",
        request.method, request.path
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer)?;
    Ok(answer)
}
