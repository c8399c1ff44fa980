//! A site's data: what its files are, how a case is made ready for the model, and the cache on disk.
//!
//! ```text
//! DataConfig -> case names and files -> (cache hit | prepare -> store) -> CachedCase, or Skipped with its reason
//! ```

mod cache;
mod config;
pub mod disk;
mod pattern;
mod prepare;

use crate::case::{CachedCase, CaseFileError};
use crate::nifti::{self, NiftiError};
pub use config::{Archives, ConfigError, DataConfig};
pub(crate) use pattern::Pattern as CasePattern;
pub use prepare::{CaseError, Files, prepare};
use rayon::prelude::*;
use serde::Serialize;
use shared::federation::Input;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The file in the work folder that names the cases left out and why. It stays at the site.
pub const SKIPPED: &str = "skipped.json";

/// What a site can work with.
#[derive(Debug)]
pub struct Cohort {
    /// Usable cases, archive by archive, by name.
    pub cases: Vec<CachedCase>,
    /// Of each case, the name of the archive it came from; `None` where the site has one only.
    pub archives: Vec<Option<String>>,
    /// Cases left out, by name.
    pub skipped: Vec<Skipped>,
}

/// A case left out.
#[derive(Debug)]
pub struct Skipped {
    /// The case's name, below its archive's. Never leaves the site, never in a log.
    pub id: String,
    /// Why.
    pub reason: CaseError,
}

/// Why a site has no data to work with.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The root cannot be listed.
    #[error("the data folder {}: {error}", .root.display())]
    Root {
        /// As configured.
        root: PathBuf,
        /// What the disk said.
        error: io::Error,
    },
    /// A configured sequence that the federation does not name.
    #[error("data.{key} names {name:?}; the federation's sequences are {}", .known.join(", "))]
    UnknownSequence {
        /// Where it stands.
        key: &'static str,
        /// As configured.
        name: String,
        /// The federation's.
        known: Vec<String>,
    },
    /// Every sequence is left out by the configuration.
    #[error("data.drop leaves none of the site's sequences")]
    NoSequence,
    /// No file matches.
    #[error("no file under {} matches the patterns of data.sequences and data.cases", .root.display())]
    NoCases {
        /// As configured.
        root: PathBuf,
    },
    /// All cases were skipped.
    #[error("none of {count} cases can be used; {} says why", .report.display())]
    NothingLeft {
        /// How many were skipped.
        count: usize,
        /// The skip report.
        report: PathBuf,
    },
    /// The work folder cannot be written.
    #[error("the work folder {}: {error}", .folder.display())]
    Disk {
        /// As configured.
        folder: PathBuf,
        /// What the disk said.
        error: io::Error,
    },
}

/// Finds a site's cases and makes them ready, from the cache where their files and settings are unchanged.
///
/// Cases are prepared in parallel on the current rayon pool, which is the site's thread budget. `work` receives
/// `cache/` and [`SKIPPED`]. `progress` hears `(done, total)` after every case. A bad case is skipped; the order of
/// cases does not depend on threads.
///
/// # Errors
/// When the settings do not fit the federation, the disk refuses, or no case is left.
pub fn open(
    archives: &Archives,
    input: &Input,
    work: &Path,
    progress: &mut (dyn FnMut(usize, usize) + Send),
) -> Result<Cohort, DataError> {
    let disk = |error| DataError::Disk { folder: work.into(), error };
    let mut found = Vec::new();
    for archive in archives.iter() {
        let cases = archive.find(input)?;
        found.extend(cases.into_iter().map(|(id, files)| (archive, id, files)));
    }
    let cache = cache::Cache::open(work, input).map_err(disk)?;
    let (total, counter) = (found.len(), Mutex::new((0, progress)));
    let outcomes: Vec<(&DataConfig, String, Result<CachedCase, CaseError>)> = found
        .into_par_iter()
        .map(|(archive, id, files)| {
            let outcome = files.and_then(|files| cache.case(&id, &files, archive.lesion_labels()));
            let mut counter = counter.lock().unwrap_or_else(PoisonError::into_inner);
            counter.0 += 1;
            let done = counter.0;
            (counter.1)(done, total);
            match outcome {
                Err(CaseError::Cache(CaseFileError::Io(error))) => Err(disk(error)),
                outcome => Ok((archive, id, outcome)),
            }
        })
        .collect::<Result<_, _>>()?;
    let mut cohort = Cohort { cases: Vec::new(), archives: Vec::new(), skipped: Vec::new() };
    for (archive, id, outcome) in outcomes {
        let name = archive.name();
        match outcome {
            Ok(case) => {
                cohort.cases.push(case);
                cohort.archives.push(name.map(str::to_owned));
            }
            Err(reason) => {
                let id = name.map_or(id.clone(), |name| format!("{name}/{id}"));
                cohort.skipped.push(Skipped { id, reason });
            }
        }
    }
    finish(cohort, work)
}

/// What an archive holds, as far as file names and the first file tell.
#[derive(Debug)]
pub struct Survey {
    /// Its name; `None` for the only one of its site.
    pub archive: Option<String>,
    /// Cases that any file belongs to.
    pub cases: usize,
    /// Of each sequence, how many cases have it.
    pub sequences: Vec<(String, usize)>,
    /// Usable cases with a reference.
    pub labelled: usize,
    /// Cases that lack something they must have.
    pub unusable: usize,
    /// Whether the first image can be read; `None` without any.
    pub first: Option<Result<(), NiftiError>>,
}

/// Looks at what the patterns find, without a federation and without preparing anything.
///
/// # Errors
/// As [`open`], where the folder or the patterns are wrong.
pub fn survey(archives: &Archives) -> Result<Vec<Survey>, DataError> {
    archives.iter().map(survey_one).collect()
}

fn survey_one(archive: &DataConfig) -> Result<Survey, DataError> {
    let sequences = archive.names();
    let input = Input { sequences: sequences.clone(), slices: 1, plane: 16, spacing_mm: None };
    let found = archive.find(&input)?;
    let usable: Vec<&Files> = found.values().flatten().collect();
    let have = |index: usize| usable.iter().filter(|files| files.sequences[index].is_some()).count();
    let first = usable.iter().find_map(|files| files.sequences.iter().flatten().next());
    let held = sequences.into_iter().enumerate().map(|(index, name)| (name, have(index)));
    Ok(Survey {
        archive: archive.name().map(str::to_owned),
        cases: found.len(),
        sequences: held.filter(|(name, _)| archive.sequences().contains(name)).collect(),
        labelled: usable.iter().filter(|files| files.label.is_some()).count(),
        unusable: found.len() - usable.len(),
        first: first.map(|path| nifti::read(path).map(drop)),
    })
}

/// Writes the skip report, warns about what looks wrong, and refuses an empty cohort.
fn finish(cohort: Cohort, work: &Path) -> Result<Cohort, DataError> {
    let report = work.join(SKIPPED);
    write_report(&cohort, &report).map_err(|error| DataError::Disk { folder: work.into(), error })?;
    if cohort.cases.is_empty() {
        return Err(DataError::NothingLeft { count: cohort.skipped.len(), report });
    }
    if !cohort.skipped.is_empty() {
        tracing::warn!(skipped = cohort.skipped.len(), usable = cohort.cases.len(), "cases skipped; see {SKIPPED}");
    }
    let labelled = cohort.cases.iter().any(CachedCase::has_label);
    if labelled && !cohort.cases.iter().any(|case| case.lesion_slices().contains(&true)) {
        tracing::warn!("no case holds any of data.lesion_labels: is the label's value another one?");
    }
    Ok(cohort)
}

#[derive(Serialize)]
struct Report<'a> {
    usable: usize,
    skipped: Vec<Line<'a>>,
}

#[derive(Serialize)]
struct Line<'a> {
    case: &'a str,
    reason: String,
}

fn write_report(cohort: &Cohort, path: &Path) -> io::Result<()> {
    let line = |skipped: &'_ Skipped| (skipped.id.clone(), skipped.reason.to_string());
    let lines: Vec<(String, String)> = cohort.skipped.iter().map(line).collect();
    let skipped = lines.iter().map(|(case, reason)| Line { case, reason: reason.clone() }).collect();
    let text = serde_json::to_string_pretty(&Report { usable: cohort.cases.len(), skipped })?;
    disk::replace(path, |file| io::Write::write_all(file, text.as_bytes()))
}

#[cfg(test)]
mod tests;
