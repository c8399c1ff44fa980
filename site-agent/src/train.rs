//! One round of training at one site: cases and a model in, a better model out.

mod augment;
mod batch;
mod fedbn;
mod loss;
mod optimiser;
mod own_thread;
mod split;

use crate::case::CachedCase;
use crate::device::{self, Device, DeviceFault};
use crate::model::{self, DeepLabV3, ModelError};
use batch::{Batch, Batches};
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};
pub use fedbn::with_local_norms;
use metrics::sequence::SequenceSet;
pub use optimiser::LocalOptimiser;
pub use own_thread::on_own_thread;
pub(crate) use own_thread::panic_message;
use protocol::message::TaskId;
use protocol::parameters::Parameters;
use protocol::settings::{Compute, Federation, Norm};
pub use split::{Origin, split};
use std::ops::ControlFlow;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Instant;

/// Batches prepared ahead of the step that uses them.
const AHEAD: usize = 2;
/// Steps that the reported loss is averaged over.
const RECENT_STEPS: usize = 20;

/// One round's training at one site.
#[derive(Clone, Copy)]
pub struct TrainingTask<'a> {
    /// The site's training cases. Those that lack sequences are used; those without a reference or
    /// without any sequence of a fixed subset are left out.
    pub cases: &'a [&'a CachedCase],
    pub federation: &'a Federation,
    /// The site's name: the random draws depend on it.
    pub site: &'a str,
    /// The random draws depend on its round, not on its run, so that a site that trains alone sees
    /// the same examples as in the federation.
    pub id: TaskId,
    /// The global model.
    pub start: &'a Parameters,
    /// The most optimiser steps, where they are fewer than the settings say.
    pub most_steps: Option<u32>,
    /// The site's own model of the last round, whose normalisation layers are kept with
    /// [`Norm::BatchLocal`].
    pub own: Option<&'a Parameters>,
    /// The arithmetic of the network, where the device supports it.
    pub compute: Compute,
}

/// Why a training ends before its last step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Its result is no longer wanted.
    Cancelled,
    /// Its time is over: the model after the steps done so far is the result.
    Concluded,
}

/// How far a training is, after each optimiser step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainingProgress {
    /// Steps done.
    pub done: u32,
    /// Steps in all.
    pub total: u32,
    /// Mean loss of the last `RECENT_STEPS` steps.
    pub loss: f32,
    /// Training examples per second since the start.
    pub slices_per_second: f32,
}

/// The result of a site's training in one round.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalUpdate {
    /// All parameters of the new model, not the difference from the start.
    pub parameters: Parameters,
    /// Training examples seen, each as often as it was drawn: the site's weight in the average.
    pub slices: u64,
    /// Optimiser steps done.
    pub steps: u32,
    /// Optimiser steps that were planned: more than `steps` where the training was concluded early.
    pub asked_steps: u32,
    /// Mean loss over all steps.
    pub mean_loss: f32,
    /// Mean loss over the last tenth of the steps.
    pub last_loss: f32,
    /// Wall-clock time.
    pub seconds: f32,
    /// Sequences that at least one example kept after sequence dropout: those whose stem weights
    /// the update may change.
    pub sequences: SequenceSet,
    /// Cases left out: without a reference, or without any sequence of a fixed subset.
    pub left_out: usize,
    /// The arithmetic that the network used.
    pub compute: Compute,
}

/// Why a training has no result. The texts hold no patient data: they go to the coordinator.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TrainError {
    #[error(
        "no case to train on: {left_out} have no reference or none of the sequences to train with"
    )]
    NothingToTrainOn { left_out: usize },
    /// A prepared case could not be read from the cache.
    #[error("training case {case}: {reason}")]
    Unreadable {
        /// The index of the case among the usable ones.
        case: usize,
        reason: String,
    },
    #[error("the {what} is not a finite number in step {step} of {total}")]
    NotFinite {
        /// `loss` or `gradient`.
        what: &'static str,
        /// From 1.
        step: u32,
        total: u32,
    },
    #[error("{fault} (in a step of {batch} slices of {plane} x {plane} pixels)")]
    Device {
        fault: DeviceFault,
        /// Examples in a step.
        batch: usize,
        /// Pixels along each side of a slice.
        plane: usize,
    },
    /// The parameters do not fit the network, or those it learnt are not finite.
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error("training was cancelled after step {step}")]
    Cancelled { step: u32 },
}

/// Trains for one round. The same task gives the same bits, on any number of threads.
///
/// Blocks until the training has ended: run it through [`on_own_thread`]. `progress` is called
/// after every step and may cancel the training or conclude it early. The learning rate does not
/// depend on the number of steps, so a training concluded early is the beginning of the full one.
/// Batches are prepared ahead on a second thread.
///
/// # Errors
/// See [`TrainError`]; a model with anything but finite numbers is never returned.
pub fn train(
    training: &TrainingTask<'_>,
    device: &Device,
    progress: &mut dyn FnMut(TrainingProgress) -> ControlFlow<Stop>,
) -> Result<LocalUpdate, TrainError> {
    let began = Instant::now();
    let mut batches = Batches::new(training)?;
    let left_out = batches.left_out();
    let settings = &training.federation.training;
    let mut total = settings.steps(batches.slices() as u64);
    if let Some(most) = training.most_steps {
        total = total.min(most);
    }
    let mut trainer = Trainer::new(training, device, total)?;
    let mut history = LossHistory {
        began,
        total,
        batch: settings.batch,
        losses: Vec::new(),
    };
    let mut sequences = SequenceSet::EMPTY;
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(AHEAD);
        scope.spawn(move || prepare_batches(&mut batches, total, &sender));
        for batch in receiver {
            let batch = batch?;
            sequences = sequences.union(batch.kept);
            let loss = trainer.step(batch, history.done() + 1)?;
            history.losses.push(loss);
            match progress(history.progress()) {
                ControlFlow::Continue(()) => {}
                ControlFlow::Break(Stop::Concluded) => break,
                ControlFlow::Break(Stop::Cancelled) => {
                    return Err(TrainError::Cancelled {
                        step: history.done(),
                    });
                }
            }
        }
        Ok(())
    })?;
    let losses = &history.losses;
    let last_tenth = losses.len() - losses.len().div_ceil(10);
    Ok(LocalUpdate {
        parameters: trainer.model.to_parameters(training.start.manifest())?,
        slices: history.examples(),
        steps: history.done(),
        asked_steps: total,
        mean_loss: mean(losses),
        last_loss: mean(&losses[last_tenth..]),
        seconds: began.elapsed().as_secs_f32(),
        sequences,
        left_out,
        compute: trainer.model.compute(),
    })
}

/// Draws batches ahead until all are drawn, one fails, or the training has ended.
fn prepare_batches(
    batches: &mut Batches<'_>,
    total: u32,
    sender: &SyncSender<Result<Batch, TrainError>>,
) {
    for _ in 0..total {
        let batch = batches.next();
        let failed = batch.is_err();
        let received = sender.send(batch).is_ok();
        if failed || !received {
            return;
        }
    }
}

/// The network in training, with the state of its optimiser.
struct Trainer<'a> {
    federation: &'a Federation,
    device: Device,
    model: DeepLabV3,
    optimiser: LocalOptimiser,
    /// The weights at the start of the round, with a proximal term.
    anchor: Option<optimiser::ProximalTerm>,
    learning_rate: f64,
    total: u32,
}

impl<'a> Trainer<'a> {
    fn new(task: &TrainingTask<'a>, device: &Device, total: u32) -> Result<Self, TrainError> {
        let federation = task.federation;
        let training = &federation.training;
        let device = device.clone().autodiff();
        let model = model::init(&federation.model, &federation.input, &device)
            .computing_in(task.compute, &device);
        let model = match task.own {
            Some(own) if federation.model.norm == Norm::BatchLocal => {
                model.load(&with_local_norms(task.start, own))?
            }
            _ => model.load(task.start)?,
        };
        let anchor = if training.proximal > 0.0 {
            Some(optimiser::ProximalTerm::of(&model))
        } else {
            None
        };
        let schedule = training.schedule.factor(task.id.round, federation.rounds);
        Ok(Self {
            federation,
            device,
            model,
            optimiser: LocalOptimiser::of(training),
            anchor,
            learning_rate: training.learning_rate * schedule,
            total,
        })
    }

    /// One optimiser step, counted from 1. Returns the loss before it.
    fn step(&mut self, batch: Batch, step: u32) -> Result<f32, TrainError> {
        let training = &self.federation.training;
        let loss = self.loss(batch);
        let read = device::read(loss.clone()).map_err(|fault| self.device_error(fault))?;
        let value = read.first().copied().unwrap_or(f32::NAN);
        if !value.is_finite() {
            return Err(self.not_finite("loss", step));
        }
        let mut gradients = GradientsParams::from_grads(loss.backward(), &self.model);
        if let Some(anchor) = &self.anchor {
            gradients = anchor.add_gradient(gradients, &self.model, training.proximal);
        }
        let norm =
            optimiser::norm(&gradients, &self.model).map_err(|fault| self.device_error(fault))?;
        if !norm.is_finite() {
            return Err(self.not_finite("gradient", step));
        }
        let limit = training.clip_norm.map_or(f64::INFINITY, f64::from);
        let factor = if norm > limit { limit / norm } else { 1.0 };
        self.model = self
            .optimiser
            .step(self.learning_rate, self.model.clone(), gradients, factor);
        Ok(value)
    }

    /// The loss of a batch, `[1]`.
    fn loss(&self, batch: Batch) -> Tensor<1> {
        let input = &self.federation.input;
        let training = &self.federation.training;
        let images_shape = [training.batch, input.channels(), input.plane, input.plane];
        let labels_shape = [training.batch, 1, input.plane, input.plane];
        let features = batch
            .features
            .map(|features| self.tensor(features.factors, features.shape));
        let images = self.tensor(batch.images, images_shape);
        let logits = self.model.forward_with(images, features);
        loss::loss(
            logits,
            self.tensor(batch.labels, labels_shape),
            training.positive_weight,
            training.dice_weight,
        )
    }

    fn tensor(&self, values: Vec<f32>, shape: [usize; 4]) -> Tensor<4> {
        Tensor::from_data(TensorData::new(values, shape), &self.device)
    }

    fn not_finite(&self, what: &'static str, step: u32) -> TrainError {
        TrainError::NotFinite {
            what,
            step,
            total: self.total,
        }
    }

    fn device_error(&self, fault: DeviceFault) -> TrainError {
        TrainError::Device {
            fault,
            batch: self.federation.training.batch,
            plane: self.federation.input.plane,
        }
    }
}

/// The losses of the steps done so far.
struct LossHistory {
    began: Instant,
    total: u32,
    /// Examples in a step.
    batch: usize,
    losses: Vec<f32>,
}

impl LossHistory {
    fn done(&self) -> u32 {
        self.losses.len() as u32
    }

    fn examples(&self) -> u64 {
        (self.losses.len() * self.batch) as u64
    }

    fn progress(&self) -> TrainingProgress {
        let first_recent = self.losses.len().saturating_sub(RECENT_STEPS);
        let seconds = self.began.elapsed().as_secs_f64().max(1e-9);
        TrainingProgress {
            done: self.done(),
            total: self.total,
            loss: mean(&self.losses[first_recent..]),
            slices_per_second: (self.examples() as f64 / seconds) as f32,
        }
    }
}

/// The mean in 64 bits; 0 of nothing.
fn mean(losses: &[f32]) -> f32 {
    let sum: f64 = losses.iter().map(|&loss| f64::from(loss)).sum();
    (sum / losses.len().max(1) as f64) as f32
}

#[cfg(test)]
pub(crate) mod tests;
