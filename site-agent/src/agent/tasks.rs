//! What a task does: train a model, or score it.

use super::memory::PendingUpdate;
use super::prepared::Prepared;
use super::worker::{StopSignal, WorkerContext, locked};
use crate::case::CachedCase;
use crate::device::DeviceFault;
use crate::evaluate::{EvaluateError, Scored, count_scores, score_cases};
use crate::overlay::Scene;
use crate::progress_bar::ProgressBar;
use crate::train::{Stop, TrainError, TrainingProgress, TrainingTask, train, with_local_norms};
use metrics::score::AtThreshold;
use protocol::message::{Progress, RunId, TaskId, Trained};
use protocol::parameters::{Parameters, ParametersId};
use protocol::settings::Norm;
use protocol::site::{Event, Work};
use std::io;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// The shortest time between two reports of a training's progress.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

/// Why a task has no result. The texts hold no patient data: they go to the coordinator.
#[derive(Debug, thiserror::Error)]
pub(super) enum TaskError {
    #[error("the site's data is not ready")]
    NotReady,
    #[error("the coordinator named no model")]
    NoModel,
    #[error("the model cannot be read: {0}")]
    Unreadable(#[source] io::Error),
    #[error(transparent)]
    Train(#[from] TrainError),
    #[error("the update: {0}")]
    Unstored(#[source] io::Error),
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    /// A GPU that panicked.
    #[error(transparent)]
    Device(#[from] DeviceFault),
    #[error("the task broke off by an internal error; the site's log says more")]
    Panic,
}

impl WorkerContext {
    pub(super) fn work(&self, work: &Work, stop: &StopSignal) -> Result<(), TaskError> {
        let prepared = self.prepared.get().ok_or(TaskError::NotReady)?;
        let mut models = Vec::new();
        for &id in &work.models {
            models.push(self.models.load(id).map_err(TaskError::Unreadable)?);
        }
        let first = models.first().ok_or(TaskError::NoModel)?;
        match work.cases() {
            None => self.train(work, prepared, first, stop),
            Some(cases) => self.score(work, &prepared.scored_cases(cases), models, stop),
        }
    }

    fn train(
        &self,
        work: &Work,
        prepared: &Prepared,
        start: &Parameters,
        stop: &StopSignal,
    ) -> Result<(), TaskError> {
        let task = work.task;
        tracing::info!(run = task.run.0, round = task.round, "training");
        let cases = prepared.training_cases();
        let own = locked(&self.memory).own_model(task.run);
        let training = TrainingTask {
            cases: &cases,
            federation: &self.federation,
            site: &self.site,
            id: task,
            start,
            most_steps: work.steps,
            own: own.as_ref(),
            compute: self.compute,
        };
        let mut report = TrainingReport {
            context: self,
            task,
            stop,
            bar: None,
            last: Instant::now(),
        };
        let update = train(&training, &self.device, &mut |step| report.step(step))?;
        let parameters = self
            .store(task.run, start, &update.parameters)
            .map_err(TaskError::Unstored)?;
        tracing::info!(
            loss = update.mean_loss,
            seconds = update.seconds,
            slices = update.slices,
            "trained"
        );
        let mut learnt = None;
        if self.keeps_own_norms() {
            learnt = Some(update.parameters);
        }
        locked(&self.memory).trained(PendingUpdate {
            run: task.run,
            update: parameters,
            learnt,
        });
        self.tell(Event::Trained(Trained {
            task,
            parameters,
            slices: update.slices,
            steps: update.steps,
            asked_steps: update.asked_steps,
            mean_loss: update.mean_loss,
            last_loss: update.last_loss,
            seconds: update.seconds,
            sequences: update.sequences,
            compute: update.compute,
        }));
        Ok(())
    }

    /// Whether the site's normalisation layers stay its own.
    fn keeps_own_norms(&self) -> bool {
        self.federation.model.norm == Norm::BatchLocal
    }

    fn store(
        &self,
        run: RunId,
        start: &Parameters,
        learnt: &Parameters,
    ) -> io::Result<ParametersId> {
        let before = locked(&self.memory).last_update(run);
        let update = self.models.store(start, learnt, before)?;
        if self.keeps_own_norms() {
            self.models.keep_own(update, learnt)?;
        }
        Ok(update)
    }

    fn score(
        &self,
        work: &Work,
        cases: &[&CachedCase],
        mut models: Vec<Parameters>,
        stop: &StopSignal,
    ) -> Result<(), TaskError> {
        let task = work.task;
        let wanted = &work.wanted;
        tracing::info!(
            run = task.run.0,
            round = task.round,
            cases = cases.len(),
            "scoring"
        );
        let own = locked(&self.memory).own_model(task.run);
        if let Some(own) = own {
            for model in &mut models {
                *model = with_local_norms(model, &own);
            }
        }
        let unit = if wanted.subsets {
            "subsets scored"
        } else {
            "cases scored"
        };
        let total = count_scores(cases, &self.federation, wanted);
        let mut report = ScoringReport {
            context: self,
            task,
            stop,
            bar: ProgressBar::new(unit, total),
            done: 0,
            total: total as u32,
            counted: Vec::new(),
        };
        score_cases(
            cases,
            &self.federation,
            &models,
            wanted,
            &self.device,
            &mut |scored| report.scored(scored),
        )?;
        if let Some(&threshold) = wanted.thresholds.first()
            && task.run.is_federation()
        {
            let scene = Scene {
                cases,
                federation: &self.federation,
                models: &models,
                threshold,
                device: &self.device,
            };
            self.draw(task, &scene, &report.counted);
        }
        self.tell(Event::Evaluated(task));
        Ok(())
    }

    /// Draws pictures for the federation's report. Scores are reported without them too.
    fn draw(&self, task: TaskId, scene: &Scene<'_>, counted: &[(u32, AtThreshold)]) {
        match scene.draw(counted, self.overlays, &self.work_folder) {
            Ok(overlays) => {
                for overlay in overlays {
                    self.tell(Event::Drawn { task, overlay });
                }
            }
            Err(error) => tracing::warn!(%error, "no pictures of representative cases"),
        }
    }
}

/// Reports the steps of a training.
struct TrainingReport<'a> {
    context: &'a WorkerContext,
    task: TaskId,
    stop: &'a StopSignal,
    /// Made at the first step, which knows how many there are.
    bar: Option<ProgressBar>,
    /// When the coordinator was told last.
    last: Instant,
}

impl TrainingReport<'_> {
    fn step(&mut self, step: TrainingProgress) -> ControlFlow<Stop> {
        self.bar
            .get_or_insert_with(|| ProgressBar::new("training steps", step.total as usize))
            .at(step.done as usize);
        if self.last.elapsed() >= PROGRESS_INTERVAL || step.done == step.total {
            self.last = Instant::now();
            self.context.tell(Event::Progress(Progress {
                task: self.task,
                done: step.done,
                total: step.total,
                loss: Some(step.loss),
                slices_per_second: step.slices_per_second,
            }));
        }
        self.stop.check_training()
    }
}

/// Reports the scores of cases.
struct ScoringReport<'a> {
    context: &'a WorkerContext,
    task: TaskId,
    stop: &'a StopSignal,
    bar: ProgressBar,
    done: u32,
    total: u32,
    /// The index and the counts at the first threshold of each case.
    counted: Vec<(u32, AtThreshold)>,
}

impl ScoringReport<'_> {
    fn scored(&mut self, scored: Scored) -> ControlFlow<()> {
        let task = self.task;
        self.done += 1;
        self.bar.at(self.done as usize);
        match scored {
            Scored::Case(score) => {
                if let Some(at) = score.at.first() {
                    self.counted.push((score.case, *at));
                }
                self.context.tell(Event::Scored { task, score });
            }
            Scored::Part(score) => self.context.tell(Event::SubsetScored { task, score }),
        }
        self.context.tell(Event::Progress(Progress {
            task,
            done: self.done,
            total: self.total,
            loss: None,
            slices_per_second: 0.0,
        }));
        self.stop.check_scoring()
    }
}
