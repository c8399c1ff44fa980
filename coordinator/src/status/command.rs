//! What the operator can ask of a running coordinator, and what it answers.

use protocol::identity::SiteName;
use std::fmt;
use tokio::sync::oneshot;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Stop,
    Pause,
    Resume,
    Drop {
        /// As it was typed.
        site: String,
        /// Also where the federation cannot continue without it.
        force: bool,
    },
}

/// An action of the operator, and where to send its result.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) action: Action,
    pub(crate) answer: oneshot::Sender<Result<Done, Refusal>>,
}

/// What came of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    Stopping,
    Paused,
    PausedBefore,
    Resumed,
    NotPaused,
    Dropped {
        site: SiteName,
    },
    DroppedBefore {
        site: SiteName,
    },
    /// The federation cannot continue without the site.
    DroppedAndStopped {
        site: SiteName,
        reason: String,
    },
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopping => f.write_str("stopping"),
            Self::Paused => f.write_str("paused: no new task is handed out"),
            Self::PausedBefore => f.write_str("it was paused already: nothing has changed"),
            Self::Resumed => f.write_str("tasks are handed out"),
            Self::NotPaused => f.write_str("it was not paused: nothing has changed"),
            Self::Dropped { site } => {
                write!(f, "{site} is dropped: it takes no further part in this run")
            }
            Self::DroppedBefore { site } => {
                write!(f, "{site} was dropped before: nothing has changed")
            }
            Self::DroppedAndStopped { site, reason } => write!(
                f,
                "{site} is dropped: it takes no further part in this run. The federation stops: \
                 {reason}"
            ),
        }
    }
}

/// Why an action was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(
        "there is no site {found} in this federation{} Its sites: {}",
        question(nearest.as_ref()),
        list(sites)
    )]
    UnknownSite {
        found: String,
        /// The site that was probably meant.
        nearest: Option<SiteName>,
        sites: Vec<SiteName>,
    },
    #[error(
        "without {site} there would be {left} of the {minimum} training sites that each round \
         needs (sites.minimum): the federation would stop, and a dropped site cannot come back \
         into this run. `coordinator drop {site} --force` drops it all the same"
    )]
    TooFewLeft {
        site: SiteName,
        left: usize,
        minimum: usize,
    },
    #[error("the coordinator stops")]
    Stopping,
}

fn question(nearest: Option<&SiteName>) -> String {
    match nearest {
        Some(site) => format!(": did you mean {site}?"),
        None => ".".into(),
    }
}

fn list(sites: &[SiteName]) -> String {
    let names: Vec<&str> = sites.iter().map(SiteName::as_str).collect();
    names.join(", ")
}
