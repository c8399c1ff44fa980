//! The operator's commands, and the stop that loses nothing.

use super::state::Draining;
use super::{Driver, Interruption};
use crate::nearest::nearest;
use crate::status::{Action, Command, Done, Refusal};
use program::signal::Signal;
use protocol::coordinator::Event;
use std::time::{Duration, Instant};

/// How long jobs may take to finish once it was asked to stop.
const DRAIN: Duration = Duration::from_secs(10);

impl Driver {
    /// Begins nothing new, and lets updates that are being checked and rounds that are being
    /// averaged finish: what was accepted is not lost to a stop.
    pub(super) async fn drain(&mut self, signal: Signal) -> Result<(), Interruption> {
        self.state.draining = Some(Draining {
            signal,
            until: Instant::now() + DRAIN,
        });
        self.dispatch(Event::Drain).await
    }

    /// Does what the operator wants. The answer is sent when it is done and stored.
    pub(super) async fn steer(&mut self, command: Command) -> Result<(), Interruption> {
        let Decision { step, done } = match self.decide(command.action) {
            Ok(decision) => decision,
            Err(refusal) => {
                // The request may have ended; then there is no receiver.
                let _ = command.answer.send(Err(refusal));
                return Ok(());
            }
        };
        let handled = match step {
            Step::None => Ok(()),
            Step::Drain => self.drain(Signal::Terminate).await,
            Step::Dispatch(event) => self.dispatch(event).await,
        };
        let answer = match (&handled, done) {
            (Err(Interruption::Stopped(reason)), Done::Dropped { site }) => {
                Ok(Done::DroppedAndStopped {
                    site,
                    reason: reason.clone(),
                })
            }
            (Ok(()) | Err(Interruption::Stopped(_)), done) => Ok(done),
            (Err(Interruption::Asked(_) | Interruption::Store(_)), _) => Err(Refusal::Stopping),
        };
        let _ = command.answer.send(answer);
        handled
    }

    fn decide(&self, action: Action) -> Result<Decision, Refusal> {
        let (name, force) = match action {
            Action::Stop => return Ok(Decision::new(Step::Drain, Done::Stopping)),
            Action::Pause if self.machine.is_paused() => {
                return Ok(Decision::new(Step::None, Done::PausedBefore));
            }
            Action::Pause => {
                return Ok(Decision::new(Step::Dispatch(Event::Pause), Done::Paused));
            }
            Action::Resume if !self.machine.is_paused() => {
                return Ok(Decision::new(Step::None, Done::NotPaused));
            }
            Action::Resume => {
                return Ok(Decision::new(Step::Dispatch(Event::Resume), Done::Resumed));
            }
            Action::Drop { site, force } => (site, force),
        };
        let Some(site) = self.machine.site(&name) else {
            let sites = self.machine.site_names();
            return Err(Refusal::UnknownSite {
                nearest: nearest(&name, &sites).cloned(),
                found: name,
                sites,
            });
        };
        if let Some(too_few) = self.machine.too_few_without(&site)
            && !force
        {
            return Err(Refusal::TooFewLeft {
                site,
                left: too_few.left,
                minimum: too_few.minimum,
            });
        }
        if self.machine.is_dropped(&site) {
            return Ok(Decision::new(Step::None, Done::DroppedBefore { site }));
        }
        let event = Event::Drop { site: site.clone() };
        Ok(Decision::new(Step::Dispatch(event), Done::Dropped { site }))
    }
}

/// How an action is done, and what the operator is told when it is.
struct Decision {
    step: Step,
    done: Done,
}

enum Step {
    /// There is nothing to do.
    None,
    Drain,
    Dispatch(Event),
}

impl Decision {
    fn new(step: Step, done: Done) -> Self {
        Self { step, done }
    }
}
