//! The loop around the coordinator's state machine: what arrives becomes an event, and effects are
//! executed in their order.

mod state;
mod steer;

use crate::server::{Inbound, SendError, Server};
use crate::status::{self, Command, Status};
use crate::store::{CheckOutcome, Export, FileSource, Place, Store, StoreError};
use aggregation::{Average, Rule, named_rule, not_learnt, rule_for_one, with_optimiser};
use metrics::score::CaseScore;
use program::signal::Signal;
use protocol::case::Cases;
use protocol::coordinator::{
    AcceptedUpdate, Checkpoint, Contribution, Effect, Event, ModelRef, RunProgress, StateMachine,
};
use protocol::identity::{SiteName, Version};
use protocol::message::{RunId, TaskId};
use protocol::model_file::ModelCard;
use protocol::notification::Notification;
use protocol::operating::OperatingPoints;
use protocol::outcome::{Outcome, RunKind};
use protocol::parameters::{Manifest, ParametersId};
use protocol::settings::Federation;
pub(crate) use state::{Accepted, DriverState};
use state::{BackgroundJob, Draining, JobResult, ReceivedFile};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// Why the loop ended before the federation's outcome.
#[derive(Debug)]
pub(crate) enum Interruption {
    /// It cannot go on.
    Stopped(String),
    /// It was asked to stop.
    Asked(Signal),
    /// The run folder refuses.
    Store(StoreError),
}

impl From<StoreError> for Interruption {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Everything the loop holds.
pub(crate) struct Driver {
    pub(crate) machine: StateMachine,
    pub(crate) store: Arc<Store>,
    pub(crate) server: Server,
    pub(crate) federation: Arc<Federation>,
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) notifications: mpsc::UnboundedSender<Notification>,
    pub(crate) status: watch::Sender<Status>,
    pub(crate) state: DriverState,
}

/// What the loop listens to.
pub(crate) struct Inputs {
    pub(crate) inbound: mpsc::Receiver<Inbound>,
    pub(crate) control: mpsc::Receiver<Command>,
    pub(crate) shutdown: watch::Receiver<Option<Signal>>,
}

impl Driver {
    /// Serves until the federation ends, or until it was asked to stop and what was at work here is
    /// done.
    pub(crate) async fn run(mut self, inputs: Inputs) -> Result<Outcome, Interruption> {
        let Inputs {
            mut inbound,
            mut control,
            mut shutdown,
        } = inputs;
        let mut clock = tokio::time::interval(Duration::from_millis(500));
        let (results, mut done) = mpsc::unbounded_channel();
        self.state.results = results;
        let end = loop {
            if let Some(outcome) = self.state.outcome.take() {
                break Ok(outcome);
            }
            let draining = self.state.draining;
            if let Some(Draining { signal, until }) = draining
                && (self.state.open_jobs == 0 || until <= Instant::now())
            {
                break Err(Interruption::Asked(signal));
            }
            let accepts_commands = draining.is_none();
            let handled = tokio::select! {
                Some(signal) = asked_to_stop(&mut shutdown), if accepts_commands => {
                    self.drain(signal).await
                }
                Some(command) = control.recv(), if accepts_commands => self.steer(command).await,
                Some(result) = done.recv() => self.on_job_done(result).await,
                Some(message) = inbound.recv() => self.on_inbound(message).await,
                _ = clock.tick() => self.dispatch(Event::Tick).await,
            };
            if let Err(end) = handled {
                break Err(end);
            }
        };
        let written = wait_for(&mut self.state.exporting).await;
        let pruned = wait_for(&mut self.state.pruning).await;
        self.server.shutdown().await;
        let outcome = end?;
        written?;
        pruned?;
        Ok(outcome)
    }

    async fn on_inbound(&mut self, inbound: Inbound) -> Result<(), Interruption> {
        let event = match inbound {
            Inbound::Connected {
                site,
                connection,
                hello,
                tunnelled,
                key_exchange,
            } => {
                self.status.send_modify(|status| {
                    status.set_tunnelled(&site, tunnelled);
                    status.set_key_exchange(&site, key_exchange);
                });
                Event::Connected {
                    site,
                    connection,
                    hello,
                }
            }
            Inbound::Message {
                site,
                connection,
                message,
            } => Event::Message {
                site,
                connection,
                message,
            },
            Inbound::Parameters {
                site,
                arrived,
                file,
                ..
            } => {
                self.state.last_file += 1;
                let received = ReceivedFile {
                    path: file,
                    arrived,
                };
                self.state.files.insert(self.state.last_file, received);
                Event::Received {
                    site,
                    header: arrived.header(),
                    file: self.state.last_file,
                }
            }
            Inbound::DiskFailed { reason } => {
                return Err(Interruption::Store(StoreError::Io {
                    action: "use",
                    path: self.store.incoming(),
                    error: std::io::Error::other(reason),
                }));
            }
            Inbound::ParametersRefused {
                site,
                header,
                reason,
                ..
            } => Event::Stored {
                site,
                task: header.task,
                result: Err(reason),
            },
            Inbound::Closed {
                site,
                connection,
                reason,
            } => Event::Disconnected {
                site,
                connection,
                reason,
            },
        };
        self.dispatch(event).await
    }

    async fn on_job_done(&mut self, done: JobResult) -> Result<(), Interruption> {
        self.state.open_jobs -= 1;
        let event = match done {
            JobResult::Broken(reason) => {
                return Err(Interruption::Stopped(format!(
                    "work on the sites' updates broke off: {reason}"
                )));
            }
            JobResult::Checked {
                site,
                task,
                result,
                id,
            } => {
                let result = match result? {
                    CheckOutcome::Accepted { update, distance } => {
                        self.state.checked.insert((task, site.clone()), update);
                        Ok(AcceptedUpdate {
                            parameters: id,
                            distance,
                        })
                    }
                    CheckOutcome::Refused(rejection) => Err(rejection),
                };
                Event::Stored { site, task, result }
            }
            JobResult::Aggregated {
                run,
                version,
                result,
            } => Event::Aggregated {
                run,
                version,
                parameters: result?,
            },
            JobResult::Restored {
                run,
                version,
                result,
            } => {
                result?;
                Event::Restored { run, version }
            }
        };
        self.dispatch(event).await
    }

    async fn dispatch(&mut self, event: Event) -> Result<(), Interruption> {
        for effect in self.machine.handle(event, self.state.began.elapsed()) {
            self.execute(effect).await?;
        }
        Ok(())
    }

    async fn execute(&mut self, effect: Effect) -> Result<(), Interruption> {
        match effect {
            Effect::Send { site, message } => log_unsent(self.server.send(&site, message)),
            Effect::SendParameters {
                site,
                header,
                model,
            } => {
                let file = self.store.model(Place {
                    run: &self.run_kind(model.run)?,
                    version: model.version,
                });
                log_unsent(self.server.send_parameters(&site, header, file));
            }
            Effect::Close { site, reason } => log_unsent(self.server.close(&site, &reason)),
            Effect::Check {
                file, site, task, ..
            } => self.check(file, site, task)?,
            Effect::Discard { file } => {
                if let Some(received) = self.state.files.remove(&file) {
                    // A file that cannot be removed now is removed at the next start.
                    let _ = std::fs::remove_file(received.path);
                }
            }
            Effect::Aggregate {
                run,
                version,
                updates,
                rate,
            } => {
                self.aggregate(run, version, updates, rate)?;
            }
            Effect::Record { run, record } => {
                let (store, run) = (self.store.clone(), self.run_kind(run)?);
                self.blocking(move || store.record(&run, &record)).await?;
            }
            Effect::Restore { run, version, from } => self.restore(run, version, from)?,
            Effect::Persist(checkpoint) => self.persist(*checkpoint).await?,
            Effect::Report(notification) => {
                self.status
                    .send_modify(|status| status.apply(&notification, status::now()));
                let _ = self.notifications.send(notification);
            }
            Effect::Stop { reason } => return Err(Interruption::Stopped(reason.to_string())),
            Effect::Finish => self.finish().await?,
        }
        Ok(())
    }

    fn run_kind(&self, run: RunId) -> Result<RunKind, Interruption> {
        match self.machine.run_kind(run) {
            Some(kind) => Ok(kind.clone()),
            None => Err(Interruption::Stopped(format!("there is no run {}", run.0))),
        }
    }

    fn check(&mut self, file: u64, site: SiteName, task: TaskId) -> Result<(), Interruption> {
        let Some(ReceivedFile { path, arrived }) = self.state.files.remove(&file) else {
            return Ok(());
        };
        let (store, manifest) = (self.store.clone(), self.manifest.clone());
        let run = self.run_kind(task.run)?;
        let version = task.base();
        let base = Place { run: &run, version };
        // Now, because the model that it started from may be removed before the check's turn comes.
        let offered = store.open_update(&path, base, &manifest)?;
        self.spawn_job(move || {
            let base = Place { run: &run, version };
            let result = store.accept(offered, base, &site, &manifest, arrived);
            JobResult::Checked {
                site,
                task,
                result,
                id: arrived.header().parameters,
            }
        });
        Ok(())
    }

    /// Starts disk work. The loop receives its result when it is done, or broke off.
    fn spawn_job(&mut self, work: impl FnOnce() -> JobResult + Send + 'static) {
        self.state.open_jobs += 1;
        let results = self.state.results.clone();
        tokio::spawn(async move {
            let result = tokio::task::spawn_blocking(work).await;
            // There is no receiver once the loop has ended.
            let _ =
                results.send(result.unwrap_or_else(|error| JobResult::Broken(error.to_string())));
        });
    }

    fn aggregate(
        &mut self,
        run: RunId,
        version: Version,
        updates: Vec<Contribution>,
        rate: Option<f64>,
    ) -> Result<(), Interruption> {
        if run.is_federation() {
            self.warn_of_sequences(&updates);
        }
        let mut pairs = Vec::new();
        for contribution in updates {
            let task = TaskId::training(run, contribution.base);
            let site = contribution.site.clone();
            let Some(update) = self.state.checked.remove(&(task, site)) else {
                let site = &contribution.site;
                let reason = format!("the checked update of {site} is gone");
                return Err(Interruption::Stopped(reason));
            };
            pairs.push((contribution, update));
        }
        // Updates that were checked and then not accepted would stay open for ever.
        let machine = &self.machine;
        self.state
            .checked
            .retain(|(task, site), _| machine.awaits_update(site, *task));
        let (store, manifest) = (self.store.clone(), self.manifest.clone());
        let (federation, kind) = (self.federation.clone(), self.run_kind(run)?);
        self.spawn_job(move || {
            let rule = if run.is_federation() {
                federation_rule(&federation, rate)
            } else {
                rule_for_one(federation.aggregation)
            };
            let average = Average {
                manifest: &manifest,
                input: &federation.input,
                rule: &*rule,
            };
            let place = Place {
                run: &kind,
                version,
            };
            let result = store.aggregate(&average, place, pairs);
            JobResult::Aggregated {
                run,
                version,
                result,
            }
        });
        Ok(())
    }

    /// Says once for each sequence that the settings' rule learns nothing of it, because too few
    /// sites hold it.
    fn warn_of_sequences(&mut self, updates: &[Contribution]) {
        let settings = &self.federation;
        for thin in not_learnt(settings.aggregation, &settings.input, updates) {
            if self.state.not_learnt.insert(thin.sequence.to_owned()) {
                let (sequence, holders) = (thin.sequence, thin.holders);
                tracing::warn!(
                    "{sequence} is not learnt: {holders} of this round's sites hold it, too few \
                     for this aggregation to tell whether one of them is faulty"
                );
            }
        }
    }

    /// Puts an earlier model in the place of a discarded version.
    fn restore(
        &mut self,
        run: RunId,
        version: Version,
        from: ModelRef,
    ) -> Result<(), Interruption> {
        let (store, manifest, kind) = (
            self.store.clone(),
            self.manifest.clone(),
            self.run_kind(run)?,
        );
        self.spawn_job(move || {
            let earlier = Place {
                run: &kind,
                version: from.version,
            };
            let discarded = Place {
                run: &kind,
                version,
            };
            JobResult::Restored {
                run,
                version,
                result: store.restore(earlier, discarded, &manifest),
            }
        });
        Ok(())
    }

    async fn persist(&mut self, checkpoint: Checkpoint) -> Result<(), Interruption> {
        let store = self.store.clone();
        let checkpoint = self
            .blocking(move || store.persist(&checkpoint).map(|()| checkpoint))
            .await?;
        self.status
            .send_modify(|status| status.apply_checkpoint(&checkpoint));
        for run in &checkpoint.runs {
            if self.has_new_best(run) {
                self.export(run).await?;
            }
        }
        self.prune(checkpoint).await
    }

    /// Removes what is no longer needed, unless a job does that already: checkpoints come often,
    /// and the next one will do.
    async fn prune(&mut self, kept: Checkpoint) -> Result<(), Interruption> {
        if let Some(job) = &self.state.pruning
            && !job.is_finished()
        {
            return Ok(());
        }
        wait_for(&mut self.state.pruning).await?;
        let store = self.store.clone();
        self.state.pruning = Some(tokio::task::spawn_blocking(move || store.prune(&kept)));
        Ok(())
    }

    /// Whether a run has a better model than the one exported.
    fn has_new_best(&self, run: &RunProgress) -> bool {
        match run.best {
            Some(best) => self.state.exported.get(&run.outcome.name) != Some(&best.version),
            None => false,
        }
    }

    async fn export(&mut self, run: &RunProgress) -> Result<(), Interruption> {
        let Some(best) = run.best else { return Ok(()) };
        self.state
            .exported
            .insert(run.outcome.name.clone(), best.version);
        self.write_model(run, best.version, best.parameters, Export::Best)
            .await
    }

    /// Begins to write a model when the one before is written, so that an older model never
    /// replaces a newer one. The model that is read is still there, because models are kept for two
    /// rounds.
    async fn write_model(
        &mut self,
        run: &RunProgress,
        version: Version,
        weights: ParametersId,
        export: Export,
    ) -> Result<(), Interruption> {
        wait_for(&mut self.state.exporting).await?;
        let federation = &self.federation;
        let card = ModelCard {
            name: federation.name.clone(),
            input: federation.input.clone(),
            model: federation.model.clone(),
            round: version.0,
            operating_points: operating_points(run, version),
        };
        let (store, manifest, name) = (
            self.store.clone(),
            self.manifest.clone(),
            run.outcome.name.clone(),
        );
        let work = move || {
            let place = Place {
                run: &name,
                version,
            };
            store.export(place, &manifest, &card, weights, export)
        };
        self.state.exporting = Some(tokio::task::spawn_blocking(work));
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), Interruption> {
        let checkpoint = self.machine.checkpoint();
        for run in &checkpoint.runs {
            self.export(run).await?;
            if let Some(weights) = run.model.filter(|_| run.finished > 0) {
                self.write_model(run, run.newest(), weights, Export::Last)
                    .await?;
            }
        }
        wait_for(&mut self.state.exporting).await?;
        wait_for(&mut self.state.pruning).await?;
        let mut outcome = self.machine.outcome(self.state.began.elapsed());
        let store = self.store.clone();
        let work = move || {
            store.prune(&checkpoint)?;
            store.complete(&mut outcome, &checkpoint.runs)?;
            store.put_outcome(&outcome).map(|()| outcome)
        };
        self.state.outcome = Some(self.blocking(work).await?);
        Ok(())
    }

    /// Disk work that the loop waits for, off the network's threads.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Interruption> {
        join_disk_job(tokio::task::spawn_blocking(work)).await
    }
}

/// The rule by which the federation's own models are made; `rate` is that of a buffer.
fn federation_rule(federation: &Federation, rate: Option<f64>) -> Box<dyn Rule<FileSource>> {
    let rule = named_rule(federation.aggregation, rate);
    match federation.server_optimiser {
        Some(optimiser) => with_optimiser(rule, optimiser),
        None => rule,
    }
}

/// What the validation patients chose, where they chose it for this version of the model.
fn operating_points(run: &RunProgress, version: Version) -> OperatingPoints {
    match run.best {
        Some(best) if best.version == version => {}
        _ => return OperatingPoints::default(),
    }
    let outcome = &run.outcome;
    let mut validation: Vec<&CaseScore> = Vec::new();
    for scores in &outcome.scores {
        if scores.role.judges() == Cases::Validation {
            validation.extend(&scores.cases);
        }
    }
    OperatingPoints::of(outcome.threshold_dice, outcome.threshold, &validation)
}

async fn wait_for(work: &mut BackgroundJob) -> Result<(), Interruption> {
    match work.take() {
        Some(work) => join_disk_job(work).await,
        None => Ok(()),
    }
}

async fn join_disk_job<T>(work: JoinHandle<Result<T, StoreError>>) -> Result<T, Interruption> {
    match work.await {
        Ok(result) => Ok(result?),
        Err(error) => Err(Interruption::Stopped(format!(
            "writing to the run folder broke off: {error}"
        ))),
    }
}

/// The signal, once it comes; `None` when nothing is left that could give one.
async fn asked_to_stop(shutdown: &mut watch::Receiver<Option<Signal>>) -> Option<Signal> {
    *shutdown.wait_for(Option::is_some).await.ok()?
}

/// A site that is gone is told nothing: its `Closed` is on its way.
fn log_unsent(sent: Result<(), SendError>) {
    if let Err(error) = sent {
        tracing::debug!(%error, "not sent");
    }
}
