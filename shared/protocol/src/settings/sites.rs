//! `[sites]`: who takes part in a round, and how long the coordinator waits.

use super::SettingsError;
use super::registry::{DefaultValue, Rule, Setting, Table, optional, plain};
use crate::identity::{InvalidSiteName, SiteName, VALID_NAME};
use serde::{Deserialize, Serialize};

/// Who takes part in a round, and how long the coordinator waits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sites {
    /// Sites expected before the first round: all of them by name, so that a stranger with a good
    /// certificate is still refused. Empty: every site with a certificate of the authority.
    pub expected: Vec<SiteName>,
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

/// [`Sites`] as the file writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SitesToml {
    expected: Vec<String>,
    minimum: usize,
    per_round: Option<usize>,
    concurrent: Option<usize>,
    patience_s: u32,
    deadline_s: Option<u32>,
}

impl Default for SitesToml {
    fn default() -> Self {
        let sites = Sites::default();
        Self {
            expected: Vec::new(),
            minimum: sites.minimum,
            per_round: sites.per_round,
            concurrent: sites.concurrent,
            patience_s: sites.patience_s,
            deadline_s: sites.deadline_s,
        }
    }
}

impl SitesToml {
    /// # Errors
    /// The first name that cannot be a site's.
    pub(super) fn resolve(self) -> Result<Sites, SettingsError> {
        let mut expected = Vec::new();
        for name in &self.expected {
            match name.parse() {
                Ok(site) => expected.push(site),
                Err(InvalidSiteName { found }) => {
                    return Err(SettingsError::Value {
                        key: "sites.expected",
                        found,
                        expected: VALID_NAME,
                    });
                }
            }
        }
        Ok(Sites {
            expected,
            minimum: self.minimum,
            per_round: self.per_round,
            concurrent: self.concurrent,
            patience_s: self.patience_s,
            deadline_s: self.deadline_s,
        })
    }
}

fn names(sites: &[SiteName]) -> Vec<&str> {
    sites.iter().map(SiteName::as_str).collect()
}

pub(super) const TABLE: Table = Table {
    name: "sites",
    meaning: "Who takes part in a round, and how long the coordinator waits",
    settings: &[
        Setting {
            key: "sites.expected",
            kind: "list of names",
            default: DefaultValue::Value("[]"),
            rule: Rule::Type(VALID_NAME),
            meaning: "The sites that may connect; rounds begin when all of them have joined. \
                      Empty: every site with a certificate of the authority may.",
            value: |settings| plain(names(&settings.sites.expected)),
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
