//! The operator's commands, and the stop that loses nothing.

use super::{Driver, End};
use crate::nearest::nearest;
use crate::status::{Action, Command};
use program::signal::Signal;
use protocol::coordinator::Event;
use protocol::identity::SiteName;
use std::time::{Duration, Instant};

/// How long jobs may take to finish once it was asked to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// An action that the operator can have meant.
enum Allowed {
    Stop,
    Pause,
    Resume,
    Drop { site: SiteName },
}

impl Driver {
    /// Begins nothing new, and lets updates that are being checked and rounds that are being
    /// averaged finish: what was accepted is not lost to a stop.
    pub(super) async fn drain(&mut self, signal: Signal) -> Result<(), End> {
        self.state.draining = Some((signal, Instant::now() + DRAIN));
        self.dispatch(Event::Drain).await
    }

    /// Does what the operator wants. The answer comes when it is done and kept.
    pub(super) async fn steer(&mut self, Command { action, answer }: Command) -> Result<(), End> {
        let action = match self.allowed(action) {
            Ok(action) => action,
            Err(refused) => {
                // Who asked may have left; then there is no one to tell.
                let _ = answer.send(Err(refused));
                return Ok(());
            }
        };
        let (handled, said) = match action {
            Allowed::Stop => (self.drain(Signal::Terminate).await, "stopping".to_string()),
            Allowed::Pause if self.machine.is_paused() => {
                (Ok(()), "it was paused already: nothing has changed".into())
            }
            Allowed::Pause => (
                self.dispatch(Event::Pause).await,
                "paused: no new task is handed out".into(),
            ),
            Allowed::Resume if !self.machine.is_paused() => {
                (Ok(()), "it was not paused: nothing has changed".into())
            }
            Allowed::Resume => (
                self.dispatch(Event::Resume).await,
                "tasks are handed out".into(),
            ),
            Allowed::Drop { site } if self.machine.is_dropped(&site) => (
                Ok(()),
                format!("{site} was dropped before: nothing has changed"),
            ),
            Allowed::Drop { site } => {
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
    fn allowed(&self, action: Action) -> Result<Allowed, String> {
        let (name, force) = match action {
            Action::Stop => return Ok(Allowed::Stop),
            Action::Pause => return Ok(Allowed::Pause),
            Action::Resume => return Ok(Allowed::Resume),
            Action::Drop { site, force } => (site, force),
        };
        let Some(site) = self.machine.site(&name) else {
            let mut names = Vec::new();
            for site in self.machine.site_names() {
                names.push(site.to_string());
            }
            let meant =
                nearest(&name, &names).map_or(".".into(), |name| format!(": did you mean {name}?"));
            return Err(format!(
                "there is no site {name} in this federation{meant} Its sites: {}",
                names.join(", ")
            ));
        };
        match self.machine.left_without(&site) {
            Some((left, minimum)) if !force => Err(format!(
                "without {site} there would be {left} of the {minimum} training sites that each round needs \
                 (sites.minimum): the federation would stop, and a dropped site cannot come back into this run. \
                 `coordinator drop {site} --force` drops it all the same"
            )),
            _ => Ok(Allowed::Drop { site }),
        }
    }
}
