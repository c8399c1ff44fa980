//! One inference and one training step of the network, on random data.
//!
//! `cargo bench --workspace --bench step -- SIZE [--threads N] [--repeats N] [--batch N] [--device NAME] [--profile]`,
//! with SIZE `tiny`, `small` or `full` (the layers and batches of docs/PERFORMANCE.md's comparison with PyTorch,
//! output stride 16), `paper` (the same as `full` at output stride 8, the publication's network) or `demo` (the network
//! of configs/demo.toml, output stride 8). Prints one JSON line: seconds of the first run of each, with everything
//! that a card compiles then, median seconds of the others, and the losses. With `--profile`, another JSON line a
//! kernel of one training step on a card follows, those that took longest first.

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::activation::log_sigmoid;
use burn::tensor::{Distribution, Tensor};
use clap::{Parser, ValueEnum};
use shared::architecture::{initial, manifest};
use shared::federation::{Compute, Input, Layout, Model, Norm, Optimiser};
use site_agent::device::{self, Device};
use site_agent::model::{DeepLabV3, init};
use site_agent::train::Stepper;
use std::sync::Arc;
use std::time::Instant;

#[derive(Parser)]
struct Args {
    size: Size,
    /// Threads of the processor.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Measured runs; one more warms up.
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    /// Examples at once, where not the size's own.
    #[arg(long)]
    batch: Option<usize>,
    #[arg(long, default_value = "cpu")]
    device: String,
    /// What training computes in: f32 or bf16.
    #[arg(long, default_value = "f32", value_parser = compute)]
    compute: Compute,
    /// Also list a training step's kernels.
    #[arg(long)]
    profile: bool,
    /// Cargo says this to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn compute(name: &str) -> Result<Compute, String> {
    let known = [Compute::F32, Compute::Bf16];
    known.into_iter().find(|compute| compute.name() == name).ok_or_else(|| "expected f32 or bf16".into())
}

#[derive(Clone, Copy, ValueEnum)]
enum Size {
    /// 4 x 20 x 64 x 64, ResNet-18 of width 16.
    Tiny,
    /// 2 x 20 x 128 x 128, ResNet-18 of width 64.
    Small,
    /// 2 x 20 x 256 x 256, ResNet-50 of width 64.
    Full,
    /// 2 x 20 x 256 x 256, ResNet-50 of width 64 at output stride 8.
    Paper,
    /// 6 x 20 x 128 x 128, ResNet-18 of width 8 at output stride 8.
    Demo,
}

impl Size {
    /// The network, the input and the batch.
    fn network(self) -> (Model, Input, usize) {
        let (layout, width, plane, batch) = match self {
            Self::Tiny => (Layout::ResNet18, 16, 64, 4),
            Self::Small => (Layout::ResNet18, 64, 128, 2),
            Self::Full | Self::Paper => (Layout::ResNet50, 64, 256, 2),
            Self::Demo => (Layout::ResNet18, 8, 128, 6),
        };
        let (output_stride, rates) = match self {
            Self::Tiny | Self::Small | Self::Full => (16, [6, 12, 18]),
            Self::Paper => (8, [12, 24, 36]),
            Self::Demo => (8, [3, 6, 9]),
        };
        let model = Model { layout, width, output_stride, rates, norm: Norm::Batch, head_dropout: 0.0 };
        let sequences = ["bravo", "t1_pre", "t1_post", "flair"].map(String::from).to_vec();
        (model, Input { sequences, slices: 5, plane, spacing_mm: None }, batch)
    }
}

/// The seconds of a first run, and the median of `repeats` more.
struct Seconds {
    first: f64,
    median: f64,
    all: Vec<f64>,
}

fn timed(repeats: usize, device: &Device, mut run: impl FnMut()) -> Result<Seconds, Failure> {
    let mut seconds = Vec::new();
    for _ in 0..=repeats {
        let start = Instant::now();
        run();
        device.sync()?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    let all = seconds.clone();
    let first = seconds.remove(0);
    seconds.sort_by(f64::total_cmp);
    Ok(Seconds { first, median: seconds[seconds.len() / 2], all })
}

struct Training {
    network: DeepLabV3,
    input: Tensor<4>,
    lesion: Tensor<4>,
    adam: Stepper,
}

impl Training {
    /// One step; gives the loss before it.
    fn step(&mut self) -> f32 {
        let logits = self.network.forward(self.input.clone());
        let others = self.lesion.clone().neg().add_scalar(1.0);
        let loss = device::mean(others * logits.clone() - log_sigmoid(logits));
        let gradients = GradientsParams::from_grads(loss.backward(), &self.network);
        self.network = self.adam.step(1e-3, self.network.clone(), gradients, 1.0);
        loss.into_scalar::<f32>()
    }
}

/// What the kernels of a card took, by name.
#[cfg(feature = "gpu")]
mod profile {
    use super::{Failure, Training};
    use cubecl_runtime::logging::TimingRequest;
    use cubecl_runtime::logging::{Duration, LaunchObservation, LaunchObserver, ProfileDuration, TimingMethod};
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex, PoisonError};

    #[derive(Default)]
    struct Launches(Mutex<Vec<(&'static str, ProfileDuration)>>);

    impl LaunchObserver for Launches {
        fn launched(&self, _kernel: &'static str) {}

        fn timing(&self) -> TimingRequest {
            TimingRequest::Deferred
        }

        fn profiled(&self, kernel: &'static str, profile: ProfileDuration) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push((kernel, profile));
        }

        fn timed(&self, _kernel: &'static str, _duration: Duration, _method: TimingMethod) {}
    }

    /// Prints a line for each kernel of a training step, and one for all of them.
    pub(super) fn print(training: &mut Training, device: &super::Device) -> Result<(), Failure> {
        let launches = Arc::new(Launches::default());
        device.sync()?;
        let watching = LaunchObservation::new(launches.clone());
        training.step();
        device.sync()?;
        drop(watching);
        let launches = std::mem::take(&mut *launches.0.lock().unwrap_or_else(PoisonError::into_inner));
        let mut kernels = BTreeMap::<String, (usize, f64)>::new();
        for (kernel, profile) in launches {
            let name = cubecl::config::type_name_format(kernel, cubecl::config::TypeNameFormatLevel::Balanced);
            let ticks = cubecl::future::block_on(profile.resolve());
            let entry = kernels.entry(name).or_default();
            entry.0 += 1;
            entry.1 += ticks.map_or(0.0, |ticks| ticks.duration().as_secs_f64() * 1e3);
        }
        let mut kernels: Vec<_> = kernels.into_iter().collect();
        kernels.sort_by(|(_, a), (_, b)| b.1.total_cmp(&a.1));
        let (mut launched, mut busy) = (0, 0.0);
        for (kernel, (count, milliseconds)) in kernels {
            launched += count;
            busy += milliseconds;
            let milliseconds = (milliseconds * 1e3).round() / 1e3;
            println!("{}", serde_json::json!({ "kernel": kernel, "launches": count, "ms": milliseconds }));
        }
        println!("{}", serde_json::json!({ "kernels_ms": (busy * 1e3).round() / 1e3, "launches": launched }));
        Ok(())
    }
}

/// What goes wrong, on whatever thread.
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    // Inside the pool, as the agent trains: from outside, every operation would change threads.
    rayon::ThreadPoolBuilder::new().num_threads(args.threads).build()?.install(|| measure(&args))
}

fn measure(args: &Args) -> Result<(), Failure> {
    let device = device::open(&args.device)?;
    let training = device.clone().autodiff();
    let (model, input, batch) = args.size.network();
    let batch = args.batch.unwrap_or(batch);
    let parameters = initial(&Arc::new(manifest(&model, &input)), 0);
    let network = init(&model, &input, &training).computing_in(args.compute, &training).load(&parameters)?;
    training.seed(0);
    let noise = |channels, spread| Tensor::<4>::random([batch, channels, input.plane, input.plane], spread, &training);
    let slabs = noise(input.channels(), Distribution::Normal(0.0, 1.0));
    let lesion = noise(1, Distribution::Bernoulli(0.5));

    let compute = network.compute();
    let (frozen, seen) = (network.valid(), slabs.clone().inner());
    let inference = timed(args.repeats, &device, || {
        let _ = frozen.forward(seen.clone()).into_data();
    })?;
    let adam = Stepper::new(Optimiser::Adam, 0.0);
    let mut step = Training { network, input: slabs, lesion, adam };
    let mut losses = Vec::new();
    let steps = timed(args.repeats, &training, || losses.push(step.step()))?;
    let size = args.size.to_possible_value().map(|size| size.get_name().to_owned());
    let values: usize = parameters.manifest().tensors.iter().filter(|spec| trained(spec)).map(|spec| spec.len()).sum();
    let round = |seconds: f64| (seconds * 1e5).round() / 1e5;
    println!(
        "{}",
        serde_json::json!({
            "framework": "burn 0.22.1", "device": args.device, "compute": compute.name(), "size": size, "batch": batch, "parameters": values,
            "first_inference_s": round(inference.first), "inference_s": round(inference.median),
            "first_step_s": round(steps.first), "training_step_s": round(steps.median),
            "ms_a_slice": round(inference.median / batch as f64 * 1e3),
            "slices_a_second": (batch as f64 / steps.median * 10.0).round() / 10.0,
            "reserved_bytes": device.memory_pool_usage().map(|usage| usage.bytes_reserved), "steps_s": steps.all, "losses": losses,
        })
    );
    if args.profile {
        #[cfg(feature = "gpu")]
        profile::print(&mut step, &training)?;
        #[cfg(not(feature = "gpu"))]
        return Err(
            "only cards have kernels to list: build with --features site-agent/cuda or site-agent/vulkan".into()
        );
    }
    Ok(())
}

fn trained(spec: &shared::parameters::TensorSpec) -> bool {
    spec.kind == shared::parameters::Kind::Weight
}
