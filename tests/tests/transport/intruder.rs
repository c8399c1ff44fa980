//! A client that speaks QUIC and nothing else: it says whatever a test wants it to.

use crate::stage::{Stage, hello};
use protocol::codec::transfer::{CHUNK, ChunkHash, HASH, begin_at};
use protocol::codec::{CloseCode, PREFIX, decode, encode, payload_length};
use protocol::message::{ALPN, SiteMessage, TransferAnswer, TransferHeader};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, ConnectionError, Endpoint, RecvStream, SendStream};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;

pub(crate) struct Intruder {
    pub(crate) connection: Connection,
    control: (SendStream, RecvStream),
    // Keeps the socket.
    _endpoint: Endpoint,
}

/// TLS as `site`, or without any certificate.
pub(crate) fn tls(stage: &Stage, site: Option<&str>, alpn: &[u8]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(stage.path("pki/ca.pem")).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match site {
        None => builder.with_no_client_auth(),
        Some(site) => {
            let folder = stage.path("pki").join(site);
            let chain =
                vec![CertificateDer::from_pem_file(folder.join("certificate.pem")).unwrap()];
            let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    config
}

/// The handshake as the client sees it; in TLS 1.3 it may succeed before the server has judged the
/// client.
pub(crate) async fn connect(
    stage: &Stage,
    tls: ClientConfig,
) -> Result<(Endpoint, Connection), ConnectionError> {
    let client = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let connection = endpoint
        .connect_with(client, stage.address(), "localhost")
        .unwrap()
        .await?;
    Ok((endpoint, connection))
}

/// What goes after a chunk.
pub(crate) fn chunk_hash(index: u64, bytes: u64, chunk: &[u8]) -> [u8; HASH] {
    let mut hash = ChunkHash::new(index, bytes);
    hash.update(chunk);
    hash.finish()
}

impl Intruder {
    /// In as `site`, with nothing said.
    pub(crate) async fn silent(stage: &Stage, site: &str) -> Self {
        let (endpoint, connection) = connect(stage, tls(stage, Some(site), ALPN)).await.unwrap();
        let control = connection.open_bi().await.unwrap();
        Self {
            connection,
            control,
            _endpoint: endpoint,
        }
    }

    /// In as `site`, with its greeting said.
    pub(crate) async fn greeting(stage: &Stage, site: &str) -> Self {
        let mut intruder = Self::silent(stage, site).await;
        intruder
            .say(&encode(&SiteMessage::Hello(hello())).unwrap())
            .await;
        intruder
    }

    /// Writes bytes on the control stream.
    pub(crate) async fn say(&mut self, bytes: &[u8]) {
        self.control.0.write_all(bytes).await.unwrap();
    }

    /// Offers parameters on a new stream, and reads from where on they are wanted.
    pub(crate) async fn offer(&self, header: &TransferHeader) -> TransferAnswer {
        self.open(header).await.1
    }

    /// Sends the beginning of a content of several chunks, cut off anywhere, as far as it is not
    /// there yet.
    pub(crate) async fn begin(&self, header: &TransferHeader, content: &[u8]) {
        let (mut stream, answer) = self.open(header).await;
        let first = begin_at(header, &answer).unwrap() as usize;
        for (index, chunk) in content.chunks(CHUNK).enumerate().skip(first) {
            // Only the last one is shorter; what comes after it is no hash to the other end.
            stream.write_all(chunk).await.unwrap();
            stream
                .write_all(&chunk_hash(index as u64, header.bytes, chunk))
                .await
                .unwrap();
        }
        // Left open: dropping it would finish it.
        std::mem::forget(stream);
    }

    async fn open(&self, header: &TransferHeader) -> (SendStream, TransferAnswer) {
        let (mut stream, mut answers) = self.connection.open_bi().await.unwrap();
        stream.write_all(&encode(header).unwrap()).await.unwrap();
        let mut prefix = [0; PREFIX];
        answers.read_exact(&mut prefix).await.unwrap();
        let mut payload = vec![0; payload_length(prefix).unwrap()];
        answers.read_exact(&mut payload).await.unwrap();
        (stream, decode(&payload).unwrap())
    }

    /// Writes bytes on a new stream for parameters, which may be stopped at any point of it. As
    /// long as the answers' stream is held, the other end may answer.
    #[must_use]
    pub(crate) async fn pour(&self, parts: &[&[u8]]) -> RecvStream {
        let (mut stream, answers) = self.connection.open_bi().await.unwrap();
        for part in parts {
            if stream.write_all(part).await.is_err() {
                break;
            }
        }
        stream.finish().ok();
        stream.stopped().await.unwrap();
        answers
    }

    /// The code and the words the connection was closed with.
    pub(crate) async fn farewell(&self) -> (CloseCode, String) {
        match self.connection.closed().await {
            ConnectionError::ApplicationClosed(close) => {
                let code = CloseCode::from_number(close.error_code.into_inner()).unwrap();
                (code, String::from_utf8(close.reason.to_vec()).unwrap())
            }
            other => panic!("{other}"),
        }
    }
}
