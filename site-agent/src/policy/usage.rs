//! What the coordinator has asked for today, kept in the work folder so that a restart forgets
//! nothing of it.

use super::since_1970;
use program::{Class, Explain, files};
use protocol::message::{TaskId, TaskKind};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The file in the work folder.
const FILE: &str = "usage.json";
const DAY: u64 = 86_400;

/// Why the record cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UsageError {
    #[error("{path}: {reason}", path = path.display())]
    Disk { path: PathBuf, reason: io::Error },
    #[error("{path} is damaged: {reason}", path = path.display())]
    Damaged {
        path: PathBuf,
        reason: serde_json::Error,
    },
}

impl Explain for UsageError {
    fn class(&self) -> Class {
        Class::Disk
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Disk { .. } => None,
            Self::Damaged { .. } => {
                Some("remove it: the trainings of this day are then counted from zero".into())
            }
        }
    }
}

/// The trainings of a day, and the last task that was begun.
#[derive(Debug)]
pub(crate) struct Usage {
    path: PathBuf,
    /// Of the federation, by its settings: tasks of different federations have the same numbers.
    settings: String,
    record: Record,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    /// Days since 1970, UTC.
    day: u64,
    trainings: u32,
    last: Option<Begun>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Begun {
    settings: String,
    task: TaskId,
}

impl Usage {
    /// Reads the record. `settings` is the hash of the federation's settings.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn read(work_folder: &Path, settings: String) -> Result<Self, UsageError> {
        let path = work_folder.join(FILE);
        let record = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Record::default(),
            Err(reason) => return Err(UsageError::Disk { path, reason }),
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(record) => record,
                Err(reason) => return Err(UsageError::Damaged { path, reason }),
            },
        };
        Ok(Self {
            path,
            settings,
            record,
        })
    }

    /// Trainings that were begun on the day of `now`.
    pub(super) fn trainings(&self, now: SystemTime) -> u32 {
        if self.record.day == day(now) {
            self.record.trainings
        } else {
            0
        }
    }

    /// Whether this task was the last one that was begun.
    pub(super) fn has_begun(&self, task: TaskId) -> bool {
        let last = self.record.last.as_ref();
        last.is_some_and(|last| last.task == task && last.settings == self.settings)
    }

    /// Notes that a task is begun. One that is asked for again counts once.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) fn begin(&mut self, task: TaskId, now: SystemTime) -> Result<(), UsageError> {
        if self.has_begun(task) {
            return Ok(());
        }
        let is_training = u32::from(task.kind == TaskKind::Train);
        let record = Record {
            day: day(now),
            trainings: self.trainings(now).saturating_add(is_training),
            last: Some(Begun {
                settings: self.settings.clone(),
                task,
            }),
        };
        let written = serde_json::to_vec(&record)
            .map_err(io::Error::other)
            .and_then(|bytes| files::replace(&self.path, |file| file.write_all(&bytes)));
        if let Err(reason) = written {
            let path = self.path.clone();
            return Err(UsageError::Disk { path, reason });
        }
        self.record = record;
        Ok(())
    }
}

fn day(now: SystemTime) -> u64 {
    since_1970(now).as_secs() / DAY
}
