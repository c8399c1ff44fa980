//! One inference and one training step of the network, on random data.
//!
//! `cargo bench --workspace --bench step -- SIZE [--threads N] [--repeats N] [--batch N] [--device
//! NAME] [--compute f32|bf16] [--against DEVICE] [--profile]`, with SIZE `tiny`, `small` or `full`
//! (the layers and batches of docs/developers/PERFORMANCE.md's comparison with PyTorch, output
//! stride 16), `paper` (the same as `full` at output stride 8, the publication's network) or `demo`
//! (the network of configs/demo.toml, output stride 8). Prints one JSON line: seconds of the first
//! run of each, with everything that a GPU compiles then, median seconds of the others, and the
//! losses. With `--profile`, another JSON line a kernel of one training step on a GPU follows,
//! those that took longest first.

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::activation::{log_sigmoid, sigmoid};
use burn::tensor::{Tensor, TensorData};
use clap::{Parser, ValueEnum};
use protocol::architecture::{initial, manifest};
use protocol::parameters::{Kind, TensorSpec};
use protocol::settings::{Compute, Input, Layout, Model, Norm, Optimiser};
use rand::RngExt;
use random::{Purpose, stream};
use site_agent::device::{self, Device};
use site_agent::model::{DeepLabV3, init};
use site_agent::train::LocalOptimiser;
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
    /// Measure nothing, but compare three steps with those on this device.
    #[arg(long, value_name = "DEVICE")]
    against: Option<String>,
    /// Also list a training step's kernels.
    #[arg(long)]
    profile: bool,
    /// Cargo says this to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn compute(name: &str) -> Result<Compute, String> {
    let known = [Compute::F32, Compute::Bf16];
    known
        .into_iter()
        .find(|compute| compute.name() == name)
        .ok_or_else(|| "expected f32 or bf16".into())
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
    fn name(self) -> String {
        self.to_possible_value()
            .map(|size| size.get_name().to_owned())
            .unwrap_or_default()
    }

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
        let model = Model {
            layout,
            width,
            output_stride,
            rates,
            norm: Norm::Batch,
            head_dropout: 0.0,
        };
        let sequences = ["bravo", "t1_pre", "t1_post", "flair"]
            .map(String::from)
            .to_vec();
        (
            model,
            Input {
                sequences,
                slices: 5,
                plane,
                spacing_mm: None,
                clip_percentiles: None,
            },
            batch,
        )
    }
}

/// The seconds of a first run, and the median of `repeats` more.
struct Seconds {
    first: f64,
    median: f64,
}

fn timed(repeats: usize, mut run: impl FnMut() -> Result<(), Failure>) -> Result<Seconds, Failure> {
    let mut seconds = Vec::new();
    for _ in 0..=repeats {
        let start = Instant::now();
        run()?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    let first = seconds.remove(0);
    seconds.sort_by(f64::total_cmp);
    Ok(Seconds {
        first,
        median: seconds[seconds.len() / 2],
    })
}

struct Training {
    network: DeepLabV3,
    input: Tensor<4>,
    lesion: Tensor<4>,
    adam: LocalOptimiser,
}

impl Training {
    /// One step; gives the loss before it.
    fn step(&mut self) -> Result<f32, Failure> {
        let logits = self.network.forward(self.input.clone());
        let others = self.lesion.clone().neg().add_scalar(1.0);
        let loss = device::mean(others * logits.clone() - log_sigmoid(logits));
        let gradients = GradientsParams::from_grads(loss.backward(), &self.network);
        self.network = self.adam.step(1e-3, self.network.clone(), gradients, 1.0);
        Ok(loss.try_into_scalar::<f32>()?)
    }
}

/// What the kernels of a GPU took, by name.
#[cfg(feature = "gpu")]
mod profile {
    use super::{Failure, Training};
    use cubecl_runtime::logging::TimingRequest;
    use cubecl_runtime::logging::{
        Duration, LaunchObservation, LaunchObserver, ProfileDuration, TimingMethod,
    };
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
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((kernel, profile));
        }

        fn timed(&self, _kernel: &'static str, _duration: Duration, _method: TimingMethod) {}
    }

    /// Prints a line for each kernel of a training step, and one for all of them.
    pub(super) fn print(training: &mut Training, device: &super::Device) -> Result<(), Failure> {
        let launches = Arc::new(Launches::default());
        device.sync()?;
        let watching = LaunchObservation::new(launches.clone());
        training.step()?;
        device.sync()?;
        drop(watching);
        let launches =
            std::mem::take(&mut *launches.0.lock().unwrap_or_else(PoisonError::into_inner));
        let mut kernels = BTreeMap::<String, (usize, f64)>::new();
        for (kernel, profile) in launches {
            let name = cubecl::config::type_name_format(
                kernel,
                cubecl::config::TypeNameFormatLevel::Balanced,
            );
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
            println!(
                "{}",
                serde_json::json!({ "kernel": kernel, "launches": count, "ms": milliseconds })
            );
        }
        println!(
            "{}",
            serde_json::json!({ "kernels_ms": (busy * 1e3).round() / 1e3, "launches": launched })
        );
        Ok(())
    }
}

/// What goes wrong, on whatever thread.
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    // Inside the pool, as the agent trains: from outside, every operation would change threads.
    rayon::ThreadPoolBuilder::new()
        .num_threads(args.threads)
        .build()?
        .install(|| match &args.against {
            Some(other) => compare(&args, other),
            None => measure(&args),
        })
}

/// A network on a device, with the same weights and the same data on every device.
struct Bench {
    training: Training,
    device: Device,
    batch: usize,
    parameters: usize,
}

impl Bench {
    fn new(args: &Args, name: &str) -> Result<Self, Failure> {
        let device = device::open(name)?;
        let autodiff = device.clone().autodiff();
        let (model, input, batch) = args.size.network();
        let batch = args.batch.unwrap_or(batch);
        let start = initial(&Arc::new(manifest(&model, &input)), 0);
        let network = init(&model, &input, &autodiff)
            .computing_in(args.compute, &autodiff)
            .load(&start)?;
        let tensor = |channels: usize, value: &dyn Fn(f32) -> f32| {
            let shape = [batch, channels, input.plane, input.plane];
            let mut random = stream(0, 0, "bench", Purpose::Features);
            let values = (0..shape.iter().product())
                .map(|_| value(random.random()))
                .collect::<Vec<f32>>();
            Tensor::<4>::from_data(TensorData::new(values, shape), &autodiff)
        };
        let slabs = tensor(input.channels(), &|uniform| 3.4 * (uniform - 0.5));
        let lesion = tensor(1, &|uniform| f32::from(u8::from(uniform > 0.5)));
        let weights = start
            .manifest()
            .tensors
            .iter()
            .filter(|spec| spec.kind == Kind::Weight);
        let parameters = weights.map(TensorSpec::len).sum();
        let training = Training {
            network,
            input: slabs,
            lesion,
            adam: LocalOptimiser::new(Optimiser::Adam, 0.0),
        };
        Ok(Self {
            training,
            device,
            batch,
            parameters,
        })
    }

    /// The losses of three steps, and the probabilities after them.
    fn three_steps(mut self) -> Result<(Vec<f32>, Vec<f32>), Failure> {
        let losses = (0..3)
            .map(|_| self.training.step())
            .collect::<Result<_, _>>()?;
        let Training { network, input, .. } = self.training;
        let probabilities = sigmoid(network.valid().forward(input.inner())).try_into_data()?;
        Ok((losses, probabilities.iter::<f32>().collect()))
    }
}

/// The largest distance between two lists of the same things; infinite where one is not a number.
fn furthest(one: &[f32], other: &[f32]) -> f32 {
    let distance = |(one, other): (&f32, &f32)| (one - other).abs();
    one.iter()
        .zip(other)
        .map(distance)
        .fold(0.0, |most, apart| {
            if apart.is_nan() {
                f32::INFINITY
            } else {
                apart.max(most)
            }
        })
}

/// How far losses and probabilities on two devices may be apart after three steps. NVIDIA's matrix
/// units round what they multiply to 10 bits, and each step of Adam makes a step of its own length
/// even of a gradient that is nearly zero.
fn allowed(device: &str, compute: Compute) -> f32 {
    match compute {
        Compute::F32 if device.starts_with("cuda") => 1e-2,
        Compute::F32 => 1e-3,
        Compute::Bf16 => 3e-2,
    }
}

fn compare(args: &Args, other: &str) -> Result<(), Failure> {
    let (losses, probabilities) = Bench::new(args, &args.device)?.three_steps()?;
    let (expected_losses, expected) = Bench::new(args, other)?.three_steps()?;
    let apart = [
        furthest(&losses, &expected_losses),
        furthest(&probabilities, &expected),
    ];
    println!(
        "{}",
        serde_json::json!({
            "size": args.size.name(),
            "device": args.device,
            "against": other,
            "compute": args.compute.name(),
            "losses": losses,
            "expected_losses": expected_losses,
            "losses_apart": apart[0],
            "probabilities_apart": apart[1],
        })
    );
    let allowed = allowed(&args.device, args.compute);
    if apart.iter().any(|apart| *apart > allowed) {
        return Err(format!(
            "{} and {other} are further apart than {allowed}",
            args.device
        )
        .into());
    }
    Ok(())
}

fn measure(args: &Args) -> Result<(), Failure> {
    let Bench {
        mut training,
        device,
        batch,
        parameters,
    } = Bench::new(args, &args.device)?;
    let compute = training.network.compute();
    let frozen = training.network.valid();
    let seen = training.input.clone().inner();
    let inference = timed(args.repeats, || {
        frozen.forward(seen.clone()).try_into_data()?;
        Ok(())
    })?;
    let mut losses = Vec::new();
    let steps = timed(args.repeats, || {
        losses.push(training.step()?);
        device.sync()?;
        Ok(())
    })?;
    let round = |seconds: f64| (seconds * 1e5).round() / 1e5;
    let memory = device.memory_pool_usage();
    println!(
        "{}",
        serde_json::json!({
            "framework": "burn 0.22.1",
            "device": args.device,
            "compute": compute.name(),
            "size": args.size.name(),
            "batch": batch,
            "parameters": parameters,
            "first_inference_s": round(inference.first),
            "inference_s": round(inference.median),
            "first_step_s": round(steps.first),
            "training_step_s": round(steps.median),
            "ms_a_slice": round(inference.median / batch as f64 * 1e3),
            "slices_a_second": (batch as f64 / steps.median * 10.0).round() / 10.0,
            "reserved_bytes": memory.map(|usage| usage.bytes_reserved),
            "losses": losses,
        })
    );
    if args.profile {
        #[cfg(feature = "gpu")]
        profile::print(&mut training, &device)?;
        #[cfg(not(feature = "gpu"))]
        return Err("only GPUs have kernels to list: build with --features site-agent/cuda".into());
    }
    Ok(())
}
