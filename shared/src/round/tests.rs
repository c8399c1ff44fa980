use super::*;
use crate::case::Role;
use crate::message::{Inventory, PROTOCOL, TaskKind, Trained, Wanted};
use crate::outcome::SiteScores;
use crate::overlay::Overlay;
use crate::picture::Picture;
use crate::picture::tests::bones;
use crate::score::{AtThreshold, CaseScore, LesionCounts, ScoreHistogram, SubsetScore, SweepPoint};
use crate::sequence::SequenceSet;
use crate::site;
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};

mod control;

/// What lies on one direction of a connection: messages in order, parameter streams in order, but the two kinds
/// overtake one another.
struct Line<M> {
    messages: VecDeque<M>,
    streams: VecDeque<TransferHeader>,
}

impl<M> Line<M> {
    fn new() -> Self {
        Self { messages: VecDeque::new(), streams: VecDeque::new() }
    }

    fn clear(&mut self) {
        self.messages.clear();
        self.streams.clear();
    }
}

struct Peer {
    role: Role,
    machine: site::Machine,
    connection: Option<u64>,
    down: Line<CoordinatorMessage>,
    up: Line<SiteMessage>,
    work: Option<site::Work>,
    /// Trainings done, by task: none is to be done twice.
    trained: Vec<TaskId>,
    /// What the site's disk holds.
    journal: Option<site::Finished>,
}

/// A federation in memory: both ends' machines, lines that break, and a clock that the test turns.
struct World {
    plan: Plan,
    now: Duration,
    coordinator: Machine,
    snapshot: Option<Snapshot>,
    peers: BTreeMap<String, Peer>,
    shell: VecDeque<Event>,
    connections: u64,
    finished: Option<Outcome>,
    stopped: Option<String>,
}

fn hash(parts: &[&[u8]]) -> ParametersId {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    ParametersId(*hasher.finalize().as_bytes())
}

fn settings(extra: &str) -> Federation {
    let text =
        format!("name = 'world'\nrounds = 3\n{extra}\n[input]\nsequences = ['a', 'b']\n[model]\npreset = 'tiny'\n");
    Federation::from_toml(&text).unwrap()
}

/// The better the later the round, except round 2, which is best. The consensus has round 0.
fn quality(round: u32) -> u64 {
    [7, 3, 9, 5][round as usize % 4]
}

fn case(task: TaskId, index: u32, wanted: &Wanted) -> CaseScore {
    let bins = vec![(900, 10 - quality(task.round), 90), (1200, quality(task.round), 0)];
    CaseScore {
        case: index,
        subset: SequenceSet::full(2),
        voxel_mm3: 1.0,
        brain: ScoreHistogram { bins },
        outside: ScoreHistogram::default(),
        at: at(wanted),
        sweep: wanted
            .sweep
            .iter()
            .map(|&threshold| SweepPoint { threshold, lesions: LesionCounts::default() })
            .collect(),
    }
}

fn at(wanted: &Wanted) -> Vec<AtThreshold> {
    wanted.thresholds.iter().map(|&threshold| AtThreshold { threshold, ..AtThreshold::default() }).collect()
}

/// The same case on a part of its sequences; what it says tells cases and parts apart.
fn part(index: u32, subset: SequenceSet, wanted: &Wanted) -> SubsetScore {
    let auc = f64::from(index) / 8.0 + f64::from(subset.bits()) / 64.0;
    SubsetScore { case: index, subset, auc_brain: Some(auc), auc_volume: None, at: at(wanted) }
}

impl World {
    fn new(extra: &str, with_local: bool, trainers: usize) -> Self {
        let federation = settings(extra);
        let plan = Plan { federation, with_local, initial: ParametersId([7; 32]), model_bytes: 4, update_bytes: 4 };
        let peer = |role| Peer {
            role,
            machine: site::Machine::new(4),
            connection: None,
            down: Line::new(),
            up: Line::new(),
            work: None,
            trained: Vec::new(),
            journal: None,
        };
        let mut peers: BTreeMap<String, Peer> =
            (0..trainers).map(|i| (format!("site-{i}"), peer(Role::Train))).collect();
        peers.insert("held-out".into(), peer(Role::Evaluate));
        if extra.contains("'judge'") {
            peers.insert("judge".into(), peer(Role::Validate));
        }
        let coordinator = Machine::new(plan.clone(), None, Duration::ZERO);
        let (now, shell) = (Duration::ZERO, VecDeque::new());
        Self { plan, now, coordinator, snapshot: None, peers, shell, connections: 0, finished: None, stopped: None }
    }

    fn names(&self) -> Vec<String> {
        self.peers.keys().cloned().collect()
    }

    fn tell(&mut self, event: Event) {
        for effect in self.coordinator.handle(event, self.now) {
            self.obey(effect);
        }
    }

    fn obey(&mut self, effect: Effect) {
        match effect {
            Effect::Send { site, message } => {
                if let CoordinatorMessage::Train { task, .. } = &message {
                    let run = self.snapshot.as_ref().and_then(|kept| kept.runs.get(usize::from(task.run.0)));
                    let open = run.and_then(|run| run.open.as_ref()).filter(|open| open.round == task.round);
                    let accepted = open.is_some_and(|open| open.updates.contains_key(&site));
                    assert!(!accepted, "{site} is asked again for an update that was accepted: {task:?}");
                }
                if let Some(peer) = self.peers.get_mut(&site).filter(|peer| peer.connection.is_some()) {
                    peer.down.messages.push_back(message);
                }
            }
            Effect::SendParameters { site, header, model } => {
                assert_eq!(model.parameters, header.parameters);
                if let Some(peer) = self.peers.get_mut(&site).filter(|peer| peer.connection.is_some()) {
                    peer.down.streams.push_back(header);
                }
            }
            Effect::Close { site, .. } => self.cut(&site),
            Effect::Check { site, task, parameters, .. } => {
                self.shell.push_back(Event::Stored { site, task, result: Ok(parameters) });
            }
            Effect::Discard { .. } | Effect::Report(_) => {}
            Effect::Aggregate { run, round, start, updates } => {
                let ids: Vec<&[u8]> = updates.iter().map(|update| update.parameters.0.as_slice()).collect();
                let parameters = hash(&[&[&start.parameters.0[..]], ids.as_slice()].concat());
                self.shell.push_back(Event::Aggregated { run, round, parameters });
            }
            Effect::Persist(snapshot) => self.snapshot = Some(*snapshot),
            Effect::Stop { reason } => self.stopped = Some(reason),
            Effect::Finish => self.finished = Some(self.coordinator.outcome(self.now)),
        }
    }

    fn peer(&mut self, name: &str, event: site::Event) {
        let peer = self.peers.get_mut(name).unwrap();
        for effect in peer.machine.handle(event) {
            match effect {
                site::Effect::Send(message) => peer.up.messages.push_back(message),
                site::Effect::SendParameters(header) => peer.up.streams.push_back(header),
                site::Effect::Persist(finished) => peer.journal = Some(finished),
                site::Effect::Start(work) => peer.work = Some(work),
                site::Effect::Cancel | site::Effect::Leave { .. } => peer.work = None,
                site::Effect::Forget(_) => {}
                site::Effect::Refused { reason } => panic!("refused: {reason}"),
            }
        }
    }

    fn connect(&mut self, name: &str) {
        let peer = self.peers.get_mut(name).unwrap();
        if peer.connection.is_some() {
            return;
        }
        self.connections += 1;
        peer.connection = Some(self.connections);
        let sequences = vec!["a".to_string()];
        let hello = Hello { protocol: PROTOCOL, software: "test".into(), role: peer.role, sequences };
        self.tell(Event::Connected { site: name.into(), connection: self.connections, hello });
        let (role, count) = (self.peers[name].role, |of, cases| if self.peers[name].role == of { cases } else { 0 });
        self.peer(
            name,
            site::Event::Prepared(Inventory {
                sequences: SequenceSet::full(1),
                training_cases: count(Role::Train, 4),
                validation_cases: if role == Role::Validate { 3 } else { count(Role::Train, 2) },
                held_out_cases: count(Role::Evaluate, 3),
                skipped_cases: 0,
                training_slices: 10,
                training_lesions: 6,
                validation_lesions: 3,
                held_out_lesions: 0,
            }),
        );
    }

    fn cut(&mut self, name: &str) {
        let peer = self.peers.get_mut(name).unwrap();
        let Some(connection) = peer.connection.take() else { return };
        peer.down.clear();
        peer.up.clear();
        self.peer(name, site::Event::Disconnected);
        self.tell(Event::Disconnected { site: name.into(), connection, reason: "cut".into() });
    }

    fn deliver_down(&mut self, name: &str, stream: bool, copy: bool) {
        let line = &mut self.peers.get_mut(name).unwrap().down;
        let event = if stream {
            line.streams.pop_front().map(site::Event::Received)
        } else {
            line.messages.pop_front().map(site::Event::Message)
        };
        if let Some(event) = event {
            if copy {
                self.peer(name, event.clone());
            }
            self.peer(name, event);
        }
    }

    fn deliver_up(&mut self, name: &str, stream: bool, copy: bool) {
        let peer = self.peers.get_mut(name).unwrap();
        let Some(connection) = peer.connection else { return };
        let site = name.to_string();
        let event = if stream {
            peer.up.streams.pop_front().map(|header| Event::Received { site, header, file: 0 })
        } else {
            peer.up.messages.pop_front().map(|message| Event::Message { site, connection, message })
        };
        if let Some(event) = event {
            if copy {
                self.tell(event.clone());
            }
            self.tell(event);
        }
    }

    fn work(&mut self, name: &str) {
        let peer = self.peers.get_mut(name).unwrap();
        let Some(work) = peer.work.take() else { return };
        let (task, cases) = (work.task, if peer.role == Role::Train { 2 } else { 3 });
        if task.kind == TaskKind::Train {
            assert!(!peer.trained.contains(&task), "{name} trains {task:?} twice");
            peer.trained.push(task);
            let parameters = hash(&[name.as_bytes(), &work.models[0].0, &task.round.to_le_bytes()]);
            let sequences = SequenceSet::full(1);
            let (slices, steps, mean_loss, last_loss, seconds) = (8, 1, 1.0, 0.5, 1.0);
            let trained = Trained { task, parameters, slices, steps, mean_loss, last_loss, seconds, sequences };
            return self.peer(name, site::Event::Trained(trained));
        }
        for index in 0..cases {
            let score = case(task, index, &work.wanted);
            let parts = score.subset.proper_subsets().filter(|_| work.wanted.subsets);
            let parts: Vec<SubsetScore> = parts.map(|subset| part(index, subset, &work.wanted)).collect();
            self.peer(name, site::Event::Scored { task, score });
            parts.into_iter().for_each(|score| self.peer(name, site::Event::SubsetScored { task, score }));
        }
        // Every site draws for every task; only the federation's report has asked for it.
        for case in 0..2 {
            let picture = Picture::new(bones(&[case, name.len() as u8])).unwrap();
            self.peer(name, site::Event::Drawn { task, overlay: Overlay { case: case.into(), picture } });
        }
        self.peer(name, site::Event::Evaluated(task));
    }

    /// Whatever a site works at fails.
    fn fail(&mut self, name: &str) {
        if let Some(work) = self.peers.get_mut(name).unwrap().work.take() {
            let reason = "the loss is not a number".into();
            self.peer(name, site::Event::Failed { task: work.task, reason });
        }
    }

    fn restart(&mut self) {
        for name in self.names() {
            let peer = self.peers.get_mut(&name).unwrap();
            peer.connection = None;
            peer.down.clear();
            peer.up.clear();
            self.peer(&name, site::Event::Disconnected);
        }
        self.shell.clear();
        self.coordinator = Machine::new(self.plan.clone(), self.snapshot.clone(), self.now);
    }

    /// A site's program is killed and started again: it knows what its disk holds.
    fn restart_site(&mut self, name: &str) {
        self.cut(name);
        let peer = self.peers.get_mut(name).unwrap();
        let journal = peer.journal.clone();
        peer.machine = journal.map_or_else(|| site::Machine::new(4), |journal| site::Machine::resumed(4, journal));
        peer.work = None;
    }

    /// One step of a generated schedule.
    fn step(&mut self, (what, whom, flag): (u8, u8, bool)) {
        let names = self.names();
        let name = &names[usize::from(whom) % names.len()];
        match what % 16 {
            0..=2 => self.deliver_down(name, false, flag),
            3..=4 => self.deliver_down(name, true, flag),
            5..=7 => self.deliver_up(name, false, flag),
            8..=9 => self.deliver_up(name, true, flag),
            10..=11 => self.work(name),
            12 => self.cut(name),
            13 => self.connect(name),
            14 if flag && whom > 200 => self.restart(),
            14 if flag && whom > 100 => self.restart_site(&name.clone()),
            // Together short of the patience, after which a site would rightly be left out.
            15 if flag => self.now += Duration::from_millis(900),
            _ => self.shell_step(),
        }
    }

    fn shell_step(&mut self) {
        let event = self.shell.pop_front().unwrap_or(Event::Tick);
        self.tell(event);
    }

    /// A message and a stream each way, as far as there are any.
    fn exchange(&mut self, name: &str) {
        for stream in [false, true] {
            self.deliver_down(name, stream, false);
            self.deliver_up(name, stream, false);
        }
    }

    /// From now on nothing breaks.
    fn calm(&mut self) {
        for _ in 0..2000 {
            if self.finished.is_some() || self.stopped.is_some() {
                return;
            }
            for name in self.names() {
                self.connect(&name);
                self.exchange(&name);
                self.work(&name);
            }
            self.shell_step();
        }
        panic!("the federation does not end: {:?}", self.coordinator);
    }

    fn models(&self) -> Vec<Option<ParametersId>> {
        self.coordinator.snapshot().runs.iter().map(|run| run.model).collect()
    }
}

fn undisturbed(extra: &str, with_local: bool) -> World {
    let mut world = World::new(extra, with_local, 3);
    world.calm();
    world
}

const EXPECTED: &str = "sites = { expected = ['site-0', 'site-1', 'site-2', 'held-out'], minimum = 2, concurrent = 2 }";

#[test]
fn a_quiet_federation_runs_its_rounds_and_reports_the_best_model() {
    let world = undisturbed(EXPECTED, true);
    let outcome = world.finished.unwrap();
    let names: Vec<&str> = outcome.runs.iter().map(|run| run.name.as_str()).collect();
    assert_eq!(names, ["federation", "alone:site-0", "alone:site-1", "alone:site-2", "consensus"]);
    for run in &outcome.runs[..4] {
        assert_eq!(run.rounds.len(), 3, "{}", run.name);
        assert_eq!(run.best_round, 2, "the round with the best validation score");
        assert!(run.threshold.is_some() && run.threshold_pooled.is_some() && run.threshold_dice.is_some());
        let held_out = run.scores.iter().find(|scores| scores.site == "held-out").unwrap();
        assert_eq!(held_out.cases.len(), 3);
        let validated: Vec<&String> = run.rounds[0].validation_by_site.iter().map(|(site, _)| site).collect();
        assert_eq!(validated, run.members.iter().collect::<Vec<_>>());
        assert!(run.rounds[0].validation_by_site.iter().all(|(_, dice)| *dice == run.rounds[0].validation));
        assert_eq!(held_out.cases[0].at[0].threshold, run.threshold.unwrap());
        assert!(!held_out.cases[0].sweep.is_empty());
        let parts: Vec<(u32, u16)> = held_out.subsets.iter().map(|part| (part.case, part.subset.bits())).collect();
        assert_eq!(parts, [(0, 1), (0, 2), (1, 1), (1, 2), (2, 1), (2, 2)]);
        assert_eq!(run.scores.len(), run.members.len() + 1);
        let drawn = |scores: &SiteScores| scores.overlays.iter().map(|overlay| overlay.case).collect::<Vec<_>>();
        let expected: &[u32] = if run.name == "federation" { &[0, 1] } else { &[] };
        assert!(run.scores.iter().all(|scores| drawn(scores) == expected), "{}", run.name);
    }
    let updates: Vec<&str> = outcome.runs[0].rounds[0].updates.iter().map(|update| update.site.as_str()).collect();
    assert_eq!(updates, ["site-0", "site-1", "site-2"]);
}

#[test]
fn the_consensus_is_scored_with_the_best_model_of_every_site_alone() {
    let mut world = World::new(EXPECTED, true, 3);
    let mut asked = BTreeMap::new();
    for name in world.names() {
        world.connect(&name);
    }
    while world.finished.is_none() {
        for name in world.names() {
            for stream in [true, false] {
                world.deliver_down(&name, stream, false);
                world.deliver_up(&name, stream, false);
            }
            if let Some(work) = world.peers[&name].work.clone().filter(|work| work.models.len() > 1) {
                asked.insert((name.clone(), work.task), work.models);
            }
            world.work(&name);
        }
        world.shell_step();
    }
    let snapshot = world.coordinator.snapshot();
    let best: Vec<ParametersId> = snapshot.runs[1..4].iter().map(|run| run.best.unwrap().parameters).collect();
    // Three sites choose the thresholds, then all four score.
    assert_eq!(asked.len(), 7);
    assert!(asked.values().all(|models| *models == best));
    let consensus = world.finished.unwrap().runs.pop().unwrap();
    assert_eq!((consensus.members.len(), consensus.rounds.len(), consensus.best_round), (3, 0, 0));
    assert!(consensus.threshold.is_some());
    assert_eq!(consensus.scores.iter().map(|scores| scores.cases.len()).collect::<Vec<_>>(), [2, 2, 2, 3]);
}

#[test]
fn a_validating_site_helps_to_choose_and_never_trains() {
    let extra = "sites = { expected = ['site-0', 'site-1', 'judge', 'held-out'] }";
    let mut world = World::new(extra, true, 2);
    world.calm();
    let outcome = world.finished.unwrap();
    for run in &outcome.runs {
        assert!(!run.members.contains(&"judge".to_string()), "{}", run.name);
        assert!(run.rounds.iter().all(|round| round.validation_by_site.iter().any(|(site, _)| site == "judge")));
        let judged = run.scores.iter().find(|scores| scores.site == "judge").unwrap();
        assert_eq!((judged.role, judged.cases.len()), (Role::Validate, 3));
    }
    assert!(world.peers["judge"].trained.is_empty());
}

#[test]
fn without_subsets_in_the_settings_nobody_is_asked_for_them() {
    let world = undisturbed(&format!("{EXPECTED}\nevaluation = {{ subsets = false }}"), false);
    let outcome = world.finished.unwrap();
    assert_eq!(outcome.runs[0].scores.len(), 4);
    assert!(outcome.runs[0].scores.iter().all(|scores| scores.subsets.is_empty() && !scores.cases.is_empty()));
}

#[test]
fn a_model_is_sent_once_to_a_site_that_keeps_it() {
    let world = undisturbed(EXPECTED, false);
    let outcome = world.finished.unwrap();
    let bytes: Vec<u64> = outcome.runs[0].rounds.iter().map(|round| round.bytes).collect();
    // Round 1: initial model to three sites, three updates back, new model to three. Then the sites hold it.
    assert_eq!(bytes, [9 * 4, 6 * 4, 6 * 4]);
}

#[test]
fn no_more_sites_work_at_once_than_allowed() {
    let mut world = World::new(EXPECTED, false, 3);
    for name in world.names() {
        world.connect(&name);
        (0..3).for_each(|_| {
            world.deliver_down(&name, false, false);
            world.deliver_up(&name, false, false);
        });
    }
    let asked = |world: &World| world.peers.values().filter(|peer| !peer.down.streams.is_empty()).count();
    assert_eq!(asked(&world), 2);
}

#[test]
fn a_silent_site_is_given_up_and_may_come_back() {
    let mut world = World::new(EXPECTED, false, 3);
    world.names().iter().for_each(|name| world.connect(name));
    for _ in 0..4 {
        for name in ["held-out", "site-0", "site-1", "site-2"] {
            world.deliver_down(name, false, false);
            world.deliver_up(name, false, false);
        }
    }
    world.cut("site-0");
    for _ in 0..10 {
        for name in ["site-1", "site-2"] {
            world.exchange(name);
            world.work(name);
        }
        world.shell_step();
    }
    assert!(world.coordinator.snapshot().runs[0].outcome.rounds.is_empty(), "the round waits for the third");
    world.now += Duration::from_secs(601);
    world.tell(Event::Tick);
    world.calm();
    let outcome = world.finished.unwrap();
    let rounds = &outcome.runs[0].rounds;
    assert_eq!(rounds[0].missing, [("site-0".to_string(), "no progress for 600 s".to_string())]);
    assert_eq!(rounds[0].updates.len(), 2);
    assert_eq!(rounds[2].updates.len(), 3, "it came back");
}

#[test]
fn too_few_updates_stop_the_federation_with_the_sites_reasons() {
    let mut world = World::new(EXPECTED, false, 3);
    for _ in 0..200 {
        for name in world.names() {
            world.connect(&name);
            world.exchange(&name);
            world.fail(&name);
        }
    }
    let reason = world.stopped.take().unwrap();
    assert!(reason.contains("round 1 has 0 of at least 2") && reason.contains("site-1: the loss"), "{reason}");
    // The same command goes on: those that gave nothing are asked once more.
    world.restart();
    world.calm();
    assert_eq!(world.finished.unwrap().runs[0].rounds.len(), 3);
}

#[test]
fn a_stopped_round_keeps_what_was_accepted_of_it() {
    let mut world = World::new(EXPECTED, false, 3);
    for _ in 0..200 {
        for name in world.names() {
            world.connect(&name);
            world.exchange(&name);
            match name.as_str() {
                "site-1" => world.work(&name),
                _ => world.fail(&name),
            }
        }
        world.shell_step();
    }
    assert!(world.stopped.take().is_some_and(|reason| reason.contains("round 1 has 1 of at least 2")));
    world.restart();
    world.calm();
    // `obey` and `work` would have noticed an update that is asked for again, or a training that is done again.
    assert_eq!(world.finished.unwrap().runs[0].rounds[0].updates.len(), 3);
}

#[test]
fn a_site_that_begins_anew_after_a_restart_shows_progress_from_its_first_step_on() {
    let mut world = World::new(EXPECTED, false, 3);
    world.names().iter().for_each(|name| world.connect(name));
    for _ in 0..4 {
        for name in world.names() {
            world.deliver_down(&name, false, false);
            world.deliver_up(&name, false, false);
        }
    }
    let name = "site-0";
    world.deliver_down(name, true, false);
    let task = world.peers[name].work.as_ref().unwrap().task;
    let progress = |done| {
        site::Event::Progress(crate::message::Progress { task, done, total: 1000, loss: None, slices_per_second: 1.0 })
    };
    world.peer(name, progress(900));
    world.deliver_up(name, false, false);
    world.restart_site(name);
    world.connect(name);
    for _ in 0..8 {
        for stream in [false, true] {
            world.deliver_up(name, stream, false);
            world.deliver_down(name, stream, false);
        }
    }
    for done in 1..=3 {
        world.now += Duration::from_secs(300);
        world.peer(name, progress(done));
        world.deliver_up(name, false, false);
        world.tell(Event::Tick);
    }
    let open = world.coordinator.snapshot().runs[0].open.clone().unwrap();
    assert!(!open.missing.iter().any(|(site, _)| site == name), "{:?}", open.missing);
}

#[test]
fn strangers_and_other_protocols_are_refused() {
    let mut machine = World::new(EXPECTED, false, 1).coordinator;
    let mut join = |site: &str, protocol, sequence: &str| {
        let hello = Hello { protocol, software: String::new(), role: Role::Train, sequences: vec![sequence.into()] };
        let effects = machine.handle(Event::Connected { site: site.into(), connection: 1, hello }, Duration::ZERO);
        effects.into_iter().find_map(|effect| match effect {
            Effect::Send { message: CoordinatorMessage::Refused { reason }, .. } => Some(reason),
            _ => None,
        })
    };
    assert!(join("mallory", PROTOCOL, "a").unwrap().contains("not among"));
    assert!(join("site-0", PROTOCOL + 1, "a").unwrap().contains("protocol"));
    assert!(join("site-0", PROTOCOL, "z").unwrap().contains("\"z\""));
    assert_eq!(join("site-0", PROTOCOL, "a"), None);
}

#[test]
fn sampling_takes_so_many_and_the_same_each_time() {
    let sampled = "sites = { expected = ['site-0', 'site-1', 'site-2', 'held-out'], per_round = 2 }";
    let rounds = |world: World| -> Vec<Vec<String>> {
        let rounds = world.finished.unwrap().runs[0].rounds.clone();
        rounds.iter().map(|round| round.updates.iter().map(|update| update.site.clone()).collect()).collect()
    };
    let first = rounds(undisturbed(sampled, false));
    assert!(first.iter().all(|round| round.len() == 2), "{first:?}");
    assert_eq!(first, rounds(undisturbed(sampled, false)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]
    #[test]
    fn broken_lines_repeated_mail_and_restarts_change_no_model(
        schedule in prop::collection::vec(any::<(u8, u8, bool)>(), 0..600),
        with_local: bool,
    ) {
        let mut world = World::new(EXPECTED, with_local, 3);
        world.names().iter().for_each(|name| world.connect(name));
        for step in schedule {
            if world.finished.is_none() {
                world.step(step);
            }
        }
        world.calm();
        let quiet = undisturbed(EXPECTED, with_local);
        prop_assert_eq!(world.models(), quiet.models());
        let (outcome, expected) = (world.finished.unwrap(), quiet.finished.unwrap());
        for (run, wanted) in outcome.runs.iter().zip(&expected.runs) {
            prop_assert_eq!(run.rounds.iter().map(|r| r.missing.len()).sum::<usize>(), 0);
            prop_assert_eq!(&run.scores, &wanted.scores);
            prop_assert_eq!(run.best_round, wanted.best_round);
        }
    }
}
