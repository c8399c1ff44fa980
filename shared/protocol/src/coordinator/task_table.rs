//! Open tasks: who was asked for what, and what of the answer is here.

mod time_limits;

use super::roster::Roster;
use super::scores::SiteResult;
use super::{
    AcceptedUpdate, Effect, ModelRef, ScoreRejection, SummaryRejection, TaskFailure,
    UpdateRejection,
};
use crate::identity::SiteName;
use crate::jpeg::Picture;
use crate::message::{
    CoordinatorMessage, EvaluationRequest, RunId, TaskId, TaskKind, Trained, TransferHeader,
};
use crate::overlay::{self, Overlay};
use crate::parameters::ParametersId;
use metrics::score::{CaseScore, SubsetScore};
use metrics::sequence::{MAX_SEQUENCES, SequenceSet};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How a task ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum TaskResult {
    /// A checked and stored update.
    Update {
        trained: Trained,
        /// How far it went from the model that it started from.
        distance: f64,
    },
    /// All cases' scores, in the site's order.
    Scores(SiteResult),
    /// There is no result, and the model may be why: the site could not work with it, or its update
    /// was refused. If all sites end so, the model is discarded.
    CountsAgainstModel(TaskFailure),
    /// There is no result, and that says nothing about the model: the site was silent or dropped,
    /// or what it said about its work was refused.
    Missing(TaskFailure),
}

/// Where an update's bytes are.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Bytes {
    Missing,
    Checking(ParametersId),
    Stored(AcceptedUpdate),
}

/// What a site is asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct TaskSpec {
    /// The model to start from or to score; several for a consensus.
    pub(super) models: Vec<ModelRef>,
    /// What to count.
    pub(super) wanted: EvaluationRequest,
    /// The most steps of a training.
    pub(super) steps: Option<u32>,
}

#[derive(Debug)]
struct OpenTask {
    spec: TaskSpec,
    is_asked: bool,
    /// How often the site was asked.
    times_asked: u32,
    /// How often since it last got further than before.
    starts_without_progress: u32,
    /// Told to end early, since it was last asked.
    concluded_since_asked: bool,
    /// Told to end early at all: its timeout is not renewed by steps after that.
    ever_concluded: bool,
    /// When the task last made progress: its timeout counts from here.
    last_progress: Duration,
    /// Since when the task waits for being asked again.
    waiting_since: Option<Duration>,
    /// Steps or cases done since the site was last asked.
    done: u32,
    /// The same, when its connection broke last.
    done_before_break: u32,
    /// The most that it ever had done.
    furthest: u32,
    trained: Option<Trained>,
    bytes: Bytes,
    scores: BTreeMap<u32, CaseScore>,
    subsets: BTreeMap<(u32, SequenceSet), SubsetScore>,
    overlays: BTreeMap<u32, Picture>,
    /// The number of cases that the site says it scored.
    announced_cases: Option<u32>,
}

impl OpenTask {
    fn new(spec: TaskSpec, now: Duration) -> Self {
        Self {
            spec,
            is_asked: false,
            times_asked: 0,
            starts_without_progress: 0,
            concluded_since_asked: false,
            ever_concluded: false,
            last_progress: now,
            waiting_since: None,
            done: 0,
            done_before_break: 0,
            furthest: 0,
            trained: None,
            bytes: Bytes::Missing,
            scores: BTreeMap::new(),
            subsets: BTreeMap::new(),
            overlays: BTreeMap::new(),
            announced_cases: None,
        }
    }

    /// Whether these parameters may be the training's update.
    fn wants(&self, parameters: ParametersId) -> bool {
        let announced = self.trained.map(|trained| trained.parameters);
        self.bytes == Bytes::Missing && announced.is_none_or(|announced| announced == parameters)
    }
}

/// The most that a training can come to, by the settings and the site's own slices.
#[derive(Clone, Copy, Debug)]
pub(super) struct MostWork {
    /// Slices in one step.
    pub(super) batch: usize,
    pub(super) steps: u32,
}

/// The open tasks, in site order.
#[derive(Debug)]
pub(super) struct TaskTable {
    tasks: BTreeMap<(SiteName, TaskId), OpenTask>,
    concurrent: usize,
    model_bytes: u64,
    update_bytes: u64,
    /// Bytes of parameters that were sent and received since they were last taken.
    bytes_moved: BTreeMap<RunId, u64>,
    /// When the first site was asked for each open training.
    begun: BTreeMap<TaskId, Duration>,
}

impl TaskTable {
    pub(super) fn new(concurrent: Option<usize>, model_bytes: u64, update_bytes: u64) -> Self {
        Self {
            tasks: BTreeMap::new(),
            concurrent: concurrent.unwrap_or(usize::MAX),
            model_bytes,
            update_bytes,
            bytes_moved: BTreeMap::new(),
            begun: BTreeMap::new(),
        }
    }

    /// Adds a task; [`TaskTable::fill`] sends it when the site is free.
    pub(super) fn add(&mut self, site: &SiteName, task: TaskId, spec: TaskSpec, now: Duration) {
        self.tasks
            .insert((site.clone(), task), OpenTask::new(spec, now));
    }

    /// Sends waiting tasks to sites that are ready and have none, as long as fewer than the limit
    /// are at work.
    pub(super) fn fill(&mut self, roster: &mut Roster, now: Duration, out: &mut Vec<Effect>) {
        let mut busy = BTreeSet::new();
        for ((site, _), open_task) in &self.tasks {
            if open_task.is_asked {
                busy.insert(site.clone());
            }
        }
        let mut working = busy.iter().filter(|site| roster.is_ready(site)).count();
        for ((site, task), open_task) in &mut self.tasks {
            if working >= self.concurrent {
                return;
            }
            if open_task.is_asked || busy.contains(site) || !roster.is_ready(site) {
                continue;
            }
            open_task.ask(now);
            self.begun.entry(*task).or_insert(now);
            busy.insert(site.clone());
            working += 1;
            if let Some(message) = request(*task, open_task) {
                out.push(Effect::Send {
                    site: site.clone(),
                    message,
                });
            }
            for model in roster.hand_over(site, &open_task.spec.models) {
                let header = TransferHeader {
                    parameters: model.parameters,
                    bytes: self.model_bytes,
                    task: *task,
                };
                *self.bytes_moved.entry(task.run).or_default() += self.model_bytes;
                out.push(Effect::SendParameters {
                    site: site.clone(),
                    header,
                    model,
                });
            }
        }
    }

    /// How many more sites may work at once. A ready site whose task waits for its turn counts as
    /// busy too, because it takes a place before tasks that are given out now.
    pub(super) fn room(&self, roster: &Roster) -> usize {
        let mut busy = BTreeSet::new();
        for (site, _) in self.tasks.keys() {
            if roster.is_ready(site) {
                busy.insert(site);
            }
        }
        self.concurrent.saturating_sub(busy.len())
    }

    pub(super) fn has(&self, site: &SiteName, task: TaskId) -> bool {
        self.tasks.contains_key(&(site.clone(), task))
    }

    /// The result of this task is no longer wanted.
    pub(super) fn withdraw(&mut self, site: &SiteName, task: TaskId) {
        self.remove(site, task);
    }

    /// A site's open tasks.
    pub(super) fn tasks(&self, site: &SiteName) -> Vec<TaskId> {
        self.tasks
            .keys()
            .filter(|(name, _)| name == site)
            .map(|(_, task)| *task)
            .collect()
    }

    pub(super) fn is_asked(&self, site: &SiteName, task: TaskId) -> bool {
        self.tasks
            .get(&(site.clone(), task))
            .is_some_and(|open_task| open_task.is_asked)
    }

    /// Bytes of parameters moved for a training run since the last call.
    pub(super) fn take_bytes_moved(&mut self, run: RunId) -> u64 {
        self.bytes_moved.remove(&run).unwrap_or(0)
    }

    /// A parameter vector arrived: wanted once, for an open training.
    pub(super) fn received(
        &mut self,
        site: &SiteName,
        header: TransferHeader,
        file: u64,
        now: Duration,
        out: &mut Vec<Effect>,
    ) {
        let TransferHeader {
            parameters, task, ..
        } = header;
        match self.open_task(site, task) {
            Some(open_task) if task.kind == TaskKind::Train && open_task.wants(parameters) => {
                open_task.bytes = Bytes::Checking(parameters);
                open_task.last_progress = now;
                *self.bytes_moved.entry(task.run).or_default() += self.update_bytes;
                out.push(Effect::Check {
                    file,
                    site: site.clone(),
                    task,
                    parameters,
                });
            }
            _ => out.push(Effect::Discard { file }),
        }
    }

    /// The shell checked an update.
    pub(super) fn stored(
        &mut self,
        site: &SiteName,
        task: TaskId,
        result: Result<AcceptedUpdate, UpdateRejection>,
    ) -> Option<TaskResult> {
        let open_task = self.open_task(site, task)?;
        match result {
            Ok(taken) if open_task.bytes == Bytes::Checking(taken.parameters) => {
                open_task.bytes = Bytes::Stored(taken)
            }
            Ok(_) => return None,
            Err(rejection) => {
                let failure = TaskFailure::Update(rejection);
                return self.close(site, task, TaskResult::CountsAgainstModel(failure));
            }
        }
        self.close_if_complete(site, task)
    }

    /// A site says that its training ended.
    pub(super) fn trained(
        &mut self,
        site: &SiteName,
        trained: Trained,
        mut most: MostWork,
        now: Duration,
    ) -> Option<TaskResult> {
        let task = trained.task;
        if task.kind != TaskKind::Train {
            return None;
        }
        let open_task = self.open_task(site, task)?;
        if let Some(asked) = open_task.spec.steps {
            most.steps = most.steps.min(asked);
        }
        if let Err(rejection) = check_summary(&trained, most) {
            let failure = TaskFailure::Summary(rejection);
            return self.close(site, task, TaskResult::Missing(failure));
        }
        if open_task.trained.replace(trained).is_none() {
            open_task.last_progress = now;
        }
        self.close_if_complete(site, task)
    }

    fn close_if_complete(&mut self, site: &SiteName, task: TaskId) -> Option<TaskResult> {
        let open_task = self.open_task(site, task)?;
        let (Some(trained), Bytes::Stored(taken)) = (open_task.trained, open_task.bytes) else {
            return None;
        };
        let answer = if trained.parameters == taken.parameters {
            TaskResult::Update {
                trained,
                distance: taken.distance,
            }
        } else {
            TaskResult::Missing(TaskFailure::OtherParameters {
                announced: trained.parameters,
                sent: taken.parameters,
            })
        };
        self.close(site, task, answer)
    }

    /// One case of an evaluation; the site has `most` of them.
    pub(super) fn scored(
        &mut self,
        site: &SiteName,
        task: TaskId,
        score: CaseScore,
        most: u32,
        now: Duration,
    ) -> Option<TaskResult> {
        if task.kind == TaskKind::Train {
            return None;
        }
        let open_task = self.open_task(site, task)?;
        let checked = check_score(&open_task.spec.wanted, &score);
        if open_task.scores.insert(score.case, score).is_none() {
            open_task.last_progress = now;
        }
        let checked = checked.and(check_count(open_task.scores.len(), most as usize));
        if let Err(rejection) = checked {
            let failure = TaskFailure::Scores(rejection);
            return self.close(site, task, TaskResult::Missing(failure));
        }
        self.close_if_counted(site, task)
    }

    /// One case of an evaluation, shown a part of its sequences. It may come before the case's own
    /// score when a broken connection swallowed that one.
    pub(super) fn subset_scored(
        &mut self,
        site: &SiteName,
        task: TaskId,
        score: SubsetScore,
        most: u32,
        now: Duration,
    ) -> Option<TaskResult> {
        if task.kind == TaskKind::Train {
            return None;
        }
        let open_task = self.open_task(site, task)?;
        let checked = check_subset_score(&open_task.spec.wanted, &score);
        let before = open_task.subsets.insert((score.case, score.subset), score);
        if before.is_none() {
            open_task.last_progress = now;
        }
        let checked = checked.and(check_count(
            open_task.subsets.len(),
            most as usize * MOST_PARTS,
        ));
        if let Err(rejection) = checked {
            let failure = TaskFailure::Scores(rejection);
            return self.close(site, task, TaskResult::Missing(failure));
        }
        self.close_if_counted(site, task)
    }

    /// A picture of a case. Only the federation's report shows any, and no more than a site has
    /// representative cases; others are dropped, because the report is complete without them.
    pub(super) fn overlay_drawn(&mut self, site: &SiteName, task: TaskId, overlay: Overlay) {
        if !task.run.is_federation() {
            return;
        }
        let Some(open_task) = self.open_task(site, task) else {
            return;
        };
        if open_task.spec.wanted.thresholds.is_empty() {
            return;
        }
        let is_new = !open_task.overlays.contains_key(&overlay.case);
        if is_new && open_task.overlays.len() >= overlay::MOST {
            return;
        }
        open_task.overlays.insert(overlay.case, overlay.picture);
    }

    /// A site says that its evaluation ended.
    pub(super) fn evaluated(
        &mut self,
        site: &SiteName,
        task: TaskId,
        cases: u32,
    ) -> Option<TaskResult> {
        self.open_task(site, task)?.announced_cases = Some(cases);
        self.close_if_counted(site, task)
    }

    fn close_if_counted(&mut self, site: &SiteName, task: TaskId) -> Option<TaskResult> {
        let open_task = self.open_task(site, task)?;
        let announced = open_task.announced_cases? as usize;
        if open_task.scores.len() < announced {
            return None;
        }
        let mut parts = Vec::new();
        if open_task.spec.wanted.subsets {
            for score in open_task.scores.values().take(announced) {
                parts.extend(score.subset.proper_subsets().map(|part| (score.case, part)));
            }
        }
        if !parts
            .iter()
            .all(|part| open_task.subsets.contains_key(part))
        {
            return None;
        }
        let mut result = SiteResult::default();
        for (_, score) in std::mem::take(&mut open_task.scores)
            .into_iter()
            .take(announced)
        {
            result.cases.push(score);
        }
        // Other subset scores belong to no case.
        for part in &parts {
            result.subsets.extend(open_task.subsets.remove(part));
        }
        for (case, picture) in std::mem::take(&mut open_task.overlays) {
            result.overlays.push(Overlay { case, picture });
        }
        self.close(site, task, TaskResult::Scores(result))
    }

    /// A site says that its task ended badly.
    pub(super) fn failed(
        &mut self,
        site: &SiteName,
        task: TaskId,
        reason: String,
    ) -> Option<TaskResult> {
        self.close(
            site,
            task,
            TaskResult::CountsAgainstModel(TaskFailure::Site(reason)),
        )
    }

    /// Nothing will come of a task.
    pub(super) fn give_up(
        &mut self,
        site: &SiteName,
        task: TaskId,
        reason: TaskFailure,
    ) -> Option<TaskResult> {
        self.close(site, task, TaskResult::Missing(reason))
    }

    fn open_task(&mut self, site: &SiteName, task: TaskId) -> Option<&mut OpenTask> {
        self.tasks.get_mut(&(site.clone(), task))
    }

    /// Closes a task with this result; `None` if it is not open.
    fn close(&mut self, site: &SiteName, task: TaskId, result: TaskResult) -> Option<TaskResult> {
        self.remove(site, task)?;
        Some(result)
    }

    fn remove(&mut self, site: &SiteName, task: TaskId) -> Option<OpenTask> {
        let closed = self.tasks.remove(&(site.clone(), task));
        if !self.tasks.keys().any(|(_, open)| *open == task) {
            self.begun.remove(&task);
        }
        closed
    }
}

/// The most parts of its sequences that one case can be shown.
const MOST_PARTS: usize = (1 << MAX_SEQUENCES) - 2;

/// Whether a training can have come to this.
fn check_summary(trained: &Trained, most: MostWork) -> Result<(), SummaryRejection> {
    let MostWork {
        batch,
        steps: most_steps,
    } = most;
    let Trained {
        slices,
        steps,
        asked_steps,
        ..
    } = *trained;
    if slices == 0 {
        return Err(SummaryRejection::NoSlices { steps, asked_steps });
    }
    if slices > u64::from(steps).saturating_mul(batch as u64) {
        return Err(SummaryRejection::Slices {
            slices,
            steps,
            batch,
        });
    }
    if steps > asked_steps {
        return Err(SummaryRejection::Steps {
            slices,
            steps,
            asked_steps,
        });
    }
    if asked_steps > most_steps {
        return Err(SummaryRejection::AskedSteps {
            slices,
            steps,
            asked_steps,
            most_steps,
        });
    }
    if trained.sequences.is_empty() {
        return Err(SummaryRejection::NoSequence { slices });
    }
    if !trained.mean_loss.is_finite() || !trained.last_loss.is_finite() {
        return Err(SummaryRejection::Loss {
            mean: trained.mean_loss,
            last: trained.last_loss,
        });
    }
    Ok(())
}

/// Whether a case's score is what was asked for.
fn check_score(wanted: &EvaluationRequest, score: &CaseScore) -> Result<(), ScoreRejection> {
    let mut at = Vec::new();
    for counted in &score.at {
        at.push(counted.threshold);
    }
    check_thresholds(score.case, &wanted.thresholds, &at)?;
    let mut sweep = Vec::new();
    for point in &score.sweep {
        sweep.push(point.threshold);
    }
    check_thresholds(score.case, &wanted.sweep, &sweep)?;
    for histogram in [&score.brain, &score.outside] {
        if let Err(error) = histogram.check() {
            let case = score.case;
            return Err(ScoreRejection::Histogram { case, error });
        }
    }
    Ok(())
}

/// Whether a case's score on a part of its sequences is what was asked for.
fn check_subset_score(
    wanted: &EvaluationRequest,
    score: &SubsetScore,
) -> Result<(), ScoreRejection> {
    if !wanted.subsets {
        return Err(ScoreRejection::Subset { case: score.case });
    }
    let mut at = Vec::new();
    for counted in &score.at {
        at.push(counted.threshold);
    }
    check_thresholds(score.case, &wanted.thresholds, &at)
}

/// Whether a site counted at the very thresholds that it was asked for, to the bit.
fn check_thresholds(case: u32, asked: &[f32], found: &[f32]) -> Result<(), ScoreRejection> {
    let asked_bits = asked.iter().map(|threshold| threshold.to_bits());
    if asked_bits.eq(found.iter().map(|threshold| threshold.to_bits())) {
        return Ok(());
    }
    Err(ScoreRejection::Thresholds {
        case,
        asked: asked.len(),
        found: found.len(),
    })
}

fn check_count(found: usize, most: usize) -> Result<(), ScoreRejection> {
    if found > most {
        return Err(ScoreRejection::Many { most });
    }
    Ok(())
}

/// The request for a task; a training without its one model cannot be asked for.
fn request(task: TaskId, open_task: &OpenTask) -> Option<CoordinatorMessage> {
    let mut models = open_task.spec.models.iter().map(|model| model.parameters);
    Some(match task.kind {
        TaskKind::Train => CoordinatorMessage::Train {
            task,
            model: models.next()?,
            steps: open_task.spec.steps,
        },
        TaskKind::Evaluate(_) => CoordinatorMessage::Evaluate {
            task,
            models: models.collect(),
            wanted: open_task.spec.wanted.clone(),
        },
    })
}

#[cfg(test)]
mod tests;
