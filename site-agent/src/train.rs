//! One round of training at one site: cases and a model in, a better model out.

mod augment;
mod batch;
mod fedbn;
mod loss;
mod optimiser;
mod split;
mod worker;

use crate::case::CachedCase;
use crate::device::{self, Device, DeviceFault};
use crate::model::{self, DeepLabV3, ModelError};
use batch::{Batch, Batches};
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};
pub use fedbn::with_local_norms;
use metrics::sequence::SequenceSet;
pub use optimiser::Stepper;
use protocol::message::TaskId;
use protocol::parameters::Parameters;
use protocol::settings::{Compute, Federation, LocalWork, Norm};
pub use split::{Origin, split};
use std::ops::ControlFlow;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Instant;
pub use worker::on_own_thread;
pub(crate) use worker::said;

/// Batches prepared ahead of the step that uses them.
const AHEAD: usize = 2;
/// Steps that the reported loss is averaged over.
const OF_LATE: usize = 20;

/// What to train on, and from where.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// The site's training cases. Those that lack sequences are used; those without a reference or
    /// anything of a fixed subset are left out.
    pub cases: &'a [&'a CachedCase],
    /// The federation's settings.
    pub federation: &'a Federation,
    /// The site's name: draws depend on it.
    pub site: &'a str,
    /// The task: draws depend on its round, not on its run, so that training alone sees what
    /// training together saw.
    pub task: TaskId,
    /// The global model.
    pub start: &'a Parameters,
    /// The most steps to do, where they are fewer than the settings say.
    pub most_steps: Option<u32>,
    /// The site's last own model, whose normalisation it keeps where the federation says so
    /// ([`Norm::BatchLocal`]).
    pub own: Option<&'a Parameters>,
    /// What the network computes in, where the device can.
    pub compute: Compute,
}

/// Why a training ends before its last step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Nobody wants its result.
    Cancelled,
    /// Its time is over: what was learnt so far is the result.
    Concluded,
}

/// How far a training is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Steps done.
    pub done: u32,
    /// Steps in all.
    pub total: u32,
    /// Mean loss of late.
    pub loss: f32,
    /// Slices per second since the start.
    pub slices_per_second: f32,
}

/// A finished training.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// The new model.
    pub parameters: Parameters,
    /// Slices seen, each as often as it was drawn: the site's weight in the average.
    pub slices: u64,
    /// Optimiser steps.
    pub steps: u32,
    /// Optimiser steps that it would have had if it had not been made to conclude.
    pub asked_steps: u32,
    /// Mean loss over the steps.
    pub mean_loss: f32,
    /// Mean loss over the last tenth of the steps.
    pub last_loss: f32,
    /// Seconds it took.
    pub seconds: f32,
    /// Sequences that some example kept: what the site can teach the stem.
    pub sequences: SequenceSet,
    /// Cases left out: without a reference, or without anything of the fixed subset that training
    /// is about.
    pub left_out: usize,
    /// What the network computed in.
    pub compute: Compute,
}

/// Why a training gave nothing. The words hold no patient data: they go to the coordinator.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TrainError {
    /// Nothing to draw slices from.
    #[error(
        "no case to train on: {left_out} have no reference or none of the sequences that training is about"
    )]
    NothingToTrainOn {
        /// Cases that were left out.
        left_out: usize,
    },
    /// A prepared case could not be read back.
    #[error("training case {case}: {reason}")]
    Unreadable {
        /// The case's place among the usable ones.
        case: usize,
        /// What went wrong.
        reason: String,
    },
    /// The numbers broke.
    #[error("the {what} stopped being a finite number in step {step} of {total}")]
    NotFinite {
        /// What broke.
        what: &'static str,
        /// The step, from 1.
        step: u32,
        /// Steps asked for.
        total: u32,
    },
    /// The device failed.
    #[error("{fault} (in a step of {batch} slices of {plane} x {plane} pixels)")]
    Device {
        /// What it says.
        fault: DeviceFault,
        /// Examples in a step.
        batch: usize,
        /// Pixels along each side of a slice.
        plane: usize,
    },
    /// The parameters do not fit the network, or came out of it broken.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The caller wanted no more.
    #[error("training was cancelled after step {step}")]
    Cancelled {
        /// Steps done.
        step: u32,
    },
}

/// Trains for one round. The same job gives the same bits, on any number of threads.
///
/// Blocks for as long as it takes: run it through [`on_own_thread`]. `progress` is called after
/// every step and may break off, or end it there with what was learnt: the learning rate does not
/// depend on how many steps there are, so fewer are the beginning of the same training. Batches are
/// prepared ahead on a thread of their own.
///
/// # Errors
/// See [`TrainError`]; a model with anything but finite numbers is never returned.
pub fn train(
    job: &Job<'_>,
    device: &Device,
    progress: &mut dyn FnMut(Step) -> ControlFlow<Stop>,
) -> Result<Update, TrainError> {
    let began = Instant::now();
    let mut batches = Batches::new(job)?;
    let left_out = batches.left_out();
    let total = steps(job.federation, batches.slices()).min(job.most_steps.unwrap_or(u32::MAX));
    let mut learner = Learner::new(job, device, total)?;
    let mut record = Record {
        began,
        total,
        batch: job.federation.training.batch,
        losses: Vec::new(),
    };
    let mut sequences = SequenceSet::EMPTY;
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(AHEAD);
        scope.spawn(move || prepare(&mut batches, total, &sender));
        for batch in receiver {
            let batch = batch?;
            sequences = sequences.union(batch.kept);
            let loss = learner.step(batch, record.done() + 1)?;
            match progress(record.after(loss)) {
                ControlFlow::Continue(()) => {}
                ControlFlow::Break(Stop::Concluded) => break,
                ControlFlow::Break(Stop::Cancelled) => {
                    return Err(TrainError::Cancelled {
                        step: record.done(),
                    });
                }
            }
        }
        Ok(())
    })?;
    Ok(Update {
        parameters: learner.model.to_parameters(job.start.manifest())?,
        slices: record.slices(),
        steps: record.done(),
        asked_steps: total,
        mean_loss: mean(&record.losses),
        last_loss: mean(&record.losses[record.losses.len() - record.losses.len().div_ceil(10)..]),
        seconds: began.elapsed().as_secs_f32(),
        sequences,
        left_out,
        compute: learner.model.compute(),
    })
}

/// Draws batches ahead until all are made, one fails, or nobody wants more.
fn prepare(batches: &mut Batches<'_>, total: u32, to: &SyncSender<Result<Batch, TrainError>>) {
    for _ in 0..total {
        let batch = batches.next();
        let failed = batch.is_err();
        if to.send(batch).is_err() || failed {
            return;
        }
    }
}

/// Optimiser steps of a round; an epoch is as many draws as there are slices.
fn steps(federation: &Federation, slices: usize) -> u32 {
    match federation.training.effort {
        LocalWork::Steps(steps) => steps,
        LocalWork::Epochs(epochs) => {
            let draws = u64::from(epochs) * slices as u64;
            u32::try_from(draws.div_ceil(federation.training.batch as u64)).unwrap_or(u32::MAX)
        }
    }
}

/// The network while it learns.
struct Learner<'a> {
    federation: &'a Federation,
    device: Device,
    model: DeepLabV3,
    stepper: Stepper,
    /// The weights that the round began from, where the loss draws back to them.
    anchor: Option<optimiser::ProximalTerm>,
    rate: f64,
    total: u32,
}

impl<'a> Learner<'a> {
    fn new(job: &Job<'a>, device: &Device, total: u32) -> Result<Self, TrainError> {
        let federation = job.federation;
        let device = device.clone().autodiff();
        let own = job
            .own
            .filter(|_| federation.model.norm == Norm::BatchLocal);
        let mixed = own.map(|own| with_local_norms(job.start, own));
        let training = &federation.training;
        let model = model::init(&federation.model, &federation.input, &device)
            .computing_in(job.compute, &device);
        let model = model.load(mixed.as_ref().unwrap_or(job.start))?;
        Ok(Self {
            federation,
            anchor: (training.proximal > 0.0).then(|| optimiser::ProximalTerm::of(&model)),
            model,
            device,
            stepper: Stepper::of(training),
            rate: training.learning_rate
                * training.schedule.factor(job.task.round, federation.rounds),
            total,
        })
    }

    /// One optimiser step; gives the loss before it.
    fn step(&mut self, batch: Batch, step: u32) -> Result<f32, TrainError> {
        let (input, training) = (&self.federation.input, &self.federation.training);
        let broken = |what| TrainError::NotFinite {
            what,
            step,
            total: self.total,
        };
        let failed = |fault| TrainError::Device {
            fault,
            batch: training.batch,
            plane: input.plane,
        };
        let tensor = |values: Vec<f32>, shape: [usize; 4]| {
            Tensor::<4>::from_data(TensorData::new(values, shape), &self.device)
        };
        let slices = |channels: usize| [training.batch, channels, input.plane, input.plane];
        let kept = batch
            .features
            .map(|features| tensor(features.factors, features.shape));
        let logits = self
            .model
            .forward_with(tensor(batch.images, slices(input.channels())), kept);
        let labels = tensor(batch.labels, slices(1));
        let loss = loss::loss(
            logits,
            labels,
            training.positive_weight,
            training.dice_weight,
        );
        let value = device::read(loss.clone())
            .map_err(failed)?
            .into_iter()
            .next()
            .unwrap_or(f32::NAN);
        if !value.is_finite() {
            return Err(broken("loss"));
        }
        let mut gradients = GradientsParams::from_grads(loss.backward(), &self.model);
        if let Some(anchor) = &self.anchor {
            gradients = anchor.add_gradient(gradients, &self.model, training.proximal);
        }
        let norm = optimiser::norm(&gradients, &self.model).map_err(failed)?;
        if !norm.is_finite() {
            return Err(broken("gradient"));
        }
        let limit = training.clip_norm.map_or(f64::INFINITY, f64::from);
        let factor = if norm > limit { limit / norm } else { 1.0 };
        self.model = self
            .stepper
            .step(self.rate, self.model.clone(), gradients, factor);
        Ok(value)
    }
}

/// What was seen so far.
struct Record {
    began: Instant,
    total: u32,
    batch: usize,
    losses: Vec<f32>,
}

impl Record {
    fn done(&self) -> u32 {
        self.losses.len() as u32
    }

    fn slices(&self) -> u64 {
        (self.losses.len() * self.batch) as u64
    }

    fn after(&mut self, loss: f32) -> Step {
        self.losses.push(loss);
        let late = &self.losses[self.losses.len().saturating_sub(OF_LATE)..];
        let seconds = self.began.elapsed().as_secs_f64().max(1e-9);
        Step {
            done: self.done(),
            total: self.total,
            loss: mean(late),
            slices_per_second: (self.slices() as f64 / seconds) as f32,
        }
    }
}

fn mean(losses: &[f32]) -> f32 {
    (losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / losses.len().max(1) as f64) as f32
}

#[cfg(test)]
pub(crate) mod tests;
