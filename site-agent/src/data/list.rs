//! The cases of a site, before their files are read.

use super::config::Archives;
use super::survey::own_sequences;
use super::{CaseError, DataError, Files, FoundCase, FoundCases, Warned, find_cases};
use crate::case::Note;
use protocol::settings::Input;
use std::collections::BTreeSet;

/// A case with its files. Must not leave the site or appear in a log.
#[derive(Debug)]
pub struct ListedCase {
    /// `ARCHIVE/CASE`, or the case's name alone.
    pub case: String,
    /// In the order of the sequences that were asked for; or why they cannot be used.
    pub files: Result<Files, CaseError>,
    pub lesion_labels: Vec<u16>,
    pub notes: Vec<Note>,
}

/// The cases of a site.
#[derive(Debug)]
pub struct Listing {
    pub cases: Vec<ListedCase>,
    /// Warnings about archives.
    pub warnings: Vec<Warned>,
    /// Files and folders that match a pattern and are leftovers of other programs.
    pub ignored: BTreeSet<String>,
}

/// Lists the cases of archives that drop no sequence, in the order of archives and names. Their
/// files are in the order of [`Archives::sequences`].
///
/// # Errors
/// As [`super::open`], where the folders or the patterns are wrong.
pub fn list_cases(archives: &Archives) -> Result<Vec<ListedCase>, DataError> {
    let found = find_cases(archives, &own_sequences(archives))?;
    Ok(listed(found.cases))
}

/// Lists the cases of archives for a model that takes `input`: their images and brain masks, with
/// or without a reference.
///
/// # Errors
/// As [`super::open`], where the folders or the patterns are wrong.
pub fn list_images(archives: &Archives, input: &Input) -> Result<Listing, DataError> {
    let archives = archives.clone().without_reference();
    let FoundCases {
        cases: found,
        warnings,
        ignored,
    } = find_cases(&archives, input)?;
    let mut cases = Vec::with_capacity(found.len());
    for mut case in found {
        if let Ok(files) = case.candidate.files {
            // No program is run here: a mask that data.brain_command would make is missing.
            case.candidate.files = case.archive.complete(files, input, None);
        }
        cases.push(case);
    }
    Ok(Listing {
        cases: listed(cases),
        warnings,
        ignored,
    })
}

fn listed(found: Vec<FoundCase<'_>>) -> Vec<ListedCase> {
    let mut cases = Vec::with_capacity(found.len());
    for FoundCase {
        archive,
        id,
        candidate,
    } in found
    {
        cases.push(ListedCase {
            case: match archive.name() {
                Some(name) => format!("{name}/{id}"),
                None => id,
            },
            files: candidate.files,
            lesion_labels: archive.lesion_labels().to_vec(),
            notes: candidate.notes,
        });
    }
    cases
}
