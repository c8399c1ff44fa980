//! The network against torchvision's: `tests/fixtures/deeplab_parity.py` fills both by one formula.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::activation::{relu, sigmoid};
use burn::tensor::{Gradients, Tensor, TensorData};
use protocol::architecture::{CLASSIFIER, manifest};
use protocol::parameters::{Kind, Manifest, Parameters, TensorSpec};
use protocol::settings::{Input, Layout, Model, Norm};
use serde::Deserialize;
use site_agent::device;
use site_agent::model::{DeepLabV3, init};
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Deserialize)]
struct Fixture {
    batch: usize,
    channels: usize,
    every: usize,
    cases: BTreeMap<String, Case>,
}

#[derive(Deserialize)]
struct Case {
    layout: Layout,
    width: usize,
    output_stride: usize,
    rates: [usize; 3],
    pixels: usize,
    logits: Vec<f32>,
    loss: f32,
    gradient_norms: BTreeMap<String, f32>,
    statistic_norms: BTreeMap<String, f32>,
}

/// The formula of the script: FNV-1a over the name, murmur3's finaliser over the index, numbers in
/// [-1, 1).
fn noise(name: &str, count: usize) -> impl Iterator<Item = f64> {
    let seed = name.bytes().fold(2_166_136_261u32, |seed, byte| {
        (seed ^ u32::from(byte)).wrapping_mul(16_777_619)
    });
    (0..count as u32).map(move |index| {
        let mut x = seed.wrapping_add(index.wrapping_mul(0x9E37_79B9));
        x = (x ^ x >> 16).wrapping_mul(0x85EB_CA6B);
        x = (x ^ x >> 13).wrapping_mul(0xC2B2_AE35);
        f64::from((x ^ x >> 16) >> 8) / f64::from(1 << 23) - 1.0
    })
}

fn value(spec: &TensorSpec, u: f64) -> f32 {
    let value = match spec.shape[..] {
        [_, inputs, height, width] => u * (3.0 * 2.0 / (inputs * height * width) as f64).sqrt(),
        _ if spec.name.ends_with("running_var") => 1.0 + 0.5 * u,
        _ if spec.name.ends_with("weight") => 0.5 + 0.1 * u,
        _ if spec.name.ends_with("bias") && !spec.name.starts_with(CLASSIFIER) => {
            (if u < -0.6 { -1.0 } else { 1.0 }) * (1.0 + 0.2 * u)
        }
        _ => 0.1 * u,
    };
    value as f32
}

struct Run {
    network: DeepLabV3,
    manifest: Arc<Manifest>,
    input: Tensor<4>,
    lesion: Tensor<4>,
}

/// The case's network, input and label on a device.
fn prepare(fixture: &Fixture, case: &Case, device: &device::Device) -> Run {
    let Case {
        layout,
        width,
        output_stride,
        rates,
        pixels,
        ..
    } = *case;
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
    let input = Input {
        sequences,
        slices: fixture.channels / 4,
        plane: pixels,
        spacing_mm: None,
        clip_percentiles: None,
    };
    let manifest = Arc::new(manifest(&model, &input));
    let values = manifest
        .tensors
        .iter()
        .flat_map(|spec| noise(&spec.name, spec.len()).map(|u| value(spec, u)));
    let parameters = Parameters::new(Arc::clone(&manifest), values.collect()).unwrap();
    let tensor = |channels, values: Vec<f32>| {
        Tensor::from_data(
            TensorData::new(values, [fixture.batch, channels, pixels, pixels]),
            device,
        )
    };
    let area = fixture.batch * pixels * pixels;
    let slabs = noise("input", area * fixture.channels)
        .map(|u| (1.7 * u) as f32)
        .collect();
    let lesion = noise("label", area)
        .map(|u| f32::from(u8::from(u > 0.8)))
        .collect();
    Run {
        network: init(&model, &input, device).load(&parameters).unwrap(),
        manifest,
        input: tensor(fixture.channels, slabs),
        lesion: tensor(1, lesion),
    }
}

/// Gradient norms in the order of the network's tensors; `None` for statistics.
struct Norms<'a> {
    gradients: &'a Gradients,
    norms: Vec<Option<f32>>,
}

impl ModuleVisitor for Norms<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient = param.val().grad(self.gradients);
        self.norms.push(
            gradient.map(|gradient| norm(&gradient.into_data().try_to_vec::<f32>().unwrap())),
        );
    }
}

fn norm(values: &[f32]) -> f32 {
    values
        .iter()
        .map(|&value| f64::from(value).powi(2))
        .sum::<f64>()
        .sqrt() as f32
}

/// Within a thousandth, or within a millionth of `scale` where the exact value is zero or nearly
/// so.
fn assert_near(what: &str, found: f32, expected: f32, scale: f32) {
    let allowed = 1e-3 * expected.abs() + 1e-6 * scale;
    assert!(
        (found - expected).abs() <= allowed,
        "{what}: {found}, torchvision has {expected}"
    );
}

fn answers_like_torchvision(name: &str) {
    let text = include_str!("../../tests/fixtures/deeplab_parity.json");
    let fixture: Fixture = serde_json::from_str(text).unwrap();
    let case = &fixture.cases[name];
    let device = device::open("cpu").unwrap().autodiff();
    let Run {
        network,
        manifest,
        input,
        lesion,
    } = prepare(&fixture, case, &device);

    let logits = network
        .valid()
        .forward(input.clone().inner())
        .into_data()
        .try_to_vec::<f32>()
        .unwrap();
    let sampled: Vec<f32> = logits.into_iter().step_by(fixture.every).collect();
    assert_eq!(sampled.len(), case.logits.len());
    let errors: Vec<f32> = sampled
        .iter()
        .zip(&case.logits)
        .map(|(found, expected)| found - expected)
        .collect();
    assert!(
        norm(&errors) <= 1e-4 * norm(&case.logits),
        "{sampled:?}\n{:?}",
        case.logits
    );

    let x = network.forward(input);
    // Binary cross entropy with logits: max(x, 0) - x t + ln(1 + exp(-|x|)), whose last term is -ln
    // sigmoid(|x|).
    let loss = (relu(x.clone()) - x.clone() * lesion - sigmoid(x.abs()).log()).mean();
    assert_near("loss", loss.clone().into_scalar(), case.loss, 0.0);
    let mut norms = Norms {
        gradients: &loss.backward(),
        norms: Vec::new(),
    };
    network.visit(&mut norms);
    assert_eq!(norms.norms.len(), manifest.tensors.len());
    let largest = case.gradient_norms.values().copied().fold(0.0, f32::max);
    let after = network.to_parameters(&manifest).unwrap();
    for ((spec, values), gradient) in after.tensors().zip(norms.norms) {
        let (found, expected) = match spec.kind {
            Kind::Weight => (gradient.unwrap(), case.gradient_norms[&spec.name]),
            Kind::RunningStatistic => (norm(values), case.statistic_norms[&spec.name]),
        };
        assert_near(&spec.name, found, expected, largest);
    }
    assert_eq!(
        case.gradient_norms.len() + case.statistic_norms.len(),
        manifest.tensors.len()
    );
}

#[test]
fn the_papers_network_answers_like_torchvisions() {
    answers_like_torchvision("paper");
}

#[test]
fn the_tiny_network_answers_like_torchvisions() {
    answers_like_torchvision("tiny");
}

#[test]
fn an_output_stride_of_four_answers_like_torchvisions() {
    answers_like_torchvision("fine");
}

#[test]
fn an_output_stride_of_sixteen_answers_like_torchvisions() {
    answers_like_torchvision("coarse");
}
