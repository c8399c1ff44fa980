//! The DeepLabV3's plan: its blocks, its tensors under torchvision's names, and their seeded
//! initial values.
//!
//! Chen et al. 2017 (arXiv 1706.05587) on a ResNet (He et al. 2015), as torchvision's
//! `deeplabv3_resnet50` builds it, with any width, any output stride, an input of `sequences *
//! slices` channels and one logit out.

use crate::parameters::{Kind, Manifest, Parameters, STEM, TensorSpec};
use crate::settings::{Input, Model, Norm};
use rand::{Rng, RngExt};
use random::{Purpose, stream};
use std::sync::Arc;

/// The last convolution, from features to the lesion logit.
pub const CLASSIFIER: &str = "classifier.4";

/// The probability of lesion that an untrained network predicts, as in RetinaNet (Lin et al. 2017,
/// section 4.1): with one half, the first steps would only learn that lesions are rare.
const LESION_PRIOR: f64 = 0.01;

/// One residual block of the backbone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Which of the four stages, from 0.
    pub stage: usize,
    /// Which block of the stage, from 0.
    pub index: usize,
    /// Channels in.
    pub inputs: usize,
    /// Channels between the block's convolutions.
    pub width: usize,
    /// Channels out: `width`, or four times as many from a bottleneck.
    pub outputs: usize,
    /// Stride of the 3x3 convolution (the first one of a basic block).
    pub stride: usize,
    /// Dilation of the 3x3 convolutions.
    pub dilation: usize,
}

impl Block {
    /// torchvision's name, such as `backbone.layer1.0`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("backbone.layer{}.{}", self.stage + 1, self.index)
    }

    /// Whether the shortcut needs its own convolution, to change channels or resolution.
    #[must_use]
    pub fn downsamples(&self) -> bool {
        self.stride != 1 || self.inputs != self.outputs
    }
}

/// Pixels along each side of the features that the head sees, of a plane of `plane` pixels a side.
#[must_use]
pub fn feature_side(model: &Model, plane: usize) -> usize {
    let mut side = plane;
    let mut reached = 1;
    while reached < model.output_stride {
        side = side.div_ceil(2);
        reached *= 2;
    }
    side
}

/// The backbone's blocks in order.
///
/// Strides past the output stride become dilations by torchvision's `replace_stride_with_dilation`:
/// the first block of a dilated stage keeps the dilation of the stage before it.
#[must_use]
pub fn blocks(model: &Model) -> Vec<Block> {
    let expansion = if model.layout.bottleneck() { 4 } else { 1 };
    let (mut inputs, mut dilation, mut reached) = (model.width, 1, 4);
    let mut blocks = Vec::new();
    for (stage, count) in model.layout.blocks().into_iter().enumerate() {
        let width = model.width << stage;
        let (mut stride, before) = (if stage == 0 { 1 } else { 2 }, dilation);
        if stride == 2 && reached == model.output_stride {
            dilation *= 2;
            stride = 1;
        } else {
            reached *= stride;
        }
        for index in 0..count {
            let (stride, dilation) = if index == 0 {
                (stride, before)
            } else {
                (1, dilation)
            };
            blocks.push(Block {
                stage,
                index,
                inputs,
                width,
                outputs: width * expansion,
                stride,
                dilation,
            });
            inputs = width * expansion;
        }
    }
    blocks
}

/// Channels that leave the backbone.
#[must_use]
pub fn features(model: &Model) -> usize {
    (model.width << 3) * if model.layout.bottleneck() { 4 } else { 1 }
}

/// Channels of the pyramid's branches and of the head: 256 at the paper's width of 64.
#[must_use]
pub fn head_channels(model: &Model) -> usize {
    4 * model.width
}

/// Groups of a group normalisation (Wu and He 2018): 32, or as many as leave eight channels to
/// each.
#[must_use]
pub fn groups(channels: usize) -> usize {
    (2..=32)
        .rev()
        .find(|groups| channels.is_multiple_of(*groups) && channels / groups >= 8)
        .unwrap_or(1)
}

/// Every tensor of the network: torchvision's names, order and shapes, without the auxiliary
/// classifier and without the counters `num_batches_tracked`.
#[must_use]
pub fn manifest(model: &Model, input: &Input) -> Manifest {
    let mut plan = Plan {
        norm: model.norm,
        tensors: Vec::new(),
    };
    plan.weight(STEM, &[model.width, input.channels(), 7, 7]);
    plan.norm("backbone.bn1", model.width);
    for block in blocks(model) {
        plan.block(&block, model.layout.bottleneck());
    }
    plan.head(features(model), head_channels(model), model.rates.len());
    Manifest {
        tensors: plan.tensors,
    }
}

struct Plan {
    norm: Norm,
    tensors: Vec<TensorSpec>,
}

impl Plan {
    fn push(&mut self, name: String, shape: &[usize], kind: Kind) {
        self.tensors.push(TensorSpec {
            name,
            shape: shape.into(),
            kind,
        });
    }

    fn weight(&mut self, name: &str, shape: &[usize]) {
        self.push(name.into(), shape, Kind::Weight);
    }

    fn conv(&mut self, name: &str, outputs: usize, inputs: usize, side: usize) {
        self.weight(&format!("{name}.weight"), &[outputs, inputs, side, side]);
    }

    fn norm(&mut self, name: &str, channels: usize) {
        for (part, kind) in [
            ("weight", Kind::Weight),
            ("bias", Kind::Weight),
            ("running_mean", Kind::RunningStatistic),
            ("running_var", Kind::RunningStatistic),
        ] {
            if kind == Kind::Weight || self.norm != Norm::Group {
                self.push(format!("{name}.{part}"), &[channels], kind);
            }
        }
    }

    fn block(&mut self, block: &Block, bottleneck: bool) {
        let name = block.name();
        let (inputs, width, outputs) = (block.inputs, block.width, block.outputs);
        let convs: &[(usize, usize, usize)] = if bottleneck {
            &[(width, inputs, 1), (width, width, 3), (outputs, width, 1)]
        } else {
            &[(width, inputs, 3), (outputs, width, 3)]
        };
        for (number, &(outputs, inputs, side)) in (1..).zip(convs) {
            self.conv(&format!("{name}.conv{number}"), outputs, inputs, side);
            self.norm(&format!("{name}.bn{number}"), outputs);
        }
        if block.downsamples() {
            self.conv(&format!("{name}.downsample.0"), outputs, inputs, 1);
            self.norm(&format!("{name}.downsample.1"), outputs);
        }
    }

    fn head(&mut self, features: usize, channels: usize, rates: usize) {
        let pyramid = "classifier.0";
        for branch in 0..=rates {
            let side = if branch == 0 { 1 } else { 3 };
            self.conv(
                &format!("{pyramid}.convs.{branch}.0"),
                channels,
                features,
                side,
            );
            self.norm(&format!("{pyramid}.convs.{branch}.1"), channels);
        }
        let pooling = rates + 1;
        self.conv(
            &format!("{pyramid}.convs.{pooling}.1"),
            channels,
            features,
            1,
        );
        self.norm(&format!("{pyramid}.convs.{pooling}.2"), channels);
        self.conv(
            &format!("{pyramid}.project.0"),
            channels,
            (rates + 2) * channels,
            1,
        );
        self.norm(&format!("{pyramid}.project.1"), channels);
        self.conv("classifier.1", channels, channels, 3);
        self.norm("classifier.2", channels);
        self.conv(CLASSIFIER, 1, channels, 1);
        self.weight(&format!("{CLASSIFIER}.bias"), &[1]);
    }
}

/// Seeded initial values by torchvision's rules: He normal over the outputs in the backbone,
/// PyTorch's default uniform in the head, normalisation as the identity. Only the last bias
/// differs: the logit of a lesion prior of one per cent, where PyTorch draws around zero.
#[must_use]
pub fn initial(manifest: &Arc<Manifest>, seed: u64) -> Parameters {
    let mut random = stream(seed, 0, "", Purpose::Initialisation);
    let mut values = Vec::with_capacity(manifest.len());
    for spec in &manifest.tensors {
        initialise(spec, &mut random, &mut values);
    }
    Parameters::new(Arc::clone(manifest), values)
        .expect("every tensor was filled with finite values just now")
}

fn initialise(spec: &TensorSpec, random: &mut impl Rng, values: &mut Vec<f32>) {
    let count = spec.len();
    match spec.shape[..] {
        [outputs, _, height, width] if spec.name.starts_with("backbone.") => {
            let deviation = (2.0 / (outputs * height * width) as f64).sqrt();
            values.extend((0..count).map(|_| (deviation * normal(random)) as f32));
        }
        [_, inputs, height, width] => {
            let bound = 1.0 / ((inputs * height * width) as f64).sqrt();
            values
                .extend((0..count).map(|_| (bound * (2.0 * random.random::<f64>() - 1.0)) as f32));
        }
        _ if spec.name == format!("{CLASSIFIER}.bias") => {
            values.extend(std::iter::repeat_n(
                (LESION_PRIOR / (1.0 - LESION_PRIOR)).ln() as f32,
                count,
            ));
        }
        _ => {
            let identity = spec.name.ends_with(".weight") || spec.name.ends_with(".running_var");
            values.extend(std::iter::repeat_n(if identity { 1.0 } else { 0.0 }, count));
        }
    }
}

/// A standard normal draw (Box and Muller 1958).
fn normal(random: &mut impl Rng) -> f64 {
    let radius = (-2.0 * (1.0 - random.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.random::<f64>()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Layout;

    fn paper() -> (Model, Input) {
        let model = Model {
            layout: Layout::ResNet50,
            width: 64,
            output_stride: 8,
            rates: [12, 24, 36],
            norm: Norm::Batch,
            head_dropout: 0.5,
        };
        let sequences = ["bravo", "t1_pre", "t1_post", "flair"]
            .map(String::from)
            .to_vec();
        (
            model,
            Input {
                sequences,
                slices: 5,
                plane: 256,
                spacing_mm: None,
                clip_percentiles: None,
            },
        )
    }

    #[test]
    fn the_papers_network_has_torchvisions_tensors() {
        let (model, input) = paper();
        let manifest = manifest(&model, &input);
        assert_eq!((manifest.tensors.len(), manifest.len()), (302, 39_743_745));
        let names: Vec<_> = manifest
            .tensors
            .iter()
            .map(|spec| spec.name.as_str())
            .collect();
        assert_eq!(
            names[..3],
            [STEM, "backbone.bn1.weight", "backbone.bn1.bias"]
        );
        assert_eq!(names.last(), Some(&"classifier.4.bias"));
        let kinds = manifest
            .tensors
            .iter()
            .filter(|spec| spec.kind == Kind::RunningStatistic);
        assert!(kinds.clone().all(|spec| spec.name.contains(".running_")));
        assert_eq!(
            kinds.count(),
            2 * names
                .iter()
                .filter(|name| name.ends_with(".running_var"))
                .count()
        );
    }

    #[test]
    fn a_dilated_stage_starts_with_the_dilation_before_it() {
        let dilations = |output_stride| {
            let model = Model {
                output_stride,
                ..paper().0
            };
            let of = |stage| {
                blocks(&model)
                    .into_iter()
                    .filter(move |block| block.stage == stage)
            };
            [1, 2, 3].map(|stage| {
                of(stage)
                    .take(2)
                    .map(|block| (block.stride, block.dilation))
                    .collect::<Vec<_>>()
            })
        };
        assert_eq!(
            dilations(16),
            [
                vec![(2, 1), (1, 1)],
                vec![(2, 1), (1, 1)],
                vec![(1, 1), (1, 2)]
            ]
        );
        assert_eq!(
            dilations(8),
            [
                vec![(2, 1), (1, 1)],
                vec![(1, 1), (1, 2)],
                vec![(1, 2), (1, 4)]
            ]
        );
        assert_eq!(
            dilations(4),
            [
                vec![(1, 1), (1, 2)],
                vec![(1, 2), (1, 4)],
                vec![(1, 4), (1, 8)]
            ]
        );
    }

    #[test]
    fn groups_divide_their_channels_and_hold_eight_at_least() {
        assert_eq!([4, 16, 24, 64, 256, 2048].map(groups), [1, 2, 3, 8, 32, 32]);
    }

    #[test]
    fn initial_values_follow_torchvisions_rules() {
        let (model, input) = paper();
        let model = Model {
            layout: Layout::ResNet18,
            width: 16,
            ..model
        };
        let manifest = Arc::new(manifest(&model, &input));
        let parameters = initial(&manifest, 7);
        assert_eq!(parameters, initial(&manifest, 7));
        assert_ne!(parameters, initial(&manifest, 8));
        let values = |name: &str| {
            parameters
                .tensors()
                .find(|(spec, _)| spec.name == name)
                .unwrap()
                .1
        };
        let deviation = |values: &[f32]| {
            (values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32).sqrt()
        };
        let stem = deviation(values(STEM)) / (2.0f32 / (16.0 * 49.0)).sqrt();
        assert!(
            (stem - 1.0).abs() < 0.02,
            "15680 normal draws: a standard error of 0.6 per cent, found {stem}"
        );
        let head = values("classifier.1.weight");
        let bound = 1.0 / (64.0f32 * 9.0).sqrt();
        assert!(head.iter().all(|value| value.abs() <= bound));
        assert!((deviation(head) / (bound / 3.0f32.sqrt()) - 1.0).abs() < 0.02);
        assert!(
            values("backbone.bn1.weight")
                .iter()
                .chain(values("classifier.2.running_var"))
                .all(|&v| v == 1.0)
        );
        assert!(
            values("backbone.bn1.bias")
                .iter()
                .chain(values("classifier.2.running_mean"))
                .all(|&v| v == 0.0)
        );
        assert!((1.0 / (1.0 + (-values("classifier.4.bias")[0]).exp()) - 0.01).abs() < 1e-6);
    }
}
