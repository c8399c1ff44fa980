//! Moves one model of 160 MB (40 million parameters) over loopback, file to file: through link and
//! server, and by a plain TCP copy without encryption or hashes. Both end with an fsync. `cargo
//! bench --bench transfer`

#![allow(clippy::unwrap_used, clippy::panic)]

use coordinator::certificates::{Request, issue};
use coordinator::server::{Inbound, Server, ServerConfig};
use protocol::case::Role;
use protocol::message::{
    CoordinatorMessage, Hello, PROTOCOL, RunId, TaskId, TaskKind, TransferHeader,
};
use protocol::parameters::ParametersId;
use site_agent::link::{Link, LinkConfig};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Instant;
use tokio::sync::mpsc;

const BYTES: usize = 160_000_000;
const REPEATS: usize = 5;

#[tokio::main]
async fn main() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model.f32");
    let content: Vec<u8> = (0..BYTES as u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    std::fs::write(&model, &content).unwrap();
    let parameters = ParametersId(*blake3::hash(&content).as_bytes());
    drop(content);
    let task = TaskId {
        run: RunId(0),
        round: 1,
        kind: TaskKind::Train,
        pass: 0,
    };
    let header = TransferHeader {
        parameters,
        bytes: BYTES as u64,
        task,
    };
    let mut pair = Pair::open(folder.path()).await;
    let (mut ours, mut plain) = (Vec::new(), Vec::new());
    // The first of each warms caches up; alternating spreads the machine's moods over both.
    for repeat in 0..=REPEATS {
        let times = (
            pair.transfer(header, &model).await,
            tcp(&model, &folder.path().join("copy")),
        );
        if repeat > 0 {
            ours.push(times.0);
            plain.push(times.1);
        }
    }
    let (ours, plain) = (median(&mut ours), median(&mut plain));
    let speed = |seconds: f64| BYTES as f64 / 1e6 / seconds;
    println!("link -> server   {ours:.3} s  {:.0} MB/s", speed(ours));
    println!("plain TCP copy   {plain:.3} s  {:.0} MB/s", speed(plain));
    println!("ratio            {:.2}", ours / plain);
}

struct Pair {
    // Kept open.
    _server: Server,
    events: mpsc::Receiver<Inbound>,
    link: Link,
    _inbox: mpsc::Receiver<site_agent::link::LinkEvent>,
}

impl Pair {
    async fn open(folder: &Path) -> Self {
        let pki = folder.join("pki");
        let names = vec!["127.0.0.1".to_owned()];
        issue(&Request {
            out: pki.clone(),
            coordinator_names: names,
            sites: vec!["north".into()],
            days: 1,
        })
        .unwrap();
        let (sender, mut events) = mpsc::channel(16);
        let config = ServerConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            fallback: None,
            certificates: pki.join("coordinator"),
            incoming: folder.join("incoming"),
            expected_bytes: BYTES as u64,
            expected_sites: Vec::new(),
        };
        let server = Server::bind(config, sender).await.unwrap();
        let link = LinkConfig {
            coordinator: server.local_addr().to_string(),
            fallback: None,
            certificates: pki.join("north"),
            incoming: folder.join("incoming-north"),
            models: folder.join("models-north"),
        };
        let hello = Hello {
            protocol: PROTOCOL,
            software: "bench".into(),
            role: Role::Train,
            sequences: vec!["flair".into()],
        };
        let joining = tokio::spawn(Link::connect(link, hello));
        events.recv().await.unwrap();
        server
            .send(
                &"north".parse().unwrap(),
                CoordinatorMessage::Finished {
                    summary: "welcome".into(),
                },
            )
            .unwrap();
        let (link, inbox) = joining.await.unwrap().unwrap();
        Self {
            _server: server,
            events,
            link,
            _inbox: inbox,
        }
    }

    async fn transfer(&mut self, header: TransferHeader, model: &Path) -> f64 {
        let start = Instant::now();
        self.link
            .send_parameters(header, model.into())
            .await
            .unwrap();
        let Some(Inbound::Parameters { file, .. }) = self.events.recv().await else {
            panic!("not taken")
        };
        let seconds = start.elapsed().as_secs_f64();
        std::fs::remove_file(file).unwrap();
        seconds
    }
}

fn tcp(model: &Path, copy: &Path) -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut from = std::fs::File::open(model).unwrap();
            let mut to = TcpStream::connect(address).unwrap();
            pump(&mut from, &mut to);
        });
        let (mut from, _) = listener.accept().unwrap();
        let mut to = std::fs::File::create(copy).unwrap();
        pump(&mut from, &mut to);
        to.sync_all().unwrap();
    });
    let seconds = start.elapsed().as_secs_f64();
    std::fs::remove_file(copy).unwrap();
    seconds
}

fn pump(from: &mut impl Read, to: &mut impl Write) {
    let mut buffer = vec![0; 1 << 20];
    loop {
        match from.read(&mut buffer).unwrap() {
            0 => return,
            read => to.write_all(&buffer[..read]).unwrap(),
        }
    }
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
