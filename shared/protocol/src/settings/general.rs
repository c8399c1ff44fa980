//! The keys before the first table: the federation's name and length, how sequences drop out in
//! training, and how updates travel and become the next model.

use super::aggregation::{wrong_aggregation, wrong_optimiser};
use super::registry::{DefaultValue, Rule, Setting, Table, choice, plain};
use super::{Federation, SettingsError};
use crate::dropout::DropOut;
use crate::identity::{VALID_NAME, is_valid_name};
use metrics::sequence::SequenceSet;
use serde::{Deserialize, Serialize};

/// How an update travels from its site to the coordinator. See [`crate::update_encoding`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// As it is.
    #[default]
    F32,
    /// The change since the start of the round, as bfloat16: half the bytes.
    Bf16,
    /// The same change, as 8-bit multiples of a scale; rounding errors are added to the next
    /// round's change. A quarter of the bytes.
    Int8,
}

/// Sites that do a hundred times the work of others stay below it, because steps do not all lead
/// the same way.
pub(super) fn default_outlier_factor() -> f64 {
    100.0
}

/// [`DropOut`] as the file writes it: sequences by name.
#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub(super) enum DropOutToml {
    #[default]
    Uniform,
    Bernoulli(f32),
    Fixed(Vec<String>),
    All,
}

impl DropOutToml {
    pub(super) fn resolve(self, sequences: &[String]) -> Result<DropOut, SettingsError> {
        let fixed = match self {
            Self::Uniform => return Ok(DropOut::Uniform),
            Self::Bernoulli(keep) => return Ok(DropOut::Bernoulli(keep)),
            Self::All => return Ok(DropOut::All),
            Self::Fixed(fixed) => fixed,
        };
        let mut set = SequenceSet::EMPTY;
        for name in fixed {
            let Some(index) = sequences.iter().position(|known| *known == name) else {
                return Err(SettingsError::Value {
                    key: "dropout",
                    found: format!("{{ fixed = [{name:?}] }}"),
                    expected: "names from input.sequences",
                });
            };
            set = set.with(index);
        }
        Ok(DropOut::Fixed(set))
    }
}

fn dropout_to_toml(settings: &Federation) -> Option<String> {
    let text = match settings.dropout {
        DropOut::Uniform => "\"uniform\"".into(),
        DropOut::All => "\"all\"".into(),
        DropOut::Bernoulli(keep) => format!("{{ bernoulli = {keep:?} }}"),
        DropOut::Fixed(subset) => {
            let sequences = settings.input.sequences.iter().enumerate();
            let names: Vec<&String> = sequences
                .filter(|(index, _)| subset.contains(*index))
                .map(|(_, name)| name)
                .collect();
            format!("{{ fixed = {names:?} }}")
        }
    };
    Some(text)
}

fn dropout_works(settings: &Federation) -> bool {
    match settings.dropout {
        DropOut::Uniform | DropOut::All => true,
        DropOut::Bernoulli(keep) => keep > 0.0 && keep <= 1.0,
        DropOut::Fixed(subset) => !subset.is_empty() && subset.is_subset(settings.input.all()),
    }
}

pub(super) const TABLE: Table = Table {
    name: "",
    meaning: "The federation as a whole",
    settings: &[
        Setting {
            key: "name",
            kind: "text",
            default: DefaultValue::Required,
            rule: Rule::Value(VALID_NAME, |settings| is_valid_name(&settings.name)),
            meaning: "The federation's name, for people; run folders and reports carry it.",
            value: |settings| plain(&settings.name),
        },
        Setting {
            key: "seed",
            kind: "integer",
            default: DefaultValue::Value("1"),
            rule: Rule::Any,
            meaning: "Every random draw of the federation follows from it.",
            value: |settings| plain(settings.seed),
        },
        Setting {
            key: "rounds",
            kind: "integer, rounds",
            default: DefaultValue::Required,
            rule: Rule::Value(
                "between 1 and 100000, or 0 without [buffered]",
                |settings| {
                    let any_work = settings.rounds > 0 || settings.buffered.is_none();
                    any_work && settings.rounds <= 100_000
                },
            ),
            meaning: "Rounds of training; in buffered mode, versions of the model. With 0, the \
                sites only evaluate the model that --start names.",
            value: |settings| plain(settings.rounds),
        },
        Setting {
            key: "dropout",
            kind: "\"uniform\", \"all\", { bernoulli = P } or { fixed = [NAMES] }",
            default: DefaultValue::Value("\"uniform\""),
            rule: Rule::Value(
                "a probability above 0 and at most 1, or names from input.sequences",
                dropout_works,
            ),
            meaning: "Which of a case's sequences a training example keeps: a random subset, all, \
                each with a probability, or always the same.",
            value: dropout_to_toml,
        },
        Setting {
            key: "aggregation",
            kind: "\"sequence-aware\", \"fed-avg\", \"median\", \"geometric-median\", \
                { trimmed-mean = { faulty = F } }, { krum = { faulty = F } } or \
                { multi-krum = { faulty = F, chosen = M } }",
            default: DefaultValue::Value("\"sequence-aware\""),
            rule: Rule::Parts(
                "rounds of enough updates (sites.minimum): 2 * faulty + 1 for trimmed-mean, 2 * \
                 faulty + 3 for krum and multi-krum, 3 for the medians; faulty at least 1, chosen \
                 between 1 and sites.minimum - faulty - 2; sequence-aware or fed-avg with \
                 [buffered]",
                wrong_aggregation,
            ),
            meaning: "How updates become the next model. fed-avg is their mean, weighted by \
                slices; sequence-aware is the same, with the weights of a sequence only of the \
                sites that have it. The others hold against so many faulty or hostile sites: \
                median and trimmed-mean value by value, krum and multi-krum by choosing the \
                updates closest to others, geometric-median as a whole.",
            value: |settings| choice(&settings.aggregation),
        },
        Setting {
            key: "server_optimiser",
            kind: "{ momentum = { rate = R, beta = B } }, { adam = { rate = R, beta1 = B, beta2 = \
                B, tau = T } }, { yogi = (as adam) } or { adagrad = { rate = R, beta1 = B, tau = \
                T } }",
            default: DefaultValue::Unset("what aggregation makes is the next model"),
            rule: Rule::Parts(
                "a rate above 0 and at most 10, betas at least 0 and below 1, tau between 1e-10 \
                 and 1, and no [buffered], which has a rate of its own",
                wrong_optimiser,
            ),
            meaning: "An optimiser on the server, which goes on from the newest model in the \
                direction of what aggregation makes. Left out: beta and beta1 0.9 (adagrad 0), \
                beta2 0.99, tau 0.001, and the rate of momentum 1.",
            value: |settings| choice(&settings.server_optimiser?),
        },
        Setting {
            key: "updates",
            kind: "\"f32\", \"bf16\" or \"int8\"",
            default: DefaultValue::Value("\"f32\""),
            rule: Rule::Any,
            meaning: "How updates travel: unrounded, in half the bytes, or in a quarter.",
            value: |settings| choice(&settings.updates),
        },
        Setting {
            key: "outlier_factor",
            kind: "number, times",
            default: DefaultValue::Value("100.0"),
            rule: Rule::Value("between 2 and 1000000", |settings| {
                (2.0..=1e6).contains(&settings.outlier_factor)
            }),
            meaning: "An update that went more than this many times as far from its model as the \
                median of the round's updates is refused. With fewer than 3 updates it is not \
                known which is wrong, and none is.",
            value: |settings| plain(settings.outlier_factor),
        },
    ],
};
