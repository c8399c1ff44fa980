//! `[buffered]`: rounds that wait for no site.

use super::Federation;
use super::registry::{DefaultValue, Rule, Setting, Table, optional};
use serde::{Deserialize, Deserializer, Serialize};

/// Buffered asynchronous aggregation (FedBuff, Nguyen et al. 2022, arXiv 2106.06639): a new version
/// of the model is made as soon as enough updates are in, whichever version they started from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Buffered {
    /// Updates that make a version.
    pub size: usize,
    /// How far the model moves in the average direction of the updates; 1 is all the way.
    pub rate: f64,
    /// A site's training is taken back when the model is this many versions newer than the one the
    /// site started from, and one more.
    pub max_staleness: u32,
}

/// [`Buffered`] as the file writes it: strict about keys, and with defaults.
#[derive(Deserialize)]
#[serde(remote = "Buffered", deny_unknown_fields)]
pub(super) struct BufferedToml {
    size: usize,
    #[serde(default = "default_rate")]
    rate: f64,
    #[serde(default = "default_max_staleness")]
    max_staleness: u32,
}

fn default_rate() -> f64 {
    1.0
}

fn default_max_staleness() -> u32 {
    8
}

impl BufferedToml {
    pub(super) fn optional<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Buffered>, D::Error> {
        Self::deserialize(from).map(Some)
    }
}

/// A setting of rounds, which have no meaning in this mode.
fn setting_of_rounds(settings: &Federation) -> Option<String> {
    settings.buffered?;
    let given = if settings.sites.per_round.is_some() {
        "sites.per_round"
    } else if settings.sites.deadline_s.is_some() {
        "sites.deadline_s"
    } else if settings.evaluation.held_out_every.is_some() {
        "evaluation.held_out_every"
    } else {
        return None;
    };
    Some(format!("given together with {given}"))
}

fn size_works(settings: &Federation) -> bool {
    match settings.buffered {
        None => true,
        Some(buffered) => (settings.sites.minimum..=100_000).contains(&buffered.size),
    }
}

fn rate_works(settings: &Federation) -> bool {
    match settings.buffered {
        None => true,
        Some(buffered) => buffered.rate > 0.0 && buffered.rate <= 10.0,
    }
}

fn max_staleness_works(settings: &Federation) -> bool {
    match settings.buffered {
        None => true,
        Some(buffered) => buffered.max_staleness <= 1000,
    }
}

pub(super) const TABLE: Table = Table {
    name: "buffered",
    meaning: "Rounds that wait for no site (FedBuff), where this table is given",
    settings: &[
        Setting {
            key: "buffered.size",
            kind: "integer, updates",
            default: DefaultValue::Required,
            rule: Rule::Value("at least sites.minimum, and at most 100000", size_works),
            meaning: "Updates that make the next version of the model.",
            value: |settings| optional(settings.buffered.map(|buffered| buffered.size)),
        },
        Setting {
            key: "buffered.rate",
            kind: "number",
            default: DefaultValue::Value("1.0"),
            rule: Rule::Value("above 0 and at most 10", rate_works),
            meaning: "How far the model moves in the average direction of the updates.",
            value: |settings| optional(settings.buffered.map(|buffered| buffered.rate)),
        },
        Setting {
            key: "buffered.max_staleness",
            kind: "integer, versions",
            default: DefaultValue::Value("8"),
            rule: Rule::Value("at most 1000 versions", max_staleness_works),
            meaning: "Training from a model that is more versions old is taken back and started \
                again.",
            value: |settings| optional(settings.buffered.map(|buffered| buffered.max_staleness)),
        },
        Setting {
            key: "buffered",
            kind: "table",
            default: DefaultValue::Unset("each round waits for its sites"),
            rule: Rule::Parts(
                "no sites.per_round, sites.deadline_s or evaluation.held_out_every with it: \
                 every site takes part, no version waits for a site, and only the last model is \
                 scored on held-out sites",
                setting_of_rounds,
            ),
            meaning: "Turns this mode on.",
            value: |_| None,
        },
    ],
};
