//! From single cases to a cohort: what only shows when cases are compared with each other.

use super::alike::{self, Member};
use super::config::DataConfig;
use super::labels;
use super::{CaseError, Patient, Skipped, Warned};
use crate::case::{Note, Noticed};
use std::collections::BTreeMap;

/// One case after it was read.
pub(super) struct Read<'a, T> {
    pub(super) archive: &'a DataConfig,
    /// Its name within the archive.
    pub(super) id: String,
    pub(super) patient: String,
    pub(super) notes: Vec<Note>,
    pub(super) outcome: Result<T, CaseError>,
}

/// What can be used, what cannot, and what a person should look at.
pub(super) struct Assessed<T> {
    pub(super) cases: Vec<T>,
    pub(super) patients: Vec<Patient>,
    pub(super) skipped: Vec<Skipped>,
    pub(super) warnings: Vec<Warned>,
}

/// A case that is sound by itself.
struct Sound<'a, T> {
    archive: &'a DataConfig,
    id: String,
    patient: String,
    case: T,
}

impl<T> Sound<'_, T> {
    /// Its name in reports: below its archive's.
    fn name(&self) -> String {
        named(self.archive, &self.id)
    }
}

/// A case's name in reports.
fn named(archive: &DataConfig, id: &str) -> String {
    archive
        .name()
        .map_or(id.to_owned(), |name| format!("{name}/{id}"))
}

/// Compares cases, which stand archive by archive and in the order of their names.
pub(super) fn assess<T>(read: Vec<Read<'_, T>>, noticed: impl Fn(&T) -> &Noticed) -> Assessed<T> {
    let mut assessed = Assessed {
        cases: Vec::new(),
        patients: Vec::new(),
        skipped: Vec::new(),
        warnings: Vec::new(),
    };
    let mut sound: Vec<Sound<'_, T>> = Vec::new();
    for Read {
        archive,
        id,
        patient,
        notes,
        outcome,
    } in read
    {
        let name = named(archive, &id);
        assessed
            .warnings
            .extend(notes.into_iter().map(|note| Warned {
                id: name.clone(),
                note,
            }));
        match outcome {
            Ok(case) => {
                let notes = noticed(&case).notes.iter().cloned();
                assessed.warnings.extend(notes.map(|note| Warned {
                    id: name.clone(),
                    note,
                }));
                sound.push(Sound {
                    archive,
                    id,
                    patient,
                    case,
                });
            }
            Err(reason) => assessed.skipped.push(Skipped { id: name, reason }),
        }
    }
    let sound = without_foreign_labels(sound, &noticed, &mut assessed);
    group(sound, noticed, &mut assessed);
    assessed
}

/// Leaves out cases whose label was written another way than the others'.
fn without_foreign_labels<'a, T>(
    sound: Vec<Sound<'a, T>>,
    noticed: impl Fn(&T) -> &Noticed,
    assessed: &mut Assessed<T>,
) -> Vec<Sound<'a, T>> {
    let mut archives: BTreeMap<Option<&str>, Vec<usize>> = BTreeMap::new();
    for (place, case) in sound.iter().enumerate() {
        archives.entry(case.archive.name()).or_default().push(place);
    }
    let mut foreign: BTreeMap<usize, CaseError> = BTreeMap::new();
    for (name, places) in archives {
        let config = sound[places[0]].archive;
        if config.lesion_labels().is_empty() {
            continue;
        }
        let labels: Vec<(usize, &Noticed)> = places
            .iter()
            .map(|&place| (place, noticed(&sound[place].case)))
            .collect();
        let verdict = labels::judge(&labels, config.lesion_labels());
        foreign.extend(verdict.foreign);
        let in_cases = verdict.notes.into_iter().map(|(place, note)| Warned {
            id: sound[place].name(),
            note,
        });
        assessed.warnings.extend(in_cases);
        let mut archive = verdict.archive;
        if !config.names_patients() {
            let ids: Vec<&str> = places
                .iter()
                .map(|&place| sound[place].id.as_str())
                .collect();
            archive.extend(alike::time_points(&ids));
        }
        let id = name.unwrap_or(super::ALL_CASES);
        assessed
            .warnings
            .extend(archive.into_iter().map(|note| Warned {
                id: id.into(),
                note,
            }));
    }
    let mut kept = Vec::with_capacity(sound.len());
    for (place, case) in sound.into_iter().enumerate() {
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

/// Leaves out copies, and says which cases are of one patient.
fn group<T>(
    sound: Vec<Sound<'_, T>>,
    noticed: impl Fn(&T) -> &Noticed,
    assessed: &mut Assessed<T>,
) {
    let names: Vec<String> = sound.iter().map(Sound::name).collect();
    let mut members = Vec::with_capacity(sound.len());
    for case in &sound {
        let archive = case.archive.name().unwrap_or_default();
        members.push(Member {
            archive,
            patient: &case.patient,
            images: &noticed(&case.case).images,
        });
    }
    let compared = alike::compare(&members);
    for (one, other) in compared.shared {
        let note = Note::new(
            format!(
                "shares an image with {}, voxel by voxel: both stay on one side of the split",
                names[one]
            ),
            "look which of the two the image belongs to",
        );
        assessed.warnings.push(Warned {
            id: names[other].clone(),
            note,
        });
    }
    let mut patients = Vec::with_capacity(sound.len());
    for &first in &compared.first {
        let Sound {
            archive, patient, ..
        } = &sound[first];
        patients.push(Patient {
            archive: archive.name().map(str::to_owned),
            name: patient.clone(),
        });
    }
    for ((place, case), patient) in sound.into_iter().enumerate().zip(patients) {
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
