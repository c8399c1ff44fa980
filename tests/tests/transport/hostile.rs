//! Sites that break the rules, and strangers that know none.

use crate::intruder::{Intruder, chunk_hash, connect, tls};
use crate::stage::{Stage, header, hello, soon};
use coordinator::server::Inbound;
use protocol::codec::{CloseCode, encode};
use protocol::message::{ALPN, SiteMessage, TransferHeader};
use quinn::ConnectionError;
use site_agent::link::LinkError;
use std::net::UdpSocket;

/// The TLS alert that a handshake ended with.
async fn alert(stage: &Stage, tls: rustls::ClientConfig) -> u64 {
    let ended = match soon(connect(stage, tls)).await {
        Err(error) => error,
        Ok((_endpoint, connection)) => soon(connection.closed()).await,
    };
    match ended {
        ConnectionError::ConnectionClosed(close) => u64::from(close.error_code) - 0x100,
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_a_certificate_or_with_another_protocol_never_gets_in() {
    let mut stage = Stage::open(4, &[]).await;
    let certificate_required = 116;
    assert_eq!(
        alert(&stage, tls(&stage, None, ALPN)).await,
        certificate_required
    );
    let no_application_protocol = 120;
    assert_eq!(
        alert(&stage, tls(&stage, Some("north"), b"lacuna/0")).await,
        no_application_protocol
    );
    assert!(stage.is_quiet());
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_the_port_does_nothing() {
    let mut stage = Stage::open(4, &[]).await;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for length in [0usize, 1, 20, 100, 1200, 1400] {
        for fill in [0x00u8, 0x40, 0x80, 0xc0, 0xff] {
            let bytes: Vec<u8> = (0..length)
                .map(|i| fill ^ (i as u8).wrapping_mul(31))
                .collect();
            socket.send_to(&bytes, stage.address()).unwrap();
        }
    }
    assert!(stage.is_quiet());
    stage.join("north").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn first_words_that_are_no_greeting_end_the_connection() {
    let mut stage = Stage::open(4, &[]).await;
    let mut intruder = Intruder::silent(&stage, "north").await;
    intruder
        .say(&encode(&SiteMessage::Preparing { done: 1, total: 2 }).unwrap())
        .await;
    let (code, reason) = soon(intruder.farewell()).await;
    assert_eq!(
        (code, reason.as_str()),
        (CloseCode::Violation, "the first words are not a greeting")
    );
    assert!(stage.is_quiet());
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_are_too_long_or_mean_nothing_end_the_connection_and_say_why() {
    let hello_again = encode(&SiteMessage::Hello(hello())).unwrap();
    for (bytes, expected) in [
        (&u32::MAX.to_le_bytes()[..], "a frame of 4294967295 bytes"),
        (&[2, 0, 0, 0, 200, 1], "not a site message"),
        (&[4, 0, 0, 0, 3, 1, 2, 0], "1 bytes left over"),
        (&hello_again, "a second greeting"),
    ] {
        let mut stage = Stage::open(4, &[]).await;
        let mut intruder = Intruder::greeting(&stage, "north").await;
        assert!(matches!(stage.event().await, Inbound::Connected { .. }));
        intruder.say(bytes).await;
        let (code, reason) = soon(intruder.farewell()).await;
        assert_eq!(code, CloseCode::Violation);
        assert!(reason.contains(expected), "{reason}");
        let Inbound::Closed { reason, .. } = stage.event().await else {
            panic!("the connection is not closed: {expected}");
        };
        assert!(reason.contains(expected), "{reason}");
    }
}

/// What the application is told about a transfer that was not taken.
async fn refused(stage: &mut Stage) -> (TransferHeader, String) {
    match stage.event().await {
        Inbound::ParametersRefused {
            site,
            header,
            reason,
            ..
        } if site == "north" => (header, reason.to_string()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn transfers_that_are_not_what_they_say_leave_nothing_behind() {
    let content = [7u8; 100];
    let (good, hash) = (header(&content), chunk_hash(0, 100, &content));
    let mut stage = Stage::open(100, &[]).await;
    let intruder = Intruder::greeting(&stage, "north").await;
    assert!(matches!(stage.event().await, Inbound::Connected { .. }));
    let announced = encode(&good).unwrap();
    let other = encode(&header(&[8; 100])).unwrap();
    let wrong: [(&[&[u8]], &str); 5] = [
        (&[&announced, &[9; 100], &hash], "chunk 0 is corrupted"),
        (&[&announced, &content, &[0; 32]], "chunk 0 is corrupted"),
        (&[&other, &content, &hash], "the parameters are"),
        (&[&announced, &content, &hash, &[0]], "more bytes follow"),
        (&[&announced, &content[..50]], "the stream ended"),
    ];
    for (parts, expected) in wrong {
        let _answers = soon(intruder.pour(parts)).await;
        let (_, reason) = refused(&mut stage).await;
        assert!(reason.contains(expected), "{reason}");
        assert_eq!(stage.incoming(), 0, "{expected}");
    }
    let _answers = soon(intruder.pour(&[&announced, &content, &hash])).await;
    let Inbound::Parameters { arrived, .. } = stage.event().await else {
        panic!("the good parameters did not arrive");
    };
    assert_eq!(arrived.header(), good);
    assert_eq!(stage.incoming(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_length_than_the_models_is_refused_before_the_content() {
    let mut stage = Stage::open(100, &[]).await;
    let intruder = Intruder::greeting(&stage, "north").await;
    assert!(matches!(stage.event().await, Inbound::Connected { .. }));
    // Only the header is sent; the stream stays open, and the answer comes all the same.
    let announced = TransferHeader {
        bytes: u64::MAX,
        ..header(&[7; 100])
    };
    let (mut stream, _answers) = intruder.connection.open_bi().await.unwrap();
    stream
        .write_all(&encode(&announced).unwrap())
        .await
        .unwrap();
    let stopped = soon(stream.stopped()).await.unwrap().unwrap();
    assert_eq!(
        CloseCode::from_number(stopped.into_inner()),
        Some(CloseCode::Transfer)
    );
    let (found, reason) = refused(&mut stage).await;
    assert_eq!(found, announced);
    assert_eq!(
        reason,
        format!(
            "{} bytes of parameters announced where the model has 100",
            u64::MAX
        )
    );
    assert_eq!(stage.incoming(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_learns_that_its_parameters_were_refused_and_stays() {
    let mut stage = Stage::open(100, &[]).await;
    let (link, _events, _) = stage.join("north").await;
    let (long, file, _) = stage.parameters("long.f32", 3_000_000, 1);
    let sent = soon(link.send_parameters(long, file)).await;
    assert!(matches!(sent, Err(LinkError::Transfer { .. })), "{sent:?}");
    assert_eq!(refused(&mut stage).await.0, long);
    let (right, file, _) = stage.parameters("right.f32", 100, 1);
    soon(link.send_parameters(right, file)).await.unwrap();
    assert!(matches!(stage.event().await, Inbound::Parameters { .. }));
    // A file that is not what its header says is not even begun.
    let (_, short, _) = stage.parameters("short.f32", 99, 1);
    let sent = soon(link.send_parameters(right, short)).await;
    assert!(matches!(sent, Err(LinkError::Transfer { .. })), "{sent:?}");
}
