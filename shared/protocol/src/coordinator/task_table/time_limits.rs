//! The two time limits of a task: the deadline after which a training is to end, and the timeout
//! after which the coordinator stops waiting for a site. A timeout counts from the last progress.

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
        self.is_asked = true;
        self.times_asked += 1;
        self.starts_without_progress += 1;
        if let Some(since) = self.waiting_since.take() {
            self.last_progress += now.saturating_sub(since);
        }
        if self.starts_without_progress <= MOST_STARTS {
            self.last_progress = now;
        }
    }
}

impl TaskTable {
    /// A site came back: it is asked again for the same tasks. It may have to start from the
    /// beginning, so its earlier steps are no measure of its progress.
    pub(in crate::coordinator) fn ask_again(&mut self, site: &SiteName, now: Duration) {
        for ((name, _), open_task) in &mut self.tasks {
            if name == site && open_task.is_asked {
                open_task.is_asked = false;
                open_task.concluded_since_asked = false;
                open_task.waiting_since = Some(now);
                open_task.done_before_break = open_task.done;
                open_task.done = 0;
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
        for ((site, task), open_task) in &mut self.tasks {
            let Some(begun) = self.begun.get(task) else {
                continue;
            };
            let is_over = now.saturating_sub(*begun) >= deadline;
            let is_training = task.kind == TaskKind::Train
                && open_task.is_asked
                && open_task.done > 0
                && open_task.trained.is_none();
            if is_over && is_training && !open_task.concluded_since_asked {
                open_task.concluded_since_asked = true;
                if !open_task.ever_concluded {
                    open_task.ever_concluded = true;
                    open_task.last_progress = now;
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
        for open_task in self.tasks.values_mut() {
            if open_task.is_asked {
                continue;
            }
            open_task.last_progress = now;
            if open_task.waiting_since.is_some() {
                open_task.waiting_since = Some(now);
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
        for ((site, task), open_task) in &self.tasks {
            // A site is silent while it receives each model and works on its first case with it.
            let models = u32::try_from(open_task.spec.models.len().max(1)).unwrap_or(u32::MAX);
            let since = match open_task.is_asked {
                true => open_task.last_progress,
                // As long as its site was there, the task waited for its turn.
                false if !roster.is_ready(site) => {
                    open_task.last_progress.max(roster.away_since(site))
                }
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
        let begun = match self.tasks.get(&(site.clone(), task)) {
            Some(open_task) if open_task.starts_without_progress > 1 => Some(open_task.times_asked),
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
        let Some(open_task) = self.open_task(site, progress.task) else {
            return false;
        };
        let most = open_task.spec.steps.map_or(most, |steps| steps.min(most));
        if progress.done <= open_task.done || progress.done > most {
            return false;
        }
        if open_task.done == 0 && (1..progress.done).contains(&open_task.done_before_break) {
            // It continues where it was: only the connection had broken.
            open_task.starts_without_progress = open_task.starts_without_progress.saturating_sub(1);
        }
        open_task.done = progress.done;
        if open_task.done > open_task.furthest {
            open_task.furthest = open_task.done;
            open_task.starts_without_progress = 0;
        }
        if !open_task.ever_concluded && open_task.starts_without_progress <= MOST_STARTS {
            open_task.last_progress = now;
        }
        true
    }
}
