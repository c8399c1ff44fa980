//! The operator's commands, and the stop that loses nothing.

use super::{Driver, End};
use crate::nearest::nearest;
use crate::status::{Action, Command};
use program::signal::Signal;
use protocol::coordinator::Event;
use std::time::{Duration, Instant};

/// How long jobs may take to finish once it was asked to stop.
const DRAIN: Duration = Duration::from_secs(10);

impl Driver {
    /// Begins nothing new, and lets updates that are being checked and rounds that are being
    /// averaged finish: what was accepted is not lost to a stop.
    pub(super) async fn drain(&mut self, signal: Signal) -> Result<(), End> {
        self.state.draining = Some((signal, Instant::now() + DRAIN));
        self.dispatch(Event::Drain).await
    }

    /// Does what the operator wants. The answer comes when it is done and kept.
    pub(super) async fn steer(&mut self, Command { action, answer }: Command) -> Result<(), End> {
        if let Err(refused) = self.allowed(&action) {
            // Who asked may have left; then there is no one to tell.
            let _ = answer.send(Err(refused));
            return Ok(());
        }
        let (handled, said) = match action {
            Action::Stop => (self.drain(Signal::Terminate).await, "stopping".to_string()),
            Action::Pause if self.machine.is_paused() => {
                (Ok(()), "it was paused already: nothing has changed".into())
            }
            Action::Pause => (
                self.dispatch(Event::Pause).await,
                "paused: no new task is handed out".into(),
            ),
            Action::Resume if !self.machine.is_paused() => {
                (Ok(()), "it was not paused: nothing has changed".into())
            }
            Action::Resume => (
                self.dispatch(Event::Resume).await,
                "tasks are handed out".into(),
            ),
            Action::Drop { site, .. } if self.machine.is_dropped(&site) => (
                Ok(()),
                format!("{site} was dropped before: nothing has changed"),
            ),
            Action::Drop { site, .. } => {
                let said = format!("{site} is dropped: it takes no further part in this run");
                match self.dispatch(Event::Drop { site }).await {
                    Err(End::Stopped(reason)) => {
                        let said = format!("{said}. The federation stops: {reason}");
                        (Err(End::Stopped(reason)), said)
                    }
                    handled => (handled, said),
                }
            }
        };
        let stops = matches!(handled, Err(End::Stopped(_)));
        let _ = answer.send(if handled.is_ok() || stops {
            Ok(said)
        } else {
            Err("the coordinator stops".into())
        });
        handled
    }

    /// Whether the operator can have meant it; if not, what to say.
    fn allowed(&self, action: &Action) -> Result<(), String> {
        let Action::Drop { site, force } = action else {
            return Ok(());
        };
        if !self.machine.knows(site) {
            let names = self.machine.site_names();
            let meant =
                nearest(site, &names).map_or(".".into(), |name| format!(": did you mean {name}?"));
            return Err(format!(
                "there is no site {site} in this federation{meant} Its sites: {}",
                names.join(", ")
            ));
        }
        match self.machine.left_without(site) {
            Some((left, minimum)) if !force => Err(format!(
                "without {site} there would be {left} of the {minimum} training sites that each round needs \
                 (sites.minimum): the federation would stop, and a dropped site cannot come back into this run. \
                 `coordinator drop {site} --force` drops it all the same"
            )),
            _ => Ok(()),
        }
    }
}
