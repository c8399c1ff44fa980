//! How long a site is waited for: timeout lasts from the last time that its task got on.

use super::super::roster::Roster;
use super::{Effect, OpenTask, TaskFailure, TaskTable};
use crate::identity::SiteName;
use crate::message::{CoordinatorMessage, Progress, TaskId, TaskKind};
use crate::notification::Notification;
use std::time::Duration;

/// How often a site may begin a task anew, or come back to it, and be waited for with new timeout
/// each time, without getting further than before.
const MOST_STARTS: u32 = 5;

impl OpenTask {
    /// The site is asked now. Patience with it is new at the first time, and some times more if it
    /// did not get further in between: a site that crashes at each start is not waited for without
    /// end.
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
    /// A site came back: whatever it was asked is asked again. It may have to begin anew, so what
    /// it did before is no measure of its progress.
    pub(in crate::coordinator) fn ask_again(&mut self, site: &SiteName, now: Duration) {
        for ((name, _), job) in &mut self.jobs {
            if name == site && job.asked {
                (job.asked, job.concluding, job.waits) = (false, false, Some(now));
                (job.before, job.done) = (job.done, 0);
            }
        }
    }

    /// Tells sites to end trainings whose first request is `deadline` old: those that have shown a
    /// step. Others have nothing to send yet, and timeout knows how long to wait for them.
    pub(in crate::coordinator) fn conclude(
        &mut self,
        deadline: Duration,
        now: Duration,
        out: &mut Vec<Effect>,
    ) {
        for ((site, task), job) in &mut self.jobs {
            let over = self
                .begun
                .get(task)
                .is_some_and(|begun| now.saturating_sub(*begun) >= deadline);
            let at_work =
                task.kind == TaskKind::Train && job.asked && job.done > 0 && job.trained.is_none();
            if over && at_work && !job.concluding {
                job.concluding = true;
                if !job.told {
                    (job.told, job.moved) = (true, now);
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

    /// For so long nothing was to happen: deadlines move on by it.
    pub(in crate::coordinator) fn extend_by(&mut self, pause: Duration) {
        self.begun.values_mut().for_each(|begun| *begun += pause);
    }

    /// Tasks that nobody was asked for yet have waited since `now` only.
    pub(in crate::coordinator) fn restart_timeouts(&mut self, now: Duration) {
        for job in self.jobs.values_mut().filter(|job| !job.asked) {
            job.moved = now;
            job.waits = job.waits.map(|_| now);
        }
    }

    /// Tasks without progress for longer than `timeout`: asked ones, and waiting ones whose site is
    /// away. Whatever else a site says or does, such as coming back, changes nothing about them.
    pub(in crate::coordinator) fn expired(
        &self,
        roster: &Roster,
        timeout: Duration,
        now: Duration,
    ) -> Vec<(SiteName, TaskId)> {
        let mut expired = Vec::new();
        for ((site, task), job) in &self.jobs {
            // Nothing is heard of a site while it receives models and looks at its first case with
            // each of them.
            let models = u32::try_from(job.order.models.len().max(1)).unwrap_or(u32::MAX);
            let since = match job.asked {
                true => job.moved,
                // It waited for its turn as long as its site was there.
                false if !roster.is_ready(site) => job.moved.max(roster.away_since(site)),
                false => continue,
            };
            if now.saturating_sub(since) > timeout.saturating_mul(models) {
                expired.push((site.clone(), *task));
            }
        }
        expired
    }

    /// Why a task is given up whose site is waited for no longer.
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

    /// Takes note of a site's progress; its task has `most` steps or scores. Returns whether there
    /// was any.
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
            // It works on where it was: only the line had broken.
            job.fruitless = job.fruitless.saturating_sub(1);
        }
        job.done = progress.done;
        if job.done > job.furthest {
            (job.furthest, job.fruitless) = (job.done, 0);
        }
        if !job.told && job.fruitless <= MOST_STARTS {
            job.moved = now;
        }
        true
    }
}
