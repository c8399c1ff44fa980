//! Good sites: messages and parameters arrive, connections replace one another.

use crate::stage::{Stage, TASK, soon};
use coordinator::server::{Inbound, SendError};
use shared::message::{CoordinatorMessage, SiteMessage};
use shared::parameters::ParametersId;
use site_agent::link::{Link, LinkError, LinkEvent};

const MODEL: usize = 5_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn messages_arrive_in_order_both_ways() {
    let mut stage = Stage::open(4, &["north"]).await;
    let (link, mut events, connection) = stage.join("north").await;
    for cases in 0..200 {
        link.send(SiteMessage::Preparing { done: cases, total: 200 }).await.unwrap();
        let message = match stage.event().await {
            Inbound::Message { site, connection: number, message } if site == "north" && number == connection => {
                message
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(message, SiteMessage::Preparing { done: cases, total: 200 });
        let order = CoordinatorMessage::Train { task: TASK, model: ParametersId([cases as u8; 32]) };
        stage.server.send("north", order.clone()).unwrap();
        assert_eq!(soon(events.recv()).await, Some(LinkEvent::Message(order)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_arrive_whole_both_ways() {
    let mut stage = Stage::open(MODEL as u64, &[]).await;
    let (link, mut events, _) = stage.join("north").await;
    let (header, file, content) = stage.parameters("model.f32", MODEL, 1);
    // Sent before the site knows what to expect: it waits.
    stage.server.send_parameters("north", header, file).unwrap();
    link.expect(MODEL as u64);
    let received = match soon(events.recv()).await {
        Some(LinkEvent::Parameters { header: found, file }) if found == header => file,
        other => panic!("{other:?}"),
    };
    assert!(std::fs::read(&received).unwrap() == content);
    link.send_parameters(header, received).await.unwrap();
    match stage.event().await {
        Inbound::Parameters { site, header: found, file, .. } if site == "north" && found == header => {
            assert!(std::fs::read(file).unwrap() == content);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sites_send_at_once_into_files_of_their_own() {
    let mut stage = Stage::open(MODEL as u64, &[]).await;
    let (north, _north_events, _) = stage.join("north").await;
    let (south, _south_events, _) = stage.join("south").await;
    let (north_header, north_file, north_content) = stage.parameters("north.f32", MODEL, 1);
    let (south_header, south_file, south_content) = stage.parameters("south.f32", MODEL, 2);
    let (first, second) =
        tokio::join!(north.send_parameters(north_header, north_file), south.send_parameters(south_header, south_file),);
    first.and(second).unwrap();
    for _ in 0..2 {
        match stage.event().await {
            Inbound::Parameters { site, file, .. } => {
                let expected = if site == "north" { &north_content } else { &south_content };
                assert!(std::fs::read(file).unwrap() == *expected, "{site}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(stage.incoming(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_connection_of_a_site_takes_the_old_ones_place() {
    let mut stage = Stage::open(4, &[]).await;
    let (_old, mut old_events, first) = stage.join("north").await;
    let joining = tokio::spawn(Link::connect(stage.link("north"), crate::stage::hello()));
    assert!(matches!(stage.event().await, Inbound::Closed { connection, .. } if connection == first));
    let second = match stage.event().await {
        Inbound::Connected { connection, .. } => connection,
        other => panic!("{other:?}"),
    };
    assert!(second > first);
    // The site that lost its place must not fight for it.
    match soon(old_events.recv()).await {
        Some(LinkEvent::Closed { reason, again: false }) => assert!(reason.contains("newer"), "{reason}"),
        other => panic!("{other:?}"),
    }
    stage.server.send("north", crate::stage::welcome("north")).unwrap();
    let (link, _events) = soon(joining).await.unwrap().unwrap();
    link.send(SiteMessage::Preparing { done: 1, total: 2 }).await.unwrap();
    assert!(matches!(stage.event().await, Inbound::Message { connection, .. } if connection == second));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_queued_before_the_end_still_arrives() {
    let mut stage = Stage::open(4, &[]).await;
    let (_link, mut events, _) = stage.join("north").await;
    let last = CoordinatorMessage::Finished { summary: "three rounds".into() };
    stage.server.send("north", last.clone()).unwrap();
    soon(stage.server.shutdown()).await;
    assert_eq!(soon(events.recv()).await, Some(LinkEvent::Message(last)));
    assert!(matches!(soon(events.recv()).await, Some(LinkEvent::Closed { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_leaves_is_missed_once_its_last_words_are_read() {
    let mut stage = Stage::open(4, &[]).await;
    let (link, _events, connection) = stage.join("north").await;
    link.send(SiteMessage::Evaluated { task: TASK, cases: 3 }).await.unwrap();
    drop(link);
    assert!(matches!(stage.event().await, Inbound::Message { message: SiteMessage::Evaluated { cases: 3, .. }, .. }));
    match stage.event().await {
        Inbound::Closed { connection: number, reason, .. } if number == connection => {
            assert_eq!(reason, "the site left")
        }
        other => panic!("{other:?}"),
    }
    let absent = stage.server.send("north", CoordinatorMessage::Finished { summary: String::new() });
    assert_eq!(absent, Err(SendError::Absent("north".into())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_site_reads_why_and_one_that_is_sent_too_much_is_dropped() {
    let mut stage = Stage::open(4, &[]).await;
    let (link, mut events, _) = stage.join("north").await;
    stage.server.close("north", "no progress for ten minutes").unwrap();
    match soon(events.recv()).await {
        Some(LinkEvent::Closed { reason, again: true }) => assert_eq!(reason, "no progress for ten minutes"),
        other => panic!("{other:?}"),
    }
    assert!(matches!(stage.event().await, Inbound::Closed { .. }));
    let late = link.send(SiteMessage::Evaluated { task: TASK, cases: 3 }).await;
    assert!(matches!(late, Err(LinkError::Closed { .. })), "{late:?}");

    let (_link, _events, _) = stage.join("north").await;
    let message = CoordinatorMessage::Train { task: TASK, model: ParametersId([0; 32]) };
    let flood = (0..10_000).map(|_| stage.server.send("north", message.clone())).find(Result::is_err);
    assert_eq!(flood, Some(Err(SendError::Overrun("north".into()))));
    match stage.event().await {
        Inbound::Closed { reason, .. } => assert!(reason.contains("does not read"), "{reason}"),
        other => panic!("{other:?}"),
    }
}
