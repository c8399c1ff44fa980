//! Checks a site's images without a federation: every case is read, and nothing is written but the
//! masks of `data.brain_command`.

use super::assess::{Assessed, ReadCase, assess};
use super::config::{Archives, DataConfig};
use super::demands::mask_cache;
use super::find::Candidate;
use super::prepare::{BrainSize, read_native};
use super::{DataError, FoundCase, FoundCases, find_cases, in_parallel, without_reference};
use crate::case::Noticed;
use protocol::settings::Input;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::Path;

#[derive(Debug)]
pub struct Survey {
    /// All cases, usable or not.
    pub cases: usize,
    /// For each sequence, the number of cases that have its file.
    pub sequences: Vec<(String, usize)>,
    pub usable: usize,
    /// Patients of the usable cases.
    pub patients: usize,
    /// Whether every archive has a reference configured.
    pub labelled: bool,
    pub rows: Vec<Row>,
    /// Files and folders that match a pattern and are leftovers of other programs.
    pub ignored: BTreeSet<String>,
    /// The largest height and the largest width of the usable cases' brains.
    pub largest_brain: Option<BrainSize>,
}

/// What is known of a case that can be used.
struct Looked {
    noticed: Noticed,
    brain: BrainSize,
}

/// One problem. Must not leave the site or appear in a log.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The case, or the archive.
    pub case: String,
    pub what: String,
    /// `left out`, or `look at it`: used all the same.
    pub how_bad: &'static str,
    pub remedy: String,
}

/// An input of all sequences that the archives name, for what needs no federation.
pub(super) fn own_sequences(archives: &Archives) -> Input {
    let names: BTreeSet<String> = archives.iter().flat_map(DataConfig::names).collect();
    Input {
        sequences: names.into_iter().collect(),
        slices: 1,
        plane: 16,
        spacing_mm: None,
        clip_percentiles: Some(Input::CLIP_PERCENTILES),
    }
}

/// Reads every case as [`super::open`] does. Without the `federation`'s input, which is the
/// coordinator's to set, its planes are not looked at, and every sequence of the site is asked for.
/// Without the site's `work` folder, masks that `data.brain_command` would make are missing.
///
/// # Errors
/// As [`super::open`], where the folders or the patterns are wrong.
pub fn survey(
    archives: &Archives,
    federation: Option<&Input>,
    work: Option<&Path>,
    progress: &mut (dyn FnMut(usize, usize) + Send),
) -> Result<Survey, DataError> {
    let input = federation
        .cloned()
        .unwrap_or_else(|| own_sequences(archives));
    let FoundCases {
        cases: found,
        mut warnings,
        ignored,
    } = find_cases(archives, &input)?;
    warnings.extend(without_reference(archives));
    let cases = found.len();
    let mut sequences = Vec::new();
    for (index, name) in input.sequences.iter().enumerate() {
        if !archives.sequences().contains(name) {
            continue;
        }
        let mut count = 0;
        for case in &found {
            if let Ok(files) = &case.candidate.files
                && files.sequences[index].is_some()
            {
                count += 1;
            }
        }
        sequences.push((name.clone(), count));
    }
    let masks = work.map(mask_cache);
    let read = |case| {
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
        let outcome = files.and_then(|files| {
            let files = archive.complete(files, &input, masks.as_ref())?;
            let mut native = read_native(&files, &input, archive.lesion_labels())?;
            if federation.is_some() {
                native.place(&input);
            }
            let brain = native.brain_size();
            Ok(Looked {
                noticed: native.noticed,
                brain,
            })
        });
        Ok(ReadCase {
            archive,
            id,
            patient,
            notes,
            outcome,
        })
    };
    let assessed = assess(in_parallel(found, read, progress)?, |looked| {
        &looked.noticed
    });
    let Assessed {
        cases: usable,
        patients,
        skipped,
        warnings: of_cases,
    } = assessed;
    warnings.extend(of_cases);
    let mut rows = Vec::new();
    for case in skipped {
        rows.push(Row {
            what: case.reason.to_string(),
            remedy: case.reason.remedy().to_owned(),
            case: case.id,
            how_bad: "left out",
        });
    }
    for warned in warnings {
        rows.push(Row {
            case: warned.id,
            what: warned.note.what,
            how_bad: "look at it",
            remedy: warned.note.remedy,
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
