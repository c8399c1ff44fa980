//! `[training]`: what a site does in a round.

use super::registry::{DefaultValue, Rule, Setting, Table, choice, optional, plain};
use super::{Federation, Schedule, SettingsError};
use serde::{Deserialize, Serialize};

/// The optimiser of local training. Its state lives for one round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optimiser {
    /// Adam (L2 penalty added to the gradient).
    Adam,
    /// Adam with decoupled weight decay.
    AdamW,
    /// Stochastic gradient descent with momentum 0.9.
    Sgd,
}

/// How much a site trains in one round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LocalWork {
    /// Optimiser steps.
    Steps(u32),
    /// Passes over the site's slices; each draws as many slices as there are.
    Epochs(u32),
}

/// What the network computes in while it trains. Weights, statistics, the loss and what travels are
/// 32-bit either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compute {
    /// 32-bit reals.
    #[default]
    F32,
    /// Mixed precision: convolutions and features in bfloat16. Faster on GPUs that have it; the
    /// processor never does.
    Bf16,
}

impl Compute {
    /// Its name in settings and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }
}

/// Training at a site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// How much in one round.
    pub effort: LocalWork,
    /// Slow sites do fewer steps: as many as fit into this many seconds at a site's measured speed,
    /// which its last accepted update gives. Without one, and for fast sites, `effort` decides.
    /// `None` asks the same of all.
    #[serde(default)]
    pub round_seconds: Option<u32>,
    /// Examples in a step.
    pub batch: usize,
    pub optimiser: Optimiser,
    /// In the first round.
    pub learning_rate: f64,
    pub schedule: Schedule,
    pub weight_decay: f64,
    /// Gradients with a larger euclidean norm are scaled down to it.
    pub clip_norm: Option<f32>,
    /// How strongly weights are drawn back to those that the round began from (FedProx's mu, Li et
    /// al. 2020, arXiv 1812.06127): the loss gains `mu / 2 * |w - w_start|^2`. 0 leaves it out.
    #[serde(default)]
    pub proximal: f64,
    /// Weight of lesion voxels in the cross entropy.
    pub positive_weight: f32,
    /// Weight of the soft Dice loss, which is added to the cross entropy.
    pub dice_weight: f32,
    /// How many times likelier a slice with lesion is drawn than one without.
    pub lesion_oversampling: f32,
    pub augmentation: Augmentation,
    /// What sites compute in, unless a site's own settings or its device say otherwise.
    #[serde(default)]
    pub compute: Compute,
}

impl Training {
    /// The optimiser steps of one round at a site with so many training examples. An epoch draws as
    /// many examples as the site has. The coordinator refuses updates that claim more steps.
    #[must_use]
    pub fn steps(&self, examples: u64) -> u32 {
        match self.effort {
            LocalWork::Steps(steps) => steps,
            LocalWork::Epochs(epochs) => {
                let draws = examples.saturating_mul(epochs.into());
                u32::try_from(draws.div_ceil(self.batch.max(1) as u64)).unwrap_or(u32::MAX)
            }
        }
    }
}

/// Random changes to a training example, the same for all sequences and the label where they move
/// voxels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Augmentation {
    /// Mirror left-right and front-back, each with probability one half.
    pub flips: bool,
    /// Turn by a multiple of 90 degrees.
    pub turns: bool,
    /// Largest shift in pixels along each axis.
    pub shift: usize,
    /// Each sequence is multiplied by `1 + u` and offset by `v`, with `u`, `v` uniform in ± this.
    pub intensity: f32,
}

/// [`Training`] as the file writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TrainingToml {
    steps: Option<u32>,
    epochs: Option<u32>,
    round_seconds: Option<u32>,
    batch: usize,
    optimiser: Optimiser,
    learning_rate: f64,
    schedule: Schedule,
    weight_decay: f64,
    clip_norm: f32,
    proximal: f64,
    positive_weight: f32,
    dice_weight: f32,
    lesion_oversampling: f32,
    flips: bool,
    turns: bool,
    shift: usize,
    intensity: f32,
    compute: Compute,
}

impl Default for TrainingToml {
    fn default() -> Self {
        Self {
            steps: None,
            epochs: None,
            round_seconds: None,
            batch: 8,
            optimiser: Optimiser::Adam,
            learning_rate: 1e-3,
            schedule: Schedule::Cosine { last: 0.05 },
            weight_decay: 0.0,
            clip_norm: 10.0,
            proximal: 0.0,
            positive_weight: 3.0,
            dice_weight: 1.0,
            lesion_oversampling: 10.0,
            flips: true,
            turns: false,
            shift: 4,
            intensity: 0.1,
            compute: Compute::F32,
        }
    }
}

impl TrainingToml {
    pub(super) fn resolve(self) -> Result<Training, SettingsError> {
        let effort = match (self.steps, self.epochs) {
            (Some(steps), None) => LocalWork::Steps(steps),
            (None, Some(epochs)) => LocalWork::Epochs(epochs),
            (None, None) => LocalWork::Epochs(1),
            (Some(_), Some(_)) => {
                return Err(SettingsError::Value {
                    key: "training.steps",
                    found: "given together with training.epochs".into(),
                    expected: "only one of the two",
                });
            }
        };
        let clip_norm = if self.clip_norm == 0.0 {
            None
        } else {
            Some(self.clip_norm)
        };
        Ok(Training {
            effort,
            round_seconds: self.round_seconds,
            batch: self.batch,
            optimiser: self.optimiser,
            learning_rate: self.learning_rate,
            schedule: self.schedule,
            weight_decay: self.weight_decay,
            clip_norm,
            proximal: self.proximal,
            positive_weight: self.positive_weight,
            dice_weight: self.dice_weight,
            lesion_oversampling: self.lesion_oversampling,
            augmentation: Augmentation {
                flips: self.flips,
                turns: self.turns,
                shift: self.shift,
                intensity: self.intensity,
            },
            compute: self.compute,
        })
    }
}

fn steps(settings: &Federation) -> Option<u32> {
    match settings.training.effort {
        LocalWork::Steps(steps) => Some(steps),
        LocalWork::Epochs(_) => None,
    }
}

fn epochs(settings: &Federation) -> Option<u32> {
    match settings.training.effort {
        LocalWork::Steps(_) => None,
        LocalWork::Epochs(epochs) => Some(epochs),
    }
}

const MOST_WORK: u32 = 1_000_000;

pub(super) const TABLE: Table = Table {
    name: "training",
    meaning: "What a site does in a round",
    settings: &[
        Setting {
            key: "training.steps",
            kind: "integer, optimiser steps",
            default: DefaultValue::Unset("training.epochs decides"),
            rule: Rule::Value("between 1 and 1000000", |settings| {
                steps(settings).is_none_or(|steps| (1..=MOST_WORK).contains(&steps))
            }),
            meaning: "Length of a round's training at a site. Give this or epochs.",
            value: |settings| optional(steps(settings)),
        },
        Setting {
            key: "training.epochs",
            kind: "integer, passes over the site's slices",
            default: DefaultValue::Value("1"),
            rule: Rule::Value("between 1 and 1000000", |settings| {
                epochs(settings).is_none_or(|epochs| (1..=MOST_WORK).contains(&epochs))
            }),
            meaning: "Length of a round's training at a site. Give this or steps.",
            value: |settings| optional(epochs(settings)),
        },
        Setting {
            key: "training.round_seconds",
            kind: "integer, seconds",
            default: DefaultValue::Unset("all sites do the same amount"),
            rule: Rule::Value("at least 1", |settings| {
                settings.training.round_seconds != Some(0)
            }),
            meaning: "Slow sites do only as many steps as fit into this time.",
            value: |settings| optional(settings.training.round_seconds),
        },
        Setting {
            key: "training.batch",
            kind: "integer, examples",
            default: DefaultValue::Value("8"),
            rule: Rule::Value("between 1 and 1024", |settings| {
                (1..=1024).contains(&settings.training.batch)
            }),
            meaning: "Examples in one optimiser step.",
            value: |settings| plain(settings.training.batch),
        },
        Setting {
            key: "training.optimiser",
            kind: "\"adam\", \"adamw\" or \"sgd\"",
            default: DefaultValue::Value("\"adam\""),
            rule: Rule::Any,
            meaning: "The optimiser; its state lives for one round. sgd has a momentum of 0.9.",
            value: |settings| choice(&settings.training.optimiser),
        },
        Setting {
            key: "training.learning_rate",
            kind: "number",
            default: DefaultValue::Value("0.001"),
            rule: Rule::Value("above 0 and at most 10", |settings| {
                let rate = settings.training.learning_rate;
                rate > 0.0 && rate <= 10.0
            }),
            meaning: "Learning rate in the first round.",
            value: |settings| plain(settings.training.learning_rate),
        },
        Setting {
            key: "training.schedule",
            kind: "\"constant\", { cosine = { last = F } } or { step = { every = N, factor = F } }",
            default: DefaultValue::Value("{ cosine = { last = 0.05 } }"),
            rule: Rule::Value(
                "factors between 0 and 10, and every at least 1",
                |settings| settings.training.schedule.works(),
            ),
            meaning: "The learning rate over the rounds: constant, half a cosine down to last \
                      times the first, or multiplied by factor after every so many rounds.",
            value: |settings| choice(&settings.training.schedule),
        },
        Setting {
            key: "training.weight_decay",
            kind: "number",
            default: DefaultValue::Value("0.0"),
            rule: Rule::Value("between 0 and 1", |settings| {
                (0.0..=1.0).contains(&settings.training.weight_decay)
            }),
            meaning: "Weight decay of the optimiser.",
            value: |settings| plain(settings.training.weight_decay),
        },
        Setting {
            key: "training.clip_norm",
            kind: "number, norm of the gradient",
            default: DefaultValue::Value("10.0"),
            rule: Rule::Value("a positive norm, or 0 for no clipping", |settings| {
                settings
                    .training
                    .clip_norm
                    .is_none_or(|norm| norm > 0.0 && norm.is_finite())
            }),
            meaning: "Larger gradients are scaled down to this euclidean norm; 0 turns it off.",
            value: |settings| plain(settings.training.clip_norm.unwrap_or(0.0)),
        },
        Setting {
            key: "training.proximal",
            kind: "number",
            default: DefaultValue::Value("0.0"),
            rule: Rule::Value("between 0 (off) and 100", |settings| {
                (0.0..=100.0).contains(&settings.training.proximal)
            }),
            meaning: "FedProx's mu: how strongly weights are drawn back to the round's first ones.",
            value: |settings| plain(settings.training.proximal),
        },
        Setting {
            key: "training.positive_weight",
            kind: "number",
            default: DefaultValue::Value("3.0"),
            rule: Rule::Value("above 0 and at most 10000", |settings| {
                let weight = settings.training.positive_weight;
                weight > 0.0 && weight <= 1e4
            }),
            meaning: "Weight of lesion voxels in the cross entropy; other voxels have 1.",
            value: |settings| plain(settings.training.positive_weight),
        },
        Setting {
            key: "training.dice_weight",
            kind: "number",
            default: DefaultValue::Value("1.0"),
            rule: Rule::Value("between 0 and 100", |settings| {
                (0.0..=100.0).contains(&settings.training.dice_weight)
            }),
            meaning: "Weight of the soft Dice loss, which is added to the cross entropy.",
            value: |settings| plain(settings.training.dice_weight),
        },
        Setting {
            key: "training.lesion_oversampling",
            kind: "number, times",
            default: DefaultValue::Value("10.0"),
            rule: Rule::Value("between 1 and 10000", |settings| {
                (1.0..=1e4).contains(&settings.training.lesion_oversampling)
            }),
            meaning: "How many times likelier a slice with lesion is drawn than one without.",
            value: |settings| plain(settings.training.lesion_oversampling),
        },
        Setting {
            key: "training.flips",
            kind: "true or false",
            default: DefaultValue::Value("true"),
            rule: Rule::Any,
            meaning: "Augmentation: mirror left-right and front-back, each in half of the examples.",
            value: |settings| plain(settings.training.augmentation.flips),
        },
        Setting {
            key: "training.turns",
            kind: "true or false",
            default: DefaultValue::Value("false"),
            rule: Rule::Any,
            meaning: "Augmentation: turn in the plane by a multiple of 90 degrees.",
            value: |settings| plain(settings.training.augmentation.turns),
        },
        Setting {
            key: "training.shift",
            kind: "integer, pixels",
            default: DefaultValue::Value("4"),
            rule: Rule::Value("fewer pixels than input.plane", |settings| {
                settings.training.augmentation.shift < settings.input.plane
            }),
            meaning: "Augmentation: the largest shift along each axis of the plane.",
            value: |settings| plain(settings.training.augmentation.shift),
        },
        Setting {
            key: "training.intensity",
            kind: "number",
            default: DefaultValue::Value("0.1"),
            rule: Rule::Value("at least 0 and below 1", |settings| {
                (0.0..1.0).contains(&settings.training.augmentation.intensity)
            }),
            meaning: "Augmentation: each sequence is multiplied by 1 + u and offset by v, both \
                random and at most this large.",
            value: |settings| plain(settings.training.augmentation.intensity),
        },
        Setting {
            key: "training.compute",
            kind: "\"f32\" or \"bf16\"",
            default: DefaultValue::Value("\"f32\""),
            rule: Rule::Any,
            meaning: "What sites compute in, where their device can and their own settings do not \
                decide: bf16 is mixed precision.",
            value: |settings| choice(&settings.training.compute),
        },
    ],
};
