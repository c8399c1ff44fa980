//! The loop around the site's state machine: the link and the worker tell, the machine decides,
//! this obeys.

use super::config::SiteConfig;
use super::journal::Journal;
use super::lock;
use super::models::Models;
use super::worker::{Prepared, Worker};
use crate::data::DataError;
use crate::device::{DeviceError, DeviceFault};
use crate::link::{Link, LinkError, LinkEvent};
use program::private;
use program::signal::Signal;
use program::{Class, Failure};
use protocol::architecture;
use protocol::message::{CoordinatorMessage, Hello, PROTOCOL, TransferHeader};
use protocol::settings::Federation;
use protocol::site::{Effect, Event, StateMachine};
use rand::RngExt;
use random::{Purpose, stream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// How long leaving may take: a little more than the link's own farewell.
const GOODBYE: Duration = Duration::from_secs(4);

/// What the worker's threads tell the loop.
#[derive(Debug)]
pub(super) enum WorkerEvent {
    /// An event for the machine.
    Event(Event),
    /// The data is ready, or cannot be.
    Prepared(Result<Box<Prepared>, DataError>),
    /// The device will do no more work for this process.
    DeviceLost(DeviceFault),
}

/// What the site knows once it was welcomed.
struct Member {
    federation: Arc<Federation>,
    machine: StateMachine,
    models: Models,
    journal: Journal,
    worker: Worker,
}

struct Session {
    config: SiteConfig,
    link: Option<Link>,
    member: Option<Member>,
    tell: mpsc::UnboundedSender<WorkerEvent>,
}

/// What ends a session well.
enum Next {
    GoOn,
    Over,
}

/// Works for the federation until it is finished.
///
/// # Errors
/// Settings, data or the coordinator refuse, or `stopped` turns to a signal.
pub(crate) async fn work(
    config: SiteConfig,
    mut stopped: watch::Receiver<Option<Signal>>,
) -> Result<(), Failure> {
    private::create_folder(&config.work_folder)
        .map_err(|error| disk(&config.work_folder, &error))?;
    private::warn("the work folder", &config.work_folder);
    private::warn("this site's key", &config.certificates.join("key.pem"));
    let _held = lock::take(&config.work_folder)?;
    let (tell, mut told) = mpsc::unbounded_channel();
    let (link, mut events) = connect(&config, &mut stopped).await?;
    let mut session = Session {
        config,
        link: Some(link),
        member: None,
        tell,
    };
    let outcome = session.run(&mut told, &mut events, &mut stopped).await;
    // Dropping the link says goodbye, which takes a moment; without it the coordinator would wait
    // out the silence.
    drop(session);
    let goodbye =
        async { while !matches!(events.recv().await, None | Some(LinkEvent::Closed { .. })) {} };
    let _ = tokio::time::timeout(GOODBYE, goodbye).await;
    outcome
}

fn closed(reason: &str) -> LinkEvent {
    LinkEvent::Closed {
        reason: reason.into(),
        again: true,
    }
}

impl Session {
    async fn run(
        &mut self,
        told: &mut mpsc::UnboundedReceiver<WorkerEvent>,
        events: &mut mpsc::Receiver<LinkEvent>,
        stopped: &mut watch::Receiver<Option<Signal>>,
    ) -> Result<(), Failure> {
        loop {
            let next = tokio::select! {
                signal = asked_to_stop(stopped) => return Err(ended(signal)),
                Some(told) = told.recv() => self.told(told).await?,
                // A link that says nothing more has ended.
                event = events.recv() => match event.unwrap_or_else(|| closed("the link ended")) {
                    LinkEvent::Closed { reason, again } => {
                        self.lost(&reason, again).await?;
                        let (link, again) = connect(&self.config, stopped).await?;
                        (self.link, *events) = (Some(link), again);
                        self.set_model_bytes();
                        Next::GoOn
                    }
                    event => self.heard(event).await?,
                },
            };
            if matches!(next, Next::Over) {
                return Ok(());
            }
        }
    }

    async fn heard(&mut self, event: LinkEvent) -> Result<Next, Failure> {
        match event {
            LinkEvent::Message(message) => {
                if let CoordinatorMessage::Welcome { federation, site } = &message {
                    self.welcome(federation, site)?;
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
            return if *member.federation == *federation {
                Ok(())
            } else {
                Err(Failure::new(
                    Class::Federation,
                    "the coordinator came back with other settings",
                )
                .hint("start the site again to join the new federation"))
            };
        }
        let federation = federation.clone().check().map_err(|error| {
            Failure::new(
                Class::Federation,
                format!("the coordinator's settings cannot be used: {error}"),
            )
        })?;
        tracing::info!(site, federation = %federation.name, rounds = federation.rounds, "welcome");
        let manifest = Arc::new(architecture::manifest(&federation.model, &federation.input));
        let work = &self.config.work_folder;
        let journal = Journal::new(work, &federation, &self.config.data);
        let finished = journal.read();
        let kept = finished
            .as_ref()
            .map(|finished| finished.trained.parameters);
        let (models, sound) = Models::open(work, manifest, federation.updates, kept)
            .map_err(|error| disk(work, &error))?;
        let last = finished
            .as_ref()
            .map(|finished| (finished.work.task.run, finished.trained.parameters));
        let bytes = models.update_bytes();
        let machine = match finished.filter(|_| sound) {
            Some(finished) => StateMachine::resumed(bytes, finished),
            None => StateMachine::new(bytes),
        };
        let federation = Arc::new(federation);
        let worker = Worker::new(
            &self.config,
            site,
            federation.clone(),
            (models.clone(), last),
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
        });
        self.set_model_bytes();
        Ok(())
    }

    /// Tells a fresh link how long a model is.
    fn set_model_bytes(&self) {
        if let (Some(link), Some(member)) = (&self.link, &self.member) {
            link.set_model_bytes(member.models.manifest().bytes());
        }
    }

    async fn told(&mut self, told: WorkerEvent) -> Result<Next, Failure> {
        match told {
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
                if let Some(member) = &self.member {
                    member.worker.ready(*prepared);
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
                        // A broken link says so by itself; the machine repeats what matters after
                        // the next welcome.
                        let _ = link.send(message).await;
                    }
                }
                Effect::Persist(finished) => {
                    member.worker.kept(finished.trained.parameters);
                    let kept = member.journal.keep(&finished);
                    if let Err(error) =
                        kept.and_then(|()| member.models.keep_behind(finished.trained.parameters))
                    {
                        tracing::warn!(%error, "a restart would train this round again: journal.json");
                    }
                }
                Effect::SendParameters(header) => {
                    send_parameters(self.link.clone(), &member.models, header)
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
                Effect::Refused { reason } => return Err(refused(&reason)),
            }
        }
        Ok(Next::GoOn)
    }

    async fn lost(&mut self, reason: &str, again: bool) -> Result<(), Failure> {
        self.link = None;
        if !again {
            return Err(Failure::new(
                Class::Federation,
                format!("the coordinator ended the connection: {reason}"),
            ));
        }
        tracing::warn!("the connection ended ({reason}); connecting again, work goes on");
        self.handle(Event::Disconnected).await.map(|_| ())
    }
}

/// Sends a training's result without keeping the loop from hearing messages meanwhile.
fn send_parameters(link: Option<Link>, models: &Models, header: TransferHeader) {
    let Some(link) = link else { return };
    let file = models.update(header.parameters);
    tokio::spawn(async move {
        if let Err(error) = link.send_parameters(header, file).await {
            tracing::warn!(%error, "the update was not taken; it is kept until the coordinator asks again");
        }
    });
}

/// Connects, with growing, jittered pauses between attempts.
async fn connect(
    config: &SiteConfig,
    stopped: &mut watch::Receiver<Option<Signal>>,
) -> Result<(Link, mpsc::Receiver<LinkEvent>), Failure> {
    let link = config.link();
    let hello = Hello {
        protocol: PROTOCOL,
        software: env!("CARGO_PKG_VERSION").into(),
        role: config.role,
        sequences: config.data.sequences(),
    };
    let (began, limit) = (
        Instant::now(),
        Duration::from_secs(60 * u64::from(config.reconnect_minutes)),
    );
    for attempt in 0u32.. {
        let error = tokio::select! {
            signal = asked_to_stop(stopped) => return Err(ended(signal)),
            connected = Link::connect(link.clone(), hello.clone()) => match connected {
                Ok(connected) => return Ok(connected),
                Err(error) => error,
            },
        };
        if !error.again() || began.elapsed() > limit {
            return Err(error.into());
        }
        let pause = pause(attempt, std::process::id());
        tracing::warn!(%error, seconds = pause.as_secs_f32(), "no connection yet; trying again");
        tokio::select! {
            signal = asked_to_stop(stopped) => return Err(ended(signal)),
            () = tokio::time::sleep(pause) => {}
        }
    }
    Err(LinkError::Closed {
        reason: "out of attempts".into(),
    }
    .into())
}

/// Doubles from a quarter of a second to half a minute; half of it is chance, so that sites do not
/// come back in step.
fn pause(attempt: u32, process: u32) -> Duration {
    let full = (0.25 * f64::from(2u32.saturating_pow(attempt.min(16)))).min(30.0);
    let chance: f64 = stream(u64::from(process), attempt, "", Purpose::Backoff).random();
    Duration::from_secs_f64(full * (0.5 + 0.5 * chance))
}

fn disk(path: &Path, error: &impl std::fmt::Display) -> Failure {
    Failure::new(Class::Disk, format!("{}: {error}", path.display()))
        .hint("work_folder must be a folder that this program may write, on a disk with room for a few models")
}

fn ended(signal: Signal) -> Failure {
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

/// Ends when the signal is given.
async fn asked_to_stop(stopped: &mut watch::Receiver<Option<Signal>>) -> Signal {
    match stopped
        .wait_for(Option::is_some)
        .await
        .map(|signal| *signal)
    {
        Ok(Some(signal)) => signal,
        // Nothing is left that could give one.
        _ => std::future::pending().await,
    }
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
