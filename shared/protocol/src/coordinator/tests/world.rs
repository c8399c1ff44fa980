//! A federation in memory: both ends' machines, lines that break, and a clock that the test turns.

use super::super::*;
use crate::case::Role;
use crate::identity::tests::site_name;
use crate::identity::{SiteName, Version};
use crate::jpeg::Picture;
use crate::jpeg::tests::bones;
use crate::message::{
    EvaluationRequest, Hello, Inventory, PROTOCOL, Progress, TaskKind, Trained, TransferHeader,
};
use crate::operating::OperatingPoints;
use crate::outcome::RoundRecord;
use crate::overlay::Overlay;
use crate::settings::LocalWork;
use crate::site;
use metrics::score::{
    AtThreshold, CaseScore, LesionCounts, ScoreHistogram, SubsetScore, SweepPoint,
};
use metrics::sequence::SequenceSet;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What is in transit in one direction of a connection: messages in order, parameter streams in order, but
/// the two kinds overtake one another.
pub(super) struct Line<M> {
    pub(super) messages: VecDeque<M>,
    pub(super) streams: VecDeque<TransferHeader>,
}

impl<M> Line<M> {
    pub(super) fn new() -> Self {
        Self {
            messages: VecDeque::new(),
            streams: VecDeque::new(),
        }
    }

    pub(super) fn clear(&mut self) {
        self.messages.clear();
        self.streams.clear();
    }
}

pub(super) struct Peer {
    pub(super) role: Role,
    machine: site::StateMachine,
    pub(super) connection: Option<u64>,
    pub(super) down: Line<CoordinatorMessage>,
    pub(super) up: Line<SiteMessage>,
    pub(super) work: Option<site::Work>,
    /// Steps done of the training at work.
    done: u32,
    /// The training at work is to end at its next step.
    concluded: bool,
    /// Trainings done, by task: none is to be done twice.
    pub(super) trained: Vec<TaskId>,
    /// What the site's disk holds.
    pub(super) journal: Option<site::Finished>,
}

/// A federation in memory: both ends' machines, lines that break, and a clock that the test turns.
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) now: Duration,
    pub(super) coordinator: StateMachine,
    pub(super) checkpoint: Option<Checkpoint>,
    /// What was recorded, by training run and round.
    pub(super) records: BTreeMap<(u16, u32), RoundRecord>,
    pub(super) peers: BTreeMap<SiteName, Peer>,
    pub(super) shell: VecDeque<Event>,
    connections: u64,
    pub(super) finished: Option<Outcome>,
    pub(super) stopped: Option<String>,
    /// How many steps each site was asked to do at most, by task: it may never change.
    pub(super) budgets: BTreeMap<(SiteName, TaskId), Option<u32>>,
    /// Trainings that were told to conclude.
    pub(super) concluded: Vec<(SiteName, TaskId)>,
    /// Every update of the federation that the kept facts ever named.
    pub(super) accepted: BTreeSet<(SiteName, TaskId)>,
    /// How far sites' updates go from their models, where not 1.
    pub(super) distances: BTreeMap<SiteName, f64>,
    /// What happened.
    pub(super) happened: Vec<Notification>,
    /// What sites were told that their work does not count for, and why.
    pub(super) not_counted: Vec<(SiteName, TaskId, String)>,
}

pub(super) fn hash(parts: &[&[u8]]) -> ParametersId {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    ParametersId(*hasher.finalize().as_bytes())
}

pub(super) fn settings(extra: &str) -> Federation {
    let text = format!(
        "name = 'world'\nrounds = 3\n{extra}\n[input]\nsequences = ['a', 'b']\n[model]\npreset = \
         'tiny'\n"
    );
    Federation::from_toml(&text).unwrap()
}

pub(super) fn task(round: u32) -> TaskId {
    TaskId::training(RunId::FEDERATION, Version(round - 1))
}

/// What so many steps from a model come to at a site.
pub(super) fn learnt(site: &str, start: ParametersId, round: u32, steps: u32) -> ParametersId {
    hash(&[
        site.as_bytes(),
        &start.0,
        &round.to_le_bytes(),
        &steps.to_le_bytes(),
    ])
}

/// Seconds that a step takes: site-0 one, site-1 two, and so on.
pub(super) fn pace(site: &str) -> f32 {
    site.bytes()
        .last()
        .map_or(1.0, |last| f32::from(last.saturating_sub(b'0')) + 1.0)
}

/// The better the later the round, except round 2, which is best. The consensus has round 0.
pub(super) fn quality(round: u32) -> u64 {
    [7, 3, 9, 5][round as usize % 4]
}

pub(super) fn case(task: TaskId, index: u32, wanted: &EvaluationRequest) -> CaseScore {
    let bins = vec![
        (900, 10 - quality(task.round), 90),
        (1200, quality(task.round), 0),
    ];
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
            .map(|&threshold| SweepPoint {
                threshold,
                lesions: LesionCounts::default(),
            })
            .collect(),
    }
}

pub(super) fn at(wanted: &EvaluationRequest) -> Vec<AtThreshold> {
    wanted
        .thresholds
        .iter()
        .map(|&threshold| AtThreshold {
            threshold,
            ..AtThreshold::default()
        })
        .collect()
}

/// The same case on a part of its sequences; what it says tells cases and parts apart.
pub(super) fn part(index: u32, subset: SequenceSet, wanted: &EvaluationRequest) -> SubsetScore {
    let auc = f64::from(index) / 8.0 + f64::from(subset.bits()) / 64.0;
    SubsetScore {
        case: index,
        subset,
        auc_brain: Some(auc),
        auc_volume: None,
        at: at(wanted),
    }
}

impl World {
    pub(super) fn new(extra: &str, with_local: bool, trainers: usize) -> Self {
        let federation = settings(extra);
        let plan = Plan {
            federation,
            with_local,
            initial: ParametersId([7; 32]),
            initial_points: OperatingPoints {
                dice: Some(0.75),
                youden: Some(0.25),
                ..OperatingPoints::default()
            },
            model_bytes: 4,
            update_bytes: 4,
        };
        let peer = |role| Peer {
            role,
            machine: site::StateMachine::new(4),
            connection: None,
            down: Line::new(),
            up: Line::new(),
            work: None,
            done: 0,
            concluded: false,
            trained: Vec::new(),
            journal: None,
        };
        let mut peers: BTreeMap<SiteName, Peer> = (0..trainers)
            .map(|i| (site_name(&format!("site-{i}")), peer(Role::Train)))
            .collect();
        peers.insert(site_name("held-out"), peer(Role::Evaluate));
        if extra.contains("'judge'") {
            peers.insert(site_name("judge"), peer(Role::Validate));
        }
        let coordinator = StateMachine::new(plan.clone(), None, Duration::ZERO);
        Self {
            plan,
            now: Duration::ZERO,
            coordinator,
            checkpoint: None,
            records: BTreeMap::new(),
            peers,
            shell: VecDeque::new(),
            connections: 0,
            finished: None,
            stopped: None,
            budgets: BTreeMap::new(),
            concluded: Vec::new(),
            accepted: BTreeSet::new(),
            distances: BTreeMap::new(),
            happened: Vec::new(),
            not_counted: Vec::new(),
        }
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.peers.keys().map(SiteName::to_string).collect()
    }

    pub(super) fn tell(&mut self, event: Event) {
        for effect in self.coordinator.handle(event, self.now) {
            self.carry_out(effect);
        }
    }

    pub(super) fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Send { site, message } => {
                if let CoordinatorMessage::Conclude { task } = &message {
                    self.concluded.push((site.clone(), *task));
                }
                if let CoordinatorMessage::Train { task, steps, .. } = &message {
                    let before = self.budgets.insert((site.clone(), *task), *steps);
                    assert!(
                        before.is_none_or(|before| before == *steps),
                        "{site} is asked for other work: {task:?}"
                    );
                    let run = self
                        .checkpoint
                        .as_ref()
                        .and_then(|kept| kept.runs.get(usize::from(task.run.0)));
                    let open = run
                        .and_then(|run| run.open.as_ref())
                        .filter(|open| open.round == task.round);
                    let accepted = open.is_some_and(|open| open.updates.contains_key(&site));
                    let accepted = accepted || self.accepted.contains(&(site.clone(), *task));
                    assert!(
                        !accepted,
                        "{site} is asked again for an update that was accepted: {task:?}"
                    );
                }
                if let Some(peer) = self
                    .peers
                    .get_mut(&site)
                    .filter(|peer| peer.connection.is_some())
                {
                    peer.down.messages.push_back(message);
                }
            }
            Effect::SendParameters {
                site,
                header,
                model,
            } => {
                assert_eq!(model.parameters, header.parameters);
                if let Some(peer) = self
                    .peers
                    .get_mut(&site)
                    .filter(|peer| peer.connection.is_some())
                {
                    peer.down.streams.push_back(header);
                }
            }
            Effect::Close { site, .. } => self.cut(site.as_str()),
            Effect::Check {
                site,
                task,
                parameters,
                ..
            } => {
                let distance = self.distances.get(&site).copied().unwrap_or(1.0);
                self.shell.push_back(Event::Stored {
                    site,
                    task,
                    result: Ok(AcceptedUpdate {
                        parameters,
                        distance,
                    }),
                });
            }
            Effect::Discard { .. } => {}
            Effect::Report(notification) => self.happened.push(notification),
            Effect::Restore { run, version, .. } => {
                let kept = &self.checkpoint.as_ref().unwrap().runs[usize::from(run.0)];
                assert!(
                    kept.discarded.is_some() && kept.newest() == version,
                    "a restart would not know of it: {kept:?}"
                );
                self.shell.push_back(Event::Restored { run, version });
            }
            Effect::Aggregate {
                run,
                version,
                updates,
                rate,
            } => {
                self.counts_what_is_kept(run, &updates, rate.is_some());
                let ids: Vec<&[u8]> = updates
                    .iter()
                    .map(|update| update.parameters.0.as_slice())
                    .collect();
                let kept = &self.checkpoint.as_ref().unwrap().runs[usize::from(run.0)];
                let start = kept.model.unwrap_or(self.plan.initial);
                let parameters = hash(&[&[&start.0[..]], ids.as_slice()].concat());
                self.shell.push_back(Event::Aggregated {
                    run,
                    version,
                    parameters,
                });
            }
            Effect::Record { run, record } => {
                let before = self
                    .records
                    .insert((run.0, record.round), (*record).clone());
                assert!(
                    before.is_none_or(|before| before == *record),
                    "a record changes: {record:?}"
                );
            }
            Effect::Persist(checkpoint) => {
                self.loses_nothing(&checkpoint);
                self.checkpoint = Some(*checkpoint);
            }
            Effect::Stop { reason } => self.stopped = Some(reason.to_string()),
            Effect::Finish => {
                let mut outcome = self.coordinator.outcome(self.now);
                for run in &mut outcome.runs {
                    let training_runs = self.coordinator.checkpoint().runs;
                    let at = training_runs
                        .iter()
                        .position(|training_run| training_run.outcome.name == run.name)
                        .unwrap();
                    run.rounds = self.rounds(at, &training_runs[at]);
                }
                self.finished = Some(outcome);
            }
        }
    }

    /// All finished rounds of a training run, in order: those recorded, and the last one among its
    /// facts.
    pub(super) fn rounds(&self, at: usize, run: &RunProgress) -> Vec<RoundRecord> {
        let recorded = self
            .records
            .range((at as u16, 0)..(at as u16, run.finished))
            .map(|(_, record)| record);
        recorded.chain(&run.outcome.rounds).cloned().collect()
    }

    /// What is averaged is among the recorded facts, each site's from one model once.
    fn counts_what_is_kept(&self, run: RunId, updates: &[Contribution], buffered: bool) {
        let kept = &self.checkpoint.as_ref().unwrap().runs[usize::from(run.0)];
        let of = |update: &Contribution| (update.site.clone(), TaskId::training(run, update.base));
        let named: BTreeSet<_> = updates.iter().map(of).collect();
        assert_eq!(named.len(), updates.len());
        if buffered {
            let waiting = kept.buffer.as_ref().unwrap().updates.iter();
            let waiting: BTreeSet<_> = waiting
                .map(|(site, trained)| (site.clone(), trained.task))
                .collect();
            assert!(named.is_subset(&waiting), "{named:?} of {waiting:?}");
        }
    }

    /// An update that the facts named once is named ever after, once: it waits, or a version counts
    /// it. Only what waits when the last version is made counts for nothing.
    fn loses_nothing(&mut self, next: &Checkpoint) {
        let Some(run) = next.runs.first() else { return };
        let rounds = self.rounds(0, run);
        assert_eq!(rounds.len() as u32, run.finished, "a round is not recorded");
        let counted = rounds.iter().flat_map(|round| {
            let at = |one: &crate::outcome::UpdateRecord| {
                (one.site.clone(), task(round.round - one.staleness))
            };
            round.updates.iter().map(at).collect::<Vec<_>>()
        });
        let waiting = run.buffer.iter().flat_map(|buffer| &buffer.updates);
        let waiting = waiting.map(|(site, trained)| (site.clone(), trained.task));
        let open = run.open.iter().flat_map(|open| open.updates.iter());
        let open = open.map(|(site, trained)| (site.clone(), trained.task));
        let named: Vec<_> = counted.chain(waiting).chain(open).collect();
        let once: BTreeSet<_> = named.iter().cloned().collect();
        assert_eq!(
            once.len(),
            named.len(),
            "an update is counted twice: {named:?}"
        );
        let over = run.finished == self.plan.federation.rounds;
        let mut refused = BTreeSet::new();
        for notification in &self.happened {
            if let Notification::Failed { site, reason } = notification
                && reason.contains("its update was refused")
            {
                refused.insert(site.clone());
            }
        }
        let lost: Vec<_> = self
            .accepted
            .difference(&once)
            .filter(|(site, _)| !refused.contains(site))
            .collect();
        assert!(
            over || lost.is_empty(),
            "{lost:?} lost of {:?}",
            self.accepted
        );
        self.accepted.extend(once);
    }

    pub(super) fn peer(&mut self, name: &str, event: site::Event) {
        let peer = self.peers.get_mut(name).unwrap();
        for effect in peer.machine.handle(event) {
            match effect {
                site::Effect::Send(message) => peer.up.messages.push_back(message),
                site::Effect::SendParameters(header) => peer.up.streams.push_back(header),
                site::Effect::Persist(finished) => peer.journal = Some(finished),
                site::Effect::Start(work) => {
                    (peer.work, peer.done, peer.concluded) = (Some(work), 0, false)
                }
                site::Effect::Conclude => peer.concluded = true,
                site::Effect::Cancel | site::Effect::Leave { .. } => peer.work = None,
                site::Effect::Forget(_) => {}
                site::Effect::NotCounted { task, reason } => {
                    self.not_counted.push((site_name(name), task, reason));
                }
                site::Effect::Refused { reason } => panic!("refused: {reason}"),
            }
        }
    }

    pub(super) fn connect(&mut self, name: &str) {
        let peer = self.peers.get_mut(name).unwrap();
        if peer.connection.is_some() {
            return;
        }
        self.connections += 1;
        peer.connection = Some(self.connections);
        let sequences = vec!["a".to_string()];
        let hello = Hello {
            protocol: PROTOCOL,
            software: "test".into(),
            role: peer.role,
            sequences,
        };
        self.tell(Event::Connected {
            site: site_name(name),
            connection: self.connections,
            hello,
        });
        let (role, count) = (self.peers[name].role, |of, cases| {
            if self.peers[name].role == of {
                cases
            } else {
                0
            }
        });
        self.peer(
            name,
            site::Event::Prepared(Inventory {
                sequences: SequenceSet::full(1),
                training_cases: count(Role::Train, 4),
                validation_cases: if role == Role::Validate {
                    3
                } else {
                    count(Role::Train, 2)
                },
                held_out_cases: count(Role::Evaluate, 3),
                skipped_cases: 0,
                training_slices: 10,
                training_lesions: 6,
                validation_lesions: 3,
                held_out_lesions: 0,
            }),
        );
    }

    pub(super) fn cut(&mut self, name: &str) {
        let peer = self.peers.get_mut(name).unwrap();
        let Some(connection) = peer.connection.take() else {
            return;
        };
        peer.down.clear();
        peer.up.clear();
        self.peer(name, site::Event::Disconnected);
        self.tell(Event::Disconnected {
            site: site_name(name),
            connection,
            reason: "cut".into(),
        });
    }

    pub(super) fn deliver_down(&mut self, name: &str, stream: bool, copy: bool) {
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

    pub(super) fn deliver_up(&mut self, name: &str, stream: bool, copy: bool) {
        let peer = self.peers.get_mut(name).unwrap();
        let Some(connection) = peer.connection else {
            return;
        };
        let site = site_name(name);
        let event = if stream {
            peer.up.streams.pop_front().map(|header| Event::Received {
                site,
                header,
                file: 0,
            })
        } else {
            peer.up.messages.pop_front().map(|message| Event::Message {
                site,
                connection,
                message,
            })
        };
        if let Some(event) = event {
            if copy {
                self.tell(event.clone());
            }
            self.tell(event);
        }
    }

    pub(super) fn work(&mut self, name: &str) {
        let peer = self.peers.get_mut(name).unwrap();
        if peer
            .work
            .as_ref()
            .is_some_and(|work| work.task.kind == TaskKind::Train)
        {
            while self.peers[name].work.is_some() {
                self.step_on(name);
            }
            return;
        }
        let Some(work) = peer.work.take() else { return };
        let (task, cases) = (work.task, if peer.role == Role::Train { 2 } else { 3 });
        for index in 0..cases {
            let score = case(task, index, &work.wanted);
            let parts = score
                .subset
                .proper_subsets()
                .filter(|_| work.wanted.subsets);
            let parts: Vec<SubsetScore> = parts
                .map(|subset| part(index, subset, &work.wanted))
                .collect();
            self.peer(name, site::Event::Scored { task, score });
            parts
                .into_iter()
                .for_each(|score| self.peer(name, site::Event::SubsetScored { task, score }));
        }
        // Every site draws for every task; only the federation's report has asked for it.
        for case in 0..2 {
            let picture = Picture::new(bones(&[case, name.len() as u8])).unwrap();
            self.peer(
                name,
                site::Event::Drawn {
                    task,
                    overlay: Overlay {
                        case: case.into(),
                        picture,
                    },
                },
            );
        }
        self.peer(name, site::Event::Evaluated(task));
    }

    /// One step of whatever training a site is at.
    pub(super) fn step_on(&mut self, name: &str) {
        let all = match self.plan.federation.training.effort {
            LocalWork::Steps(steps) => steps,
            LocalWork::Epochs(_) => 1,
        };
        let peer = self.peers.get_mut(name).unwrap();
        let Some(work) = peer
            .work
            .clone()
            .filter(|work| work.task.kind == TaskKind::Train)
        else {
            return;
        };
        peer.done += 1;
        let (task, done, total) = (
            work.task,
            peer.done,
            work.steps.map_or(all, |most| most.min(all)),
        );
        let ended = done == total || peer.concluded;
        let progress = Progress {
            task,
            done,
            total,
            loss: None,
            slices_per_second: 1.0,
        };
        self.peer(name, site::Event::Progress(progress));
        if !ended {
            return;
        }
        let peer = self.peers.get_mut(name).unwrap();
        peer.work = None;
        assert!(
            !peer.trained.contains(&task),
            "{name} trains {task:?} twice"
        );
        peer.trained.push(task);
        let trained = Trained {
            task,
            parameters: learnt(name, work.models[0], task.round, done),
            slices: 8 * u64::from(done),
            steps: done,
            asked_steps: total,
            mean_loss: 1.0,
            last_loss: 0.5,
            seconds: pace(name) * done as f32,
            sequences: SequenceSet::full(1),
            compute: crate::settings::Compute::F32,
        };
        self.peer(name, site::Event::Trained(trained));
    }

    /// Whatever a site works at fails.
    pub(super) fn fail(&mut self, name: &str) {
        if let Some(work) = self.peers.get_mut(name).unwrap().work.take() {
            let reason = "the loss is not a number".into();
            self.peer(
                name,
                site::Event::Failed {
                    task: work.task,
                    reason,
                },
            );
        }
    }

    pub(super) fn restart(&mut self) {
        for name in self.names() {
            let peer = self.peers.get_mut(name.as_str()).unwrap();
            peer.connection = None;
            peer.down.clear();
            peer.up.clear();
            self.peer(&name, site::Event::Disconnected);
        }
        self.shell.clear();
        self.coordinator = StateMachine::new(self.plan.clone(), self.checkpoint.clone(), self.now);
    }

    /// A site's program is killed and started again: it knows what its disk holds.
    pub(super) fn restart_site(&mut self, name: &str) {
        self.cut(name);
        let peer = self.peers.get_mut(name).unwrap();
        let journal = peer.journal.clone();
        peer.machine = journal.map_or_else(
            || site::StateMachine::new(4),
            |journal| site::StateMachine::resumed(4, journal),
        );
        peer.work = None;
    }

    /// One step of a generated schedule.
    pub(super) fn step(&mut self, (what, whom, flag): (u8, u8, bool)) {
        let names = self.names();
        let name = &names[usize::from(whom) % names.len()];
        match what % 16 {
            0..=2 => self.deliver_down(name, false, flag),
            3..=4 => self.deliver_down(name, true, flag),
            5..=7 => self.deliver_up(name, false, flag),
            8..=9 => self.deliver_up(name, true, flag),
            10 => self.work(name),
            11 if flag => self.step_on(name),
            11 => self.work(name),
            12 => self.cut(name),
            13 => self.connect(name),
            14 if flag && whom > 200 => self.restart(),
            14 if flag && whom > 100 => self.restart_site(&name.clone()),
            // Together short of the timeout, after which a site would rightly be left out.
            15 if flag => self.now += Duration::from_millis(900),
            _ => self.shell_step(),
        }
    }

    pub(super) fn shell_step(&mut self) {
        let event = self.shell.pop_front().unwrap_or(Event::Tick);
        self.tell(event);
    }

    /// A message and a stream each way, as far as there are any.
    pub(super) fn exchange(&mut self, name: &str) {
        for stream in [false, true] {
            self.deliver_down(name, stream, false);
            self.deliver_up(name, stream, false);
        }
    }

    /// Everything that is on its way arrives, and what follows from it; no site works.
    pub(super) fn arrive(&mut self) {
        let under_way = |peer: &Peer| {
            let (down, up) = (&peer.down, &peer.up);
            let empty = down.messages.is_empty()
                && down.streams.is_empty()
                && up.messages.is_empty()
                && up.streams.is_empty();
            peer.connection.is_some() && !empty
        };
        for _ in 0..10_000 {
            for name in self.names() {
                self.exchange(&name);
            }
            if !self.peers.values().any(under_way) && self.shell.is_empty() {
                return;
            }
            self.shell_step();
        }
        panic!("mail without end");
    }

    /// From now on nothing breaks.
    pub(super) fn calm(&mut self) {
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

    pub(super) fn models(&self) -> Vec<Option<ParametersId>> {
        self.coordinator
            .checkpoint()
            .runs
            .iter()
            .map(|run| run.model)
            .collect()
    }
}
