//! From single cases to a cohort: checks that compare cases with each other.

use super::config::DataConfig;
use super::labels;
use super::same_patient::{self, Member};
use super::{CaseError, Patient, Skipped, Warned};
use crate::case::{Note, Noticed};
use std::collections::BTreeMap;

/// A case after its files were read.
pub(super) struct ReadCase<'a, T> {
    pub(super) archive: &'a DataConfig,
    /// Its name within the archive.
    pub(super) id: String,
    pub(super) patient: String,
    pub(super) notes: Vec<Note>,
    pub(super) outcome: Result<T, CaseError>,
}

/// The usable cases with their patients, the others, and warnings.
pub(super) struct Assessed<T> {
    pub(super) cases: Vec<T>,
    pub(super) patients: Vec<Patient>,
    pub(super) skipped: Vec<Skipped>,
    pub(super) warnings: Vec<Warned>,
}

impl<T> Assessed<T> {
    /// Adds warnings about the case or archive `id`.
    fn warn(&mut self, id: &str, notes: Vec<Note>) {
        for note in notes {
            self.warnings.push(Warned {
                id: id.to_owned(),
                note,
            });
        }
    }
}

/// A case whose own files are usable.
struct UsableCase<'a, T> {
    archive: &'a DataConfig,
    id: String,
    patient: String,
    case: T,
}

impl<T> UsableCase<'_, T> {
    fn name(&self) -> String {
        named(self.archive, &self.id)
    }
}

/// The name of a case in reports: `ARCHIVE/CASE`, or the case's alone.
fn named(archive: &DataConfig, id: &str) -> String {
    match archive.name() {
        Some(name) => format!("{name}/{id}"),
        None => id.to_owned(),
    }
}

/// Compares cases, which are in the order of archives and names.
pub(super) fn assess<T>(
    read: Vec<ReadCase<'_, T>>,
    noticed: impl Fn(&T) -> &Noticed,
) -> Assessed<T> {
    let mut assessed = Assessed {
        cases: Vec::new(),
        patients: Vec::new(),
        skipped: Vec::new(),
        warnings: Vec::new(),
    };
    let mut usable: Vec<UsableCase<'_, T>> = Vec::new();
    for ReadCase {
        archive,
        id,
        patient,
        notes,
        outcome,
    } in read
    {
        let name = named(archive, &id);
        assessed.warn(&name, notes);
        match outcome {
            Ok(case) => {
                assessed.warn(&name, noticed(&case).notes.clone());
                usable.push(UsableCase {
                    archive,
                    id,
                    patient,
                    case,
                });
            }
            Err(reason) => assessed.skipped.push(Skipped { id: name, reason }),
        }
    }
    let usable = without_foreign_labels(usable, &noticed, &mut assessed);
    warn_of_same_labels(&usable, &noticed, &mut assessed);
    group(usable, noticed, &mut assessed);
    assessed
}

/// Warns of lesions that are drawn alike in two cases, voxel by voxel, over different images.
fn warn_of_same_labels<T>(
    usable: &[UsableCase<'_, T>],
    noticed: impl Fn(&T) -> &Noticed,
    assessed: &mut Assessed<T>,
) {
    let mut first: BTreeMap<&str, &UsableCase<'_, T>> = BTreeMap::new();
    for case in usable {
        let noticed_of = noticed(&case.case);
        let Some(label) = &noticed_of.label else {
            continue;
        };
        let other = *first.entry(label).or_insert(case);
        if other.name() == case.name() || noticed(&other.case).images == noticed_of.images {
            continue;
        }
        let note = Note::new(
            format!("its lesions are those of {}, voxel by voxel", other.name()),
            "check which of the two cases the label belongs to",
        );
        assessed.warn(&case.name(), vec![note]);
    }
}

/// Leaves out cases whose labels use other values than the other cases'.
fn without_foreign_labels<'a, T>(
    usable: Vec<UsableCase<'a, T>>,
    noticed: impl Fn(&T) -> &Noticed,
    assessed: &mut Assessed<T>,
) -> Vec<UsableCase<'a, T>> {
    let mut archives: BTreeMap<Option<&str>, Vec<usize>> = BTreeMap::new();
    for (place, case) in usable.iter().enumerate() {
        archives.entry(case.archive.name()).or_default().push(place);
    }
    let mut foreign: BTreeMap<usize, CaseError> = BTreeMap::new();
    for (name, places) in archives {
        let config = usable[places[0]].archive;
        if config.lesion_labels().is_empty() {
            continue;
        }
        let mut labels: Vec<(usize, &Noticed)> = Vec::new();
        for &place in &places {
            labels.push((place, noticed(&usable[place].case)));
        }
        let verdict = labels::judge(&labels, config.lesion_labels());
        foreign.extend(verdict.foreign);
        for (place, note) in verdict.notes {
            assessed.warn(&usable[place].name(), vec![note]);
        }
        let mut archive = verdict.archive;
        if !config.names_patients() {
            let ids: Vec<&str> = places
                .iter()
                .map(|&place| usable[place].id.as_str())
                .collect();
            archive.extend(same_patient::time_points(&ids));
        }
        let id = name.unwrap_or(super::ALL_CASES);
        assessed.warn(id, archive);
    }
    let mut kept = Vec::with_capacity(usable.len());
    for (place, case) in usable.into_iter().enumerate() {
        match foreign.remove(&place) {
            Some(reason) => assessed.skipped.push(Skipped {
                id: case.name(),
                reason,
            }),
            None => kept.push(case),
        }
    }
    kept
}

/// Leaves out copies, and finds the patient of each case.
fn group<T>(
    usable: Vec<UsableCase<'_, T>>,
    noticed: impl Fn(&T) -> &Noticed,
    assessed: &mut Assessed<T>,
) {
    let names: Vec<String> = usable.iter().map(UsableCase::name).collect();
    let mut members = Vec::with_capacity(usable.len());
    for case in &usable {
        let archive = case.archive.name().unwrap_or_default();
        members.push(Member {
            archive,
            patient: &case.patient,
            images: &noticed(&case.case).images,
        });
    }
    let compared = same_patient::compare(&members);
    for (one, other) in compared.shared {
        let note = Note::new(
            format!(
                "shares an image with {}, voxel by voxel: both are kept on the same side of the \
                 split",
                names[one]
            ),
            "check which of the two cases the image belongs to",
        );
        assessed.warnings.push(Warned {
            id: names[other].clone(),
            note,
        });
    }
    let mut patients = Vec::with_capacity(usable.len());
    for &first in &compared.first {
        let UsableCase {
            archive, patient, ..
        } = &usable[first];
        patients.push(Patient {
            archive: archive.name().map(str::to_owned),
            name: patient.clone(),
        });
    }
    for ((place, case), patient) in usable.into_iter().enumerate().zip(patients) {
        match compared.copies.get(&place) {
            Some(&other) => {
                let reason = CaseError::SameCase {
                    other: names[other].clone(),
                };
                assessed.skipped.push(Skipped {
                    id: names[place].clone(),
                    reason,
                });
            }
            None => {
                assessed.cases.push(case.case);
                assessed.patients.push(patient);
            }
        }
    }
}
