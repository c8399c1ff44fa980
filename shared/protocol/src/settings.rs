//! A federation's settings: the coordinator's file is the one truth, sites receive it when they
//! join.

mod check;
mod toml_file;

use crate::dropout::DropOut;
pub use check::is_valid_name;
use metrics::sequence::SequenceSet;
use serde::{Deserialize, Serialize};
pub use toml_file::SettingsError;

/// The checked settings of one federation. Built by [`Federation::from_toml`]; a site that receives
/// one over the network checks it again with [`Federation::check`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Federation {
    /// For people: run folders and reports carry it.
    pub name: String,
    /// Every random draw of the federation derives from it.
    pub seed: u64,
    /// Rounds of training.
    pub rounds: u32,
    /// What the model sees.
    pub input: Input,
    /// The network.
    pub model: Model,
    /// Input-level dropout of sequences while training.
    pub dropout: DropOut,
    /// Training at a site.
    pub training: Training,
    /// How updates become the next global model.
    pub aggregation: Aggregation,
    /// How updates travel.
    #[serde(default)]
    pub updates: Precision,
    /// When and how models are scored.
    pub evaluation: Evaluation,
    /// Who takes part in a round, and how long the coordinator waits.
    pub sites: Sites,
    /// Rounds that wait for nobody; `None` for rounds that wait for their sites.
    #[serde(default)]
    pub buffered: Option<Buffered>,
}

/// What the model sees: the channels are `sequences * slices`, a sequence's slices contiguous.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// Sequence names in channel order.
    pub sequences: Vec<String>,
    /// Contiguous axial slices of each sequence, an odd number; the centre one is segmented.
    pub slices: usize,
    /// Height and width in pixels.
    pub plane: usize,
    /// In-plane millimetres per pixel to resample to; `None` keeps each case's own and only crops
    /// or pads.
    pub spacing_mm: Option<f32>,
    /// Two percentiles of each image's values in the brain. What lies beyond them by more than
    /// three times the distance between them is clipped there before values become z-scores. `None`
    /// clips nothing, as models did that do not say.
    #[serde(default)]
    pub clip_percentiles: Option<[f32; 2]>,
}

impl Input {
    /// What settings mean that do not say: images of nothing but tissue are then not changed.
    pub const CLIP_PERCENTILES: [f32; 2] = [1.0, 99.0];

    /// How many channels the stem has.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.sequences.len() * self.slices
    }

    /// The set of all sequences.
    #[must_use]
    pub fn all(&self) -> SequenceSet {
        SequenceSet::full(self.sequences.len())
    }
}

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
    /// Group normalisation with at most 32 channels' groups: no statistics to share.
    Group,
}

/// The network: DeepLabV3 with one lesion logit out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// The backbone's layout.
    pub layout: Layout,
    /// Channels after the stem: 64 in the paper's network.
    pub width: usize,
    /// Input pixels per feature pixel: 4, 8 (torchvision's DeepLabV3) or 16.
    pub output_stride: usize,
    /// Dilations of the three atrous branches.
    pub rates: [usize; 3],
    /// Normalisation.
    pub norm: Norm,
    /// Probability of dropping a feature after the pyramid (torchvision: 0.5).
    pub head_dropout: f32,
}

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

/// The learning rate over the rounds, as a factor of the first one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Always the same.
    Constant,
    /// Half a cosine down to `last` times the first.
    Cosine {
        /// The factor in the last round.
        last: f64,
    },
    /// Multiplied by `factor` after every `every` rounds.
    Step {
        /// Rounds between changes.
        every: u32,
        /// The factor.
        factor: f64,
    },
}

impl Schedule {
    /// The factor in `round` (from 1) of `rounds`.
    #[must_use]
    pub fn factor(self, round: u32, rounds: u32) -> f64 {
        let done = f64::from(round.saturating_sub(1));
        match self {
            Self::Constant => 1.0,
            Self::Cosine { last } => {
                let share = done / f64::from(rounds.saturating_sub(1).max(1));
                last + (1.0 - last) * 0.5 * (1.0 + (std::f64::consts::PI * share.min(1.0)).cos())
            }
            Self::Step { every, factor } => {
                factor.powi((round.saturating_sub(1) / every.max(1)) as i32)
            }
        }
    }
}

/// How much a site trains in one round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LocalWork {
    /// So many optimiser steps.
    Steps(u32),
    /// So many passes over the site's slices, as many draws as there are slices each.
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
    /// Mixed precision: convolutions and features in bfloat16. Faster on cards that have it; the
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
    /// Fewer steps for slow sites: as many as a site's measured speed fits into so many seconds.
    /// Its last accepted update says how fast it is; before there is one, and for fast sites,
    /// `effort` decides. `None` asks all for the same.
    #[serde(default)]
    pub round_seconds: Option<u32>,
    /// Examples in a step.
    pub batch: usize,
    /// The optimiser.
    pub optimiser: Optimiser,
    /// Learning rate in the first round.
    pub learning_rate: f64,
    /// Learning rate over the rounds.
    pub schedule: Schedule,
    /// Weight decay.
    pub weight_decay: f64,
    /// Gradients with a larger euclidean norm are scaled down to it.
    pub clip_norm: Option<f32>,
    /// How strongly weights are drawn back to those that the round began from (FedProx's mu, Li et
    /// al. 2020, arXiv 1812.06127): the loss gains `mu / 2 * |w - w_start|^2`. 0 leaves it out.
    #[serde(default)]
    pub proximal: f64,
    /// Weight of lesion voxels in the cross entropy.
    pub positive_weight: f32,
    /// Weight of the soft Dice loss beside the cross entropy.
    pub dice_weight: f32,
    /// How many times likelier a slice with lesion is drawn than one without.
    pub lesion_oversampling: f32,
    /// Augmentation.
    pub augmentation: Augmentation,
    /// What sites compute in, unless a site's own settings or its device say otherwise.
    #[serde(default)]
    pub compute: Compute,
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

/// How updates become the next global model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aggregation {
    /// Each tensor averaged over all sites, weighted by slices seen (McMahan et al. 2017).
    FedAvg,
    /// The same, but each sequence's slice of the stem is averaged over the sites that hold the
    /// sequence: the others had no gradient there, and averaging their stale values would undo what
    /// was learnt.
    SequenceAware,
}

/// How an update travels from its site to the coordinator. See [`crate::update_encoding`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// As it is.
    #[default]
    F32,
    /// What was learnt, as bfloat16: half the bytes.
    Bf16,
    /// What was learnt, as 8-bit multiples of a scale, with what rounding lost added to the next
    /// round: a quarter.
    Int8,
}

/// Buffered asynchronous aggregation (FedBuff, Nguyen et al. 2022, arXiv 2106.06639): a new version
/// of the model is made as soon as enough updates are in, whichever version they started from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Buffered {
    /// Updates that make a version.
    pub size: usize,
    /// How far the model goes the way that the updates went on average.
    pub rate: f64,
    /// The most versions that the model may be older that a site started from; older work is taken
    /// back.
    pub max_staleness: u32,
}

/// When and how models are scored.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The share of a training site's cases kept back for validation, at least one case when there
    /// are two.
    pub validation_share: f32,
    /// Score the held-out sites every so many rounds too, not only at the end.
    pub held_out_every: Option<u32>,
    /// Score the final model also on every part of each case's sequences, `2^n - 1` times as much
    /// to compute.
    #[serde(default)]
    pub subsets: bool,
    /// Which cases are kept back follows from this instead of the federation's seed: federations
    /// that differ in their seed can share one split.
    #[serde(default)]
    pub split_seed: Option<u64>,
}

impl Evaluation {
    /// What the split is drawn from, in a federation of this seed.
    #[must_use]
    pub fn split_seed(&self, seed: u64) -> u64 {
        self.split_seed.unwrap_or(seed)
    }
}

/// Who takes part in a round, and how long the coordinator waits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sites {
    /// Sites expected before the first round: all of them by name, so that a stranger with a good
    /// certificate is still refused. Empty: anyone the certificate authority signed.
    pub expected: Vec<String>,
    /// Updates that a round needs at least.
    pub minimum: usize,
    /// Training sites sampled for a round; `None` takes all.
    pub per_round: Option<usize>,
    /// Sites that work at once, for federations that share one machine; `None` sets no limit.
    pub concurrent: Option<usize>,
    /// Seconds without any progress after which a site is given up for the round.
    pub patience_s: u32,
    /// Seconds after a round's first request from which on sites that still train are told to send
    /// what they have; `None` waits for all of it.
    #[serde(default)]
    pub deadline_s: Option<u32>,
}
