//! The sites of a federation: their roles and data, and which of them are connected.

use super::{Checkpoint, Effect, ModelRef, SiteRejection};
use crate::case::{Cases, Role};
use crate::identity::SiteName;
use crate::message::{CoordinatorMessage, Hello, Inventory, PROTOCOL, TaskKind};
use crate::notification::Notification;
use crate::outcome::SiteRecord;
use crate::parameters::ParametersId;
use crate::settings::{Federation, Training};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

#[derive(Debug)]
struct Site {
    role: Role,
    connection: Option<u64>,
    inventory: Option<Inventory>,
    /// Connected, with its data prepared.
    ready: bool,
    /// The models of the task that this connection was given last.
    held: Vec<ParametersId>,
    /// When it was last ready, if it is not; when it was first awaited, if it never was.
    away_since: Duration,
    /// It was ready since this coordinator started.
    was_ready: bool,
    /// The most cases that it had prepared while it was awaited.
    prepared: u32,
    /// Silent for longer than the timeout. It is not asked until it is ready again, or sends
    /// something about its task.
    given_up: bool,
}

impl Site {
    fn new(role: Role, inventory: Option<Inventory>, now: Duration) -> Self {
        Self {
            role,
            connection: None,
            inventory,
            ready: false,
            held: Vec::new(),
            away_since: now,
            was_ready: false,
            prepared: 0,
            given_up: false,
        }
    }

    /// Its connection is gone, or a new one begins.
    fn leave(&mut self, connection: Option<u64>, now: Duration) {
        if self.ready {
            self.away_since = now;
        }
        self.connection = connection;
        self.ready = false;
        self.held = Vec::new();
    }
}

/// The sites by name: identity, never the order of arrival.
#[derive(Debug)]
pub(super) struct Roster {
    expected: Vec<SiteName>,
    sites: BTreeMap<SiteName, Site>,
    /// Shut out by the operator.
    dropped: BTreeSet<SiteName>,
    last_news: Duration,
}

impl Roster {
    pub(super) fn new(federation: &Federation, before: &Checkpoint, now: Duration) -> Self {
        let mut sites = BTreeMap::new();
        for record in &before.sites {
            let site = Site::new(record.role, Some(record.inventory), now);
            sites.insert(record.name.clone(), site);
        }
        Self {
            expected: federation.sites.expected.clone(),
            sites,
            dropped: before.dropped.iter().cloned().collect(),
            last_news: now,
        }
    }

    /// Lets a site in, or says why not. Returns whether it is in.
    pub(super) fn connect(
        &mut self,
        name: &SiteName,
        connection: u64,
        hello: &Hello,
        federation: &Federation,
        now: Duration,
        out: &mut Vec<Effect>,
    ) -> bool {
        if let Some(site) = self.sites.get(name)
            && site.connection.is_some_and(|other| other > connection)
        {
            // An older connection's hello, overtaken by a newer one.
            return false;
        }
        if let Some(reason) = self.objection(name, hello, federation) {
            refuse(name, &reason, out);
            return false;
        }
        if !self.sites.contains_key(name) {
            // A known site that reconnects is no news: it could keep the others waiting for ever.
            self.last_news = now;
        }
        let site = self
            .sites
            .entry(name.clone())
            .or_insert_with(|| Site::new(hello.role, None, now));
        site.leave(Some(connection), now);
        out.push(Effect::Report(Notification::Joined {
            site: name.clone(),
            role: hello.role,
        }));
        let federation = Box::new(federation.clone());
        let message = CoordinatorMessage::Welcome {
            federation,
            site: name.clone(),
        };
        out.push(Effect::Send {
            site: name.clone(),
            message,
        });
        true
    }

    fn objection(
        &self,
        name: &SiteName,
        hello: &Hello,
        federation: &Federation,
    ) -> Option<SiteRejection> {
        let site = name.clone();
        if hello.protocol != PROTOCOL {
            return Some(SiteRejection::Protocol {
                found: hello.protocol,
            });
        }
        if !self.expected.is_empty() && !self.expected.contains(&site) {
            return Some(SiteRejection::Unexpected { site });
        }
        if self.dropped.contains(name) {
            return Some(SiteRejection::Dropped { site });
        }
        if let Some(known) = self.sites.get(name)
            && known.role != hello.role
        {
            return Some(SiteRejection::Role {
                site,
                before: known.role,
                now: hello.role,
            });
        }
        let wanted = &federation.input.sequences;
        if hello.sequences.iter().any(|name| wanted.contains(name)) {
            return None;
        }
        Some(SiteRejection::Sequences {
            found: hello.sequences.clone(),
            wanted: wanted.clone(),
        })
    }

    /// A site's data is prepared. Returns whether it became ready by this.
    pub(super) fn ready(
        &mut self,
        name: &SiteName,
        inventory: Inventory,
        federation: &Federation,
        now: Duration,
        out: &mut Vec<Effect>,
    ) -> bool {
        let Some(site) = self.sites.get_mut(name) else {
            return false;
        };
        if site.ready {
            return false;
        }
        let cases = match site.role {
            Role::Train => inventory.training_cases,
            Role::Evaluate => inventory.held_out_cases,
            Role::Validate => inventory.validation_cases,
        };
        let known = inventory.sequences.is_subset(federation.input.all())
            && !inventory.sequences.is_empty();
        if cases == 0 || !known {
            refuse(name, &SiteRejection::NoCase { cases }, out);
            return false;
        }
        site.inventory = Some(inventory);
        site.ready = true;
        site.given_up = false;
        if !site.was_ready {
            site.was_ready = true;
            self.last_news = now;
        }
        out.push(Effect::Report(Notification::Ready {
            site: name.clone(),
            inventory,
        }));
        true
    }

    pub(super) fn disconnect(
        &mut self,
        name: &SiteName,
        connection: u64,
        reason: String,
        now: Duration,
        out: &mut Vec<Effect>,
    ) {
        if let Some(site) = self.sites.get_mut(name)
            && site.connection == Some(connection)
        {
            site.leave(None, now);
            out.push(Effect::Report(Notification::Left {
                site: name.clone(),
                reason,
            }));
        }
    }

    /// Whether a message on this connection is to be listened to.
    pub(super) fn is_current_connection(&self, name: &SiteName, connection: u64) -> bool {
        self.sites
            .get(name)
            .is_some_and(|site| site.connection == Some(connection))
    }

    /// A site prepares its data. While the federation waits for its sites, that counts as news as
    /// often as the site gets further. It is no progress of a task.
    pub(super) fn preparing(&mut self, name: &SiteName, done: u32, total: u32, now: Duration) {
        let Some(site) = self.sites.get_mut(name) else {
            return;
        };
        if !site.was_ready && done > site.prepared && done <= total {
            site.prepared = done;
            self.last_news = now;
        }
    }

    /// A site has sent something: if it was given up, it may be asked again.
    pub(super) fn clear_given_up(&mut self, name: &SiteName) {
        if let Some(site) = self.sites.get_mut(name) {
            site.given_up = false;
        }
    }

    /// When a site that is not ready last was.
    pub(super) fn away_since(&self, name: &SiteName) -> Duration {
        self.sites
            .get(name)
            .map_or(Duration::ZERO, |site| site.away_since)
    }

    pub(super) fn is_ready(&self, name: &SiteName) -> bool {
        self.sites.get(name).is_some_and(|site| site.ready)
    }

    pub(super) fn give_up(&mut self, name: &SiteName) {
        if let Some(site) = self.sites.get_mut(name) {
            site.given_up = true;
        }
    }

    /// Notes that a site is given a task on these models. Returns those that it does not have yet.
    pub(super) fn hand_over(&mut self, name: &SiteName, models: &[ModelRef]) -> Vec<ModelRef> {
        let Some(site) = self.sites.get_mut(name) else {
            return Vec::new();
        };
        let held = std::mem::take(&mut site.held);
        let mut new = Vec::new();
        for model in models {
            site.held.push(model.parameters);
            if !held.contains(&model.parameters) {
                new.push(*model);
            }
        }
        new
    }

    /// How long no further site has come, and no awaited site has got further.
    pub(super) fn silence(&self, now: Duration) -> Duration {
        now.saturating_sub(self.last_news)
    }

    /// Sites that are not ready and that the federation should wait for before it begins.
    pub(super) fn awaited(&self) -> Vec<SiteName> {
        let mut awaited = Vec::new();
        for name in &self.expected {
            if !self.sites.contains_key(name) && !self.dropped.contains(name) {
                awaited.push(name.clone());
            }
        }
        for (name, site) in &self.sites {
            if !site.ready && !self.dropped.contains(name) {
                awaited.push(name.clone());
            }
        }
        awaited
    }

    /// How many sites are ready, of any role.
    pub(super) fn present(&self) -> usize {
        self.sites.values().filter(|site| site.ready).count()
    }

    pub(super) fn present_trainers(&self) -> usize {
        self.sites
            .values()
            .filter(|site| site.role == Role::Train && site.ready)
            .count()
    }

    /// Every training site that ever was ready and may still take part.
    pub(super) fn trainers(&self) -> Vec<SiteName> {
        self.with_role(Role::Train, |_| true)
    }

    /// Sites of this role that a task may be given to: also those away for a moment, not those
    /// given up.
    pub(super) fn available(&self, role: Role) -> Vec<SiteName> {
        self.with_role(role, |site| !site.given_up)
    }

    fn with_role(&self, role: Role, take: impl Fn(&Site) -> bool) -> Vec<SiteName> {
        let mut names = Vec::new();
        for (name, site) in &self.sites {
            let is_known = site.role == role && site.inventory.is_some();
            if is_known && take(site) && !self.dropped.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }

    /// How many cases the site has for a kind of task.
    pub(super) fn cases(&self, name: &SiteName, kind: TaskKind) -> u32 {
        let inventory = self.sites.get(name).and_then(|site| site.inventory);
        inventory.map_or(0, |inventory| match kind {
            TaskKind::Train => inventory.training_cases,
            TaskKind::Evaluate(Cases::Validation) => inventory.validation_cases,
            TaskKind::Evaluate(Cases::HeldOut) => inventory.held_out_cases,
        })
    }

    /// How many optimiser steps a training has at a site, by the settings and the training examples
    /// that the site has.
    pub(super) fn most_steps(&self, name: &SiteName, training: &Training) -> u32 {
        let inventory = self.sites.get(name).and_then(|site| site.inventory);
        training.steps(inventory.map_or(0, |inventory| inventory.training_slices))
    }

    pub(super) fn role(&self, name: &SiteName) -> Role {
        self.sites
            .get(name)
            .map_or(Role::Evaluate, |site| site.role)
    }

    pub(super) fn connected(&self) -> impl Iterator<Item = &SiteName> {
        self.sites
            .iter()
            .filter(|(_, site)| site.connection.is_some())
            .map(|(name, _)| name)
    }

    /// Whether the site is expected or was ever here.
    pub(super) fn knows(&self, name: &SiteName) -> bool {
        self.sites.contains_key(name) || self.expected.contains(name)
    }

    /// Every site that is expected or was ever here, by name.
    pub(super) fn names(&self) -> BTreeSet<SiteName> {
        self.expected
            .iter()
            .chain(self.sites.keys())
            .cloned()
            .collect()
    }

    /// Whether the site trains, or may yet turn out to.
    pub(super) fn may_train(&self, name: &SiteName) -> bool {
        if self.dropped.contains(name) {
            return false;
        }
        match self.sites.get(name) {
            Some(site) => site.role == Role::Train,
            None => true,
        }
    }

    /// Shuts a site out. `false` when there is no such site, or it is out already.
    pub(super) fn shut_out(&mut self, name: &SiteName, now: Duration) -> bool {
        if let Some(site) = self.sites.get_mut(name) {
            site.leave(None, now);
        }
        self.knows(name) && self.dropped.insert(name.clone())
    }

    pub(super) fn is_dropped(&self, name: &SiteName) -> bool {
        self.dropped.contains(name)
    }

    /// The sites that were shut out.
    pub(super) fn dropped(&self) -> Vec<SiteName> {
        self.dropped.iter().cloned().collect()
    }

    /// From `now` on, as if the last news had just come.
    pub(super) fn restart_timeouts(&mut self, now: Duration) {
        self.last_news = now;
    }

    /// Every site that ever was ready, by name.
    pub(super) fn records(&self) -> Vec<SiteRecord> {
        let mut records = Vec::new();
        for (name, site) in &self.sites {
            if let Some(inventory) = site.inventory {
                records.push(SiteRecord {
                    name: name.clone(),
                    role: site.role,
                    inventory,
                });
            }
        }
        records
    }
}

fn refuse(name: &SiteName, rejection: &SiteRejection, out: &mut Vec<Effect>) {
    let reason = rejection.to_string();
    let message = CoordinatorMessage::Refused {
        reason: reason.clone(),
    };
    out.push(Effect::Report(Notification::Failed {
        site: name.clone(),
        reason: format!("refused: {reason}"),
    }));
    out.push(Effect::Send {
        site: name.clone(),
        message,
    });
    out.push(Effect::Close {
        site: name.clone(),
        reason,
    });
}
