//! `[model]`: the network.

use super::registry::{DefaultValue, Rule, Setting, Table, choice, plain};
use serde::{Deserialize, Serialize};

/// The layout of the ResNet backbone, by torchvision's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Layout {
    /// Basic blocks, 2-2-2-2.
    #[serde(rename = "resnet18")]
    ResNet18,
    /// Basic blocks, 3-4-6-3.
    #[serde(rename = "resnet34")]
    ResNet34,
    /// Bottleneck blocks, 3-4-6-3.
    #[serde(rename = "resnet50")]
    ResNet50,
    /// Bottleneck blocks, 3-4-23-3.
    #[serde(rename = "resnet101")]
    ResNet101,
}

impl Layout {
    /// Blocks in each of the four stages.
    #[must_use]
    pub fn blocks(self) -> [usize; 4] {
        match self {
            Self::ResNet18 => [2, 2, 2, 2],
            Self::ResNet34 | Self::ResNet50 => [3, 4, 6, 3],
            Self::ResNet101 => [3, 4, 23, 3],
        }
    }

    /// Whether blocks are bottlenecks, four times as wide at their end.
    #[must_use]
    pub fn bottleneck(self) -> bool {
        matches!(self, Self::ResNet50 | Self::ResNet101)
    }
}

/// Which normalisation the network uses, and what of it is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Norm {
    /// Batch normalisation; running statistics are averaged like weights.
    Batch,
    /// Batch normalisation whose layers each site keeps for itself (FedBN). The averages still
    /// travel, for sites that never train.
    BatchLocal,
    /// Group normalisation with at most 32 groups: no statistics to share.
    Group,
}

/// The network: DeepLabV3 with one lesion logit out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// Of the backbone.
    pub layout: Layout,
    /// Channels after the stem: 64 in the paper's network.
    pub width: usize,
    /// Input pixels per feature pixel: 4, 8 (torchvision's DeepLabV3) or 16.
    pub output_stride: usize,
    /// Dilations of the three atrous branches.
    pub rates: [usize; 3],
    pub norm: Norm,
    /// Probability of dropping a feature after the pyramid (torchvision: 0.5).
    pub head_dropout: f32,
}

/// Named networks: `paper` is the publication's, `tiny` trains on a laptop's processor.
#[derive(Clone, Copy, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
enum Preset {
    #[default]
    Paper,
    Small,
    Tiny,
}

/// What a preset decides.
pub(super) struct PresetValues {
    model: Model,
    pub(super) plane: usize,
}

impl Preset {
    fn values(self) -> PresetValues {
        let paper = Model {
            layout: Layout::ResNet50,
            width: 64,
            output_stride: 8,
            rates: [12, 24, 36],
            norm: Norm::Batch,
            head_dropout: 0.5,
        };
        match self {
            Self::Paper => PresetValues {
                model: paper,
                plane: 256,
            },
            Self::Small => PresetValues {
                model: Model {
                    layout: Layout::ResNet18,
                    rates: [6, 12, 18],
                    head_dropout: 0.1,
                    ..paper
                },
                plane: 128,
            },
            Self::Tiny => PresetValues {
                model: Model {
                    layout: Layout::ResNet18,
                    width: 16,
                    rates: [2, 4, 6],
                    head_dropout: 0.0,
                    ..paper
                },
                plane: 64,
            },
        }
    }
}

/// [`Model`] as the file writes it: a preset, and what differs from it.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct ModelToml {
    #[serde(default)]
    preset: Preset,
    layout: Option<Layout>,
    width: Option<usize>,
    output_stride: Option<usize>,
    rates: Option<[usize; 3]>,
    norm: Option<Norm>,
    head_dropout: Option<f32>,
}

impl ModelToml {
    pub(super) fn preset(&self) -> PresetValues {
        self.preset.values()
    }

    pub(super) fn resolve(self) -> Model {
        let preset = self.preset.values().model;
        Model {
            layout: self.layout.unwrap_or(preset.layout),
            width: self.width.unwrap_or(preset.width),
            output_stride: self.output_stride.unwrap_or(preset.output_stride),
            rates: self.rates.unwrap_or(preset.rates),
            norm: self.norm.unwrap_or(preset.norm),
            head_dropout: self.head_dropout.unwrap_or(preset.head_dropout),
        }
    }
}

pub(super) const TABLE: Table = Table {
    name: "model",
    meaning: "The network, a DeepLabV3",
    settings: &[
        Setting {
            key: "model.preset",
            kind: "\"paper\", \"small\" or \"tiny\"",
            default: DefaultValue::Value("\"paper\""),
            rule: Rule::Any,
            meaning: "A named network, which the other keys of this table change: paper is the \
                publication's and meant for a GPU, tiny trains on a laptop's processor.",
            // What a preset decides is shown under the keys that it decides.
            value: |_| None,
        },
        Setting {
            key: "model.layout",
            kind: "\"resnet18\", \"resnet34\", \"resnet50\" or \"resnet101\"",
            default: DefaultValue::Preset(["\"resnet50\"", "\"resnet18\"", "\"resnet18\""]),
            rule: Rule::Any,
            meaning: "The backbone, by torchvision's names.",
            value: |settings| choice(&settings.model.layout),
        },
        Setting {
            key: "model.width",
            kind: "integer, channels",
            default: DefaultValue::Preset(["64", "64", "16"]),
            rule: Rule::Value("between 4 and 256 channels", |settings| {
                (4..=256).contains(&settings.model.width)
            }),
            meaning: "Channels after the stem; all other layers are multiples of it.",
            value: |settings| plain(settings.model.width),
        },
        Setting {
            key: "model.output_stride",
            kind: "integer, pixels",
            default: DefaultValue::Preset(["8", "8", "8"]),
            rule: Rule::Value("4, 8 or 16", |settings| {
                [4, 8, 16].contains(&settings.model.output_stride)
            }),
            meaning: "Input pixels per feature pixel; 8 in torchvision's DeepLabV3.",
            value: |settings| plain(settings.model.output_stride),
        },
        Setting {
            key: "model.rates",
            kind: "list of three integers, feature pixels",
            default: DefaultValue::Preset(["[12, 24, 36]", "[6, 12, 18]", "[2, 4, 6]"]),
            rule: Rule::Value("three dilations between 1 and 64", |settings| {
                let rates = settings.model.rates;
                rates.iter().all(|rate| (1..=64).contains(rate))
            }),
            meaning: "Dilations of the pyramid's three atrous branches.",
            value: |settings| plain(settings.model.rates),
        },
        Setting {
            key: "model.norm",
            kind: "\"batch\", \"batch-local\" or \"group\"",
            default: DefaultValue::Preset(["\"batch\"", "\"batch\"", "\"batch\""]),
            rule: Rule::Any,
            meaning: "Normalisation: batch averages the statistics like weights, with batch-local \
                each site keeps its own (FedBN), group has none.",
            value: |settings| choice(&settings.model.norm),
        },
        Setting {
            key: "model.head_dropout",
            kind: "number, probability",
            default: DefaultValue::Preset(["0.5", "0.1", "0.0"]),
            rule: Rule::Value("a probability below 1", |settings| {
                (0.0..1.0).contains(&settings.model.head_dropout)
            }),
            meaning: "Probability of dropping a feature after the pyramid, in training.",
            value: |settings| plain(settings.model.head_dropout),
        },
    ],
};
