//! The loop around the round's state machine: sites and clock tell, the machine decides, this obeys in order.

use crate::happening::Happening;
use crate::outcome::Outcome;
use crate::server::{Inbound, Server};
use crate::store::{FileSource, Place, Store, StoreError};
use shared::aggregate::{Average, Checked, Contribution};
use shared::federation::Federation;
use shared::message::{RunId, TaskId};
use shared::model_file::ModelCard;
use shared::parameters::{Manifest, ParametersId};
use shared::round::{Effect, Event, Machine, ModelRef, Snapshot};
use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// Why a federation ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// The machine cannot go on.
    #[error("the federation stopped: {0}")]
    Stopped(String),
    /// The run folder refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stop signal.
    #[error("interrupted")]
    Interrupted,
}

/// Everything the loop works with.
pub struct Driver {
    /// What decides.
    pub machine: Machine,
    /// The run folder.
    pub store: Store,
    /// The sites' connections.
    pub server: Server,
    /// The settings.
    pub federation: Federation,
    /// The model's tensors.
    pub manifest: Arc<Manifest>,
    /// Whoever watches.
    pub happen: mpsc::UnboundedSender<Happening>,
    /// The moment that the machine's time counts from.
    pub began: Instant,
    runs: HashMap<RunId, String>,
    files: HashMap<u64, PathBuf>,
    next_file: u64,
    checked: HashMap<(String, TaskId), Checked<FileSource>>,
}

/// What an effect leads to beside further events.
enum Next {
    GoOn,
    Finished,
}

impl Driver {
    /// A loop that has not begun. `snapshot` is what the machine goes on from.
    #[must_use]
    pub fn new(
        machine: Machine,
        (store, server): (Store, Server),
        (federation, manifest): (Federation, Arc<Manifest>),
        happen: mpsc::UnboundedSender<Happening>,
        began: Instant,
        snapshot: Option<&Snapshot>,
    ) -> Self {
        let names = snapshot.map(|s| s.runs.iter().map(|run| run.outcome.name.clone()).collect()).unwrap_or_default();
        let mut runs: HashMap<RunId, String> = HashMap::from([(RunId(0), "federation".into())]);
        runs.extend(Vec::into_iter(names).enumerate().map(|(id, name)| (RunId(id as u16), name)));
        let (files, checked) = (HashMap::new(), HashMap::new());
        Self { machine, store, server, federation, manifest, happen, began, runs, files, next_file: 0, checked }
    }

    /// Works until the federation is finished, cannot go on, or `stop` turns true. Everything accepted so far is
    /// stored in any case.
    ///
    /// # Errors
    /// See [`DriveError`].
    pub async fn run(
        mut self,
        mut inbound: mpsc::Receiver<Inbound>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<Outcome, DriveError> {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let outcome = loop {
            let event = tokio::select! {
                // A sender that is gone without a signal means that nobody can stop us any more, not that we should.
                Ok(_) = stop.wait_for(|stop| *stop) => break Err(DriveError::Interrupted),
                Some(inbound) = inbound.recv() => self.event(inbound),
                _ = tick.tick() => Some(Event::Tick),
            };
            let Some(event) = event else { continue };
            match tokio::task::block_in_place(|| self.handle(event)) {
                Ok(Next::GoOn) => {}
                Ok(Next::Finished) => break Ok(self.machine.outcome(self.began.elapsed())),
                Err(error) => break Err(error),
            }
        };
        let outcome = match outcome {
            Ok(outcome) => self.leave(outcome),
            Err(error) => Err(error),
        };
        self.server.shutdown().await;
        outcome
    }

    /// Writes what a finished federation leaves: the models with their thresholds, and the outcome.
    fn leave(&self, outcome: Outcome) -> Result<Outcome, DriveError> {
        for run in &outcome.runs {
            let last = run.rounds.len() as u32;
            for (round, which) in [(run.best_round, "best"), (last, "last")] {
                let card = ModelCard {
                    name: self.federation.name.clone(),
                    input: self.federation.input.clone(),
                    model: self.federation.model.clone(),
                    round,
                    threshold: run.threshold.filter(|_| round == run.best_round),
                };
                let name = format!("{}-{which}", run.name);
                self.store.export(Place { run: &run.name, round }, &self.manifest, &card, &name)?;
            }
        }
        self.store.put_outcome(&outcome)?;
        let _ = self.happen.send(Happening::Finished);
        Ok(outcome)
    }

    fn event(&mut self, inbound: Inbound) -> Option<Event> {
        Some(match inbound {
            Inbound::Connected { site, connection, hello } => Event::Connected { site, connection, hello },
            Inbound::Message { site, connection, message } => Event::Message { site, connection, message },
            Inbound::Parameters { site, header, file, .. } => {
                self.next_file += 1;
                self.files.insert(self.next_file, file);
                Event::Received { site, header, file: self.next_file }
            }
            Inbound::ParametersRefused { site, header, reason, .. } => {
                tracing::warn!(site, reason, "parameters refused");
                Event::Stored { site, task: header.task, result: Err(reason) }
            }
            Inbound::Closed { site, connection, reason } => Event::Disconnected { site, connection, reason },
        })
    }

    /// Obeys the effects of an event in order; events that come of them are handled before anything else.
    fn handle(&mut self, event: Event) -> Result<Next, DriveError> {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for effect in self.machine.handle(event, self.began.elapsed()) {
                match effect {
                    Effect::Check { file, site, task, parameters } => {
                        let result = self.check(file, &site, task, parameters)?;
                        events.push_back(Event::Stored { site, task, result });
                    }
                    Effect::Aggregate { run, round, start, updates } => {
                        let parameters = self.aggregate(run, round, start, updates)?;
                        events.push_back(Event::Aggregated { run, round, parameters });
                    }
                    Effect::Stop { reason } => return Err(DriveError::Stopped(reason)),
                    Effect::Finish => return Ok(Next::Finished),
                    effect => self.obey(effect)?,
                }
            }
        }
        Ok(Next::GoOn)
    }

    fn obey(&mut self, effect: Effect) -> Result<(), DriveError> {
        // A site that cannot be sent to is gone: its `Closed` is on its way and the machine will hear of it.
        match effect {
            Effect::Send { site, message } => drop(self.server.send(&site, message)),
            Effect::SendParameters { site, header, model } => {
                let file = self.model(model);
                drop(self.server.send_parameters(&site, header, file));
            }
            Effect::Close { site, reason } => drop(self.server.close(&site, &reason)),
            Effect::Discard { file } => self.discard(file),
            Effect::Persist(snapshot) => self.store.persist(&snapshot)?,
            Effect::Report(happening) => {
                if let Happening::RoundStarted { run, name, .. } = &happening {
                    self.runs.insert(*run, name.clone());
                }
                let _ = self.happen.send(happening);
            }
            Effect::Check { .. } | Effect::Aggregate { .. } | Effect::Stop { .. } | Effect::Finish => {}
        }
        Ok(())
    }

    fn run_name(&self, run: RunId) -> String {
        self.runs.get(&run).cloned().unwrap_or_else(|| format!("run-{}", run.0))
    }

    /// Where a model is: round 0 of every lineage is the one initial model.
    fn model(&self, model: ModelRef) -> PathBuf {
        let name = if model.round == 0 { self.run_name(RunId(0)) } else { self.run_name(model.run) };
        self.store.model(Place { run: &name, round: model.round })
    }

    fn check(
        &mut self,
        file: u64,
        site: &str,
        task: TaskId,
        parameters: ParametersId,
    ) -> Result<Result<ParametersId, String>, DriveError> {
        let Some(received) = self.files.remove(&file) else { return Ok(Err("the update's file is gone".into())) };
        let name = self.run_name(task.run);
        let place = Place { run: &name, round: task.round };
        Ok(match self.store.accept(&received, place, site, &self.manifest, parameters)? {
            Ok(checked) => {
                self.checked.insert((site.into(), task), checked);
                Ok(parameters)
            }
            Err(reason) => Err(reason),
        })
    }

    fn discard(&mut self, file: u64) {
        if let Some(path) = self.files.remove(&file) {
            // Left over, it would go at the next start.
            let _ = std::fs::remove_file(path);
        }
    }

    fn aggregate(
        &mut self,
        run: RunId,
        round: u32,
        start: ModelRef,
        updates: Vec<Contribution>,
    ) -> Result<ParametersId, DriveError> {
        let (start, name) = (self.model(start), self.run_name(run));
        let mut stored: HashMap<String, Checked<FileSource>> = std::mem::take(&mut self.checked)
            .into_iter()
            .filter(|((_, task), _)| task.run == run && task.round == round)
            .map(|((site, _), checked)| (site, checked))
            .collect();
        let updates = updates.into_iter().filter_map(|c| stored.remove(&c.site).map(|checked| (c, checked))).collect();
        let Federation { input, aggregation, .. } = &self.federation;
        let average = Average { manifest: &self.manifest, input, rule: *aggregation };
        Ok(self.store.aggregate(&average, &start, Place { run: &name, round }, updates)?)
    }
}
