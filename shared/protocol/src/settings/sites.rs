//! `[sites]`: who takes part in a round, and how long the coordinator waits.

use super::Federation;
use super::names::{PLAIN_NAME, is_valid_name};
use super::registry::{DefaultValue, Rule, Setting, Table, optional, plain};
use serde::{Deserialize, Serialize};

/// Who takes part in a round, and how long the coordinator waits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sites {
    /// Sites expected before the first round: all of them by name, so that a stranger with a good
    /// certificate is still refused. Empty: every site with a certificate of the authority.
    pub expected: Vec<String>,
    /// Updates that a round needs at least.
    pub minimum: usize,
    /// Training sites sampled for a round; `None` takes all.
    pub per_round: Option<usize>,
    /// Sites that work at once, for federations that share one machine; `None` sets no limit.
    pub concurrent: Option<usize>,
    /// Seconds without any progress after which a site is left out of the round.
    pub patience_s: u32,
    /// Seconds after a round's first request. Sites that still train are then told to send the
    /// update they have; `None` waits for the whole training.
    #[serde(default)]
    pub deadline_s: Option<u32>,
}

impl Default for Sites {
    fn default() -> Self {
        Self {
            expected: Vec::new(),
            minimum: 1,
            per_round: None,
            concurrent: None,
            patience_s: 600,
            deadline_s: None,
        }
    }
}

/// [`Sites`] as the file writes it: strict about keys, and without those of the default.
#[derive(Deserialize)]
#[serde(remote = "Sites", deny_unknown_fields, default = "Sites::default")]
pub(super) struct SitesToml {
    expected: Vec<String>,
    minimum: usize,
    per_round: Option<usize>,
    concurrent: Option<usize>,
    patience_s: u32,
    deadline_s: Option<u32>,
}

fn bad_name(settings: &Federation) -> Option<String> {
    let names = &settings.sites.expected;
    names.iter().find(|name| !is_valid_name(name)).cloned()
}

pub(super) const TABLE: Table = Table {
    name: "sites",
    meaning: "Who takes part in a round, and how long the coordinator waits",
    settings: &[
        Setting {
            key: "sites.expected",
            kind: "list of names",
            default: DefaultValue::Value("[]"),
            rule: Rule::Parts(PLAIN_NAME, bad_name),
            meaning: "The sites that may connect; rounds begin when all of them have joined. Empty: \
                every site with a certificate of the authority may.",
            value: |settings| plain(&settings.sites.expected),
        },
        Setting {
            key: "sites.minimum",
            kind: "integer, updates",
            default: DefaultValue::Value("1"),
            rule: Rule::Value("at least 1", |settings| settings.sites.minimum >= 1),
            meaning: "A round needs at least this many updates.",
            value: |settings| plain(settings.sites.minimum),
        },
        Setting {
            key: "sites.per_round",
            kind: "integer, sites",
            default: DefaultValue::Unset("all training sites"),
            rule: Rule::Value("at least sites.minimum", |settings| {
                let minimum = settings.sites.minimum;
                settings
                    .sites
                    .per_round
                    .is_none_or(|count| count >= minimum)
            }),
            meaning: "Training sites that are sampled for each round.",
            value: |settings| optional(settings.sites.per_round),
        },
        Setting {
            key: "sites.concurrent",
            kind: "integer, sites",
            default: DefaultValue::Unset("no limit; simulate: as the cores allow"),
            rule: Rule::Value("at least 1", |settings| {
                settings.sites.concurrent != Some(0)
            }),
            meaning: "Sites that work at the same time, for federations that share one machine.",
            value: |settings| optional(settings.sites.concurrent),
        },
        Setting {
            key: "sites.patience_s",
            kind: "integer, seconds",
            default: DefaultValue::Value("600"),
            rule: Rule::Value("at least 1 second", |settings| {
                settings.sites.patience_s >= 1
            }),
            meaning: "A site without progress for this long is left out of the round.",
            value: |settings| plain(settings.sites.patience_s),
        },
        Setting {
            key: "sites.deadline_s",
            kind: "integer, seconds",
            default: DefaultValue::Unset("the whole training is waited for"),
            rule: Rule::Value("at least 1 second", |settings| {
                settings.sites.deadline_s != Some(0)
            }),
            meaning: "This long after a round's first request, sites that still train send the \
                update they have.",
            value: |settings| optional(settings.sites.deadline_s),
        },
    ],
};
