//! What a finished federation leaves for its report: `outcome.json` in the run folder.

use crate::case::Role;
use crate::identity::SiteName;
use crate::message::Inventory;
use crate::overlay::Overlay;
use crate::settings::{Compute, Federation};
use metrics::score::{CaseScore, SubsetScore};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A finished (or stopped) federation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The settings it ran with.
    pub federation: Federation,
    /// Every site that took part, by name.
    pub sites: Vec<SiteRecord>,
    /// The federation's training run first, then each site's own and their consensus, when
    /// `--with-local` asked for them.
    pub runs: Vec<RunOutcome>,
    /// Seconds from start to end.
    pub seconds: f64,
}

/// One site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SiteRecord {
    /// Its name, from its certificate.
    pub name: SiteName,
    /// Its part.
    pub role: Role,
    /// What it has.
    pub inventory: Inventory,
}

/// Whose models a training run is of. Files have it as `federation`, `alone:SITE` or `consensus`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RunKind {
    /// All training sites' together.
    Federation,
    /// One site's that trains alone, for comparison.
    Alone {
        /// The site.
        site: SiteName,
    },
    /// The mean of the probabilities of the sites' own models; it never trains.
    Consensus,
}

/// A text that names no training run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is no training run; expected federation, alone:SITE or consensus")]
pub struct UnknownRun {
    /// The text.
    pub found: String,
}

const ALONE: &str = "alone:";

impl fmt::Display for RunKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Federation => f.write_str("federation"),
            Self::Alone { site } => write!(f, "{ALONE}{site}"),
            Self::Consensus => f.write_str("consensus"),
        }
    }
}

impl From<RunKind> for String {
    fn from(kind: RunKind) -> Self {
        kind.to_string()
    }
}

impl TryFrom<String> for RunKind {
    type Error = UnknownRun;

    fn try_from(text: String) -> Result<Self, UnknownRun> {
        if let Some(site) = text.strip_prefix(ALONE)
            && let Ok(site) = site.parse()
        {
            return Ok(Self::Alone { site });
        }
        match text.as_str() {
            "federation" => Ok(Self::Federation),
            "consensus" => Ok(Self::Consensus),
            _ => Err(UnknownRun { found: text }),
        }
    }
}

/// One training run of models.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunOutcome {
    /// Whose models these are.
    pub name: RunKind,
    /// The training sites.
    pub members: Vec<SiteName>,
    /// What each round did.
    pub rounds: Vec<RoundRecord>,
    /// The round whose model is reported: the best by validation. 0 for the consensus, which never
    /// trains.
    pub best_round: u32,
    /// The mean of the validation patients' own Youden thresholds, a probability: the headline.
    pub threshold: Option<f32>,
    /// The Youden threshold of all validation voxels together, a probability.
    pub threshold_pooled: Option<f32>,
    /// The threshold of the best pooled validation Dice, a probability.
    pub threshold_dice: Option<f32>,
    /// Final scores by site: validation cases of training sites, all cases of held-out ones. Each
    /// case is counted at `threshold`, `threshold_pooled` and `threshold_dice`, in this order, as
    /// far as they exist, and swept through thresholds found on the validation cases.
    pub scores: Vec<SiteScores>,
}

/// One round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoundRecord {
    /// The round, from 1.
    pub round: u32,
    /// Accepted updates, in site order.
    pub updates: Vec<UpdateRecord>,
    /// Sites that were asked and gave nothing, with the reason.
    pub missing: Vec<(SiteName, String)>,
    /// The pooled validation Dice in the brain at its best threshold.
    pub validation: Option<f64>,
    /// The same for each site that validated, on its own cases and at its own best threshold.
    #[serde(default)]
    pub validation_by_site: Vec<(SiteName, Option<f64>)>,
    /// The pooled Dice on the held-out sites, in rounds that scored them.
    #[serde(default)]
    pub held_out: Option<f64>,
    /// Seconds.
    pub seconds: f64,
    /// Bytes of parameters sent to and received from sites.
    pub bytes: u64,
}

/// One accepted update.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpdateRecord {
    /// The site.
    pub site: SiteName,
    /// Slices seen: its weight.
    pub slices: u64,
    /// Mean loss over the round's steps.
    pub mean_loss: f32,
    /// Mean loss over the last tenth of the steps.
    pub last_loss: f32,
    /// Seconds of training.
    pub seconds: f32,
    /// Optimiser steps done.
    #[serde(default)]
    pub steps: u32,
    /// Optimiser steps that the site was to do: more than were done where the deadline struck.
    #[serde(default)]
    pub asked_steps: u32,
    /// How many versions older than the one before this the model was that the site started from: 0
    /// in rounds that wait for their sites.
    #[serde(default)]
    pub staleness: u32,
    /// What the network computed in at the site.
    #[serde(default)]
    pub compute: Compute,
}

/// One site's cases under one model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SiteScores {
    /// The site.
    pub site: SiteName,
    /// Its part.
    pub role: Role,
    /// One entry a case, in the site's order.
    pub cases: Vec<CaseScore>,
    /// The cases shown a part of their sequences, by case and subset; empty where the settings ask
    /// for none.
    #[serde(default)]
    pub subsets: Vec<SubsetScore>,
    /// Pictures of the federation's representative cases, from sites that permit it:
    /// [`crate::overlay::MOST`] at most, of 64 kB as text each, less than the histograms of a few
    /// cases.
    #[serde(default)]
    pub overlays: Vec<Overlay>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_training_run_is_read_as_it_is_written_and_no_other_text_is_one() {
        let site = "north".parse().unwrap();
        for (kind, text) in [
            (RunKind::Federation, "federation"),
            (RunKind::Alone { site }, "alone:north"),
            (RunKind::Consensus, "consensus"),
        ] {
            let json = format!("{text:?}");
            assert_eq!(serde_json::to_string(&kind).unwrap(), json);
            assert_eq!(serde_json::from_str::<RunKind>(&json).unwrap(), kind);
        }
        assert!(serde_json::from_str::<RunKind>("\"together\"").is_err());
    }
}
