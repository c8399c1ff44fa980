//! The way out through an HTTP proxy, as `HTTPS_PROXY` and `NO_PROXY` say.

use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::http::Uri;

/// The longest answer of a proxy, in bytes.
const LONGEST_ANSWER: usize = 8 << 10;
/// The most headers of an answer.
const HEADERS: usize = 64;

/// What the environment says about proxies.
#[derive(Clone, Debug)]
pub struct Proxies(Arc<Matcher>);

/// A proxy that is to be used. Neither its name nor its errors hold a password.
#[derive(Debug)]
pub(super) struct Proxy(Intercept);

/// Why a proxy makes no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProxyError {
    #[error("only proxies of the kind http:// can be used")]
    Kind,
    #[error(transparent)]
    Stream(#[from] io::Error),
    #[error("it closed the connection")]
    Closed,
    #[error("it wants another user name or password")]
    Password,
    #[error("it answers {code} {reason}")]
    Refused {
        /// The status of HTTP.
        code: u16,
        /// The proxy's own words.
        reason: String,
    },
    #[error("its answer is not one of an HTTP proxy")]
    NotHttp,
}

impl Proxies {
    /// Reads `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`. `variable` gives a variable of the
    /// environment. A name in capitals comes before the same name in small letters.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let matcher = Matcher::builder()
            .https(either_case(&variable, "HTTPS_PROXY"))
            .all(either_case(&variable, "ALL_PROXY"))
            .no(either_case(&variable, "NO_PROXY"));
        Self(Arc::new(matcher.build()))
    }

    /// The proxy on the way to an address; `None` where the address is reached without one.
    pub(super) fn to(&self, target: &Uri) -> Option<Proxy> {
        self.0.intercept(target).map(Proxy)
    }
}

/// A variable of the environment by its name in capitals or in small letters; empty if it is not
/// set.
fn either_case(variable: &impl Fn(&str) -> Option<String>, name: &str) -> String {
    variable(name)
        .or_else(|| variable(&name.to_lowercase()))
        .unwrap_or_default()
}

impl Proxy {
    /// `host:port`.
    pub(super) fn name(&self) -> String {
        let uri = self.0.uri();
        let host = uri.host().unwrap_or_default();
        let port = uri.port_u16().unwrap_or(80);
        format!("{host}:{port}")
    }

    /// Connects to `target`, `host:port`, through the proxy, with CONNECT.
    pub(super) async fn connect(&self, target: &str) -> Result<TcpStream, ProxyError> {
        if self.0.uri().scheme_str() != Some("http") {
            return Err(ProxyError::Kind);
        }
        let mut stream = TcpStream::connect(self.name()).await?;
        stream.set_nodelay(true)?;
        stream.write_all(&self.request(target)).await?;
        read_answer(&mut stream).await?;
        Ok(stream)
    }

    fn request(&self, target: &str) -> Vec<u8> {
        let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
        if let Some(authorization) = self.0.basic_auth() {
            request.extend([b"Proxy-Authorization: ", authorization.as_bytes(), b"\r\n"].concat());
        }
        request.extend(b"\r\n");
        request
    }
}

/// Reads the proxy's answer. The coordinator behind the proxy does not speak first, so no byte of
/// what follows is read.
async fn read_answer(stream: &mut TcpStream) -> Result<(), ProxyError> {
    let mut answer = Vec::with_capacity(LONGEST_ANSWER);
    loop {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(ProxyError::Closed);
        }
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        match response.parse(&answer) {
            Ok(httparse::Status::Complete(_)) => {
                return match response.code.unwrap_or(0) {
                    200..300 => Ok(()),
                    407 => Err(ProxyError::Password),
                    code => Err(ProxyError::Refused {
                        code,
                        reason: response.reason.unwrap_or_default().to_owned(),
                    }),
                };
            }
            Ok(httparse::Status::Partial) if answer.len() < LONGEST_ANSWER => {}
            Ok(httparse::Status::Partial) | Err(_) => return Err(ProxyError::NotHttp),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn proxy(variables: &[(&str, &str)], target: &'static str) -> Option<Proxy> {
        let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
        let read = |name: &str| variables.get(name).map(|value| (*value).to_owned());
        Proxies::read(read).to(&Uri::from_static(target))
    }

    #[test]
    fn the_environment_is_read_as_other_programs_read_it() {
        let target = "https://lacuna.example.org:443";
        let name = |variables: &[(&str, &str)]| proxy(variables, target).map(|proxy| proxy.name());
        assert_eq!(name(&[]), None);
        let small = ("https_proxy", "http://small:8080");
        let large = ("HTTPS_PROXY", "http://large:3128");
        assert_eq!(name(&[small]).as_deref(), Some("small:8080"));
        assert_eq!(name(&[small, large]).as_deref(), Some("large:3128"));
        assert_eq!(
            name(&[("ALL_PROXY", "http://all")]).as_deref(),
            Some("all:80")
        );
        assert_eq!(name(&[large, ("no_proxy", "other.org, example.org")]), None);
        assert_eq!(name(&[large, ("NO_PROXY", "*")]), None);
        // Meant for plain HTTP alone.
        assert_eq!(name(&[("HTTP_PROXY", "http://plain:8080")]), None);
    }

    #[tokio::test]
    async fn a_password_is_never_shown_and_another_kind_of_proxy_is_refused_in_words() {
        let target = "https://lacuna.example.org:443";
        let proxy = proxy(
            &[("HTTPS_PROXY", "socks5://user:secret@127.0.0.1:1")],
            target,
        )
        .unwrap();
        let reason = proxy.connect("lacuna.example.org:443").await.unwrap_err();
        assert!(matches!(reason, ProxyError::Kind), "{reason}");
        let shown = format!("{proxy:?} {} {reason}", proxy.name());
        assert!(
            !shown.contains("secret") && shown.contains("127.0.0.1:1"),
            "{shown}"
        );
    }
}
