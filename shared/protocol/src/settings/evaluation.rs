//! `[evaluation]`: when and how models are scored.

use super::registry::{DefaultValue, Rule, Setting, Table, optional, plain};
use serde::{Deserialize, Serialize};

/// When and how models are scored.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The share of a training site's cases kept back for validation, at least one case when there
    /// are two.
    pub validation_share: f32,
    /// Score the held-out sites after every so many rounds too, not only at the end.
    pub held_out_every: Option<u32>,
    /// Score the final model also on every subset of each case's sequences, `2^n - 1` times as much
    /// to compute.
    #[serde(default)]
    pub subsets: bool,
    /// Which cases are kept back follows from this instead of the federation's seed: federations
    /// with different seeds can share one split.
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

impl Default for Evaluation {
    fn default() -> Self {
        Self {
            validation_share: 0.2,
            held_out_every: None,
            subsets: true,
            split_seed: None,
        }
    }
}

/// [`Evaluation`] as the file writes it: strict about keys, and without those of the default.
#[derive(Deserialize)]
#[serde(
    remote = "Evaluation",
    deny_unknown_fields,
    default = "Evaluation::default"
)]
pub(super) struct EvaluationToml {
    validation_share: f32,
    held_out_every: Option<u32>,
    subsets: bool,
    split_seed: Option<u64>,
}

pub(super) const TABLE: Table = Table {
    name: "evaluation",
    meaning: "When and how models are scored",
    settings: &[
        Setting {
            key: "evaluation.validation_share",
            kind: "number, share",
            default: DefaultValue::Value("0.2"),
            rule: Rule::Value("between 0 and 0.9", |settings| {
                (0.0..=0.9).contains(&settings.evaluation.validation_share)
            }),
            meaning: "The share of a training site's cases that is kept back; they choose the \
                threshold and the best round.",
            value: |settings| plain(settings.evaluation.validation_share),
        },
        Setting {
            key: "evaluation.held_out_every",
            kind: "integer, rounds",
            default: DefaultValue::Unset("only at the end"),
            rule: Rule::Value("at least 1", |settings| {
                settings.evaluation.held_out_every != Some(0)
            }),
            meaning: "Score the held-out sites after every so many rounds too.",
            value: |settings| optional(settings.evaluation.held_out_every),
        },
        Setting {
            key: "evaluation.subsets",
            kind: "true or false",
            default: DefaultValue::Value("true"),
            rule: Rule::Any,
            meaning: "Score the final model also on every subset of each case's sequences: 15 \
                      times the work with four sequences.",
            value: |settings| plain(settings.evaluation.subsets),
        },
        Setting {
            key: "evaluation.split_seed",
            kind: "integer",
            default: DefaultValue::Unset("the federation's seed"),
            rule: Rule::Any,
            meaning: "Which cases are kept back follows from it: federations with different seeds \
                can share one split.",
            value: |settings| optional(settings.evaluation.split_seed),
        },
    ],
};
