//! Server and link talking over loopback.

use coordinator::certificates::{Request, issue};
use coordinator::server::{Inbound, Server, ServerConfig};
use shared::case::Role;
use shared::message::*;
use shared::parameters::ParametersId;
use site_agent::link::{Link, LinkConfig, LinkEvent};
use std::path::Path;
use tokio::sync::mpsc;

fn hello() -> Hello {
    Hello { protocol: PROTOCOL, software: "test".into(), role: Role::Train, sequences: vec!["t1".into()] }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn happy() {
    let dir = tempfile::tempdir().unwrap();
    let pki = dir.path().join("pki");
    issue(&Request {
        out: pki.clone(),
        coordinator_names: vec!["localhost".into(), "127.0.0.1".into()],
        sites: vec!["north".into()],
        days: 3,
    })
    .unwrap();
    let bytes: Vec<u8> = (0..5_000_000u32).map(|i| (i.wrapping_mul(2654435761) >> 24) as u8).collect();
    let file = dir.path().join("model.f32");
    std::fs::write(&file, &bytes).unwrap();
    let header = TransferHeader {
        parameters: ParametersId(*blake3::hash(&bytes).as_bytes()),
        bytes: bytes.len() as u64,
        task: TaskId { run: RunId(0), round: 1, kind: TaskKind::Train, pass: 0 },
    };
    let (tx, mut rx) = mpsc::channel(4);
    let server = Server::bind(
        ServerConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            certificates: pki.join("coordinator"),
            incoming: dir.path().join("in"),
            expected_bytes: bytes.len() as u64,
            expected_sites: vec![],
        },
        tx,
    )
    .await
    .unwrap();
    let at = server.local_addr();
    let join = tokio::spawn(async move {
        Link::connect(
            LinkConfig {
                coordinator: at.to_string(),
                certificates: pki.join("north"),
                incoming: dir.path().join("site-in"),
            },
            hello(),
        )
        .await
        .map(|x| (x, dir))
    });
    let c = rx.recv().await.unwrap();
    eprintln!("{c:?}");
    server.send("north", CoordinatorMessage::Finished { summary: "hi".into() }).unwrap();
    let ((link, mut events), dir) = join.await.unwrap().unwrap();
    eprintln!("{:?}", events.recv().await);
    link.expect(bytes.len() as u64);
    server.send_parameters("north", header, file.clone()).unwrap();
    let Some(LinkEvent::Parameters { file: got, .. }) = events.recv().await else { panic!() };
    assert_eq!(std::fs::read(&got).unwrap(), bytes);
    link.send_parameters(header, got).await.unwrap();
    let Some(Inbound::Parameters { file: got, .. }) = rx.recv().await else { panic!() };
    assert_eq!(std::fs::read(&got).unwrap(), bytes);
    drop(link);
    eprintln!("{:?}", rx.recv().await);
    server.shutdown().await;
    drop(dir);
    let _: &Path = Path::new("");
}
