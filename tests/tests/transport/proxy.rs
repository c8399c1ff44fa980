//! An HTTP proxy as hospitals have them: it knows CONNECT, and may want a password.

use site_agent::link::Proxies;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// Dropped, it takes its connections with it.
pub(crate) struct Proxy {
    address: SocketAddr,
    credentials: Option<&'static str>,
    asked: Arc<Mutex<Vec<String>>>,
    serving: JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn open(credentials: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = asked.clone();
        let serving = tokio::spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                open.spawn(serve(stream, credentials, heard.clone()));
            }
        });
        Self { address, credentials, asked, serving }
    }

    /// What the environment of a site says that knows the proxy.
    pub(crate) fn known(&self) -> Proxies {
        self.known_as(self.credentials.unwrap_or(""))
    }

    /// The same with these credentials.
    pub(crate) fn known_as(&self, credentials: &str) -> Proxies {
        let url = format!("http://{credentials}@{}", self.address).replace("//@", "//");
        Proxies::read(|name| (name == "https_proxy").then(|| url.clone()))
    }

    /// The requests that it granted.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(stream: TcpStream, credentials: Option<&str>, asked: Arc<Mutex<Vec<String>>>) {
    let mut stream = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        if line.trim_end().is_empty() {
            break;
        }
        lines.push(line.trim_end().to_owned());
    }
    // "site:secret" in the Basic scheme.
    let wanted = credentials.map(|_| "Proxy-Authorization: Basic c2l0ZTpzZWNyZXQ=");
    if wanted.is_some_and(|wanted| !lines.iter().any(|line| line == wanted)) {
        let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n";
        stream.write_all(refusal).await.unwrap();
        return;
    }
    let target = lines[0].split(' ').nth(1).unwrap().to_owned();
    asked.lock().unwrap().push(lines[0].clone());
    let mut there = TcpStream::connect(target).await.unwrap();
    stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
    copy_bidirectional(&mut stream, &mut there).await.ok();
}
