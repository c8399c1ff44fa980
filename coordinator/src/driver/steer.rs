//! The operator's commands, and the stop that loses nothing.

use super::{Driver, End};
use crate::status::{Action, Command};
use program::signal::Signal;
use protocol::round::Event;
use std::time::{Duration, Instant};

/// How long jobs may take to finish once it was asked to stop.
const DRAIN: Duration = Duration::from_secs(10);

impl Driver {
    /// Begins nothing new, and lets updates that are being checked and rounds that are being averaged finish: what was
    /// accepted is not lost to a stop.
    pub(super) async fn drain(&mut self, signal: Signal) -> Result<(), End> {
        self.state.draining = Some((signal, Instant::now() + DRAIN));
        self.dispatch(Event::Drain).await
    }

    /// Does what the operator wants. The answer comes when it is done and kept.
    pub(super) async fn steer(&mut self, Command { action, answer }: Command) -> Result<(), End> {
        let (handled, said) = match action {
            Action::Stop => (self.drain(Signal::Terminate).await, "stopping".to_string()),
            Action::Pause => (self.dispatch(Event::Pause).await, "paused: no new task is handed out".into()),
            Action::Resume => (self.dispatch(Event::Resume).await, "tasks are handed out".into()),
            Action::Drop(site) if !self.machine.knows(&site) => {
                let _ = answer.send(Err(format!("there is no site {site} in this federation")));
                return Ok(());
            }
            Action::Drop(site) => {
                let said = format!("{site} is dropped: it takes no further part in this run");
                (self.dispatch(Event::Drop { site }).await, said)
            }
        };
        // Who asked may have left; then nobody is told.
        let _ = answer.send(if handled.is_ok() { Ok(said) } else { Err("the coordinator stops".into()) });
        handled
    }
}
