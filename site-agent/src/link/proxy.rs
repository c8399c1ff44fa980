//! The way out through an HTTP proxy, as `HTTPS_PROXY` and `NO_PROXY` say.

use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::http::Uri;

/// What a proxy's answer may have, in bytes and in headers.
const LONGEST_ANSWER: usize = 8 << 10;
const HEADERS: usize = 64;

/// What the environment says about proxies.
#[derive(Clone, Debug)]
pub struct Proxies(Arc<Matcher>);

/// A proxy that is to be used. Neither its name nor its errors hold a password.
#[derive(Debug)]
pub(super) struct Proxy(Intercept);

impl Proxies {
    /// Reads `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, written small or, first, large, by asking
    /// for variables.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let either = |name: &str| {
            variable(name)
                .or_else(|| variable(&name.to_lowercase()))
                .unwrap_or_default()
        };
        let matcher = Matcher::builder()
            .https(either("HTTPS_PROXY"))
            .all(either("ALL_PROXY"))
            .no(either("NO_PROXY"));
        Self(Arc::new(matcher.build()))
    }

    /// The proxy for an address, if it is not to be reached without.
    pub(super) fn to(&self, target: &Uri) -> Option<Proxy> {
        self.0.intercept(target).map(Proxy)
    }
}

impl Proxy {
    /// `host:port`.
    pub(super) fn name(&self) -> String {
        let uri = self.0.uri();
        format!(
            "{}:{}",
            uri.host().unwrap_or_default(),
            uri.port_u16().unwrap_or(80)
        )
    }

    /// A connection to `host:port` that the proxy made with CONNECT.
    ///
    /// # Errors
    /// Says what the proxy does not do.
    pub(super) async fn connect(&self, target: &str) -> Result<TcpStream, String> {
        if self.0.uri().scheme_str() != Some("http") {
            return Err("only proxies of the kind http:// can be used".into());
        }
        let connected = async {
            let mut stream = TcpStream::connect(self.name()).await?;
            stream.set_nodelay(true)?;
            stream.write_all(&self.request(target)).await?;
            Ok::<_, io::Error>(stream)
        };
        let mut stream = connected.await.map_err(|error| error.to_string())?;
        answered(&mut stream).await?;
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

/// Reads the proxy's answer, and not a byte of what follows: the coordinator behind it waits to be
/// spoken to.
async fn answered(stream: &mut TcpStream) -> Result<(), String> {
    let mut answer = Vec::with_capacity(LONGEST_ANSWER);
    loop {
        match stream.read_buf(&mut answer).await {
            Ok(0) => return Err("it closed the connection".into()),
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut parsed = httparse::Response::new(&mut headers);
        match parsed.parse(&answer) {
            Ok(httparse::Status::Complete(_)) => {
                return match parsed.code.unwrap_or(0) {
                    200..300 => Ok(()),
                    407 => Err("it wants another user name or password".into()),
                    code => Err(format!(
                        "it answers {code} {}",
                        parsed.reason.unwrap_or_default()
                    )),
                };
            }
            Ok(httparse::Status::Partial) if answer.len() < LONGEST_ANSWER => {}
            Ok(httparse::Status::Partial) | Err(_) => {
                return Err("its answer is not one of an HTTP proxy".into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(variables: &[(&str, &str)], target: &'static str) -> Option<Proxy> {
        let read = |name: &str| {
            variables
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        };
        Proxies::read(read).to(&Uri::from_static(target))
    }

    #[test]
    fn the_environment_is_read_as_other_programs_read_it() {
        let target = "https://lacuna.example.org:443";
        let name = |variables: &[(&str, &str)]| proxy(variables, target).map(|proxy| proxy.name());
        assert_eq!(name(&[]), None);
        let (small, large) = (
            ("https_proxy", "http://small:8080"),
            ("HTTPS_PROXY", "http://large:3128"),
        );
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
        assert!(reason.contains("http://"), "{reason}");
        let shown = format!("{proxy:?} {} {reason}", proxy.name());
        assert!(
            !shown.contains("secret") && shown.contains("127.0.0.1:1"),
            "{shown}"
        );
    }
}
