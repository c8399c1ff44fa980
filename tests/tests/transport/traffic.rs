//! Good sites: messages and parameters arrive, connections replace one another.

use crate::intruder::Intruder;
use crate::stage::{Stage, TASK, site_name, soon};
use coordinator::server::{Inbound, SendError};
use protocol::codec::transfer::CHUNK;
use protocol::message::{CoordinatorMessage, SiteMessage, TransferAnswer};
use protocol::parameters::ParametersId;
use site_agent::link::{Link, LinkError, LinkEvent};
use std::time::Duration;

const MODEL: usize = 5_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn messages_arrive_in_order_both_ways() {
    let mut stage = Stage::open(4, &["north"]).await;
    let (link, mut events, connection) = stage.join("north").await;
    for cases in 0..200 {
        link.send(SiteMessage::Preparing {
            done: cases,
            total: 200,
        })
        .await
        .unwrap();
        let message = match stage.event().await {
            Inbound::Message {
                site,
                connection: number,
                message,
            } if site == "north" && number == connection => message,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            message,
            SiteMessage::Preparing {
                done: cases,
                total: 200
            }
        );
        let order = CoordinatorMessage::Train {
            task: TASK,
            model: ParametersId([cases as u8; 32]),
            steps: None,
        };
        stage
            .server
            .send(&site_name("north"), order.clone())
            .unwrap();
        assert_eq!(soon(events.recv()).await, Some(LinkEvent::Message(order)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_arrive_whole_both_ways() {
    let mut stage = Stage::open(MODEL as u64, &[]).await;
    let (link, mut events, _) = stage.join("north").await;
    stage
        .there_and_back("north", &link, &mut events, MODEL)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sites_send_at_once_into_files_of_their_own() {
    let mut stage = Stage::open(MODEL as u64, &[]).await;
    let (north, _north_events, _) = stage.join("north").await;
    let (south, _south_events, _) = stage.join("south").await;
    let (north_header, north_file, north_content) = stage.parameters("north.f32", MODEL, 1);
    let (south_header, south_file, south_content) = stage.parameters("south.f32", MODEL, 2);
    let (first, second) = tokio::join!(
        north.send_parameters(north_header, north_file),
        south.send_parameters(south_header, south_file),
    );
    first.and(second).unwrap();
    for _ in 0..2 {
        match stage.event().await {
            Inbound::Parameters { site, file, .. } => {
                let expected = if site == "north" {
                    &north_content
                } else {
                    &south_content
                };
                assert!(std::fs::read(file).unwrap() == *expected, "{site}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(stage.incoming(), 2);
}

/// The connection by which the next event, a message, came.
async fn connection_of_message(stage: &mut Stage) -> u64 {
    match stage.event().await {
        Inbound::Message { connection, .. } => connection,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_agent_of_a_site_is_refused_by_name_and_the_first_works_on() {
    let mut stage = Stage::open(4, &[]).await;
    let (first, _events, connection) = stage.join("north").await;
    let refusal = stage.refusal(stage.link("north")).await;
    let words = refusal.to_string();
    assert!(
        matches!(refusal, LinkError::Refused { .. }) && !refusal.again(),
        "{words}"
    );
    assert!(
        words.contains("north is connected already, from 127.0.0.1:"),
        "{words}"
    );
    assert!(
        words.contains("a second agent with the same certificate came from 127.0.0.1:"),
        "{words}"
    );
    assert!(stage.is_quiet(), "the first one is not disturbed");
    first
        .send(SiteMessage::Preparing { done: 1, total: 2 })
        .await
        .unwrap();
    assert_eq!(connection_of_message(&mut stage).await, connection);
    // A third, and again the first: being asked whether it is there costs it nothing.
    assert!(!stage.refusal(stage.link("north")).await.again());
    first
        .send(SiteMessage::Preparing { done: 2, total: 2 })
        .await
        .unwrap();
    assert_eq!(connection_of_message(&mut stage).await, connection);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_connection_of_a_site_takes_the_place_of_one_that_nothing_is_heard_of() {
    let mut stage = Stage::open(4, &[]).await;
    let link = stage.link("north");
    // An agent that is gone without a word, as after a power cut.
    let agent = std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let joined = runtime
            .block_on(Link::connect(link, crate::stage::hello()))
            .unwrap();
        runtime.shutdown_background();
        joined
    });
    let first = match stage.event().await {
        Inbound::Connected { connection, .. } => connection,
        other => panic!("{other:?}"),
    };
    stage
        .server
        .send(&site_name("north"), crate::stage::welcome("north"))
        .unwrap();
    let _gone = tokio::task::spawn_blocking(move || agent.join().unwrap())
        .await
        .unwrap();
    let joining = tokio::spawn(Link::connect(stage.link("north"), crate::stage::hello()));
    assert!(
        matches!(stage.event().await, Inbound::Closed { connection, .. } if connection == first)
    );
    let second = match stage.event().await {
        Inbound::Connected { connection, .. } => connection,
        other => panic!("{other:?}"),
    };
    assert!(second > first);
    stage
        .server
        .send(&site_name("north"), crate::stage::welcome("north"))
        .unwrap();
    let (link, _events) = soon(joining).await.unwrap().unwrap();
    link.send(SiteMessage::Preparing { done: 1, total: 2 })
        .await
        .unwrap();
    assert!(
        matches!(stage.event().await, Inbound::Message { connection, .. } if connection == second)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_queued_before_the_end_still_arrives() {
    let mut stage = Stage::open(4, &[]).await;
    let (_link, mut events, _) = stage.join("north").await;
    let last = CoordinatorMessage::Finished {
        summary: "three rounds".into(),
    };
    stage
        .server
        .send(&site_name("north"), last.clone())
        .unwrap();
    soon(stage.server.shutdown()).await;
    assert_eq!(soon(events.recv()).await, Some(LinkEvent::Message(last)));
    assert!(matches!(
        soon(events.recv()).await,
        Some(LinkEvent::Closed { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_leaves_is_missed_once_its_last_words_are_read() {
    let mut stage = Stage::open(4, &[]).await;
    let (link, _events, connection) = stage.join("north").await;
    link.send(SiteMessage::Evaluated {
        task: TASK,
        cases: 3,
    })
    .await
    .unwrap();
    drop(link);
    assert!(matches!(
        stage.event().await,
        Inbound::Message {
            message: SiteMessage::Evaluated { cases: 3, .. },
            ..
        }
    ));
    match stage.event().await {
        Inbound::Closed {
            connection: number,
            reason,
            ..
        } if number == connection => {
            assert_eq!(reason, "the site left")
        }
        other => panic!("{other:?}"),
    }
    let absent = stage.server.send(
        &site_name("north"),
        CoordinatorMessage::Finished {
            summary: String::new(),
        },
    );
    assert_eq!(absent, Err(SendError::Absent(site_name("north"))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_site_reads_why_and_one_that_is_sent_too_much_is_dropped() {
    let mut stage = Stage::open(4, &[]).await;
    let (link, mut events, _) = stage.join("north").await;
    stage
        .server
        .close(&site_name("north"), "no progress for ten minutes")
        .unwrap();
    match soon(events.recv()).await {
        Some(LinkEvent::Closed {
            reason,
            again: true,
        }) => assert_eq!(reason, "no progress for ten minutes"),
        other => panic!("{other:?}"),
    }
    assert!(matches!(stage.event().await, Inbound::Closed { .. }));
    let late = link
        .send(SiteMessage::Evaluated {
            task: TASK,
            cases: 3,
        })
        .await;
    assert!(matches!(late, Err(LinkError::Closed { .. })), "{late:?}");

    let (_link, _events, _) = stage.join("north").await;
    let message = CoordinatorMessage::Train {
        task: TASK,
        model: ParametersId([0; 32]),
        steps: None,
    };
    let flood = (0..10_000)
        .map(|_| stage.server.send(&site_name("north"), message.clone()))
        .find(Result::is_err);
    assert_eq!(flood, Some(Err(SendError::Overrun(site_name("north")))));
    match stage.event().await {
        Inbound::Closed { reason, .. } => assert!(reason.contains("does not read"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

/// What a broken connection brought is not sent again.
#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_goes_on_where_the_line_broke() {
    let mut stage = Stage::open(MODEL as u64, &[]).await;
    let (header, file, content) = stage.parameters("update.f32", MODEL, 1);
    let intruder = Intruder::greeting(&stage, "north").await;
    assert!(matches!(stage.event().await, Inbound::Connected { .. }));
    // Two chunks and a half, then the line is gone.
    soon(intruder.begin(&header, &content[..5 * CHUNK / 2])).await;
    let part = stage
        .path("incoming/north")
        .join(header.parameters.hex())
        .with_extension("part");
    soon(async {
        while std::fs::metadata(&part).map_or(0, |part| part.len()) < 2 * CHUNK as u64 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    drop(intruder);
    assert!(matches!(stage.event().await, Inbound::Closed { .. }));

    let intruder = Intruder::greeting(&stage, "north").await;
    assert!(matches!(stage.event().await, Inbound::Connected { .. }));
    let wanted = soon(intruder.offer(&header)).await;
    assert_eq!(
        wanted,
        TransferAnswer::Wanted {
            from: 2 * CHUNK as u64
        }
    );
    drop(intruder);
    assert!(matches!(stage.event().await, Inbound::Closed { .. }));

    let (link, _events, _) = stage.join("north").await;
    soon(link.send_parameters(header, file)).await.unwrap();
    match stage.event().await {
        Inbound::Parameters { file, .. } => assert!(std::fs::read(file).unwrap() == content),
        other => panic!("{other:?}"),
    }
    assert_eq!(stage.incoming(), 1, "nothing is left of the part");
}

/// The part was changed on the disk: the end shows it, it is forgotten, and the next try brings
/// everything.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_part_ends_the_connection_and_is_forgotten() {
    let mut stage = Stage::open(MODEL as u64, &[]).await;
    let (header, file, content) = stage.parameters("update.f32", MODEL, 1);
    let folder = stage.path("incoming/north");
    std::fs::create_dir_all(&folder).unwrap();
    let mut damaged = content[..3 * CHUNK].to_vec();
    damaged[CHUNK] ^= 1;
    std::fs::write(
        folder.join(header.parameters.hex()).with_extension("part"),
        damaged,
    )
    .unwrap();
    std::fs::write(folder.join("other.part"), b"of another model").unwrap();
    let (link, _events, _) = stage.join("north").await;
    let sent = soon(link.send_parameters(header, file.clone())).await;
    assert!(matches!(sent, Err(LinkError::Closed { .. })), "{sent:?}");
    match stage.event().await {
        Inbound::Closed { reason, .. } => {
            assert!(reason.contains("starts from the beginning"), "{reason}")
        }
        other => panic!("{other:?}"),
    }
    let (link, _events, _) = stage.join("north").await;
    soon(link.send_parameters(header, file)).await.unwrap();
    assert!(matches!(stage.event().await, Inbound::Parameters { .. }));
    assert_eq!(stage.incoming(), 1);
}

/// A model that the site has already does not travel; one that changed on its disk does.
#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_the_site_has_is_not_sent_again() {
    let mut stage = Stage::open(MODEL as u64, &[]).await;
    let (header, file, content) = stage.parameters("model.f32", MODEL, 1);
    let known = stage
        .link("north")
        .models
        .join(header.parameters.hex())
        .with_extension("f32");
    std::fs::create_dir_all(known.parent().unwrap()).unwrap();
    for (have, travels) in [
        (content.clone(), false),
        (vec![0; MODEL], true),
        (vec![0; 3], true),
    ] {
        std::fs::write(&known, have).unwrap();
        let (link, mut events, _) = stage.join("north").await;
        link.set_model_bytes(MODEL as u64);
        stage
            .server
            .send_parameters(&site_name("north"), header, file.clone())
            .unwrap();
        let received = match soon(events.recv()).await {
            Some(LinkEvent::Parameters { file, .. }) => file,
            other => panic!("{other:?}"),
        };
        assert!(std::fs::read(&received).unwrap() == content);
        let same = |path: &std::path::Path| {
            std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap())
        };
        assert_eq!(same(&received) != same(&known), travels);
        drop(link);
        assert!(matches!(stage.event().await, Inbound::Closed { .. }));
    }
}

/// A disk that fails under a transfer refuses no site's update.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_is_not_the_sites_fault() {
    let mut stage = Stage::open(MODEL as u64, &[]).await;
    let (header, file, _) = stage.parameters("update.f32", MODEL, 1);
    // A file is where the site's folder should be.
    std::fs::write(stage.path("incoming/north"), b"").unwrap();
    let (link, _events, _) = stage.join("north").await;
    assert!(soon(link.send_parameters(header, file)).await.is_err());
    assert!(matches!(stage.event().await, Inbound::DiskFailed { .. }));
    assert!(matches!(stage.event().await, Inbound::Closed { .. }));
}

/// The writer of a connection that ended may still be at the disk when the site is back.
#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_waits_for_the_writer_before_it() {
    let mut stage = Stage::open(MODEL as u64, &[]).await;
    let (header, file, content) = stage.parameters("update.f32", MODEL, 1);
    std::fs::create_dir_all(stage.path("incoming/north")).unwrap();
    let turn = std::fs::File::create(stage.path("incoming/north/.turn")).unwrap();
    turn.lock().unwrap();
    let (link, _events, _) = stage.join("north").await;
    let sending = tokio::spawn(async move { link.send_parameters(header, file).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!sending.is_finished() && stage.is_quiet());
    drop(turn);
    soon(sending).await.unwrap().unwrap();
    match stage.event().await {
        Inbound::Parameters { file, .. } => assert!(std::fs::read(file).unwrap() == content),
        other => panic!("{other:?}"),
    }
}

/// Sites that send everything and are gone at once, again and again.
#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_was_told_of_does_not_pile_up() {
    let mut stage = Stage::open(CHUNK as u64, &[]).await;
    let (header, _, content) = stage.parameters("update.f32", CHUNK, 1);
    let mut told = 0;
    for _ in 0..10 {
        let intruder = Intruder::greeting(&stage, "north").await;
        soon(intruder.begin(&header, &content)).await;
        drop(intruder);
        loop {
            match stage.event().await {
                Inbound::Connected { .. } => {}
                Inbound::Parameters { .. } => told += 1,
                Inbound::Closed { .. } => break,
                other => panic!("{other:?}"),
            }
        }
    }
    // One part may wait for the rest.
    assert!(
        stage.incoming() <= told + 1,
        "{} files, {told} told",
        stage.incoming()
    );
}
