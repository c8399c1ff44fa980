//! Preparing data and working on tasks, on threads of their own.

use super::config::SiteConfig;
use super::memory::{LastUpdate, OwnModel, TrainingMemory};
use super::models::Models;
use super::prepared::Prepared;
use super::session::WorkerEvent;
use super::tasks::TaskError;
use crate::data::{self, Archives, DataError};
use crate::device::{self, Device, DeviceFault};
use crate::logging;
use crate::overlay::Overlays;
use crate::progress_bar::ProgressBar;
use crate::train::{self, Stop, on_own_thread};
use program::Failure;
use protocol::case::Role;
use protocol::message::{Progress, TaskId};
use protocol::parameters::ParametersId;
use protocol::settings::{Compute, Federation, Norm};
use protocol::site::{Event, Work};
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// The time between two looks at a running task.
const WATCH_INTERVAL: Duration = Duration::from_millis(200);
/// The shortest time between two messages about compilations.
const COMPILING_INTERVAL: Duration = Duration::from_secs(5);

/// Starts work, one task at a time.
#[derive(Debug)]
pub(super) struct Worker {
    context: Arc<WorkerContext>,
    threads: usize,
    stop: Arc<StopSignal>,
}

/// What a task needs. Its methods that work on tasks are in [`super::tasks`].
#[derive(Debug)]
pub(super) struct WorkerContext {
    pub(super) site: String,
    pub(super) federation: Arc<Federation>,
    pub(super) models: Models,
    pub(super) device: Device,
    /// The arithmetic of training, where the device supports it.
    pub(super) compute: Compute,
    pub(super) work_folder: PathBuf,
    pub(super) overlays: Overlays,
    /// Set once the data is ready.
    pub(super) prepared: OnceLock<Prepared>,
    pub(super) memory: Mutex<TrainingMemory>,
    role: Role,
    data: Archives,
    tell: mpsc::UnboundedSender<WorkerEvent>,
    /// The last progress that a task reported.
    progress: Mutex<Option<Progress>>,
}

/// What the running task learns at its next step: to go on, to end with what it has, or to give up.
#[derive(Debug, Default)]
pub(super) struct StopSignal(AtomicU8);

impl StopSignal {
    const CONCLUDE: u8 = 1;
    const CANCEL: u8 = 2;

    /// A cancelled task stays cancelled.
    fn set(&self, order: u8) {
        self.0.fetch_max(order, Ordering::Relaxed);
    }

    /// Whether a training goes on.
    pub(super) fn check_training(&self) -> ControlFlow<Stop> {
        match self.0.load(Ordering::Relaxed) {
            Self::CANCEL => ControlFlow::Break(Stop::Cancelled),
            Self::CONCLUDE => ControlFlow::Break(Stop::Concluded),
            _ => ControlFlow::Continue(()),
        }
    }

    /// Whether scoring goes on. It cannot be concluded early.
    pub(super) fn check_scoring(&self) -> ControlFlow<()> {
        match self.0.load(Ordering::Relaxed) {
            Self::CANCEL => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}

impl Worker {
    /// `last` is the update that the journal names.
    pub(super) fn new(
        config: &SiteConfig,
        site: &str,
        federation: Arc<Federation>,
        models: Models,
        last: Option<LastUpdate>,
        tell: mpsc::UnboundedSender<WorkerEvent>,
    ) -> Result<Self, Failure> {
        let mut own = None;
        if let Some(LastUpdate { run, update }) = last
            && federation.model.norm == Norm::BatchLocal
            && let Some(parameters) = models.own_model(update)
        {
            own = Some(OwnModel { run, parameters });
        }
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
            memory: Mutex::new(TrainingMemory::new(last, own)),
            progress: Mutex::new(None),
        };
        Ok(Self {
            context: Arc::new(context),
            threads: config.threads,
            stop: Arc::default(),
        })
    }

    /// Begins to prepare the data. The loop hears of the progress and of the end.
    pub(super) fn prepare(&self) -> io::Result<()> {
        let context = self.context.clone();
        on_own_thread(self.threads, move || {
            let prepared = data::guarded(|| context.prepare());
            context.send(WorkerEvent::Prepared(prepared.map(Box::new)));
        })?;
        Ok(())
    }

    /// This update is the result of its task: the next training builds on it.
    pub(super) fn update_is_final(&self, update: ParametersId) {
        locked(&self.context.memory).update_is_final(update);
    }

    /// Takes the prepared data.
    pub(super) fn set_prepared(&self, prepared: Prepared) {
        let _ = self.context.prepared.set(prepared);
    }

    /// Stops the running task at its next step.
    pub(super) fn cancel(&self) {
        self.stop.set(StopSignal::CANCEL);
    }

    /// Lets the running training end at its next step, with what it has.
    pub(super) fn conclude(&self) {
        self.stop.set(StopSignal::CONCLUDE);
    }

    /// Begins a task. The loop hears of its progress and of its end.
    pub(super) fn start(&mut self, work: Work) -> io::Result<()> {
        let stop = Arc::new(StopSignal::default());
        self.stop = stop.clone();
        let task = work.task;
        let context = self.context.clone();
        let running = on_own_thread(self.threads, move || context.work(&work, &stop))?;
        let context = self.context.clone();
        thread::Builder::new()
            .name("watch".into())
            .spawn(move || context.watch(task, running))?;
        Ok(())
    }
}

impl WorkerContext {
    fn prepare(&self) -> Result<Prepared, DataError> {
        let mut bar = None;
        let mut progress = |done: usize, total: usize| {
            bar.get_or_insert_with(|| ProgressBar::new("cases prepared", total))
                .at(done);
            self.tell(Event::Preparing {
                done: done as u32,
                total: total as u32,
            });
        };
        let input = &self.federation.input;
        let cohort = data::open(&self.data, input, &self.work_folder, &mut progress)?;
        Ok(Prepared::new(
            cohort,
            self.role,
            &self.federation,
            &self.site,
        ))
    }

    /// Waits for the end of a task, and reports how it failed.
    fn watch(&self, task: TaskId, running: JoinHandle<Result<(), TaskError>>) {
        self.report_compilations(task, &running);
        let error = match running.join() {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            // burn panics when a GPU operation fails.
            Err(panic) if device::is_gpu(&self.device) => {
                TaskError::Device(DeviceFault::new(train::panic_message(&*panic)))
            }
            // The coordinator must not wait until its timeout.
            Err(_) => TaskError::Panic,
        };
        let reason = error.to_string();
        tracing::warn!(
            run = task.run.0,
            round = task.round,
            "the task failed: {reason}"
        );
        self.tell(Event::Failed { task, reason });
        // `Failed` after a check means that the GPU is lost. A GPU without free memory works again
        // once there is some.
        if let Err(fault @ DeviceFault::Failed(_)) = device::check(&self.device) {
            self.send(WorkerEvent::DeviceLost(fault));
        }
    }

    /// While programs are compiled for a GPU there is no other progress for minutes. This says so
    /// in the log and to the coordinator, which would take the site for lost. Returns when the task
    /// has ended.
    fn report_compilations<T>(&self, task: TaskId, running: &JoinHandle<T>) {
        let mut compiled = logging::compiled();
        let mut reported = Instant::now();
        while !running.is_finished() {
            thread::sleep(WATCH_INTERVAL);
            if logging::compiled() == compiled || reported.elapsed() < COMPILING_INTERVAL {
                continue;
            }
            compiled = logging::compiled();
            reported = Instant::now();
            tracing::info!(
                "compiling programs for the GPU, {compiled} so far; they are kept for the next \
                 start"
            );
            let mut progress = Progress {
                task,
                done: 0,
                total: 1,
                loss: None,
                slices_per_second: 0.0,
            };
            if let Some(last) = *locked(&self.progress)
                && last.task == task
            {
                progress = last;
            }
            self.tell(Event::Progress(progress));
        }
    }

    /// Tells the state machine something.
    pub(super) fn tell(&self, event: Event) {
        if let Event::Progress(progress) = &event {
            *locked(&self.progress) = Some(*progress);
        }
        self.send(WorkerEvent::Event(event));
    }

    fn send(&self, event: WorkerEvent) {
        // There is no receiver when the program is ending.
        let _ = self.tell.send(event);
    }
}

/// A thread that panicked leaves a complete value: values are only ever replaced.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
