//! A site's data: finding its files, preparing cases for the model, and the cache on disk.
//!
//! ```text
//! DataConfig -> case names and files -> (cache hit | prepare -> store) -> CachedCase, or Skipped with its reason
//! ```

mod assess;
mod brain;
mod cache;
mod case_error;
mod config;
mod demands;
mod file_trouble;
mod find;
mod labels;
mod list;
mod litter;
mod normalise;
mod pattern;
mod plausible;
mod prepare;
mod report;
mod same_patient;
mod site_file;
mod survey;

use crate::case::{CachedCase, CaseFileError, Note, disk_hint};
use assess::{Assessed, ReadCase, assess};
pub(crate) use brain::tissue;
pub use case_error::CaseError;
pub(crate) use config::home;
pub use config::{Archives, ConfigError, DataConfig};
pub use file_trouble::FileTrouble;
use find::Candidate;
pub use list::{ListedCase, Listing, list_cases, list_images};
pub(crate) use pattern::{CaseName, CasePattern};
pub use prepare::{Files, prepare};
use program::{Class, Explain};
use protocol::settings::Input;
use rayon::prelude::*;
pub use site_file::{SiteFileError, read_site_file};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
pub use survey::{Row, Survey, survey};

/// The file in the work folder that lists the cases left out, with the reasons, and warnings about
/// others. It stays at the site.
pub const SKIPPED: &str = "skipped.json";

/// Takes the place of the case's name in warnings about all cases of a site.
const ALL_CASES: &str = "(all cases)";

/// The usable cases of a site, and what was found on the way.
#[derive(Debug)]
pub struct Cohort {
    /// Usable cases, archive by archive, by name.
    pub cases: Vec<CachedCase>,
    /// The patient of each case. Cases that share an image have the same one, whatever their names.
    pub patients: Vec<Patient>,
    pub skipped: Vec<Skipped>,
    pub warnings: Vec<Warned>,
    /// Files and folders that match a pattern and are leftovers of other programs.
    pub ignored: BTreeSet<String>,
}

/// Must not leave the site or appear in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patient {
    /// The archive; `None` where the site has one archive only.
    pub archive: Option<String>,
    /// The text of `{patient}`, or the case's name where the patterns have none.
    pub name: String,
}

/// A case left out.
#[derive(Debug)]
pub struct Skipped {
    /// `ARCHIVE/CASE`, or the case's name alone. Must not leave the site or appear in a log.
    pub id: String,
    pub reason: CaseError,
}

/// A warning about a case or an archive that is used all the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Warned {
    /// The case as in [`Skipped`], or the archive. Must not leave the site or appear in a log.
    pub id: String,
    pub note: Note,
}

/// Why a site has no data to work with.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    #[error("the data folder {}: {error}", .root.display())]
    Root { root: PathBuf, error: io::Error },
    #[error("data.{key} names {name:?}; the federation's sequences are {}", .known.join(", "))]
    UnknownSequence {
        /// `sequences` or `drop`.
        key: &'static str,
        name: String,
        /// The federation's sequences.
        known: Vec<String>,
    },
    #[error("data.drop leaves none of the site's sequences")]
    NoSequence,
    #[error("no file under {} matches the patterns of data.sequences and data.cases", .root.display())]
    NoCases { root: PathBuf },
    #[error("none of {count} cases can be used; {} lists the reasons", .report.display())]
    NothingLeft {
        count: usize,
        /// The path of [`SKIPPED`].
        report: PathBuf,
    },
    #[error("the work folder {}: {error}", .folder.display())]
    Disk { folder: PathBuf, error: io::Error },
    /// A panic: an error in this program.
    #[error("preparing the data failed because of an error in this program")]
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
                "{case} in a pattern means the case's name; see docs/users/DATA.md"
            }
            Self::NothingLeft { .. } => {
                "repair the files that it lists, or correct the [data] table"
            }
            Self::UnknownSequence { .. } | Self::NoSequence => {
                "[data.sequences] says which files are which of the federation's sequences"
            }
            Self::Disk { error, .. } => disk_hint(error),
            Self::Fault => "please report it with the log lines above, without any patient's data",
        };
        Some(hint.into())
    }
}

/// Turns a panic into an error, so that the thread that waits for the result receives one.
///
/// # Errors
/// Those of `work`, or [`DataError::Fault`].
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T, DataError>) -> Result<T, DataError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(DataError::Fault))
}

/// Finds and prepares a site's cases; takes them from the cache where files and settings are
/// unchanged.
///
/// Cases are prepared in parallel on the current rayon pool, which has the site's number of
/// threads. The folder `work` receives `cache/`, the masks of `data.brain_command` in `brains/`,
/// and [`SKIPPED`]. `progress` is called with
/// `(done, total)` after every case. A bad case is skipped; the order of cases does not depend on
/// the number of threads.
///
/// # Errors
/// When the settings do not match the federation, the work folder cannot be written, or no case is
/// usable.
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
    let FoundCases {
        cases,
        mut warnings,
        ignored,
    } = find_cases(archives, input)?;
    warnings.extend(without_reference(archives));
    let cache = cache::Cache::open(work, input).map_err(disk)?;
    let masks = demands::mask_cache(work);
    let prepare = |case| {
        let FoundCase {
            archive,
            id,
            candidate,
        } = case;
        let Candidate {
            patient,
            files,
            notes,
        } = candidate;
        let files = files.and_then(|files| archive.complete(files, input, Some(&masks)));
        match files.and_then(|files| cache.case(&id, &files, archive.lesion_labels())) {
            Err(CaseError::Cache(CaseFileError::Io(error))) => Err(disk(error)),
            outcome => Ok(ReadCase {
                archive,
                id,
                patient,
                notes,
                outcome,
            }),
        }
    };
    let read = in_parallel(cases, prepare, progress)?;
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

/// A case before its files are read.
struct FoundCase<'a> {
    archive: &'a DataConfig,
    id: String,
    candidate: Candidate,
}

/// The cases of all archives, in the order of archives and names.
struct FoundCases<'a> {
    cases: Vec<FoundCase<'a>>,
    warnings: Vec<Warned>,
    ignored: BTreeSet<String>,
}

fn find_cases<'a>(archives: &'a Archives, input: &Input) -> Result<FoundCases<'a>, DataError> {
    let mut all = FoundCases {
        cases: Vec::new(),
        warnings: Vec::new(),
        ignored: BTreeSet::new(),
    };
    for archive in archives.iter() {
        let found = archive.find(input)?;
        let name = archive.name().unwrap_or(ALL_CASES);
        for note in found.notes {
            all.warnings.push(Warned {
                id: name.into(),
                note,
            });
        }
        all.ignored.extend(found.ignored);
        for (id, candidate) in found.cases {
            all.cases.push(FoundCase {
                archive,
                id,
                candidate,
            });
        }
    }
    Ok(all)
}

/// Warnings about archives whose cases have no reference.
fn without_reference(archives: &Archives) -> Vec<Warned> {
    let mut warnings = Vec::new();
    for archive in archives.iter() {
        if archive.label().is_empty() {
            warnings.push(Warned {
                id: archive.name().unwrap_or(ALL_CASES).into(),
                note: Note::new(
                    "data.label is not set: cases without a reference can be neither trained on \
                     nor scored",
                    "set data.label and data.lesion_labels to where lesions are marked",
                ),
            });
        }
    }
    warnings
}

/// Works on all cases in parallel and keeps their order; `progress` is called with `(done, total)`
/// after each.
fn in_parallel<'a, T: Send>(
    cases: Vec<FoundCase<'a>>,
    work: impl Fn(FoundCase<'a>) -> Result<ReadCase<'a, T>, DataError> + Sync,
    progress: &mut (dyn FnMut(usize, usize) + Send),
) -> Result<Vec<ReadCase<'a, T>>, DataError> {
    let total = cases.len();
    let counter = Mutex::new((0, progress));
    let one = |case| {
        let read = work(case);
        let mut counter = counter.lock().unwrap_or_else(PoisonError::into_inner);
        counter.0 += 1;
        let done = counter.0;
        (counter.1)(done, total);
        read
    };
    cases.into_par_iter().map(one).collect()
}

/// Writes the skip report, logs warnings, and refuses a cohort without cases.
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
            "some cases need a look; see {SKIPPED}"
        );
    }
    Ok(cohort)
}

#[cfg(test)]
mod tests;
