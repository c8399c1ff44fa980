//! What the operator may do to a running federation: pause it, let it go on, drop a site, and let
//! it finish what has begun.

use super::{Effect, SharedState, SiteRejection, StateMachine, TaskFailure};
use crate::identity::SiteName;
use crate::message::{CoordinatorMessage, TaskId};
use crate::notification::Notification;
use std::time::Duration;

/// Whether new tasks are handed out. Held, nothing new begins; what was asked for is finished, and
/// averaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dispatch {
    /// They are.
    Running,
    /// Not until the operator says so.
    Paused {
        /// Since when.
        since: Duration,
    },
    /// Never again in this process.
    Draining {
        /// Whether they were not before, and are not to be after a restart.
        paused: bool,
    },
}

/// Training sites that would be left, and how many each round needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooFewLeft {
    pub left: usize,
    pub minimum: usize,
}

impl Dispatch {
    /// Whether the operator said so, and has not taken it back.
    pub(super) fn is_paused(self) -> bool {
        matches!(self, Self::Paused { .. } | Self::Draining { paused: true })
    }
}

impl SharedState {
    pub(super) fn is_held(&self) -> bool {
        self.dispatch != Dispatch::Running
    }

    /// Tasks whose site was silent for too long. Held, only asked ones: who is not asked cannot be
    /// late.
    pub(super) fn expired(&self, now: Duration) -> Vec<(SiteName, TaskId)> {
        let mut expired = self.task_table.expired(&self.roster, self.timeout(), now);
        expired.retain(|(site, task)| !self.is_held() || self.task_table.is_asked(site, *task));
        expired
    }
}

impl StateMachine {
    /// The site of this name, if the federation expects one or has seen one.
    #[must_use]
    pub fn site(&self, name: &str) -> Option<SiteName> {
        let names = self.shared.roster.names();
        names.get(name).cloned()
    }

    /// The sites that the federation expects, or has seen, by name.
    #[must_use]
    pub fn site_names(&self) -> Vec<SiteName> {
        self.shared.roster.names().into_iter().collect()
    }

    /// Whether the operator has shut this site out.
    #[must_use]
    pub fn is_dropped(&self, site: &SiteName) -> bool {
        self.shared.roster.is_dropped(site)
    }

    /// Whether the operator holds the federation.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.shared.dispatch.is_paused()
    }

    /// Whether too few training sites would be left without this one; `None` where there would be
    /// enough.
    #[must_use]
    pub fn too_few_without(&self, site: &SiteName) -> Option<TooFewLeft> {
        let roster = &self.shared.roster;
        if roster.is_dropped(site) || !roster.may_train(site) {
            return None;
        }
        let mut left = 0;
        for other in &roster.names() {
            if other != site && roster.may_train(other) {
                left += 1;
            }
        }
        let minimum = self.shared.plan.federation.sites.minimum;
        if left < minimum {
            Some(TooFewLeft { left, minimum })
        } else {
            None
        }
    }

    pub(super) fn pause(&mut self, now: Duration, out: &mut Vec<Effect>) {
        if self.shared.dispatch == Dispatch::Running {
            self.shared.dispatch = Dispatch::Paused { since: now };
            out.push(Effect::Persist(Box::new(self.checkpoint())));
            out.push(Effect::Report(Notification::Paused));
        }
    }

    /// Restarts all timeouts: paused time counts against no site.
    pub(super) fn resume(&mut self, now: Duration, out: &mut Vec<Effect>) {
        if let Dispatch::Paused { since } = self.shared.dispatch {
            self.shared.dispatch = Dispatch::Running;
            self.shared.roster.restart_timeouts(now);
            self.shared.task_table.restart_timeouts(now);
            self.shared.task_table.extend_by(now.saturating_sub(since));
            out.push(Effect::Persist(Box::new(self.checkpoint())));
            out.push(Effect::Report(Notification::Resumed));
        }
    }

    pub(super) fn drain(&mut self, out: &mut Vec<Effect>) {
        if !matches!(self.shared.dispatch, Dispatch::Draining { .. }) {
            self.shared.dispatch = Dispatch::Draining {
                paused: self.shared.dispatch.is_paused(),
            };
            out.push(Effect::Report(Notification::Stopping));
        }
    }

    /// Shuts a site out for the rest of this run, also over restarts. What it gave before stays
    /// counted.
    pub(super) fn dismiss(&mut self, site: &SiteName, now: Duration, out: &mut Vec<Effect>) {
        let connected = self.shared.roster.connected().any(|name| name == site);
        if !self.shared.roster.shut_out(site, now) {
            return;
        }
        out.push(Effect::Persist(Box::new(self.checkpoint())));
        out.push(Effect::Report(Notification::Dropped { site: site.clone() }));
        if connected {
            let reason = SiteRejection::Dropped { site: site.clone() }.to_string();
            let message = CoordinatorMessage::Refused {
                reason: reason.clone(),
            };
            out.push(Effect::Send {
                site: site.clone(),
                message,
            });
            out.push(Effect::Close {
                site: site.clone(),
                reason,
            });
        }
        for task in self.shared.task_table.tasks(site) {
            if let Some(answer) = self
                .shared
                .task_table
                .give_up(site, task, TaskFailure::Dropped)
            {
                self.answer(site, task, answer, out);
            }
        }
    }
}
