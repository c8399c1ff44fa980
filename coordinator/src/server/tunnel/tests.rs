use super::super::tls;
use super::origins::Origin;
use super::{Limits, Origins, Tunnels};
use crate::certificates::{Request, issue};
use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

type Web = WebSocketStream<TlsStream<TcpStream>>;

/// Waits, but not for ever.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), future)
        .await
        .expect("nothing happened for 20 seconds")
}

const PATIENT: Limits = Limits {
    tunnels: 8,
    handshake: Duration::from_secs(60),
    admission: Duration::from_secs(60),
};

struct Stage {
    tunnels: Tunnels,
    origins: Origins,
    /// In place of the QUIC port.
    quic: UdpSocket,
    authority: rustls::RootCertStore,
}

impl Stage {
    async fn open(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().to_owned();
        issue(&Request {
            out,
            coordinator_names: vec!["localhost".into()],
            sites: Vec::new(),
            days: 1,
        })
        .unwrap();
        let mut authority = rustls::RootCertStore::empty();
        authority
            .add(CertificateDer::from_pem_file(folder.path().join("ca.pem")).unwrap())
            .unwrap();
        let quic = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let tls = tls::tunnel(&folder.path().join("coordinator")).unwrap();
        let everywhere = (Ipv4Addr::UNSPECIFIED, quic.local_addr().unwrap().port()).into();
        let origins = Origins::default();
        let listen = (Ipv4Addr::LOCALHOST, 0).into();
        let tunnels = Tunnels::open(listen, tls, everywhere, origins.clone(), limits)
            .await
            .unwrap();
        Self {
            tunnels,
            origins,
            quic,
            authority,
        }
    }

    async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.tunnels.local_addr()).await.unwrap()
    }

    async fn tls(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.authority.clone())
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        tokio_rustls::TlsConnector::from(Arc::new(config))
            .connect(name, self.tcp().await)
            .await
    }

    async fn web(&self) -> Web {
        client_async("wss://localhost/quic", self.tls().await.unwrap())
            .await
            .unwrap()
            .0
    }

    /// A datagram goes through the tunnel and its answer comes back; gives where the QUIC port saw
    /// it come from.
    async fn passes(&self, web: &mut Web, datagram: &[u8]) -> SocketAddr {
        soon(web.send(Message::Binary(Bytes::copy_from_slice(datagram))))
            .await
            .unwrap();
        let mut buffer = [0; 8192];
        let (length, from) = soon(self.quic.recv_from(&mut buffer)).await.unwrap();
        assert!(buffer[..length] == *datagram);
        let answer: Vec<u8> = datagram.iter().rev().copied().collect();
        self.quic.send_to(&answer, from).await.unwrap();
        assert_eq!(
            soon(web.next()).await.unwrap().unwrap(),
            Message::Binary(answer.into())
        );
        from
    }
}

async fn ends(web: &mut Web) {
    soon(async { while let Some(Ok(_)) = web.next().await {} }).await;
}

#[tokio::test]
async fn datagrams_pass_both_ways_and_the_tunnels_outer_end_is_known_while_it_is_open() {
    let stage = Stage::open(PATIENT).await;
    let (mut one, mut other) = (stage.web().await, stage.web().await);
    let from = stage.passes(&mut one, &[7; 6500]).await;
    let outside = one.get_ref().get_ref().0.local_addr().unwrap();
    assert_eq!(stage.origins.of(from), Origin::Tunnel(outside));
    assert_eq!(
        stage.origins.of(from).to_string(),
        format!("{outside} through the TLS tunnel")
    );
    let elsewhere = stage.passes(&mut other, b"datagram").await;
    assert_ne!(from, elsewhere, "two tunnels must be told apart");
    one.close(None).await.unwrap();
    ends(&mut one).await;
    soon(async {
        while stage.origins.of(from) != Origin::Direct(from) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    stage.passes(&mut other, b"still open").await;
}

#[tokio::test]
async fn what_is_no_datagram_ends_its_own_tunnel_only() {
    let stage = Stage::open(PATIENT).await;
    let mut good = stage.web().await;
    for message in [
        Message::Binary(vec![0; 6501].into()),
        Message::text("hello"),
        Message::Close(None),
    ] {
        let mut web = stage.web().await;
        web.send(message).await.unwrap();
        ends(&mut web).await;
    }
    let mut silent = [0; 8192];
    assert!(
        stage.quic.try_recv(&mut silent).is_err(),
        "something else than a datagram reached the QUIC port"
    );
    stage.passes(&mut good, b"datagram").await;
}

#[tokio::test]
async fn a_connection_without_tls_or_websocket_is_refused() {
    let stage = Stage::open(PATIENT).await;
    let mut plain = stage.tcp().await;
    plain
        .write_all(b"GET /quic HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    soon(plain.read_to_end(&mut Vec::new())).await.ok();
    let mut browser = stage.tls().await.unwrap();
    browser
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    soon(browser.read_to_end(&mut Vec::new())).await.ok();
    let mut endless = stage.tls().await.unwrap();
    let poured = async { while endless.write_all(&[b'a'; 4096]).await.is_ok() {} };
    soon(poured).await;
    match client_async("wss://localhost/elsewhere", stage.tls().await.unwrap()).await {
        Err(Error::Http(answer)) => assert_eq!(answer.status(), 404),
        other => panic!("{other:?}"),
    }
    let mut good = stage.web().await;
    stage.passes(&mut good, b"datagram").await;
}

#[tokio::test]
async fn a_tunnel_without_handshake_or_admitted_site_is_closed() {
    let quick = Duration::from_millis(300);
    let stage = Stage::open(Limits {
        handshake: quick,
        ..PATIENT
    })
    .await;
    soon(stage.tcp().await.read_to_end(&mut Vec::new()))
        .await
        .ok();
    soon(stage.tls().await.unwrap().read_to_end(&mut Vec::new()))
        .await
        .ok();

    let stage = Stage::open(Limits {
        admission: quick,
        ..PATIENT
    })
    .await;
    let mut stranger = stage.web().await;
    let mut site = stage.web().await;
    let from = stage.passes(&mut site, b"hello").await;
    stage.origins.admit(from);
    ends(&mut stranger).await;
    stage.passes(&mut site, b"datagram").await;
}

#[tokio::test]
async fn there_are_only_so_many_tunnels_and_a_place_that_is_left_is_free_again() {
    let stage = Stage::open(Limits {
        tunnels: 2,
        ..PATIENT
    })
    .await;
    let (mut one, mut other) = (stage.web().await, stage.web().await);
    assert!(
        soon(stage.tls()).await.is_err(),
        "a third tunnel was let in"
    );
    stage.passes(&mut one, b"datagram").await;
    drop(one);
    let mut next = soon(async {
        loop {
            match stage.tls().await {
                Ok(stream) => {
                    break client_async("wss://localhost/quic", stream)
                        .await
                        .unwrap()
                        .0;
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    })
    .await;
    stage.passes(&mut next, b"datagram").await;
    stage.passes(&mut other, b"datagram").await;
}
