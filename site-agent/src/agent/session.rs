//! The loop around the site's state machine: it hands events of the link and of the worker to the
//! machine, and executes the effects.

use super::config::SiteConfig;
use super::journal::Journal;
use super::memory::LastUpdate;
use super::models::Models;
use super::prepared::Prepared;
use super::worker::Worker;
use super::{folder_lock, renewal};
use crate::data::DataError;
use crate::device::{DeviceError, DeviceFault};
use crate::link::{Link, LinkEvent};
use crate::policy::{Approvals, Asked, Proposal, Usage};
use program::private;
use program::signal::Signal;
use program::{Class, Failure};
use protocol::architecture;
use protocol::case::Role;
use protocol::message::{CoordinatorMessage, Hello, PROTOCOL, SiteMessage, TransferHeader};
use protocol::settings::Federation;
use protocol::site::{Effect, Event, Finished, StateMachine};
use rand::RngExt;
use random::{Purpose, stream};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{mpsc, watch};

/// How long leaving may take: a little longer than the link's own wait.
const GOODBYE_LIMIT: Duration = Duration::from_secs(4);

/// How a refusal begins that the coordinator reads.
const BY_POLICY: &str = "refused by this site's own settings";

/// What the worker's threads report to the loop.
#[derive(Debug)]
pub(super) enum WorkerEvent {
    /// An event for the machine.
    Event(Event),
    /// The data is ready, or cannot be.
    Prepared(Result<Box<Prepared>, DataError>),
    /// The device cannot be used again by this process.
    DeviceLost(DeviceFault),
}

/// What the site has once it was welcomed.
struct Member {
    federation: Arc<Federation>,
    machine: StateMachine,
    models: Models,
    journal: Journal,
    worker: Worker,
    usage: Usage,
    /// Examples to train on; none before the data is ready.
    examples: u64,
}

struct Session {
    config: SiteConfig,
    /// `None` while there is no connection.
    link: Option<Link>,
    /// `None` before the first welcome.
    member: Option<Member>,
    /// For the worker's threads.
    tell: mpsc::UnboundedSender<WorkerEvent>,
}

/// What a session listens to.
struct Inputs<'a> {
    worker_events: &'a mut mpsc::UnboundedReceiver<WorkerEvent>,
    link_events: &'a mut mpsc::Receiver<LinkEvent>,
    /// The certificate was renewed.
    renewed: &'a mut mpsc::Receiver<()>,
    stopped: &'a mut watch::Receiver<Option<Signal>>,
}

/// Whether the session goes on.
enum Next {
    GoOn,
    /// The federation is finished.
    Over,
}

/// A connection that was made, and its events.
struct Connected {
    link: Link,
    events: mpsc::Receiver<LinkEvent>,
}

/// Works for the federation until it is finished.
///
/// # Errors
/// The settings or the data cannot be used, the coordinator refuses the site, or a signal came.
pub(crate) async fn work(
    config: SiteConfig,
    mut stopped: watch::Receiver<Option<Signal>>,
) -> Result<(), Failure> {
    private::create_folder(&config.work_folder)
        .map_err(|error| disk(&config.work_folder, &error))?;
    private::warn("the work folder", &config.work_folder);
    private::warn("this site's key", &config.certificates.join("key.pem"));
    let _held = folder_lock::take(&config.work_folder)?;
    let (tell, mut worker_events) = mpsc::unbounded_channel();
    let connected = connect(&config, &mut stopped).await?;
    let mut link_events = connected.events;
    let mut renewed = renewal::start(config.link());
    let mut session = Session {
        config,
        link: Some(connected.link),
        member: None,
        tell,
    };
    let inputs = Inputs {
        worker_events: &mut worker_events,
        link_events: &mut link_events,
        renewed: &mut renewed,
        stopped: &mut stopped,
    };
    let outcome = session.run(inputs).await;
    // Dropping the link tells the coordinator that the site leaves, which takes a moment. Otherwise
    // the coordinator would wait for the connection's timeout.
    drop(session);
    let _ = tokio::time::timeout(GOODBYE_LIMIT, wait_until_closed(&mut link_events)).await;
    outcome
}

/// Until the link has ended and nothing of it is on its way any more: not even the reason.
async fn wait_until_closed(events: &mut mpsc::Receiver<LinkEvent>) {
    while events.recv().await.is_some() {}
}

impl Session {
    async fn run(&mut self, inputs: Inputs<'_>) -> Result<(), Failure> {
        let Inputs {
            worker_events,
            link_events,
            renewed,
            stopped,
        } = inputs;
        loop {
            let next = tokio::select! {
                signal = asked_to_stop(stopped) => return Err(interrupted(signal)),
                Some(event) = worker_events.recv() => self.on_worker_event(event).await?,
                Some(()) = renewed.recv() => {
                    // A connection without a sender leaves, and the next one shows the new
                    // certificate. What is being sent is sent first.
                    self.link = None;
                    Next::GoOn
                }
                event = link_events.recv() => match event {
                    Some(LinkEvent::Closed { reason, again }) => {
                        self.on_connection_lost(&reason, again).await?;
                        *link_events = self.reconnect(stopped).await?;
                        Next::GoOn
                    }
                    Some(event) => self.on_link_event(event).await?,
                    None => {
                        self.on_connection_lost("the link ended", true).await?;
                        *link_events = self.reconnect(stopped).await?;
                        Next::GoOn
                    }
                },
            };
            if matches!(next, Next::Over) {
                return Ok(());
            }
        }
    }

    async fn on_link_event(&mut self, event: LinkEvent) -> Result<Next, Failure> {
        match event {
            LinkEvent::Message(message) => {
                if let CoordinatorMessage::Welcome { federation, site } = &message {
                    self.welcome(federation, site.as_str())?;
                }
                if let Some(refusal) = self.refuse_task(&message)? {
                    if let Some(link) = &self.link {
                        // As every message: a broken link reports that itself.
                        let _ = link.send(refusal).await;
                    }
                    return Ok(Next::GoOn);
                }
                self.handle(Event::Message(message)).await
            }
            LinkEvent::Parameters { header, file } => {
                let Some(member) = &self.member else {
                    return Ok(Next::GoOn);
                };
                member
                    .models
                    .adopt(header.parameters, &file)
                    .map_err(|error| disk(&file, &error))?;
                self.handle(Event::Received(header)).await
            }
            LinkEvent::Unstored { file, reason } => Err(disk(&file, &reason)),
            LinkEvent::Closed { .. } => Ok(Next::GoOn),
        }
    }

    /// The first welcome: checks the settings, and starts preparing the data. A later one, after a
    /// broken connection, must bring the same settings.
    fn welcome(&mut self, federation: &Federation, site: &str) -> Result<(), Failure> {
        if let Some(member) = &self.member {
            if *member.federation == *federation {
                return Ok(());
            }
            return Err(Failure::new(
                Class::Federation,
                "the coordinator came back with other settings",
            )
            .hint("start the site again to join the new federation"));
        }
        let federation = match federation.clone().check() {
            Ok(federation) => Arc::new(federation),
            Err(error) => {
                let what = format!("the coordinator's settings cannot be used: {error}");
                return Err(Failure::new(Class::Federation, what));
            }
        };
        tracing::info!(site, federation = %federation.name, rounds = federation.rounds, "welcome");
        let manifest = Arc::new(architecture::manifest(&federation.model, &federation.input));
        let proposal = Proposal::of(&federation);
        self.check_policy(&federation, &proposal)?;
        let work = &self.config.work_folder;
        let usage = Usage::read(work, proposal.settings)?;
        let journal = Journal::new(work, &federation, &self.config.data);
        let finished = journal.read();
        let last = finished.as_ref().map(|finished| LastUpdate {
            run: finished.work.task.run,
            update: finished.trained.parameters,
        });
        let opened = Models::open(
            work,
            manifest,
            federation.updates,
            last.map(|last| last.update),
        )
        .map_err(|error| disk(work, &error))?;
        let models = opened.models;
        let bytes = models.update_bytes();
        let machine = match finished {
            Some(finished) if opened.kept_is_sound => StateMachine::resumed(bytes, finished),
            _ => StateMachine::new(bytes),
        };
        let worker = Worker::new(
            &self.config,
            site,
            federation.clone(),
            models.clone(),
            last,
            self.tell.clone(),
        )?;
        worker
            .prepare()
            .map_err(|error| Failure::new(Class::Internal, error))?;
        self.member = Some(Member {
            federation,
            machine,
            models,
            journal,
            worker,
            usage,
            examples: 0,
        });
        self.set_model_bytes();
        Ok(())
    }

    /// Leaves a federation that this site's own settings do not permit, or that a person here must
    /// say yes to first. The coordinator is told why.
    fn check_policy(&self, federation: &Federation, proposal: &Proposal) -> Result<(), Failure> {
        let policy = &self.config.policy;
        if let Err(refusal) = policy.judge(federation) {
            self.leave(&format!("{BY_POLICY}: {refusal}"));
            let what = format!("this site does not work for {}: {refusal}", federation.name);
            let hint = "[policy] in this site's settings says what is permitted";
            return Err(Failure::new(Class::Federation, what).hint(hint));
        }
        let approvals = Approvals::of_work_folder(&self.config.work_folder);
        if approvals.permit(policy.approval, proposal)? {
            return Ok(());
        }
        approvals.wait(proposal)?;
        self.leave(&format!(
            "{BY_POLICY}: a person there must say yes to these settings first"
        ));
        let what = format!("a person must say yes to {} first", federation.name);
        let hint = "`site-agent approve` with the same --config shows its settings and asks";
        Err(Failure::new(Class::Federation, what).hint(hint))
    }

    fn leave(&self, reason: &str) {
        if let Some(link) = &self.link {
            link.leave(reason);
        }
    }

    /// What is said to a task that this site's own settings do not permit now; `None` to one that
    /// they permit, which then counts as begun.
    fn refuse_task(
        &mut self,
        message: &CoordinatorMessage,
    ) -> Result<Option<SiteMessage>, Failure> {
        let Some(member) = &mut self.member else {
            return Ok(None);
        };
        let Some(asked) = Asked::of(message, &member.federation, member.examples) else {
            return Ok(None);
        };
        let now = SystemTime::now();
        let may_train = self.config.role == Role::Train;
        let policy = &self.config.policy;
        let task = asked.task;
        match policy.judge_task(&asked, may_train, &member.usage, now) {
            Ok(()) => {
                if policy.counts() {
                    member.usage.begin(task, now)?;
                }
                Ok(None)
            }
            Err(refusal) => {
                tracing::warn!(%refusal, "a task is refused");
                let reason = format!("{BY_POLICY}: {refusal}");
                Ok(Some(SiteMessage::Failed { task, reason }))
            }
        }
    }

    /// Tells a new link how long a model is.
    fn set_model_bytes(&self) {
        if let (Some(link), Some(member)) = (&self.link, &self.member) {
            link.set_model_bytes(member.models.manifest().bytes());
        }
    }

    async fn on_worker_event(&mut self, event: WorkerEvent) -> Result<Next, Failure> {
        match event {
            WorkerEvent::Event(event) => self.handle(event).await,
            WorkerEvent::DeviceLost(fault) => Err(DeviceError::Lost(fault).into()),
            WorkerEvent::Prepared(prepared) => {
                let prepared = prepared?;
                let inventory = prepared.inventory;
                tracing::info!(
                    training = inventory.training_cases,
                    validation = inventory.validation_cases,
                    held_out = inventory.held_out_cases,
                    skipped = inventory.skipped_cases,
                    "data ready"
                );
                prepared.check(self.config.role)?;
                if let Some(member) = &mut self.member {
                    member.examples = inventory.training_slices;
                    member.worker.set_prepared(*prepared);
                }
                self.handle(Event::Prepared(inventory)).await
            }
        }
    }

    async fn handle(&mut self, event: Event) -> Result<Next, Failure> {
        let Some(member) = &mut self.member else {
            return match event {
                Event::Message(CoordinatorMessage::Refused { reason }) => Err(refused(&reason)),
                _ => Ok(Next::GoOn),
            };
        };
        for effect in member.machine.handle(event) {
            match effect {
                Effect::Send(message) => {
                    if let Some(link) = &self.link {
                        // A broken link reports that itself, and after the next welcome the machine
                        // repeats what matters.
                        let _ = link.send(message).await;
                    }
                }
                Effect::Persist(finished) => {
                    member.worker.update_is_final(finished.trained.parameters);
                    // A failed write does not stop the send: the update is still on disk as a model
                    // file; only a restart would train again.
                    if let Err(error) = member.persist(&finished) {
                        tracing::warn!(
                            %error,
                            "a restart would train this round again: journal.json"
                        );
                    }
                }
                Effect::SendParameters(header) => {
                    if let Some(link) = &self.link {
                        let file = member.models.update(header.parameters);
                        tokio::spawn(send_parameters(link.clone(), header, file));
                    }
                }
                Effect::Cancel => member.worker.cancel(),
                Effect::Conclude => member.worker.conclude(),
                Effect::Start(work) => {
                    member
                        .worker
                        .start(work)
                        .map_err(|error| Failure::new(Class::Internal, error))?;
                }
                Effect::Forget(id) => member.models.forget(id),
                Effect::Leave { summary } => {
                    tracing::info!("finished: {summary}");
                    return Ok(Next::Over);
                }
                Effect::NotCounted { task, reason } => {
                    let round = task.round;
                    tracing::warn!(
                        "the coordinator does not count this site's work of round {round}: {reason}"
                    );
                }
                Effect::Refused { reason } => return Err(refused(&reason)),
            }
        }
        Ok(Next::GoOn)
    }

    async fn on_connection_lost(&mut self, reason: &str, again: bool) -> Result<(), Failure> {
        self.link = None;
        if !again {
            return Err(Failure::new(
                Class::Federation,
                format!("the coordinator ended the connection: {reason}"),
            ));
        }
        tracing::warn!("the connection ended ({reason}); connecting again, work goes on");
        self.handle(Event::Disconnected).await?;
        Ok(())
    }

    /// Returns the events of the new connection.
    async fn reconnect(
        &mut self,
        stopped: &mut watch::Receiver<Option<Signal>>,
    ) -> Result<mpsc::Receiver<LinkEvent>, Failure> {
        let connected = connect(&self.config, stopped).await?;
        self.link = Some(connected.link);
        self.set_model_bytes();
        Ok(connected.events)
    }
}

impl Member {
    /// Writes a result into the journal. Of earlier updates nothing is needed any more.
    fn persist(&self, finished: &Finished) -> io::Result<()> {
        self.journal.keep(finished)?;
        self.models.remove_others(finished.trained.parameters)
    }
}

/// Sends a training's update, in a task of its own: the loop must read messages meanwhile.
async fn send_parameters(link: Link, header: TransferHeader, file: PathBuf) {
    if let Err(error) = link.send_parameters(header, file).await {
        tracing::warn!(
            %error,
            "the update was not taken; it is kept until the coordinator asks again"
        );
    }
}

/// Connects, with growing, jittered pauses between attempts.
async fn connect(
    config: &SiteConfig,
    stopped: &mut watch::Receiver<Option<Signal>>,
) -> Result<Connected, Failure> {
    let link = config.link();
    let hello = Hello {
        protocol: PROTOCOL,
        software: env!("CARGO_PKG_VERSION").into(),
        role: config.role,
        sequences: config.data.sequences(),
    };
    let began = Instant::now();
    let limit = Duration::from_secs(60 * u64::from(config.reconnect_minutes));
    let mut attempt = 0u32;
    loop {
        let error = tokio::select! {
            signal = asked_to_stop(stopped) => return Err(interrupted(signal)),
            connected = Link::connect(link.clone(), hello.clone()) => match connected {
                Ok((link, events)) => return Ok(Connected { link, events }),
                Err(error) => error,
            },
        };
        if !error.again() || began.elapsed() > limit {
            return Err(error.into());
        }
        let wait = pause(attempt, std::process::id());
        tracing::warn!(%error, seconds = wait.as_secs_f32(), "no connection yet; trying again");
        tokio::select! {
            signal = asked_to_stop(stopped) => return Err(interrupted(signal)),
            () = tokio::time::sleep(wait) => {}
        }
        attempt = attempt.saturating_add(1);
    }
}

/// Doubles from a quarter of a second to half a minute. Half of it is random, so that sites do not
/// return all at once.
fn pause(attempt: u32, process: u32) -> Duration {
    let full = (0.25 * f64::from(2u32.saturating_pow(attempt.min(16)))).min(30.0);
    let chance: f64 = stream(u64::from(process), attempt, "", Purpose::Backoff).random();
    Duration::from_secs_f64(full * (0.5 + 0.5 * chance))
}

fn disk(path: &Path, error: &impl std::fmt::Display) -> Failure {
    Failure::new(Class::Disk, format!("{}: {error}", path.display())).hint(
        "work_folder must be a folder that this program may write, on a disk with room for a few \
         models",
    )
}

fn interrupted(signal: Signal) -> Failure {
    Failure::new(
        signal.into(),
        "asked to stop; nothing is lost, the coordinator waits for this site's return",
    )
}

fn refused(reason: &str) -> Failure {
    Failure::new(
        Class::Federation,
        format!("the coordinator refused this site: {reason}"),
    )
}

/// Waits for a signal.
async fn asked_to_stop(stopped: &mut watch::Receiver<Option<Signal>>) -> Signal {
    if let Ok(signal) = stopped.wait_for(Option::is_some).await
        && let Some(signal) = *signal
    {
        return signal;
    }
    // The sender is gone: no signal can come any more.
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_half_a_minute_and_differ_between_sites() {
        let seconds = |attempt| pause(attempt, 7).as_secs_f64();
        assert!((0.125..=0.25).contains(&seconds(0)));
        assert!((15.0..=30.0).contains(&seconds(40)));
        assert_ne!(pause(3, 7), pause(3, 8));
    }
}
