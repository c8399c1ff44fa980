//! What a site permits: the table `[policy]` of its own settings. The coordinator cannot change it,
//! and what is outside of it is refused here. The time is an argument.
//!
//! ```text
//! approval     what a person at the site has said yes to
//! usage        what the coordinator has asked for today
//! ```

mod approval;
mod usage;

pub use approval::{Approval, ApprovalError, Approvals, Proposal};
use protocol::architecture;
use protocol::message::{CoordinatorMessage, TaskId, TaskKind};
use protocol::settings::{Federation, Layout, LocalWork, registry};
use protocol::update_encoding::Encoding;
use serde::Deserialize;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
pub(crate) use usage::Usage;
#[cfg(test)]
use usage::UsageError;

const MINUTES_OF_DAY: u32 = 24 * 60;
const MEGABYTE: u64 = 1_000_000;

/// `[policy]`. A key that is left out limits nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Whether a person must say yes before this site works for a federation.
    #[serde(default)]
    pub approval: Ask,
    /// The backbones of networks that the site trains and scores.
    pub layouts: Option<Vec<Layout>>,
    /// The most optimiser steps of one round.
    pub max_steps: Option<u32>,
    /// The most megabytes of one update, which is what leaves the site in a round.
    pub max_update_mb: Option<u64>,
    /// The most trainings that are begun in a day, UTC.
    pub max_trainings_per_day: Option<u32>,
    /// When tasks are begun; one that was begun is finished.
    pub hours_utc: Option<Hours>,
}

/// When a person must say yes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ask {
    #[default]
    Never,
    /// Once to each federation, by its name.
    Federation,
    /// Also to every change of its settings.
    Settings,
}

/// Hours of the day such as `20:00-06:00`; the second is not included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Hours {
    /// Minutes since midnight.
    from: u32,
    until: u32,
}

/// A text that is not [`Hours`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not such as \"20:00-06:00\"")]
pub struct NoHours(String);

impl TryFrom<String> for Hours {
    type Error = NoHours;

    fn try_from(text: String) -> Result<Self, NoHours> {
        let hours = match text.split_once('-') {
            Some((from, until)) => minutes(from).zip(minutes(until)),
            None => None,
        };
        match hours {
            Some((from, until)) if from != until => Ok(Self { from, until }),
            _ => Err(NoHours(text)),
        }
    }
}

/// Minutes since midnight of a time such as `06:30`; `24:00` is the end of the day.
fn minutes(text: &str) -> Option<u32> {
    let (hour, minute) = text.trim().split_once(':')?;
    if hour.len() > 2 || minute.len() != 2 {
        return None;
    }
    let (hour, minute): (u32, u32) = (hour.parse().ok()?, minute.parse().ok()?);
    let minutes = hour * 60 + minute;
    (minute < 60 && minutes <= MINUTES_OF_DAY).then_some(minutes)
}

impl Hours {
    fn contain(self, now: SystemTime) -> bool {
        let day = u64::from(MINUTES_OF_DAY);
        let minute = (since_1970(now).as_secs() / 60 % day) as u32;
        if self.from < self.until {
            (self.from..self.until).contains(&minute)
        } else {
            minute >= self.from || minute < self.until
        }
    }
}

impl std::fmt::Display for Hours {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { from, until } = self;
        let (hour, minute) = (from / 60, from % 60);
        write!(
            f,
            "{hour:02}:{minute:02}-{:02}:{:02}",
            until / 60,
            until % 60
        )
    }
}

/// Why something is not permitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPermitted {
    #[error("model.layout is {found}, and policy.layouts does not list it")]
    Layout { found: String },
    #[error("a round has {found} steps, and policy.max_steps is {most}")]
    Steps { found: u32, most: u32 },
    #[error("an update has {bytes} bytes, and policy.max_update_mb is {most}")]
    UpdateSize { bytes: u64, most: u64 },
    #[error("{most} trainings were begun today, UTC, as many as policy.max_trainings_per_day")]
    Trainings { most: u32 },
    #[error("it is outside of policy.hours_utc, {0}")]
    Hours(Hours),
    #[error("this site does not train: its role is another")]
    Role,
}

/// A task that the coordinator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) task: TaskId,
    /// Of a training.
    steps: Option<u32>,
}

impl Asked {
    /// `None` where the message asks for no work. `examples` are those that the site trains on.
    pub(crate) fn of(
        message: &CoordinatorMessage,
        federation: &Federation,
        examples: u64,
    ) -> Option<Self> {
        match message {
            CoordinatorMessage::Train { task, steps, .. } => {
                let whole = federation.training.steps(examples);
                Some(Self {
                    task: *task,
                    steps: Some(steps.unwrap_or(whole).min(whole)),
                })
            }
            CoordinatorMessage::Evaluate { task, .. } => Some(Self {
                task: *task,
                steps: None,
            }),
            _ => None,
        }
    }
}

impl Policy {
    /// Judges a federation's settings, before any work for it.
    ///
    /// # Errors
    /// The first of them that is not permitted.
    pub fn judge(&self, federation: &Federation) -> Result<(), NotPermitted> {
        if let Some(layouts) = &self.layouts
            && !layouts.contains(&federation.model.layout)
        {
            let found = approval::value(federation, "model.layout");
            return Err(NotPermitted::Layout { found });
        }
        if let (Some(most), LocalWork::Steps(found)) = (self.max_steps, federation.training.effort)
            && found > most
        {
            return Err(NotPermitted::Steps { found, most });
        }
        if let Some(most) = self.max_update_mb {
            let bytes = update_bytes(federation);
            if bytes > most.saturating_mul(MEGABYTE) {
                return Err(NotPermitted::UpdateSize { bytes, most });
            }
        }
        Ok(())
    }

    /// Whether it matters what was asked for before.
    pub(crate) fn counts(&self) -> bool {
        self.hours_utc.is_some() || self.max_trainings_per_day.is_some()
    }

    /// Judges a task.
    ///
    /// # Errors
    /// Why it is not permitted now.
    pub(crate) fn judge_task(
        &self,
        asked: &Asked,
        may_train: bool,
        usage: &Usage,
        now: SystemTime,
    ) -> Result<(), NotPermitted> {
        let is_training = asked.task.kind == TaskKind::Train;
        if is_training && !may_train {
            return Err(NotPermitted::Role);
        }
        if let (Some(most), Some(found)) = (self.max_steps, asked.steps)
            && found > most
        {
            return Err(NotPermitted::Steps { found, most });
        }
        // It is asked for again, after a broken connection.
        if usage.has_begun(asked.task) {
            return Ok(());
        }
        if let Some(hours) = self.hours_utc
            && !hours.contain(now)
        {
            return Err(NotPermitted::Hours(hours));
        }
        match self.max_trainings_per_day {
            Some(most) if is_training && usage.trainings(now) >= most => {
                Err(NotPermitted::Trainings { most })
            }
            _ => Ok(()),
        }
    }
}

/// How many bytes an update has on its way.
fn update_bytes(federation: &Federation) -> u64 {
    let manifest = architecture::manifest(&federation.model, &federation.input);
    match Encoding::new(&manifest, federation.updates) {
        Some(encoding) => encoding.bytes(),
        None => manifest.bytes(),
    }
}

/// Times before 1970 become 1970.
fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests;
