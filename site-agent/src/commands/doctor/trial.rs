//! A GPU's trial: a step of the publication's network.

use crate::device::{self, Device, DeviceFault};
use crate::logging;
use crate::model;
use crate::train::{LocalOptimiser, on_own_thread, panic_message};
use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};
use protocol::architecture::{initial, manifest};
use protocol::settings::{Federation, Optimiser};
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

/// The publication's network and input.
const SETTINGS: &str =
    "name = 'trial'\nrounds = 1\n[input]\nsequences = ['bravo', 't1_pre', 't1_post', 'flair']\n";
/// Slices in a step: the settings' usual batch.
const BATCH: usize = 8;

/// What came of it.
pub(super) struct Trial {
    /// Seconds of the first step, with everything that was compiled.
    first: f64,
    /// Seconds of the second.
    second: f64,
    /// Programs that were compiled.
    compiled: usize,
    /// Bytes that the step took on the GPU.
    taken: Option<u64>,
    /// Bytes that the GPU has.
    memory: Option<u64>,
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            first,
            second,
            compiled,
            ..
        } = self;
        write!(
            f,
            "the publication's network takes {second:.2} s for a step of {BATCH} slices"
        )?;
        write!(
            f,
            " (the first one {first:.0} s, {compiled} programs compiled)"
        )?;
        if let (Some(taken), Some(memory)) = (self.taken, self.memory) {
            let fits = BATCH as u64 * memory / taken.max(1);
            write!(
                f,
                "; {:.1} of {:.0} GB, so a batch of about {fits} fits",
                taken as f64 / 1e9,
                memory as f64 / 1e9
            )?;
        }
        Ok(())
    }
}

/// Two training steps and an inference.
///
/// # Errors
/// The GPU failed, which may be too little memory.
pub(super) fn run(device: &Device) -> Result<Trial, DeviceFault> {
    let tried = device.clone();
    // burn panics where a GPU refuses: on a thread of its own that is an answer.
    let work = on_own_thread(1, move || steps(&tried))
        .map_err(|error| DeviceFault::Failed(error.to_string()))?;
    work.join()
        .unwrap_or_else(|panic| Err(DeviceFault::new(panic_message(&*panic))))
}

fn steps(device: &Device) -> Result<Trial, DeviceFault> {
    let failed = |error: &dyn fmt::Display| DeviceFault::Failed(error.to_string());
    let Federation { model, input, .. } =
        Federation::from_toml(SETTINGS).map_err(|error| failed(&error))?;
    let parameters = initial(&Arc::new(manifest(&model, &input)), 0);
    let training = device.clone().autodiff();
    let network = model::init(&model, &input, &training).load(&parameters);
    let mut network = network.map_err(|error| failed(&error))?;
    let shape = [BATCH, input.channels(), input.plane, input.plane];
    let wave = |at: usize| (at as f32 * 0.37).sin();
    let values: Vec<f32> = (0..shape.iter().product()).map(wave).collect();
    let slices = Tensor::<4>::from_data(TensorData::new(values, shape), &training);
    let mut stepper = LocalOptimiser::new(Optimiser::Adam, 0.0);
    let before = logging::compiled();
    let mut seconds = Vec::new();
    for _ in 0..2 {
        let start = Instant::now();
        let loss = device::mean(network.forward(slices.clone()));
        let gradients = GradientsParams::from_grads(loss.backward(), &network);
        network = stepper.step(1e-6, network, gradients, 1.0);
        device::read(loss)?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    device::read(network.valid().forward(slices.inner()))?;
    Ok(Trial {
        first: seconds[0],
        second: seconds[1],
        compiled: logging::compiled() - before,
        taken: device.memory_pool_usage().map(|usage| usage.bytes_reserved),
        memory: device::memory(device),
    })
}
