//! What a site's images are, without a federation: every case is read, and nothing is kept.

use super::assess::{Assessed, Read, assess};
use super::config::{Archives, DataConfig};
use super::find::Candidate;
use super::prepare::{BrainSize, examine};
use super::{DataError, Gathered, Job, each, gather};
use crate::case::Noticed;
use protocol::settings::Input;
use serde::Serialize;
use std::collections::BTreeSet;

/// What a site's archives hold.
#[derive(Debug)]
pub struct Survey {
    /// Cases that any file or folder belongs to.
    pub cases: usize,
    /// Of each sequence, how many cases have its file.
    pub sequences: Vec<(String, usize)>,
    /// Cases that can be used.
    pub usable: usize,
    /// Patients that these are of.
    pub patients: usize,
    /// Whether a reference is configured in every archive.
    pub labelled: bool,
    /// Everything that is not as it should be.
    pub rows: Vec<Row>,
    /// Files and folders that fit a pattern and are what other programs left behind.
    pub ignored: BTreeSet<String>,
    /// The largest height and the largest width of the usable cases' brains.
    pub largest_brain: Option<BrainSize>,
}

/// What is known of a case that can be used.
struct Looked {
    noticed: Noticed,
    brain: BrainSize,
}

/// One line of what is wrong. Never leaves the site, never in a log.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The case, or the archive.
    pub case: String,
    /// What is wrong.
    pub what: String,
    /// `left out`, or `look at it`: used all the same.
    pub how_bad: &'static str,
    /// What to do.
    pub remedy: String,
}

/// Reads every case as [`super::open`] does. Without the `federation`'s input, which is the
/// coordinator's to set, its planes are not looked at, and every sequence of the site is asked for.
///
/// # Errors
/// As [`super::open`], where the folders or the patterns are wrong.
pub fn survey(
    archives: &Archives,
    federation: Option<&Input>,
    progress: &mut (dyn FnMut(usize, usize) + Send),
) -> Result<Survey, DataError> {
    let names: BTreeSet<String> = archives.iter().flat_map(DataConfig::names).collect();
    let sequences: Vec<String> = names.into_iter().collect();
    let usual = Input {
        sequences,
        slices: 1,
        plane: 16,
        spacing_mm: None,
        clip_percentiles: Some(Input::CLIP_PERCENTILES),
    };
    let input = federation.cloned().unwrap_or(usual);
    let Gathered {
        jobs,
        mut warnings,
        ignored,
    } = gather(archives, &input)?;
    let cases = jobs.len();
    let mut sequences = Vec::new();
    for (index, name) in input.sequences.iter().enumerate() {
        let files = jobs
            .iter()
            .filter_map(|job| job.candidate.files.as_ref().ok());
        let count = files
            .filter(|files| files.sequences[index].is_some())
            .count();
        if archives.sequences().contains(name) {
            sequences.push((name.clone(), count));
        }
    }
    let read = |job| {
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
        let outcome = files.and_then(|files| {
            let mut examined = examine(&files, &input, archive.lesion_labels())?;
            if federation.is_some() {
                examined.place(&input);
            }
            let brain = examined.brain_size();
            Ok(Looked {
                noticed: examined.noticed,
                brain,
            })
        });
        Ok(Read {
            archive,
            id,
            patient,
            notes,
            outcome,
        })
    };
    let assessed = assess(each(jobs, read, progress)?, |looked| &looked.noticed);
    let Assessed {
        cases: usable,
        patients,
        skipped,
        warnings: of_cases,
    } = assessed;
    warnings.extend(of_cases);
    let mut rows = Vec::new();
    for case in skipped {
        let (what, remedy) = (case.reason.to_string(), case.reason.remedy().to_owned());
        rows.push(Row {
            case: case.id,
            what,
            how_bad: "left out",
            remedy,
        });
    }
    for warned in warnings {
        let (what, remedy) = (warned.note.what, warned.note.remedy);
        rows.push(Row {
            case: warned.id,
            what,
            how_bad: "look at it",
            remedy,
        });
    }
    let different: BTreeSet<(Option<String>, String)> = patients
        .into_iter()
        .map(|patient| (patient.archive, patient.name))
        .collect();
    let labelled = archives
        .iter()
        .all(|archive| !archive.lesion_labels().is_empty());
    let mut largest_brain: Option<BrainSize> = None;
    for looked in &usable {
        let largest = largest_brain.get_or_insert(looked.brain);
        for axis in 0..2 {
            largest.pixels[axis] = largest.pixels[axis].max(looked.brain.pixels[axis]);
            largest.mm[axis] = largest.mm[axis].max(looked.brain.mm[axis]);
        }
    }
    Ok(Survey {
        cases,
        sequences,
        usable: usable.len(),
        patients: different.len(),
        labelled,
        rows,
        ignored,
        largest_brain,
    })
}
