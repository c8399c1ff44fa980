//! Preparing data and working on tasks, on threads of their own.

use super::config::SiteConfig;
use super::models::Models;
use super::session::WorkerEvent;
use crate::case::CachedCase;
use crate::data::{self, Archives, Patient};
use crate::device::{self, Device, DeviceFault};
use crate::evaluate::{Scored, count_scores, score_cases};
use crate::logging;
use crate::overlay::{Overlays, Scene};
use crate::progress_bar::ProgressBar;
use crate::train::{
    self, Origin, Stop, TrainingProgress, TrainingTask, on_own_thread, train, with_local_norms,
};
use metrics::score::AtThreshold;
use metrics::sequence::SequenceSet;
use program::{Class, Failure};
use protocol::case::{Cases, Role};
use protocol::message::{Inventory, Progress, RunId, TaskId, Trained};
use protocol::parameters::{Parameters, ParametersId};
use protocol::settings::{Compute, Evaluation, Federation, Norm};
use protocol::site::{Event, Work};
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How often a running task is looked at.
const WATCH: Duration = Duration::from_millis(200);
/// Compilations are told of at most this often.
const COMPILING: Duration = Duration::from_secs(5);
/// Progress goes out at most this often.
const PROGRESS: Duration = Duration::from_millis(500);

/// A site's cases, and what each is for.
#[derive(Debug)]
pub(super) struct Prepared {
    cases: Vec<CachedCase>,
    training: Vec<usize>,
    validation: Vec<usize>,
    pub(super) inventory: Inventory,
}

impl Prepared {
    fn new(cohort: data::Cohort, role: Role, federation: &Federation, site: &str) -> Self {
        let mut skipped = cohort.skipped.len();
        let found = cohort.cases.len();
        // Without a reference a case can neither train nor be scored.
        let labelled = cohort
            .cases
            .into_iter()
            .zip(cohort.patients)
            .filter(|(case, _)| case.has_label());
        let (cases, patients): (Vec<CachedCase>, Vec<Patient>) = labelled.unzip();
        skipped += found - cases.len();
        let all: Vec<usize> = (0..cases.len()).collect();
        let (training, validation, held_out) = match role {
            Role::Train => {
                let mut origins = Vec::with_capacity(patients.len());
                for Patient { archive, name } in &patients {
                    origins.push(Origin {
                        site: archive.as_deref().unwrap_or(site),
                        patient: name,
                    });
                }
                let Evaluation {
                    validation_share, ..
                } = federation.evaluation;
                let seed = federation.evaluation.split_seed(federation.seed);
                let (training, validation) = train::split(&origins, validation_share, seed);
                (training, validation, Vec::new())
            }
            Role::Validate => (Vec::new(), all, Vec::new()),
            Role::Evaluate => (Vec::new(), Vec::new(), all),
        };
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let lesions = |indices: &[usize]| {
            count(
                indices
                    .iter()
                    .map(|&index| cases[index].count_lesions())
                    .sum(),
            )
        };
        let inventory = Inventory {
            sequences: cases
                .iter()
                .map(CachedCase::present)
                .fold(SequenceSet::EMPTY, SequenceSet::union),
            training_cases: count(training.len()),
            validation_cases: count(validation.len()),
            held_out_cases: count(held_out.len()),
            skipped_cases: count(skipped),
            training_slices: training
                .iter()
                .map(|&index| cases[index].lesion_views().len() as u64)
                .sum(),
            training_lesions: lesions(&training),
            validation_lesions: lesions(&validation),
            held_out_lesions: lesions(&held_out),
        };
        Self {
            cases,
            training,
            validation,
            inventory,
        }
    }

    /// Refuses a cohort that the role can do nothing with.
    pub(super) fn check(&self, role: Role) -> Result<(), Failure> {
        let enough = match role {
            Role::Train => !self.training.is_empty(),
            Role::Evaluate | Role::Validate => !self.cases.is_empty(),
        };
        let failure = || {
            Failure::new(Class::Data, "no case has a reference segmentation").hint(
                "data.label and data.lesion_labels say where lesions are marked; without them no case can be used",
            )
        };
        enough.then_some(()).ok_or_else(failure)
    }

    fn of(&self, indices: &[usize]) -> Vec<&CachedCase> {
        indices.iter().map(|&index| &self.cases[index]).collect()
    }

    fn scored(&self, cases: Cases) -> Vec<&CachedCase> {
        match cases {
            Cases::Validation => self.of(&self.validation),
            Cases::HeldOut => self.cases.iter().collect(),
        }
    }
}

/// What tasks are worked with.
#[derive(Debug)]
struct WorkerContext {
    site: String,
    role: Role,
    federation: Arc<Federation>,
    models: Models,
    device: Device,
    /// What training computes in, where the device can.
    compute: Compute,
    data: Archives,
    work_folder: PathBuf,
    overlays: Overlays,
    tell: mpsc::UnboundedSender<WorkerEvent>,
    prepared: OnceLock<Prepared>,
    /// The last update that the journal names, and its run: what stayed behind of it is of use to
    /// the next training.
    last: Mutex<Option<(RunId, ParametersId)>>,
    /// A training whose update is stored and not in the journal yet: what is no longer asked for
    /// never gets there.
    fresh: Mutex<Option<Fresh>>,
    /// The site's last own model, whose normalisation layers it keeps where the federation says so.
    own: Mutex<Option<(RunId, Parameters)>>,
    /// How far the last task was when it last said so.
    far: Mutex<Option<Progress>>,
}

/// What a training came to, where the next one has a use for it.
#[derive(Debug)]
struct Fresh {
    run: RunId,
    update: ParametersId,
    /// Where the site keeps layers of its own.
    learnt: Option<Parameters>,
}

/// Starts work, one task at a time.
#[derive(Debug)]
pub(super) struct Worker {
    context: Arc<WorkerContext>,
    threads: usize,
    stop: Arc<StopSignal>,
}

/// What the running task is told at its next step: to go on, to end with what it has, or to break
/// off.
#[derive(Debug, Default)]
struct StopSignal(AtomicU8);

impl StopSignal {
    const CONCLUDE: u8 = 1;
    const CANCEL: u8 = 2;

    /// A task that is broken off stays so.
    fn order(&self, what: u8) {
        self.0.fetch_max(what, Ordering::Relaxed);
    }

    fn train_on(&self) -> ControlFlow<Stop> {
        match self.0.load(Ordering::Relaxed) {
            Self::CANCEL => ControlFlow::Break(Stop::Cancelled),
            Self::CONCLUDE => ControlFlow::Break(Stop::Concluded),
            _ => ControlFlow::Continue(()),
        }
    }

    fn score_on(&self) -> ControlFlow<()> {
        if self.0.load(Ordering::Relaxed) == Self::CANCEL {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

impl Worker {
    pub(super) fn new(
        config: &SiteConfig,
        site: &str,
        federation: Arc<Federation>,
        (models, last): (Models, Option<(RunId, ParametersId)>),
        tell: mpsc::UnboundedSender<WorkerEvent>,
    ) -> Result<Self, Failure> {
        let local = federation.model.norm == Norm::BatchLocal;
        let own = last
            .filter(|_| local)
            .and_then(|(run, update)| Some((run, models.own(update)?)));
        let context = WorkerContext {
            site: site.into(),
            role: config.role,
            compute: config.compute.unwrap_or(federation.training.compute),
            federation,
            models,
            device: device::open_with(&config.device, config.kernel_cache.as_deref())?,
            data: config.data.clone(),
            work_folder: config.work_folder.clone(),
            overlays: config.overlays,
            tell,
            prepared: OnceLock::new(),
            last: Mutex::new(last),
            fresh: Mutex::new(None),
            own: Mutex::new(own),
            far: Mutex::new(None),
        };
        Ok(Self {
            context: Arc::new(context),
            threads: config.threads,
            stop: Arc::default(),
        })
    }

    /// Begins to prepare the data; the loop hears of it.
    pub(super) fn prepare(&self) -> io::Result<()> {
        let context = self.context.clone();
        on_own_thread(self.threads, move || {
            let mut meter = None;
            let tell = context.tell.clone();
            let mut progress = |done: usize, total: usize| {
                meter
                    .get_or_insert_with(|| ProgressBar::new("cases prepared", total))
                    .at(done);
                let _ = tell.send(WorkerEvent::Event(Event::Preparing {
                    done: done as u32,
                    total: total as u32,
                }));
            };
            let prepared = data::guarded(|| {
                let input = &context.federation.input;
                let cohort = data::open(&context.data, input, &context.work_folder, &mut progress)?;
                Ok(Prepared::new(
                    cohort,
                    context.role,
                    &context.federation,
                    &context.site,
                ))
            });
            let _ = context
                .tell
                .send(WorkerEvent::Prepared(prepared.map(Box::new)));
        })
        .map(|_| ())
    }

    /// The journal names this update.
    pub(super) fn kept(&self, update: ParametersId) {
        self.context.kept(update);
    }

    /// Takes the prepared data.
    pub(super) fn ready(&self, prepared: Prepared) {
        let _ = self.context.prepared.set(prepared);
    }

    /// Stops the running task at its next step.
    pub(super) fn cancel(&self) {
        self.stop.order(StopSignal::CANCEL);
    }

    /// Lets the running training end at its next step, with what it has.
    pub(super) fn conclude(&self) {
        self.stop.order(StopSignal::CONCLUDE);
    }

    /// Begins a task; the loop hears how it gets on and ends.
    pub(super) fn start(&mut self, work: Work) -> io::Result<()> {
        let stop = Arc::new(StopSignal::default());
        self.stop = stop.clone();
        let (context, task) = (self.context.clone(), work.task);
        let running = on_own_thread(self.threads, move || context.work(&work, &stop))?;
        let context = self.context.clone();
        std::thread::Builder::new()
            .name("watch".into())
            .spawn(move || {
                context.watch(task, &running);
                let reason = match running.join() {
                    Ok(Ok(())) => return,
                    Ok(Err(reason)) => reason,
                    // A panic must not leave the coordinator waiting for its patience to run out.
                    Err(panic) => match train::said(&*panic) {
                        // burn panics where a card refuses.
                        words if device::is_card(&context.device) => {
                            DeviceFault::new(words).to_string()
                        }
                        _ => "the task broke off by an internal error; the site's log says more"
                            .into(),
                    },
                };
                let (run, round) = (task.run.0, task.round);
                tracing::warn!(run, round, "the task failed: {reason}");
                context.say(Event::Failed { task, reason });
                // A card without free memory works again once there is some.
                if let Err(fault @ DeviceFault::Failed(_)) = device::check(&context.device) {
                    let _ = context.tell.send(WorkerEvent::DeviceLost(fault));
                }
            })?;
        Ok(())
    }
}

impl WorkerContext {
    /// Waits for a task. While programs are compiled for a card nothing else moves for minutes:
    /// that is said here, and to the coordinator, which would take the site for lost.
    fn watch<T>(&self, task: TaskId, running: &JoinHandle<T>) {
        let mut compiled = logging::compiled();
        let mut told = Instant::now();
        while !running.is_finished() {
            std::thread::sleep(WATCH);
            if logging::compiled() == compiled || told.elapsed() < COMPILING {
                continue;
            }
            (compiled, told) = (logging::compiled(), Instant::now());
            tracing::info!(
                "compiling programs for the card, {compiled} so far; they are kept for the next start"
            );
            let far = lock(&self.far).filter(|progress| progress.task == task);
            let nothing = Progress {
                task,
                done: 0,
                total: 1,
                loss: None,
                slices_per_second: 0.0,
            };
            self.say(Event::Progress(far.unwrap_or(nothing)));
        }
    }

    fn say(&self, event: Event) {
        if let Event::Progress(progress) = &event {
            *lock(&self.far) = Some(*progress);
        }
        // There is no receiver when the program is ending.
        let _ = self.tell.send(WorkerEvent::Event(event));
    }

    fn work(&self, work: &Work, stop: &StopSignal) -> Result<(), String> {
        let prepared = self.prepared.get().ok_or("the site's data is not ready")?;
        let load = |&id| {
            self.models
                .load(id)
                .map_err(|error| format!("the model cannot be read: {error}"))
        };
        let models = work
            .models
            .iter()
            .map(load)
            .collect::<Result<Vec<_>, _>>()?;
        match (work.cases(), models.first()) {
            (None, Some(model)) => self.train(work, prepared, model, stop),
            (Some(cases), Some(_)) => self.score(work, &prepared.scored(cases), models, stop),
            (_, None) => Err("the coordinator named no model".into()),
        }
    }

    fn train(
        &self,
        work: &Work,
        prepared: &Prepared,
        start: &Parameters,
        stop: &StopSignal,
    ) -> Result<(), String> {
        let task = work.task;
        tracing::info!(run = task.run.0, round = task.round, "training");
        let cases = prepared.of(&prepared.training);
        let own = self.own(task.run);
        let (federation, site) = (&*self.federation, self.site.as_str());
        let training = TrainingTask {
            cases: &cases,
            federation,
            site,
            task,
            start,
            most_steps: work.steps,
            own: own.as_ref(),
            compute: self.compute,
        };
        let mut meter = None;
        let mut last = Instant::now();
        let mut progress = |step: TrainingProgress| {
            meter
                .get_or_insert_with(|| ProgressBar::new("training steps", step.total as usize))
                .at(step.done as usize);
            if last.elapsed() >= PROGRESS || step.done == step.total {
                last = Instant::now();
                let TrainingProgress {
                    done,
                    total,
                    loss,
                    slices_per_second,
                } = step;
                self.say(Event::Progress(Progress {
                    task,
                    done,
                    total,
                    loss: Some(loss),
                    slices_per_second,
                }));
            }
            stop.train_on()
        };
        let update =
            train(&training, &self.device, &mut progress).map_err(|error| error.to_string())?;
        let parameters = self
            .store(task.run, start, &update.parameters)
            .map_err(|error| format!("the update: {error}"))?;
        tracing::info!(
            loss = update.mean_loss,
            seconds = update.seconds,
            slices = update.slices,
            "trained"
        );
        let learnt = (self.federation.model.norm == Norm::BatchLocal).then_some(update.parameters);
        *lock(&self.fresh) = Some(Fresh {
            run: task.run,
            update: parameters,
            learnt,
        });
        self.say(Event::Trained(Trained {
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

    fn store(
        &self,
        run: RunId,
        start: &Parameters,
        learnt: &Parameters,
    ) -> io::Result<ParametersId> {
        let before = lock(&self.last)
            .filter(|(of, _)| *of == run)
            .map(|(_, update)| update);
        let update = self.models.store(start, learnt, before)?;
        if self.federation.model.norm == Norm::BatchLocal {
            self.models.keep_own(update, learnt)?;
        }
        Ok(update)
    }

    /// The journal names this update: the next training builds on it.
    fn kept(&self, update: ParametersId) {
        let Some(fresh) = lock(&self.fresh)
            .take()
            .filter(|fresh| fresh.update == update)
        else {
            return;
        };
        *lock(&self.last) = Some((fresh.run, update));
        if let Some(learnt) = fresh.learnt {
            *lock(&self.own) = Some((fresh.run, learnt));
        }
    }

    fn score(
        &self,
        work: &Work,
        cases: &[&CachedCase],
        mut models: Vec<Parameters>,
        stop: &StopSignal,
    ) -> Result<(), String> {
        let task = work.task;
        tracing::info!(
            run = task.run.0,
            round = task.round,
            cases = cases.len(),
            "scoring"
        );
        if let Some(own) = self.own(task.run) {
            models
                .iter_mut()
                .for_each(|model| *model = with_local_norms(model, &own));
        }
        let total = count_scores(cases, &self.federation, &work.wanted);
        let mut meter = ProgressBar::new(
            if work.wanted.subsets {
                "subsets scored"
            } else {
                "cases scored"
            },
            total,
        );
        let (total, mut done) = (total as u32, 0);
        let mut counted = Vec::new();
        let mut each = |scored| {
            done += 1;
            meter.at(done as usize);
            if let Scored::Case(score) = &scored {
                counted.extend(score.at.first().map(|at| (score.case, *at)));
            }
            self.say(match scored {
                Scored::Case(score) => Event::Scored { task, score },
                Scored::Part(score) => Event::SubsetScored { task, score },
            });
            self.say(Event::Progress(Progress {
                task,
                done,
                total,
                loss: None,
                slices_per_second: 0.0,
            }));
            stop.score_on()
        };
        score_cases(
            cases,
            &self.federation,
            &models,
            &work.wanted,
            &self.device,
            &mut each,
        )
        .map_err(|error| error.to_string())?;
        if let Some(&threshold) = work
            .wanted
            .thresholds
            .first()
            .filter(|_| task.run.is_federation())
        {
            let (federation, device) = (&self.federation, &self.device);
            self.draw(
                task,
                &Scene {
                    cases,
                    federation,
                    models: &models,
                    threshold,
                    device,
                },
                &counted,
            );
        }
        self.say(Event::Evaluated(task));
        Ok(())
    }

    /// Pictures for the federation's report. They are extra: scores are reported without them too.
    fn draw(&self, task: TaskId, scene: &Scene<'_>, counted: &[(u32, AtThreshold)]) {
        match scene.draw(counted, self.overlays, &self.work_folder) {
            Ok(overlays) => overlays
                .into_iter()
                .for_each(|overlay| self.say(Event::Drawn { task, overlay })),
            Err(error) => tracing::warn!(%error, "no pictures of representative cases"),
        }
    }

    /// The site's own last model of a run, where normalisation is kept local.
    fn own(&self, run: RunId) -> Option<Parameters> {
        lock(&self.own)
            .as_ref()
            .filter(|(of, _)| *of == run)
            .map(|(_, parameters)| parameters.clone())
    }
}

/// What a thread that broke off left is whole: it is only ever replaced.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::tests::{cohort, federation, fresh, spread_out};
    use protocol::message::TaskKind;
    use std::collections::BTreeSet;

    /// The coordinator refuses an update of more steps than the inventory's slices give.
    #[test]
    fn a_case_of_several_views_a_slice_is_counted_as_training_draws_from_it() {
        let federation = federation("epochs = 1");
        let (_folder, cases) = cohort(&[spread_out()]);
        let prepared = Prepared::new(
            data::Cohort {
                cases,
                patients: vec![Patient {
                    archive: None,
                    name: "patient".into(),
                }],
                skipped: Vec::new(),
                warnings: Vec::new(),
                ignored: BTreeSet::new(),
            },
            Role::Train,
            &federation,
            "north",
        );
        // Five slices, each seen through three by three windows.
        assert_eq!(prepared.inventory.training_slices, 45);
        let start = fresh(&federation);
        let cases = prepared.of(&prepared.training);
        let training = TrainingTask {
            cases: &cases,
            federation: &federation,
            site: "north",
            task: TaskId {
                run: RunId(0),
                round: 1,
                kind: TaskKind::Train,
                pass: 0,
            },
            start: &start,
            most_steps: None,
            own: None,
            compute: Compute::F32,
        };
        let mut conclude = |_| ControlFlow::Break(Stop::Concluded);
        let update = train(&training, &Device::flex(), &mut conclude).unwrap();
        let batch = federation.training.batch as u64;
        let most_steps = prepared.inventory.training_slices.div_ceil(batch);
        assert_eq!(u64::from(update.asked_steps), most_steps);
    }
}
