//! One inference and one training step of the network, on random data.
//!
//! `cargo bench --workspace --bench step -- SIZE [--threads N] [--repeats N] [--batch N] [--device NAME]`, with SIZE
//! `tiny`, `small` or `full` (the layers and batches of docs/PERFORMANCE.md's comparison with PyTorch, output stride
//! 16) or `demo` (the network of configs/demo.toml, output stride 8). Prints one JSON line: median seconds, and the losses.

use burn::module::Module;
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::activation::log_sigmoid;
use burn::tensor::{Distribution, Tensor};
use clap::{Parser, ValueEnum};
use shared::architecture::{initial, manifest};
use shared::federation::{Input, Layout, Model, Norm};
use site_agent::device::{self, Device};
use site_agent::model::{DeepLabV3, init};
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
    /// Cargo says this to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Size {
    /// 4 x 20 x 64 x 64, ResNet-18 of width 16.
    Tiny,
    /// 2 x 20 x 128 x 128, ResNet-18 of width 64.
    Small,
    /// 2 x 20 x 256 x 256, ResNet-50 of width 64.
    Full,
    /// 6 x 20 x 128 x 128, ResNet-18 of width 8 at output stride 8.
    Demo,
}

impl Size {
    /// The network, the input and the batch.
    fn network(self) -> (Model, Input, usize) {
        let (layout, width, plane, batch) = match self {
            Self::Tiny => (Layout::ResNet18, 16, 64, 4),
            Self::Small => (Layout::ResNet18, 64, 128, 2),
            Self::Full => (Layout::ResNet50, 64, 256, 2),
            Self::Demo => (Layout::ResNet18, 8, 128, 6),
        };
        let (output_stride, rates) = if matches!(self, Self::Demo) { (8, [3, 6, 9]) } else { (16, [6, 12, 18]) };
        let model = Model { layout, width, output_stride, rates, norm: Norm::Batch, head_dropout: 0.0 };
        let sequences = ["bravo", "t1_pre", "t1_post", "flair"].map(String::from).to_vec();
        (model, Input { sequences, slices: 5, plane, spacing_mm: None }, batch)
    }
}

/// The median seconds of `repeats` runs after one to warm up.
fn timed(repeats: usize, device: &Device, mut run: impl FnMut()) -> f64 {
    let mut seconds: Vec<f64> = (0..=repeats)
        .map(|_| {
            let start = Instant::now();
            run();
            device.sync().expect("the device finishes what it was given");
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.remove(0);
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

struct Training {
    network: DeepLabV3,
    input: Tensor<4>,
    lesion: Tensor<4>,
}

impl Training {
    /// The losses of every step, and the median seconds of one.
    fn run(mut self, repeats: usize, device: &Device) -> (Vec<f32>, f64) {
        let mut adam = AdamConfig::new().with_epsilon(1e-8).init();
        let mut losses = Vec::new();
        let seconds = timed(repeats, device, || {
            let logits = self.network.forward(self.input.clone());
            let others = self.lesion.clone().neg().add_scalar(1.0);
            let loss = (others * logits.clone() - log_sigmoid(logits)).mean();
            let gradients = GradientsParams::from_grads(loss.backward(), &self.network);
            self.network = adam.step(1e-3, self.network.clone(), gradients);
            losses.push(loss.into_scalar::<f32>());
        });
        (losses, seconds)
    }
}

/// What goes wrong, on whatever thread.
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    // Inside the pool, as the agent trains: from outside, every operation would change threads.
    println!("{}", rayon::ThreadPoolBuilder::new().num_threads(args.threads).build()?.install(|| measured(&args))?);
    Ok(())
}

fn measured(args: &Args) -> Result<serde_json::Value, Failure> {
    let device = device::open(&args.device)?;
    let training = device.clone().autodiff();
    let (model, input, batch) = args.size.network();
    let batch = args.batch.unwrap_or(batch);
    let parameters = initial(&Arc::new(manifest(&model, &input)), 0);
    let network = init(&model, &input, &training).load(&parameters)?;
    training.seed(0);
    let noise = |channels, spread| Tensor::<4>::random([batch, channels, input.plane, input.plane], spread, &training);
    let slabs = noise(input.channels(), Distribution::Normal(0.0, 1.0));
    let lesion = noise(1, Distribution::Bernoulli(0.5));

    let (frozen, seen) = (network.valid(), slabs.clone().inner());
    let inference = timed(args.repeats, &device, || {
        let _ = frozen.forward(seen.clone()).into_data();
    });
    let (losses, step) = Training { network, input: slabs, lesion }.run(args.repeats, &training);
    let size = args.size.to_possible_value().map(|size| size.get_name().to_owned());
    let values: usize = parameters.manifest().tensors.iter().filter(|spec| trained(spec)).map(|spec| spec.len()).sum();
    Ok(serde_json::json!({
        "framework": "burn 0.22.1", "size": size, "batch": batch, "parameters": values,
        "inference_s": (inference * 1e5).round() / 1e5, "training_step_s": (step * 1e5).round() / 1e5, "losses": losses,
    }))
}

fn trained(spec: &shared::parameters::TensorSpec) -> bool {
    spec.kind == shared::parameters::Kind::Weight
}
