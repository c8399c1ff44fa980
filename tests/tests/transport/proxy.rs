//! An HTTP proxy as hospitals have them: it knows CONNECT, may want a password, and may look into
//! TLS.

use crate::stage::{Stage, certify};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use site_agent::link::Proxies;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Dropped, it takes its connections with it.
pub(crate) struct Proxy {
    address: SocketAddr,
    credentials: Option<&'static str>,
    asked: Arc<Mutex<Vec<String>>>,
    serving: JoinHandle<()>,
}

/// What a proxy needs that inspects TLS: both ends of it, with a certificate of its own authority.
#[derive(Clone)]
struct Insight {
    here: TlsAcceptor,
    there: TlsConnector,
}

impl Insight {
    /// Speaks 1.2 to the site, as old proxies do. Its authority is at `proxy/ca.pem` of the stage's
    /// folder.
    fn new(stage: &Stage) -> Self {
        let (proxy, provider) = (stage.path("proxy"), Arc::new(default_provider()));
        certify(&proxy, "localhost,127.0.0.1", &["unused"]);
        let key = PrivateKeyDer::from_pem_file(proxy.join("coordinator/key.pem")).unwrap();
        let mut here = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS12])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                certificates(&proxy.join("coordinator/certificate.pem")),
                key,
            )
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates(&stage.path("pki/coordinator/ca.pem")));
        let mut there = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        here.alpn_protocols = vec![b"http/1.1".to_vec()];
        there.alpn_protocols.clone_from(&here.alpn_protocols);
        Self {
            here: Arc::new(here).into(),
            there: Arc::new(there).into(),
        }
    }

    /// Passes on what it reads, as long as the site takes the proxy for who it says it is.
    async fn pass(self, site: BufReader<TcpStream>, coordinator: TcpStream) {
        let Ok(mut site) = self.here.accept(site).await else {
            return;
        };
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let mut coordinator = self.there.connect(name, coordinator).await.unwrap();
        copy_bidirectional(&mut site, &mut coordinator).await.ok();
    }
}

fn certificates(path: &Path) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(path)
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

impl Proxy {
    pub(crate) async fn open(credentials: Option<&'static str>) -> Self {
        Self::with(credentials, None).await
    }

    /// One that looks into TLS.
    pub(crate) async fn inspecting(stage: &Stage) -> Self {
        Self::with(None, Some(Insight::new(stage))).await
    }

    async fn with(credentials: Option<&'static str>, insight: Option<Insight>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = asked.clone();
        let serving = tokio::spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                open.spawn(serve(stream, credentials, insight.clone(), heard.clone()));
            }
        });
        Self {
            address,
            credentials,
            asked,
            serving,
        }
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

async fn serve(
    stream: TcpStream,
    credentials: Option<&str>,
    insight: Option<Insight>,
    asked: Arc<Mutex<Vec<String>>>,
) {
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
        let refusal =
            b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n";
        stream.write_all(refusal).await.unwrap();
        return;
    }
    let target = lines[0].split(' ').nth(1).unwrap().to_owned();
    asked.lock().unwrap().push(lines[0].clone());
    let mut there = TcpStream::connect(target).await.unwrap();
    stream
        .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
        .await
        .unwrap();
    match insight {
        Some(insight) => insight.pass(stream, there).await,
        None => drop(copy_bidirectional(&mut stream, &mut there).await),
    }
}
