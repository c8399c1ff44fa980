//! The status, and the page over a real socket.

mod browser;
mod metrics;
mod state;
mod web;

use super::command::{Action, Command, Done, Refusal};
use super::history;
use super::settings::{Page, bind};
use super::state::Status;
use super::web::Web;
use crate::address::OptionalAddress;
use crate::store::Store;
use ::metrics::sequence::SequenceSet;
use protocol::case::Role;
use protocol::coordinator::{Checkpoint, Totals};
use protocol::identity::SiteName;
use protocol::message::{Inventory, Progress, RunId, TaskId, TaskKind};
use protocol::notification::Notification;
use protocol::outcome::{RoundRecord, RunKind, UpdateRecord};
use protocol::settings::Federation;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, watch};

fn federation() -> Federation {
    let text = "name = 'metastases'\nrounds = 6\n[input]\nsequences = ['bravo', 'flair']\n\
        [sites]\nexpected = ['north', 'south', 'harbour']\n";
    Federation::from_toml(text).unwrap()
}

fn inventory() -> Inventory {
    Inventory {
        sequences: SequenceSet::EMPTY.with(1),
        training_cases: 4,
        validation_cases: 2,
        held_out_cases: 0,
        skipped_cases: 1,
        training_slices: 90,
        training_lesions: 5,
        validation_lesions: 2,
        held_out_lesions: 0,
    }
}

/// The checkpoint after so many rounds: the last one's record alone.
fn checkpoint(rounds: u32) -> Checkpoint {
    let text = r#"{"sites":[],"runs":[{"outcome":{"name":"federation","members":[],"rounds":[],"best_round":0,
        "threshold":null,"threshold_pooled":null,"threshold_dice":null,"scores":[]},
        "finished":0,"before":{"seconds":0,"bytes":0,"validation":null},"speeds":{},"model":null,"validated":false,"best":null,"done":false}]}"#;
    let mut checkpoint: Checkpoint = serde_json::from_str(text).unwrap();
    checkpoint.runs[0].outcome.rounds = vec![record(rounds)];
    checkpoint.runs[0].finished = rounds;
    checkpoint.runs[0].before = (1..rounds).fold(Totals::default(), |before, round| {
        before.and(&record(round))
    });
    checkpoint
}

/// What a round did: better and better.
fn record(round: u32) -> RoundRecord {
    let update = |site: &str, round: u32, factor: f32| UpdateRecord {
        site: site.parse().unwrap(),
        slices: 90,
        mean_loss: factor / round as f32,
        last_loss: 0.1,
        seconds: 1.0,
        steps: 8,
        asked_steps: 8,
        staleness: 0,
        compute: protocol::settings::Compute::F32,
    };
    RoundRecord {
        round,
        updates: vec![update("north", round, 1.0), update("south", round, 0.75)],
        missing: vec![("harbour".parse().unwrap(), "no progress for 600 s".into())],
        validation: Some(0.4 - 0.3 / f64::from(round)),
        validation_by_site: vec![
            ("north".parse().unwrap(), Some(0.5 - 0.3 / f64::from(round))),
            ("south".parse().unwrap(), None),
        ],
        held_out: None,
        seconds: 12.5,
        bytes: 4_000_000,
    }
}

fn progress(kind: TaskKind, done: u32) -> Progress {
    let task = TaskId {
        run: RunId(0),
        round: 3,
        kind,
        pass: 0,
    };
    Progress {
        task,
        done,
        total: 8,
        loss: Some(0.25),
        slices_per_second: 88.4,
    }
}

/// Two rounds are done, the third is trained; one site is not here, another failed before.
fn busy() -> Status {
    let mut status = Status::new(&federation(), 1000.0);
    let site: SiteName = "north".parse().unwrap();
    status.set_tunnelled(&site, true);
    status.set_key_exchange(&site, Some("X25519MLKEM768".into()));
    status.apply(
        &Notification::Joined {
            site: site.clone(),
            role: Role::Train,
        },
        1001.0,
    );
    status.apply(
        &Notification::Ready {
            site: site.clone(),
            inventory: inventory(),
        },
        1002.0,
    );
    status.apply(
        &Notification::Failed {
            site: "south".parse().unwrap(),
            reason: "the <b>loss</b> is not a number".into(),
        },
        1003.0,
    );
    status.apply_checkpoint(&checkpoint(2));
    let sites = vec![site.clone(), "south".parse().unwrap()];
    status.apply(
        &Notification::RoundStarted {
            run: RunId(0),
            name: RunKind::Federation,
            round: 3,
            rounds: 6,
            sites,
        },
        1004.0,
    );
    status.apply(
        &Notification::Progress {
            site,
            progress: progress(TaskKind::Train, 3),
        },
        1006.0,
    );
    status.now = 1010.0;
    status
}

/// A run folder with the records of rounds 1 and 2, as the coordinator leaves it.
fn run_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(folder.path(), &federation(), false).unwrap();
    [1, 2]
        .iter()
        .for_each(|&round| store.record(&RunKind::Federation, &record(round)).unwrap());
    folder
}

/// A page whose commands only the test receives.
struct Stage {
    folder: tempfile::TempDir,
    address: SocketAddr,
    status: watch::Sender<Status>,
    commands: mpsc::Receiver<Command>,
    web: Web,
}

impl Stage {
    /// A page at a free port; `far` treats it as one that others can reach.
    fn open(far: bool) -> Self {
        let folder = run_folder();
        let ip = if far { "0.0.0.0:0" } else { "127.0.0.1:0" };
        let page: Page = bind(Some(OptionalAddress::At(ip.parse().unwrap())), None)
            .unwrap()
            .unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], page.address.port()));
        let (status, looked_at) = watch::channel(busy());
        let (sender, commands) = mpsc::channel(1);
        let web = Web::open(page, folder.path(), looked_at, sender).unwrap();
        Self {
            folder,
            address,
            status,
            commands,
            web,
        }
    }

    fn token(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("status-token"))
            .unwrap()
            .trim_end()
            .to_owned()
    }

    /// Asks with these header lines besides the end; gives the whole answer.
    async fn ask(&self, request: &str, headers: &[&str]) -> String {
        let mut stream = tokio::net::TcpStream::connect(self.address).await.unwrap();
        let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
        let request = format!("{request} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}
