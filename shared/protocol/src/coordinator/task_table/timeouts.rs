//! How long the coordinator waits for a site: a timeout that counts from the last progress of its
//! task.

use super::super::roster::Roster;
use super::{Effect, OpenTask, TaskFailure, TaskTable};
use crate::identity::SiteName;
use crate::message::{CoordinatorMessage, Progress, TaskId, TaskKind};
use crate::notification::Notification;
use std::time::Duration;

/// How often a site may begin a task again, or come back to it, and get a new timeout, without
/// getting further than before.
const MOST_STARTS: u32 = 5;

impl OpenTask {
    /// The site is asked now. It gets a new timeout the first times, also where it did not get
    /// further in between. After that the timeout goes on: a site that crashes at each start does
    /// not hold the round for ever.
    pub(super) fn ask(&mut self, now: Duration) {
        self.asked = true;
        self.asks += 1;
        self.fruitless += 1;
        if let Some(since) = self.waits.take() {
            self.moved += now.saturating_sub(since);
        }
        if self.fruitless <= MOST_STARTS {
            self.moved = now;
        }
    }
}

impl TaskTable {
    /// A site came back: it is asked again for the same tasks. It may have to start from the
    /// beginning, so its earlier steps are no measure of its progress.
    pub(in crate::coordinator) fn ask_again(&mut self, site: &SiteName, now: Duration) {
        for ((name, _), job) in &mut self.jobs {
            if name == site && job.asked {
                job.asked = false;
                job.concluding = false;
                job.waits = Some(now);
                job.before = job.done;
                job.done = 0;
            }
        }
    }

    /// Tells sites to end trainings whose first request is `deadline` old, if they have done a
    /// step. Others have nothing to send yet; the timeout decides how long to wait for them.
    pub(in crate::coordinator) fn conclude(
        &mut self,
        deadline: Duration,
        now: Duration,
        out: &mut Vec<Effect>,
    ) {
        for ((site, task), job) in &mut self.jobs {
            let Some(begun) = self.begun.get(task) else {
                continue;
            };
            let is_over = now.saturating_sub(*begun) >= deadline;
            let is_training =
                task.kind == TaskKind::Train && job.asked && job.done > 0 && job.trained.is_none();
            if is_over && is_training && !job.concluding {
                job.concluding = true;
                if !job.told {
                    job.told = true;
                    job.moved = now;
                }
                out.push(Effect::Report(Notification::Concluding {
                    site: site.clone(),
                }));
                out.push(Effect::Send {
                    site: site.clone(),
                    message: CoordinatorMessage::Conclude { task: *task },
                });
            }
        }
    }

    /// Moves all deadlines by the length of a pause.
    pub(in crate::coordinator) fn extend_by(&mut self, pause: Duration) {
        self.begun.values_mut().for_each(|begun| *begun += pause);
    }

    /// Restarts the timeouts of tasks that no site was asked for yet.
    pub(in crate::coordinator) fn restart_timeouts(&mut self, now: Duration) {
        for job in self.jobs.values_mut() {
            if job.asked {
                continue;
            }
            job.moved = now;
            if job.waits.is_some() {
                job.waits = Some(now);
            }
        }
    }

    /// Tasks without progress for longer than `timeout`: those asked for, and waiting ones whose
    /// site is away. Nothing else that a site does, such as coming back, renews its timeout.
    pub(in crate::coordinator) fn expired(
        &self,
        roster: &Roster,
        timeout: Duration,
        now: Duration,
    ) -> Vec<(SiteName, TaskId)> {
        let mut expired = Vec::new();
        for ((site, task), job) in &self.jobs {
            // A site is silent while it receives each model and works on its first case with it.
            let models = u32::try_from(job.order.models.len().max(1)).unwrap_or(u32::MAX);
            let since = match job.asked {
                true => job.moved,
                // As long as its site was there, the task waited for its turn.
                false if !roster.is_ready(site) => job.moved.max(roster.away_since(site)),
                false => continue,
            };
            if now.saturating_sub(since) > timeout.saturating_mul(models) {
                expired.push((site.clone(), *task));
            }
        }
        expired
    }

    /// Why a task is given up after its timeout.
    pub(in crate::coordinator) fn lateness(
        &self,
        site: &SiteName,
        task: TaskId,
        timeout: Duration,
    ) -> TaskFailure {
        let begun = match self.jobs.get(&(site.clone(), task)) {
            Some(job) if job.fruitless > 1 => Some(job.asks),
            _ => None,
        };
        TaskFailure::Silent {
            seconds: timeout.as_secs(),
            begun,
        }
    }

    /// Notes a site's progress in a task with `most` steps or scores. Returns whether the task is
    /// further than before.
    pub(in crate::coordinator) fn progress(
        &mut self,
        site: &SiteName,
        progress: Progress,
        most: u32,
        now: Duration,
    ) -> bool {
        let Some(job) = self.job(site, progress.task) else {
            return false;
        };
        let most = job.order.steps.map_or(most, |steps| steps.min(most));
        if progress.done <= job.done || progress.done > most {
            return false;
        }
        if job.done == 0 && (1..progress.done).contains(&job.before) {
            // It continues where it was: only the connection had broken.
            job.fruitless = job.fruitless.saturating_sub(1);
        }
        job.done = progress.done;
        if job.done > job.furthest {
            job.furthest = job.done;
            job.fruitless = 0;
        }
        if !job.told && job.fruitless <= MOST_STARTS {
            job.moved = now;
        }
        true
    }
}
