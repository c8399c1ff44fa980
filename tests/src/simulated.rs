//! Sites without data: a real link and a real state machine each, which answer at once instead of
//! training.

use crate::pool::Pool;
use crate::program::Program;
use coordinator::certificates::{Request, issue};
use metrics::score::{AtThreshold, CaseScore, LesionCounts, ScoreHistogram, SweepPoint};
use metrics::sequence::SequenceSet;
use protocol::architecture::{initial, manifest};
use protocol::case::Role;
use protocol::message::{
    CoordinatorMessage, EvaluationRequest, Hello, Inventory, PROTOCOL, TaskId, TaskKind, Trained,
};
use protocol::parameters::{ParametersId, from_bytes, to_bytes};
use protocol::settings::Federation;
use protocol::site::{Effect, Event, StateMachine, Work};
use site_agent::link::{Link, LinkConfig, LinkError, LinkEvent};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, spawn_blocking};

/// The sequences of every simulated federation.
const SEQUENCES: [&str; 4] = ["bravo", "t1_pre", "t1_post", "flair"];
/// Between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(50);
/// A model is changed in blocks of so many bytes.
const BLOCK: usize = 1 << 20;

/// What a site answers a training with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The model with small numbers added that follow from site and round.
    Shifted,
    /// What was computed and hashed before the first round: nothing is left to do but to send it.
    Prepared,
}

/// How a federation of simulated sites is set up.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Everything of the federation is here.
    pub folder: PathBuf,
    /// The sites' names.
    pub names: Vec<String>,
    /// Where the coordinator listens.
    pub address: SocketAddr,
}

impl Setup {
    /// Writes certificates and `coordinator.toml`, with a run folder `run`, into a folder. `model`
    /// is the `[model]` table's content.
    ///
    /// # Panics
    /// When the folder cannot be written.
    #[must_use]
    pub fn prepare(folder: &Path, sites: usize, rounds: u32, model: &str) -> Self {
        let names: Vec<String> = (1..=sites)
            .map(|number| format!("site-{number:03}"))
            .collect();
        let address = free_address();
        let (out, coordinator_names) = (folder.join("pki"), vec![address.ip().to_string()]);
        issue(&Request {
            out,
            coordinator_names,
            sites: names.clone(),
            days: 2,
        })
        .unwrap();
        let settings = format!(
            "\
name = 'simulated'
seed = 3
rounds = {rounds}
[input]
sequences = {SEQUENCES:?}
[model]
{model}
[evaluation]
subsets = false
[sites]
expected = {names:?}
minimum = {sites}
[serve]
listen = '{address}'
certificates = 'pki/coordinator'
run_folder = 'run'
status = 'off'
"
        );
        std::fs::write(folder.join("coordinator.toml"), settings).unwrap();
        Self {
            folder: folder.into(),
            names,
            address,
        }
    }

    fn settings(&self) -> String {
        std::fs::read_to_string(self.folder.join("coordinator.toml")).unwrap()
    }

    /// Waits until the coordinator listens, or has ended: a first packet that comes too early is
    /// repeated after a second.
    ///
    /// # Panics
    /// When it does neither within a minute.
    pub fn until_heard(&self, coordinator: &mut Program) {
        let SocketAddr::V4(address) = self.address else {
            return;
        };
        let line = format!(
            " {:08X}:{:04X} ",
            u32::from_le_bytes(address.ip().octets()),
            address.port()
        );
        let began = Instant::now();
        while coordinator.ended().is_none()
            && !std::fs::read_to_string("/proc/net/udp")
                .unwrap()
                .contains(&line)
        {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "the status page does not listen\n{}",
                coordinator.words()
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Where a round's model is.
    #[must_use]
    pub fn model(&self, round: u32) -> PathBuf {
        self.folder
            .join(format!("run/federation/round-{round:04}/global.f32"))
    }
}

/// An address of this machine that stays free while a coordinator is away: a port that the system
/// gives to no program that asks for one, at an address that no other process of ours uses.
fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(10_000);
    let [high, low] = (std::process::id() as u16).to_be_bytes();
    let candidates = std::iter::repeat_with(|| NEXT.fetch_add(1, Ordering::Relaxed));
    let mut addresses = candidates.map(|port| SocketAddr::from(([127, high, low, 1], port)));
    addresses
        .find(|address| UdpSocket::bind(address).is_ok())
        .unwrap()
}

/// Running sites. Dropped, they are gone without a word.
#[derive(Debug)]
pub struct Sites {
    runtime: Option<Runtime>,
    running: Option<JoinSet<Result<(), LinkError>>>,
    hang_up: watch::Sender<u32>,
}

impl Sites {
    /// Starts all sites of a federation, each with `validation_cases` to score.
    ///
    /// # Panics
    /// When the folder cannot be written, or there are no threads.
    #[must_use]
    pub fn start(setup: &Setup, answer: Answer, validation_cases: u32) -> Self {
        let runtime = Runtime::new().unwrap();
        let pool = Arc::new(Pool::open(&setup.folder.join("models")).unwrap());
        let prepared = if answer == Answer::Prepared {
            prepare(setup, &pool)
        } else {
            Vec::new()
        };
        let (hang_up, heard) = watch::channel(0);
        let mut running = JoinSet::new();
        for (number, name) in setup.names.iter().enumerate() {
            let link = LinkConfig {
                coordinator: setup.address.to_string(),
                certificates: setup.folder.join("pki").join(name),
                fallback: None,
                incoming: setup.folder.join("incoming").join(name),
                // Sites share their models' folder, and must not save each other a transfer.
                models: setup.folder.join("no-models"),
            };
            let (name, pool, machine, held) = (name.clone(), pool.clone(), None, BTreeSet::new());
            let prepared = prepared.get(number % 2).cloned().unwrap_or_default();
            let site = Site {
                name,
                link,
                pool,
                held,
                prepared,
                validation_cases,
                machine,
                batch: 0,
                model_bytes: 0,
            };
            running.spawn_on(site.run(heard.clone()), runtime.handle());
        }
        Self {
            runtime: Some(runtime),
            running: Some(running),
            hang_up,
        }
    }

    /// Every site gives its connection up and makes another one: what they would do by themselves
    /// after 30 seconds of silence.
    pub fn connect_again(&self) {
        self.hang_up.send_modify(|times| *times += 1);
    }

    /// Waits until the federation is finished for every site.
    ///
    /// # Panics
    /// When a site was refused, or did not come to an end in ten minutes.
    pub fn end(mut self) {
        let (Some(runtime), Some(running)) = (&self.runtime, self.running.take()) else {
            return;
        };
        let all =
            async { tokio::time::timeout(Duration::from_secs(600), running.join_all()).await };
        let ends = runtime
            .block_on(all)
            .expect("the sites did not come to an end");
        ends.into_iter().for_each(|end| end.unwrap());
    }
}

impl Drop for Sites {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct Site {
    name: String,
    link: LinkConfig,
    pool: Arc<Pool>,
    held: BTreeSet<ParametersId>,
    /// What it answers with, in turns; without any it computes its answers.
    prepared: Vec<ParametersId>,
    validation_cases: u32,
    machine: Option<StateMachine>,
    /// As the settings say.
    batch: usize,
    model_bytes: u64,
}

impl Site {
    async fn run(mut self, mut hang_up: watch::Receiver<u32>) -> Result<(), LinkError> {
        loop {
            let sequences = SEQUENCES.map(Into::into).to_vec();
            let hello = Hello {
                protocol: PROTOCOL,
                software: "simulated".into(),
                role: Role::Train,
                sequences,
            };
            hang_up.mark_unchanged();
            let connected = tokio::select! {
                connected = Link::connect(self.link.clone(), hello) => connected,
                Ok(()) = hang_up.changed() => continue,
            };
            match connected {
                Ok((link, events)) => {
                    if self.attend(&link, events, &mut hang_up).await? {
                        return Ok(());
                    }
                }
                Err(error) if error.again() => tokio::time::sleep(PAUSE).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the federation is finished; if not, another connection is needed.
    async fn attend(
        &mut self,
        link: &Link,
        mut events: mpsc::Receiver<LinkEvent>,
        hang_up: &mut watch::Receiver<u32>,
    ) -> Result<bool, LinkError> {
        loop {
            let event = tokio::select! {
                event = events.recv() => event,
                Ok(()) = hang_up.changed() => None,
            };
            let told = match event {
                Some(LinkEvent::Message(message)) => {
                    if let CoordinatorMessage::Welcome { federation, .. } = &message {
                        self.welcome(link, federation);
                    }
                    Event::Message(message)
                }
                Some(LinkEvent::Parameters { header, file }) => {
                    self.adopt(header.parameters, &file);
                    Event::Received(header)
                }
                Some(LinkEvent::Unstored { file, reason }) => {
                    panic!("{}: {reason}", file.display())
                }
                Some(LinkEvent::Closed {
                    reason,
                    again: false,
                }) => return Err(LinkError::Closed { reason }),
                Some(LinkEvent::Closed { .. }) | None => {
                    self.machine
                        .as_mut()
                        .map(|machine| machine.handle(Event::Disconnected));
                    return Ok(false);
                }
            };
            if self.handle(link, told).await? {
                return Ok(true);
            }
        }
    }

    fn welcome(&mut self, link: &Link, federation: &Federation) {
        self.model_bytes = manifest(&federation.model, &federation.input).bytes();
        self.batch = federation.training.batch;
        link.set_model_bytes(self.model_bytes);
        if self.machine.is_none() {
            let mut machine = StateMachine::new(self.model_bytes);
            // Not welcomed yet, so this is said with the welcome.
            machine.handle(Event::Prepared(self.inventory()));
            self.machine = Some(machine);
        }
    }

    fn inventory(&self) -> Inventory {
        Inventory {
            sequences: SequenceSet::full(SEQUENCES.len()),
            training_cases: 8,
            validation_cases: self.validation_cases,
            held_out_cases: 0,
            skipped_cases: 0,
            training_slices: 800,
            training_lesions: 8,
            validation_lesions: 0,
            held_out_lesions: 0,
        }
    }

    async fn handle(&mut self, link: &Link, event: Event) -> Result<bool, LinkError> {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let effects = self
                .machine
                .as_mut()
                .map(|machine| machine.handle(event))
                .unwrap_or_default();
            for effect in effects {
                match effect {
                    // A broken link says so by itself.
                    Effect::Send(message) => drop(link.send(message).await),
                    Effect::SendParameters(header) => {
                        let (link, file) = (link.clone(), self.pool.path(header.parameters));
                        tokio::spawn(async move { link.send_parameters(header, file).await });
                    }
                    Effect::Start(work) => {
                        let mut done = self.work(work).await;
                        done.reverse();
                        events.extend(done);
                    }
                    Effect::Forget(id) => {
                        self.held.remove(&id);
                        self.pool.forget(id);
                    }
                    Effect::Persist(_)
                    | Effect::Cancel
                    | Effect::Conclude
                    | Effect::NotCounted { .. } => {}
                    Effect::Leave { .. } => return Ok(true),
                    Effect::Refused { reason } => return Err(LinkError::Refused { reason }),
                }
            }
        }
        Ok(false)
    }

    fn adopt(&mut self, id: ParametersId, file: &Path) {
        if self.held.insert(id) {
            self.pool.adopt(id, file).unwrap();
        } else {
            std::fs::remove_file(file).unwrap();
        }
    }

    /// What the machine hears of a task, in order.
    async fn work(&mut self, work: Work) -> Vec<Event> {
        let task = work.task;
        match (work.task.kind, work.models.first()) {
            (TaskKind::Train, Some(&model)) => {
                let parameters = self.train(task, model).await;
                vec![Event::Trained(trained(task, parameters, self.batch))]
            }
            _ => {
                let scores = (0..self.validation_cases).map(|case| score(task, case, &work.wanted));
                scores
                    .map(|score| Event::Scored { task, score })
                    .chain([Event::Evaluated(task)])
                    .collect()
            }
        }
    }

    async fn train(&mut self, task: TaskId, model: ParametersId) -> ParametersId {
        if let Some(&id) = self.prepared.get(task.round as usize % 2) {
            if self.held.insert(id) {
                self.pool.share(id);
            }
            return id;
        }
        let (from, site) = (self.pool.path(model), self.name.clone());
        let to = self.pool.path(model).with_extension(&self.name);
        let shifted =
            spawn_blocking(move || shift(&from, &to, &site, task.round).map(|id| (id, to)));
        let (id, file) = shifted.await.unwrap().unwrap();
        self.adopt(id, &file);
        id
    }
}

/// Two answers for every second site, and two for the others: so no average is an answer, and each
/// round's differs.
fn prepare(setup: &Setup, pool: &Pool) -> Vec<Vec<ParametersId>> {
    let federation = Federation::from_toml(&setup.settings()).unwrap();
    let manifest = Arc::new(manifest(&federation.model, &federation.input));
    let (start, file) = (setup.folder.join("start"), setup.folder.join("answer"));
    std::fs::write(
        &start,
        to_bytes(initial(&manifest, federation.seed).values()),
    )
    .unwrap();
    let answer = |site: &str, round| {
        let id = shift(&start, &file, site, round).unwrap();
        pool.adopt(id, &file).unwrap();
        id
    };
    let answers = ["even", "odd"]
        .map(|site| vec![answer(site, 0), answer(site, 1)])
        .to_vec();
    std::fs::remove_file(&start).unwrap();
    answers
}

/// Writes a model with something small added to each number in odd rounds, and taken away again in
/// even ones: over many rounds no variance comes below zero.
fn shift(from: &Path, to: &Path, site: &str, round: u32) -> io::Result<ParametersId> {
    let (mut from, mut to, mut hasher) =
        (File::open(from)?, File::create(to)?, blake3::Hasher::new());
    let mut left = from.metadata()?.len();
    let pair = round.div_ceil(2);
    let offset =
        f32::from(blake3::hash(format!("{site} {pair}").as_bytes()).as_bytes()[0]) / 65536.0;
    let offset = if round.is_multiple_of(2) {
        -offset
    } else {
        offset
    };
    while left > 0 {
        let mut block = vec![0; left.min(BLOCK as u64) as usize];
        from.read_exact(&mut block)?;
        left -= block.len() as u64;
        let mut values = from_bytes(&block).ok_or(io::ErrorKind::InvalidData)?;
        for (index, value) in values.iter_mut().enumerate() {
            *value += offset * ((index % 7) as f32 - 3.0);
        }
        let block = to_bytes(&values);
        hasher.update(&block);
        to.write_all(&block)?;
    }
    Ok(ParametersId(*hasher.finalize().as_bytes()))
}

fn trained(task: TaskId, parameters: ParametersId, batch: usize) -> Trained {
    Trained {
        task,
        parameters,
        slices: 100 * batch as u64,
        steps: 100,
        asked_steps: 100,
        mean_loss: 0.5,
        last_loss: 0.25,
        seconds: 1.0,
        sequences: SequenceSet::full(SEQUENCES.len()),
        compute: protocol::settings::Compute::F32,
    }
}

/// A case that is found a little better in each round.
fn score(task: TaskId, case: u32, wanted: &EvaluationRequest) -> CaseScore {
    let found = u64::from(task.round.min(1000)) + 10;
    let bins = vec![(900, 2000 - found, 90), (1200, found, 0)];
    let counts = |&threshold| AtThreshold {
        threshold,
        ..AtThreshold::default()
    };
    CaseScore {
        case,
        subset: SequenceSet::full(SEQUENCES.len()),
        voxel_mm3: 1.0,
        brain: ScoreHistogram { bins },
        outside: ScoreHistogram::default(),
        at: wanted.thresholds.iter().map(counts).collect(),
        sweep: wanted
            .sweep
            .iter()
            .map(|&threshold| SweepPoint {
                threshold,
                lesions: LesionCounts::default(),
            })
            .collect(),
    }
}
