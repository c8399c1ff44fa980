//! Sites whose network lets no UDP through: the tunnel, and proxies on its way.

use crate::proxy::Proxy;
use crate::stage::{Stage, site_name, soon, welcome};
use coordinator::server::Inbound;
use site_agent::link::{Fallback, Link, LinkConfig, LinkError, LinkEvent, Proxies, Way};
use std::io::ErrorKind;
use tokio::net::UdpSocket;

const MODEL: usize = 5_000_000;

/// A site's network that swallows UDP: packets leave, and nothing ever comes back.
struct Blocked {
    hole: UdpSocket,
    link: LinkConfig,
}

impl Blocked {
    async fn new(stage: &Stage, site: &str, proxies: Proxies) -> Self {
        let hole = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = stage.server.fallback_addr().unwrap().to_string();
        let coordinator = hole.local_addr().unwrap().to_string();
        let fallback = Some(Fallback { address, proxies });
        Self {
            hole,
            link: LinkConfig {
                coordinator,
                fallback,
                ..stage.link(site)
            },
        }
    }
}

fn no_proxy() -> Proxies {
    Proxies::read(|_| None)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_without_udp_takes_part_through_tls() {
    let mut stage = Stage::open(MODEL as u64, &[]).await;
    let blocked = Blocked::new(&stage, "north", no_proxy()).await;
    let (link, mut events, _) = stage.join_by("north", blocked.link.clone()).await;
    assert!(
        blocked.hole.try_recv(&mut [0; 8192]).is_ok(),
        "UDP was not even tried"
    );
    stage
        .there_and_back("north", &link, &mut events, MODEL)
        .await;
    drop(link);
    assert!(
        matches!(stage.event().await, Inbound::Closed { reason, .. } if reason == "the site left")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sites_beside_each_other_in_tunnels_are_told_apart() {
    let mut stage = Stage::open(4, &[]).await;
    let mut links = Vec::new();
    for site in ["north", "south", "west"] {
        let blocked = Blocked::new(&stage, site, no_proxy()).await;
        links.push((stage.join_by(site, blocked.link.clone()).await, blocked));
    }
    for ((_, events, _), site) in links
        .iter_mut()
        .map(|(joined, _)| joined)
        .zip(["north", "south", "west"])
    {
        stage.server.send(&site_name(site), welcome(site)).unwrap();
        assert_eq!(
            soon(events.recv()).await,
            Some(LinkEvent::Message(welcome(site)))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_udp_reaches_opens_no_tunnel() {
    let mut stage = Stage::open(4, &[]).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let fallback = Some(Fallback {
        address,
        proxies: no_proxy(),
    });
    let _joined = stage
        .join_by(
            "north",
            LinkConfig {
                fallback,
                ..stage.link("north")
            },
        )
        .await;
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_refused_in_the_tunnel_as_outside() {
    let mut stage = Stage::open(4, &["west"]).await;
    let blocked = Blocked::new(&stage, "north", no_proxy()).await;
    let refusal = stage.refusal(blocked.link).await;
    assert_eq!(
        refusal.to_string(),
        "the coordinator refuses this site: north is not one of this federation's sites"
    );
    assert!(!refusal.again() && stage.is_quiet());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_that_breaks_is_a_lost_connection_at_once() {
    let mut stage = Stage::open(4, &[]).await;
    let proxy = Proxy::open(None).await;
    let blocked = Blocked::new(&stage, "north", proxy.known()).await;
    let (_link, mut events, _) = stage.join_by("north", blocked.link.clone()).await;
    let began = std::time::Instant::now();
    drop(proxy);
    match soon(events.recv()).await {
        Some(LinkEvent::Closed {
            reason,
            again: true,
        }) => assert!(reason.contains("the TLS tunnel ended"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert!(began.elapsed().as_secs() < 15, "the silence was waited out");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_wants_a_password_is_given_it_and_no_other_way_is_taken() {
    let mut stage = Stage::open(4, &[]).await;
    let proxy = Proxy::open(Some("site:secret")).await;
    let blocked = Blocked::new(&stage, "north", proxy.known()).await;
    let _joined = stage.join_by("north", blocked.link.clone()).await;
    let fallback = stage.server.fallback_addr().unwrap();
    assert_eq!(proxy.asked(), [format!("CONNECT {fallback} HTTP/1.1")]);

    let forgetful = Blocked {
        link: with_proxies(&blocked.link, proxy.known_as("site:wrong")),
        ..blocked
    };
    match Link::probe(&forgetful.link, Way::Tunnel).await {
        Err(error @ LinkError::Proxy { .. }) => {
            let words = error.to_string();
            assert!(
                words.contains("user name or password") && !words.contains("wrong"),
                "{words}"
            );
            assert!(error.again());
        }
        other => panic!("{other:?}"),
    }
}

/// It reads what travels in TLS, which is QUIC. Neither the site's identity nor the secrecy of its
/// messages depends on that TLS.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_looks_into_tls_is_passed_where_its_authority_is_trusted() {
    let mut stage = Stage::open(MODEL as u64, &[]).await;
    let proxy = Proxy::inspecting(&stage).await;
    let blocked = Blocked::new(&stage, "north", proxy.known()).await;
    match Link::probe(&blocked.link, Way::Tunnel).await {
        Err(error) => assert!(error.to_string().contains("certificate"), "{error}"),
        Ok(_) => panic!("a stranger's certificate was taken"),
    }
    let authority = stage.path("pki/north/ca.pem");
    let both = [&authority, &stage.path("proxy/coordinator/ca.pem")]
        .map(|path| std::fs::read_to_string(path).unwrap());
    std::fs::write(&authority, both.concat()).unwrap();
    let (link, mut events, _) = stage.join_by("north", blocked.link.clone()).await;
    stage
        .there_and_back("north", &link, &mut events, MODEL)
        .await;
}

fn with_proxies(link: &LinkConfig, proxies: Proxies) -> LinkConfig {
    let address = link.fallback.as_ref().unwrap().address.clone();
    LinkConfig {
        fallback: Some(Fallback { address, proxies }),
        ..link.clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_tells_the_ways_apart_and_whether_the_clocks_agree() {
    let mut stage = Stage::open(4, &[]).await;
    let blocked = Blocked::new(&stage, "north", no_proxy()).await;
    let (udp, tunnel) = tokio::join!(
        Link::probe(&blocked.link, Way::Udp),
        Link::probe(&blocked.link, Way::Tunnel)
    );
    assert!(matches!(udp, Err(LinkError::Unreachable { .. })), "{udp:?}");
    let tunnel = tunnel.unwrap();
    assert!(tunnel.ahead_s.is_some_and(|ahead| ahead.abs() <= 1));
    assert_eq!(tunnel.key_exchange.as_deref(), Some("X25519MLKEM768"));
    // Nothing but what a browser would find at this address: the wrong place, in words.
    let address = stage.address().to_string();
    let nowhere = LinkConfig {
        fallback: Some(Fallback {
            address,
            proxies: no_proxy(),
        }),
        ..stage.link("north")
    };
    assert!(Link::probe(&nowhere, Way::Udp).await.is_ok());
    match Link::probe(&nowhere, Way::Tunnel).await {
        Err(error @ LinkError::Tunnel { .. }) => {
            assert!(
                error.to_string().contains("no way through TLS at"),
                "{error}"
            )
        }
        other => panic!("{other:?}"),
    }
    assert!(stage.is_quiet());
}
