//! A site's data: what its files are, how a case is made ready for the model, and the cache on
//! disk.
//!
//! ```text
//! DataConfig -> case names and files -> (cache hit | prepare -> store) -> CachedCase, or Skipped with its reason
//! ```

mod alike;
mod assess;
mod brain;
mod cache;
mod config;
mod find;
mod labels;
mod litter;
mod normalise;
mod pattern;
mod prepare;
mod report;
mod survey;
mod trouble;

use crate::case::{CachedCase, CaseFileError, Note, disk_hint};
use assess::{Assessed, Read, assess};
pub(crate) use config::home;
pub use config::{Archives, ConfigError, DataConfig};
use find::Candidate;
pub(crate) use pattern::{Name as CaseName, Pattern as CasePattern};
pub use prepare::{CaseError, Files, prepare};
use program::{Class, Explain};
use protocol::settings::Input;
use rayon::prelude::*;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
pub use survey::{Row, Survey, survey};
pub use trouble::Trouble;

/// The file in the work folder that names the cases left out and why, and what is odd about others.
/// It stays at the site.
pub const SKIPPED: &str = "skipped.json";

/// Stands for the case where something is said of all of a site's cases.
const ALL_CASES: &str = "(all cases)";

/// What a site can work with.
#[derive(Debug)]
pub struct Cohort {
    /// Usable cases, archive by archive, by name.
    pub cases: Vec<CachedCase>,
    /// Of each case, whose images they are. Cases of one patient, or that share an image, have the
    /// same.
    pub patients: Vec<Patient>,
    /// Cases left out.
    pub skipped: Vec<Skipped>,
    /// What a person should look at.
    pub warnings: Vec<Warned>,
    /// Files and folders that fit a pattern and are what other programs left behind.
    pub ignored: BTreeSet<String>,
}

/// Whose images a case's are. Never leaves the site, never in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patient {
    /// The archive; `None` where the site has one only.
    pub archive: Option<String>,
    /// The patient's name in the patterns, or the case's where they do not say.
    pub name: String,
}

/// A case left out.
#[derive(Debug)]
pub struct Skipped {
    /// The case's name, below its archive's. Never leaves the site, never in a log.
    pub id: String,
    /// Why.
    pub reason: CaseError,
}

/// Something that a person should look at.
#[derive(Clone, Debug, PartialEq)]
pub struct Warned {
    /// The case's name, below its archive's, or the archive's. Never leaves the site, never in a
    /// log.
    pub id: String,
    /// What it is.
    pub note: Note,
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
    /// A panic: a fault of ours.
    #[error("preparing the data ended with a fault of this program")]
    Fault,
}

impl Explain for DataError {
    fn class(&self) -> Class {
        match self {
            Self::Root { .. } | Self::NoCases { .. } | Self::NothingLeft { .. } => Class::Data,
            Self::UnknownSequence { .. } | Self::NoSequence => Class::Configuration,
            Self::Disk { .. } => Class::Disk,
            Self::Fault => Class::Internal,
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = match self {
            Self::Root { .. } => "data.root is the folder that holds the cases",
            Self::NoCases { .. } => {
                "{case} in a pattern stands for the case's name; see docs/users/DATA.md"
            }
            Self::NothingLeft { .. } => "repair the files it names, or correct the [data] table",
            Self::UnknownSequence { .. } | Self::NoSequence => {
                "[data.sequences] says which files are which of the federation's sequences"
            }
            Self::Disk { error, .. } => disk_hint(error),
            Self::Fault => {
                "the lines before say where; please report it, without any patient's data"
            }
        };
        Some(hint.into())
    }
}

/// Turns a panic of some work into an error, so that those who wait for the work learn of it.
///
/// # Errors
/// The work's own, or [`DataError::Fault`].
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T, DataError>) -> Result<T, DataError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(DataError::Fault))
}

/// Finds a site's cases and makes them ready, from the cache where their files and settings are
/// unchanged.
///
/// Cases are prepared in parallel on the current rayon pool, which is the site's thread budget.
/// `work` receives `cache/` and [`SKIPPED`]. `progress` hears `(done, total)` after every case. A
/// bad case is skipped; the order of cases does not depend on threads.
///
/// # Errors
/// When the settings do not fit the federation, the disk refuses, or no case is left.
pub fn open(
    archives: &Archives,
    input: &Input,
    work: &Path,
    progress: &mut (dyn FnMut(usize, usize) + Send),
) -> Result<Cohort, DataError> {
    let disk = |error| DataError::Disk {
        folder: work.into(),
        error,
    };
    let Gathered {
        jobs,
        mut warnings,
        ignored,
    } = gather(archives, input)?;
    let cache = cache::Cache::open(work, input).map_err(disk)?;
    let prepare = |job| {
        let Job {
            archive,
            id,
            candidate:
                Candidate {
                    patient,
                    files,
                    notes,
                },
        } = job;
        match files.and_then(|files| cache.case(&id, &files, archive.lesion_labels())) {
            Err(CaseError::Cache(CaseFileError::Io(error))) => Err(disk(error)),
            outcome => Ok(Read {
                archive,
                id,
                patient,
                notes,
                outcome,
            }),
        }
    };
    let read = each(jobs, prepare, progress)?;
    let Assessed {
        cases,
        patients,
        skipped,
        warnings: of_cases,
    } = assess(read, CachedCase::noticed);
    warnings.extend(of_cases);
    finish(
        Cohort {
            cases,
            patients,
            skipped,
            warnings,
            ignored,
        },
        work,
    )
}

/// One case to read.
struct Job<'a> {
    archive: &'a DataConfig,
    id: String,
    candidate: Candidate,
}

/// What the patterns of all archives find.
struct Gathered<'a> {
    jobs: Vec<Job<'a>>,
    warnings: Vec<Warned>,
    ignored: BTreeSet<String>,
}

fn gather<'a>(archives: &'a Archives, input: &Input) -> Result<Gathered<'a>, DataError> {
    let mut gathered = Gathered {
        jobs: Vec::new(),
        warnings: Vec::new(),
        ignored: BTreeSet::new(),
    };
    for archive in archives.iter() {
        let found = archive.find(input)?;
        let id = archive.name().unwrap_or(ALL_CASES);
        gathered
            .warnings
            .extend(found.notes.into_iter().map(|note| Warned {
                id: id.into(),
                note,
            }));
        if archive.label().is_empty() {
            let note = Note::new(
                "data.label is not set: without a reference no case can train or be scored",
                "say with data.label and data.lesion_labels where lesions are marked",
            );
            gathered.warnings.push(Warned {
                id: id.into(),
                note,
            });
        }
        gathered.ignored.extend(found.ignored);
        gathered
            .jobs
            .extend(found.cases.into_iter().map(|(id, candidate)| Job {
                archive,
                id,
                candidate,
            }));
    }
    Ok(gathered)
}

/// Works on all cases in parallel, in their order, and says how far it is.
fn each<'a, T: Send>(
    jobs: Vec<Job<'a>>,
    work: impl Fn(Job<'a>) -> Result<Read<'a, T>, DataError> + Sync,
    progress: &mut (dyn FnMut(usize, usize) + Send),
) -> Result<Vec<Read<'a, T>>, DataError> {
    let (total, counter) = (jobs.len(), Mutex::new((0, progress)));
    let one = |job| {
        let read = work(job);
        let mut counter = counter.lock().unwrap_or_else(PoisonError::into_inner);
        counter.0 += 1;
        let done = counter.0;
        (counter.1)(done, total);
        read
    };
    jobs.into_par_iter().map(one).collect()
}

/// Writes the skip report, warns about what looks wrong, and refuses an empty cohort.
fn finish(cohort: Cohort, work: &Path) -> Result<Cohort, DataError> {
    let path = work.join(SKIPPED);
    report::write(&cohort, &path).map_err(|error| DataError::Disk {
        folder: work.into(),
        error,
    })?;
    if cohort.cases.is_empty() {
        return Err(DataError::NothingLeft {
            count: cohort.skipped.len(),
            report: path,
        });
    }
    if !cohort.skipped.is_empty() {
        tracing::warn!(
            skipped = cohort.skipped.len(),
            usable = cohort.cases.len(),
            "cases skipped; see {SKIPPED}"
        );
    }
    if !cohort.warnings.is_empty() {
        tracing::warn!(
            warnings = cohort.warnings.len(),
            "some cases should be looked at; see {SKIPPED}"
        );
    }
    Ok(cohort)
}

#[cfg(test)]
mod tests;
