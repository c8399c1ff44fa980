//! Who is given a certificate, and whose certificate is no longer accepted.

use crate::intruder::{Intruder, connect, tls};
use crate::stage::{Stage, certify, hello, soon};
use coordinator::members::{Invited, MembersFile, now};
use coordinator::server::Inbound;
use protocol::case::Role;
use protocol::codec::{CloseCode, PREFIX, decode, encode, payload_length};
use protocol::enrol::{
    ALPN, EXPORTER, EnrolAnswer, EnrolRequest, Members, PublicKey, Secret, Token, binding,
};
use quinn::{Connection, ConnectionError};
use rustls::crypto::aws_lc_rs::kx_group::SECP256R1;
use site_agent::link::{self, Fallback, Link, LinkConfig, LinkError, LinkEvent, Proxies};
use std::net::UdpSocket;

/// Longer than the server takes to look at the record of members.
const LOOK: std::time::Duration = std::time::Duration::from_millis(600);

fn file(stage: &Stage) -> MembersFile {
    MembersFile::of_authority(&stage.path("pki"))
}

/// Invites a site, and waits until the server knows it.
async fn invite(stage: &Stage, site: &str, role: Role) -> Token {
    let Invited { invitation, secret } = file(stage).invite(site, role, now(), now() + 60).unwrap();
    tokio::time::sleep(LOOK).await;
    Token {
        coordinator: stage.address().to_string(),
        fallback: stage.server.fallback_addr().map(|address| address.port()),
        authority: authority(stage),
        invitation,
        secret,
    }
}

fn authority(stage: &Stage) -> protocol::enrol::KeyHash {
    coordinator::certificates::Authority::of(&stage.path("pki"))
        .unwrap()
        .key_hash()
}

fn revoke(stage: &Stage, site: &str) {
    let mut locked = file(stage).lock().unwrap();
    locked.members.revoke(site, now());
    locked.save().unwrap();
}

fn members(stage: &Stage) -> Members {
    file(stage).read().unwrap()
}

/// The link of a site whose folder is not that of `init`.
fn joined(stage: &Stage, folder: &str) -> LinkConfig {
    LinkConfig {
        certificates: stage.path(folder),
        ..stage.link(folder)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_gives_one_site_a_certificate_with_which_it_is_let_in() {
    let mut stage = Stage::open(4, &[]).await;
    let token = invite(&stage, "east", Role::Train).await;
    let joined_as = soon(link::join(&token, &stage.path("one"))).await.unwrap();
    assert_eq!(
        (joined_as.site.as_str(), joined_as.role),
        ("east", Some(Role::Train))
    );
    // The same folder again, as after a broken connection.
    soon(link::join(&token, &stage.path("one"))).await.unwrap();
    let refused = soon(link::join(&token, &stage.path("two")))
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("used before"), "{refused}");
    stage.join_by("east", joined(&stage, "one")).await;
    assert_eq!(
        std::fs::read_to_string(stage.path("one/ca.pem")).unwrap(),
        std::fs::read_to_string(stage.path("pki/ca.pem"))
            .unwrap()
            .replace("\r\n", "\n")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_joins_and_is_let_in_through_the_tunnel_where_udp_is_blocked() {
    let mut stage = Stage::open(4, &[]).await;
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut token = invite(&stage, "east", Role::Train).await;
    token.coordinator = silent.local_addr().unwrap().to_string();
    soon(link::join(&token, &stage.path("one"))).await.unwrap();
    let config = LinkConfig {
        coordinator: token.coordinator.clone(),
        fallback: Some(Fallback {
            address: token.fallback_address().unwrap(),
            proxies: Proxies::read(|_| None),
        }),
        ..joined(&stage, "one")
    };
    let (_link, mut events, _) = stage.join_by("east", config.clone()).await;
    revoke(&stage, "east");
    assert_revoked(soon(events.recv()).await);
    assert!(matches!(stage.event().await, Inbound::Closed { .. }));
    let refused = stage.refusal(config).await;
    assert!(refused.to_string().contains("it was revoked"), "{refused}");
}

fn assert_revoked(event: Option<LinkEvent>) {
    match event {
        Some(LinkEvent::Closed { reason, again }) => {
            assert!(reason.contains("revoked") && !again, "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_site_is_disconnected_at_once_and_others_are_not() {
    let mut stage = Stage::open(4, &[]).await;
    let (north, mut of_north, _) = stage.join("north").await;
    let (south, mut of_south, _) = stage.join("south").await;
    revoke(&stage, "north");
    assert_revoked(soon(of_north.recv()).await);
    match stage.event().await {
        Inbound::Closed { site, reason, .. } if site == "north" => {
            assert!(reason.contains("revoked"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    let refused = stage.refusal(stage.link("north")).await;
    assert!(refused.to_string().contains("it was revoked"), "{refused}");
    assert!(!refused.again());
    assert!(of_south.try_recv().is_err(), "south was told something");
    drop((north, south));
}

/// Two connections that come together race to be the one that is kept.
#[tokio::test(flavor = "multi_thread")]
async fn no_connection_of_a_revoked_site_stays_whatever_others_came_with_it() {
    let mut stage = Stage::open(4, &[]).await;
    let (one, other) = tokio::join!(
        Intruder::greeting(&stage, "north"),
        Intruder::greeting(&stage, "north")
    );
    assert!(matches!(stage.event().await, Inbound::Connected { .. }));
    revoke(&stage, "north");
    let mut reasons = Vec::new();
    for intruder in [one, other] {
        match soon(intruder.connection.closed()).await {
            ConnectionError::ApplicationClosed(close) => {
                reasons.push(String::from_utf8_lossy(&close.reason).into_owned());
            }
            ended => panic!("{ended}"),
        }
    }
    let is_revoked = |reason: &String| reason.contains("was revoked");
    assert!(reasons.iter().any(is_revoked), "{reasons:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_of_another_authority_is_told_nothing() {
    let stage = Stage::open(4, &[]).await;
    certify(&stage.path("other"), "127.0.0.1", &[]);
    let mut token = invite(&stage, "east", Role::Train).await;
    token.authority = coordinator::certificates::Authority::of(&stage.path("other"))
        .unwrap()
        .key_hash();
    let refused = soon(link::join(&token, &stage.path("one")))
        .await
        .unwrap_err();
    assert!(
        matches!(refused, LinkError::TheirCertificate { .. }),
        "{refused}"
    );
    let invitation = &members(&stage).invitations[0];
    assert_eq!((invitation.wrong, invitation.used.is_none()), (0, true));
    assert!(!stage.path("one/certificate.pem").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_shown_by_the_next_connection() {
    let mut stage = Stage::open(4, &[]).await;
    let token = invite(&stage, "east", Role::Evaluate).await;
    soon(link::join(&token, &stage.path("one"))).await.unwrap();
    let read = |name: &str| std::fs::read_to_string(stage.path("one").join(name)).unwrap();
    let before = (read("key.pem"), read("certificate.pem"));
    // Certificates end at a whole second, and only one that ends later is taken.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    soon(link::renew(&joined(&stage, "one"))).await.unwrap();
    assert_ne!(before, (read("key.pem"), read("certificate.pem")));
    assert_eq!(members(&stage).sites["east"].certificates.len(), 2);
    assert!(Link::check(&stage.path("one")).is_ok());
    // Its role is that of the invitation still.
    let refused = soon(Link::connect(joined(&stage, "one"), hello()))
        .await
        .err()
        .unwrap();
    assert!(
        refused
            .to_string()
            .contains("invited with the role evaluate"),
        "{refused}"
    );
    assert!(stage.is_quiet());
    revoke(&stage, "east");
    tokio::time::sleep(LOOK).await;
    let refused = soon(link::renew(&joined(&stage, "one"))).await.unwrap_err();
    assert!(refused.to_string().contains("revoked"), "{refused}");
}

/// A client that asks for certificates and knows what the site-agent knows.
struct Hostile {
    connection: Connection,
    _endpoint: quinn::Endpoint,
}

impl Hostile {
    async fn new(stage: &Stage, site: Option<&str>) -> Self {
        let (endpoint, connection) = soon(connect(stage, tls(stage, site, ALPN))).await.unwrap();
        Self {
            connection,
            _endpoint: endpoint,
        }
    }

    fn exported(&self) -> [u8; 32] {
        let mut exported = [0; 32];
        self.connection
            .export_keying_material(&mut exported, EXPORTER, b"")
            .unwrap();
        exported
    }

    /// The answer to bytes; `None` where the connection was ended instead.
    async fn ask(&self, bytes: &[u8]) -> Option<EnrolAnswer> {
        let (mut sending, mut receiving) = self.connection.open_bi().await.ok()?;
        sending.write_all(bytes).await.ok()?;
        sending.finish().ok();
        let mut prefix = [0; PREFIX];
        receiving.read_exact(&mut prefix).await.ok()?;
        let mut payload = vec![0; payload_length(prefix).unwrap()];
        receiving.read_exact(&mut payload).await.ok()?;
        Some(decode(&payload).unwrap())
    }
}

/// A new key, without its private half.
fn key() -> PublicKey {
    let exchange = SECP256R1.start().unwrap();
    PublicKey::try_from(exchange.pub_key().to_vec()).unwrap()
}

fn request(token: &Token, exported: &[u8; 32], public_key: PublicKey) -> Vec<u8> {
    let join = EnrolRequest::Join {
        invitation: token.invitation,
        secret: token.secret,
        binding: binding(&token.secret, exported, &public_key),
        public_key,
    };
    encode(&join).unwrap()
}

fn reason(answer: Option<EnrolAnswer>) -> String {
    match answer {
        Some(EnrolAnswer::Refused { reason }) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_client_gets_no_certificate_and_closes_the_invitation_that_it_guesses_at() {
    let mut stage = Stage::open(4, &[]).await;
    let token = invite(&stage, "east", Role::Train).await;
    // A request that was made for another session, and one for another key.
    let first = Hostile::new(&stage, None).await;
    let copied = request(&token, &first.exported(), key());
    let second = Hostile::new(&stage, None).await;
    let answer = reason(soon(second.ask(&copied)).await);
    assert!(
        answer.contains("does not belong to this connection"),
        "{answer}"
    );
    // Nothing that is not a request, not even an empty stream.
    for bytes in [&[][..], &[255; 4], &[1, 0, 0, 0, 9], &[0, 0, 0, 0]] {
        let client = Hostile::new(&stage, None).await;
        assert_eq!(soon(client.ask(bytes)).await, None);
        match soon(client.connection.closed()).await {
            ConnectionError::ApplicationClosed(close) => {
                let code = CloseCode::from_number(close.error_code.into_inner());
                assert_eq!(code, Some(CloseCode::Violation));
            }
            other => panic!("{other}"),
        }
    }
    // A renewal without a certificate.
    let renew = encode(&EnrolRequest::Renew { public_key: key() }).unwrap();
    let client = Hostile::new(&stage, None).await;
    let answer = reason(soon(client.ask(&renew)).await);
    assert!(answer.contains("no certificate was shown"), "{answer}");
    // Guesses, until the invitation is closed to everyone.
    let guess = Token {
        secret: Secret::new([0; 16]),
        ..token.clone()
    };
    for _ in 0..4 {
        let client = Hostile::new(&stage, None).await;
        let answer = reason(soon(client.ask(&request(&guess, &client.exported(), key()))).await);
        assert!(answer.contains("not of an open invitation"), "{answer}");
    }
    assert_eq!(members(&stage).invitations[0].wrong, 5);
    tokio::time::sleep(LOOK).await;
    let refused = soon(link::join(&token, &stage.path("one")))
        .await
        .unwrap_err();
    assert!(matches!(refused, LinkError::Refused { .. }), "{refused}");
    assert!(stage.is_quiet());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_cannot_make_the_coordinator_hold_more_than_a_little() {
    let stage = Stage::open(4, &[]).await;
    invite(&stage, "east", Role::Train).await;
    let client = Hostile::new(&stage, None).await;
    // The coordinator waits for a request on the first stream, and reads none of the second.
    let _first = client.connection.open_bi().await.unwrap();
    let (mut second, _answers) = client.connection.open_bi().await.unwrap();
    let chunk = [7; 16 << 10];
    let mut taken = 0;
    let silence = std::time::Duration::from_millis(500);
    while let Ok(written) = tokio::time::timeout(silence, second.write(&chunk)).await {
        taken += written.unwrap();
        assert!(taken <= 4 << 20, "it takes all");
    }
    assert_eq!(taken, transport::quic::STRANGERS_WINDOW as usize);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_may_ask_only_so_often() {
    let stage = Stage::open(4, &[]).await;
    let token = invite(&stage, "east", Role::Train).await;
    let renew = encode(&EnrolRequest::Renew { public_key: key() }).unwrap();
    for _ in 0..10 {
        let client = Hostile::new(&stage, None).await;
        reason(soon(client.ask(&renew)).await);
    }
    let client = Hostile::new(&stage, None).await;
    let answer = soon(client.ask(&request(&token, &client.exported(), key()))).await;
    assert!(reason(answer).contains("too many requests"));
    assert!(members(&stage).invitations[0].used.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_a_certificate_can_only_ask_for_one_and_only_while_an_invitation_is_open()
{
    let mut stage = Stage::open(4, &[]).await;
    let ended = |error: ConnectionError| match error {
        ConnectionError::ConnectionClosed(close) => u64::from(close.error_code) - 0x100,
        other => panic!("{other}"),
    };
    let certificate_required = 116;
    let closed = Hostile::new(&stage, None).await;
    assert_eq!(
        ended(soon(closed.connection.closed()).await),
        certificate_required
    );
    invite(&stage, "east", Role::Train).await;
    let tls = tls(&stage, None, protocol::message::ALPN);
    let (_endpoint, connection) = soon(connect(&stage, tls)).await.unwrap();
    match soon(connection.closed()).await {
        ConnectionError::ApplicationClosed(close) => {
            assert_eq!(close.reason, &b"no certificate was shown"[..]);
        }
        other => panic!("{other}"),
    }
    assert!(stage.is_quiet());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_cannot_have_the_certificate_of_another_renewed() {
    let mut stage = Stage::open(4, &[]).await;
    let client = Hostile::new(&stage, Some("north")).await;
    let renew = encode(&EnrolRequest::Renew { public_key: key() }).unwrap();
    match soon(client.ask(&renew)).await {
        // Whatever it asks for, it is given its own name.
        Some(EnrolAnswer::Granted(grant)) => assert_eq!(grant.site, "north"),
        other => panic!("{other:?}"),
    }
    let known = members(&stage);
    assert_eq!(known.sites.keys().collect::<Vec<_>>(), ["north"]);
    assert!(stage.is_quiet());
}
