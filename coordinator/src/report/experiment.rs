//! What an experiment found: its arms side by side, each run with several seeds. `experiment.json`
//! for programs, `experiment.html` for people, and the pictures.

mod models;
mod page;
mod pictures;

use super::{ReportError, disk, put};
use models::models;
use protocol::outcome::Outcome;
use std::path::Path;

/// A finished run of an arm with a seed.
#[derive(Clone, Debug)]
pub(crate) struct Finished {
    /// The arm.
    pub(crate) arm: String,
    /// The seed.
    pub(crate) seed: u64,
    /// Its folder, below the experiment's.
    pub(crate) folder: String,
    /// What it came to.
    pub(crate) outcome: Outcome,
}

/// Writes the report on the runs that are finished, in the order of the arms, into the experiment's
/// folder. Gives the summary for a terminal; `None` before any run is finished.
///
/// # Errors
/// [`ReportError::Disk`]; [`ReportError::Draw`] would be a fault of ours.
pub(crate) fn write(
    name: &str,
    finished: &[Finished],
    out: &Path,
) -> Result<Option<Written>, ReportError> {
    let Some(first) = finished.first() else {
        return Ok(None);
    };
    let models = models(finished);
    let experiment = models::summary(name, &models, first.outcome.federation.seed);
    let figures = pictures::draw(&experiment, &models)?;
    let folder = out.join("figures");
    let own = out.join(crate::experiment::FILE).exists();
    let made = if own {
        program::private::create_folder(&folder)
    } else {
        std::fs::create_dir_all(&folder)
    };
    made.map_err(disk("create", &folder))?;
    for figure in &figures {
        put(
            &folder.join(format!("{}.svg", figure.name)),
            &figure.svg,
            own,
        )?;
    }
    let json = serde_json::to_string_pretty(&experiment).map_err(ReportError::Encode)? + "\n";
    put(&out.join("experiment.json"), &json, own)?;
    put(
        &out.join("experiment.html"),
        &page::page(&experiment, &first.outcome, &figures),
        own,
    )?;
    Ok(Some(Written {
        json,
        words: page::table(&experiment),
    }))
}

/// What is shown of a written report.
pub(crate) struct Written {
    /// `experiment.json`.
    pub(crate) json: String,
    /// A table for a terminal.
    pub(crate) words: String,
}

#[cfg(test)]
mod tests;
