//! Why something that a site said or sent does not count, and why a federation stops. Each reason
//! keeps the facts that it follows from; its text goes to people, into records and into the log.

use crate::case::Role;
use crate::codec::transfer::TransferError;
use crate::identity::{SiteName, Version};
use crate::message::PROTOCOL;
use crate::parameters::{ParametersError, ParametersId};
use metrics::voxel::HistogramError;

/// Why an update is not averaged.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum UpdateRejection {
    /// Its bytes are not what their header says.
    #[error(transparent)]
    Transfer(TransferError),
    /// Its stream ended early, and the connection did not.
    #[error("{0}")]
    Stream(String),
    /// A value that no model has.
    #[error(transparent)]
    Values(ParametersError),
    /// The stored values are not what was announced.
    #[error("the values hash to {found}, not to {expected}")]
    Hash {
        /// What was announced.
        expected: ParametersId,
        /// What the values hash to.
        found: ParametersId,
    },
    /// It is absurdly far from the model that it started from.
    #[error(
        "it is {distance:.3e} away from the model that it started from, more than {most_times} \
         times that model's size, {size:.3e}"
    )]
    Far {
        /// The euclidean norm of the difference.
        distance: f64,
        /// The euclidean norm of the model.
        size: f64,
        /// How many times the size a distance may be.
        most_times: f64,
    },
    /// It went far beyond the other updates of its round.
    #[error(
        "it is {distance:.3e} away from the model that it started from, more than {most_times} \
         times the median of {updates} updates, {median:.3e}"
    )]
    Outlier {
        /// The euclidean norm of the difference.
        distance: f64,
        /// The median of all updates' distances.
        median: f64,
        /// How many updates that is the median of.
        updates: usize,
        /// How many times the median a distance may be.
        most_times: f64,
    },
}

/// Why the summary of a training cannot be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SummaryRejection {
    /// An update of no slices has no weight.
    #[error("0 slices in {steps} of {asked_steps} steps")]
    NoSlices {
        /// Steps done.
        steps: u32,
        /// Steps that it set out for.
        asked_steps: u32,
    },
    /// More slices than the steps can have seen.
    #[error("{slices} slices in {steps} steps of {batch} slices")]
    Slices {
        /// Slices seen.
        slices: u64,
        /// Steps done.
        steps: u32,
        /// Slices in one step.
        batch: usize,
    },
    /// More steps done than it set out for.
    #[error("{slices} slices in {steps} of {asked_steps} steps")]
    Steps {
        /// Slices seen.
        slices: u64,
        /// Steps done.
        steps: u32,
        /// Steps that it set out for.
        asked_steps: u32,
    },
    /// It set out for more steps than the settings, the site's own slices and the request allow.
    #[error("{slices} slices in {steps} of {asked_steps} steps, and {most_steps} were asked for")]
    AskedSteps {
        /// Slices seen.
        slices: u64,
        /// Steps done.
        steps: u32,
        /// Steps that it set out for.
        asked_steps: u32,
        /// Steps that it may do.
        most_steps: u32,
    },
    /// The training examples held no sequence.
    #[error("its {slices} slices held no sequence")]
    NoSequence {
        /// Slices seen.
        slices: u64,
    },
    /// A loss is infinite or not a number.
    #[error("its loss is not a number: {mean} over all steps, {last} over the last ones")]
    Loss {
        /// The mean over all steps.
        mean: f32,
        /// The mean over the last tenth of the steps.
        last: f32,
    },
}

/// Why the scores of an evaluation are not what was asked for. Cases have the site's numbers, never
/// names.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ScoreRejection {
    /// A case was not counted at the very thresholds of the request.
    #[error("case {case} is counted at {found} thresholds that are not the {asked} of the request")]
    Thresholds {
        /// The case.
        case: u32,
        /// How many the request has.
        asked: usize,
        /// How many the answer has.
        found: usize,
    },
    /// A histogram that cannot be.
    #[error("case {case} has a histogram that cannot be: {error}")]
    Histogram {
        /// The case.
        case: u32,
        /// What is wrong with it.
        error: HistogramError,
    },
    /// Scores on parts of the sequences, which were not asked for.
    #[error("case {case} is scored on a part of its sequences")]
    Subset {
        /// The case.
        case: u32,
    },
    /// More scores than the site's cases can have.
    #[error("more than {most} scores")]
    Many {
        /// How many there may be.
        most: usize,
    },
}

/// Why nothing came of a task.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TaskFailure {
    /// The update is refused.
    #[error("its update was refused: {0}")]
    Update(UpdateRejection),
    /// The summary is refused.
    #[error("its summary cannot be: {0}")]
    Summary(SummaryRejection),
    /// The scores are refused.
    #[error("its scores are not what was asked for: {0}")]
    Scores(ScoreRejection),
    /// The summary names other parameters than those that came.
    #[error("it announced other parameters than it sent: {announced}, and not {sent}")]
    OtherParameters {
        /// What the summary names.
        announced: ParametersId,
        /// What came.
        sent: ParametersId,
    },
    /// The site's own words.
    #[error("{0}")]
    Site(String),
    /// The task made no progress for as long as a site may be silent.
    #[error("no progress for {seconds} s{}", fruitless(*begun))]
    Silent {
        /// How long that is.
        seconds: u64,
        /// How often it began, where it began more than once and got no further.
        begun: Option<u32>,
    },
    /// The operator shut the site out.
    #[error("{DROPPED}")]
    Dropped,
    /// In a buffer: the site trains from a model that is too old.
    #[error("its model is more than {max_staleness} versions old")]
    Stale {
        /// How many versions older than the newest a model may be.
        max_staleness: u32,
    },
    /// In a buffer: a restart does not know the model that the site trains from.
    #[error("the model that it started from is not known any more")]
    UnknownModel { version: Version },
}

impl TaskFailure {
    /// Whether the site sent a result that is refused: it learns why.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::Update(_) | Self::Summary(_) | Self::Scores(_) | Self::OtherParameters { .. } => {
                true
            }
            Self::Site(_)
            | Self::Silent { .. }
            | Self::Dropped
            | Self::Stale { .. }
            | Self::UnknownModel { .. } => false,
        }
    }
}

/// Why a dropped site is refused, and why it is missing in a round.
const DROPPED: &str = "dropped by the operator";

fn fruitless(begun: Option<u32>) -> String {
    match begun {
        Some(begun) => format!("; it began {begun} times and got no further"),
        None => String::new(),
    }
}

/// Why a site is not let in, or has to leave.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SiteRejection {
    /// It speaks another protocol.
    #[error("the site speaks protocol {found}, the coordinator {PROTOCOL}")]
    Protocol {
        /// What the site speaks.
        found: u32,
    },
    /// The federation has a list of sites, and this one is not in it.
    #[error("{site} is not among the federation's expected sites")]
    Unexpected {
        /// The site.
        site: SiteName,
    },
    /// The operator shut it out.
    #[error("{site} was {DROPPED}")]
    Dropped {
        /// The site.
        site: SiteName,
    },
    /// It took another part before.
    #[error("{site} joined with role {before:?} before and now says {now:?}")]
    Role {
        /// The site.
        site: SiteName,
        /// Its part before.
        before: Role,
        /// What it says now.
        now: Role,
    },
    /// It has none of the federation's sequences.
    #[error("the site has {found:?}, the federation wants any of {wanted:?}")]
    Sequences {
        /// The site's.
        found: Vec<String>,
        /// The federation's.
        wanted: Vec<String>,
    },
    /// Its data holds nothing for its part, or sequences that cannot be.
    #[error("the site has no case that it could work with")]
    NoCase {
        /// Cases for its part.
        cases: u32,
    },
}

/// A site that gave nothing to a round, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GaveNothing {
    /// The site.
    pub site: SiteName,
    /// Why.
    pub reason: String,
}

/// The sites that gave nothing, in one line.
fn line(all: &[GaveNothing]) -> String {
    let mut line = String::new();
    for GaveNothing { site, reason } in all {
        if !line.is_empty() {
            line.push_str("; ");
        }
        line.push_str(&format!("{site}: {reason}"));
    }
    line
}

/// Why a federation cannot go on. What was persisted is kept, and a new start goes on from there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StopReason {
    /// Too few sites are there to train, and no other came in time.
    #[error("round {round} needs {minimum} training sites and {found} are there")]
    TooFewSites {
        /// The round.
        round: u32,
        /// Sites that are there.
        found: usize,
        /// Sites that are needed.
        minimum: usize,
    },
    /// Too few of a round's sites gave an update.
    #[error(
        "round {round} has {found} of at least {minimum} updates ({})",
        line(missing)
    )]
    TooFewUpdates {
        /// The round.
        round: u32,
        /// Accepted updates.
        found: usize,
        /// Updates that are needed.
        minimum: usize,
        /// Who gave nothing.
        missing: Vec<GaveNothing>,
    },
    /// Too few sites gave a buffer any update.
    #[error(
        "round {round} has updates of {found} of at least {minimum} sites ({})",
        line(missing)
    )]
    TooFewInBuffer {
        /// The round.
        round: u32,
        /// Sites whose updates wait.
        found: usize,
        /// Sites that are needed.
        minimum: usize,
        /// Who gave nothing.
        missing: Vec<GaveNothing>,
    },
}

/// Why a round's model is discarded: some site worked with one before, and none can with this one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DiscardReason {
    #[error("no site can train from it ({})", line(.0))]
    NoTraining(Vec<GaveNothing>),
    #[error("no site can score it ({})", line(.0))]
    NoScore(Vec<GaveNothing>),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::tests::site_name;

    #[test]
    fn a_silent_site_is_told_of_with_what_is_known() {
        let silent = |begun| {
            TaskFailure::Silent {
                seconds: 600,
                begun,
            }
            .to_string()
        };
        assert_eq!(silent(None), "no progress for 600 s");
        assert_eq!(
            silent(Some(6)),
            "no progress for 600 s; it began 6 times and got no further"
        );
    }

    #[test]
    fn a_stop_names_everyone_that_gave_nothing() {
        let missing = [("north", "no progress for 9 s"), ("south", "out of memory")];
        let missing = missing.map(|(site, reason)| GaveNothing {
            site: site_name(site),
            reason: reason.into(),
        });
        let stop = StopReason::TooFewUpdates {
            round: 3,
            found: 0,
            minimum: 2,
            missing: missing.into(),
        };
        assert_eq!(
            stop.to_string(),
            "round 3 has 0 of at least 2 updates (north: no progress for 9 s; south: out of memory)"
        );
    }
}
