//! What a label's values mean: in one case, and by what other cases of the archive hold.

use super::CaseError;
use crate::case::{Note, Noticed};
use std::collections::{BTreeMap, BTreeSet};

/// Different values that a label may have and still be one.
const MANY: usize = 256;
/// A share of the brain that no lesions fill.
const MOST: f64 = 0.5;
/// A share of the lesions' voxels that may lie outside the brain unsaid: a mask's edge is never
/// exact.
const STRAY: f64 = 0.1;

/// A label's values but 0, each with how many voxels hold it.
pub(super) fn census(values: &[f32]) -> Vec<(u16, u64)> {
    let mut counts = BTreeMap::new();
    for &value in values {
        let value = value.round() as u16;
        if value != 0 {
            *counts.entry(value).or_insert(0u64) += 1;
        }
    }
    counts.into_iter().take(MANY).collect()
}

/// Says where a reference and the brain do not go together.
pub(super) fn compare(lesion: &[u8], brain: &[u8], notes: &mut Vec<Note>) {
    let (mut all, mut outside, mut inside) = (0u64, 0u64, 0u64);
    for (&lesion, &brain) in lesion.iter().zip(brain) {
        all += u64::from(lesion);
        outside += u64::from(lesion & !brain & 1);
        inside += u64::from(brain);
    }
    if outside as f64 > STRAY * all as f64 {
        notes.push(Note::new(
            format!("{outside} of {all} voxels of lesion lie outside the brain"),
            "look whether label, brain mask and images belong together",
        ));
    }
    if (all - outside) as f64 > MOST * inside as f64 {
        notes.push(Note::new(
            format!("lesion fills {} of {inside} voxels of brain", all - outside),
            "look whether the label is turned inside out, or data.lesion_labels names what is brain",
        ));
    }
}

/// What is to be said of one archive's labels.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// Cases, by their place, that hold no lesion value but others that no sound label holds.
    pub(super) foreign: BTreeMap<usize, CaseError>,
    /// What to look at, by the case's place.
    pub(super) notes: Vec<(usize, Note)>,
    /// What to look at in the whole archive.
    pub(super) archive: Vec<Note>,
}

/// Compares what an archive's labels hold. A case whose label holds other values only is a case
/// without lesion where sound labels hold those values too (oedema, say), and else one whose label
/// was written another way.
pub(super) fn judge(cases: &[(usize, &Noticed)], lesion_labels: &[u16]) -> Verdict {
    let mut verdict = Verdict::default();
    let listed = |noticed: &Noticed| {
        noticed
            .labels
            .iter()
            .any(|(value, _)| lesion_labels.contains(value))
    };
    let sound: Vec<&Noticed> = cases
        .iter()
        .map(|(_, noticed)| *noticed)
        .filter(|noticed| listed(noticed))
        .collect();
    let known: BTreeSet<u16> = sound
        .iter()
        .flat_map(|noticed| &noticed.labels)
        .map(|(value, _)| *value)
        .collect();
    let mut unlisted: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
    if !cases.is_empty() && cases.iter().all(|(_, noticed)| noticed.labels.is_empty()) {
        let what = format!("none of {} labels holds any lesion", cases.len());
        verdict.archive.push(Note::new(
            what,
            "look whether data.label names the right files",
        ));
    }
    for &(place, noticed) in cases {
        if noticed.labels.is_empty() {
            continue;
        }
        let held = words(&noticed.labels);
        if listed(noticed) {
            for (value, _) in noticed
                .labels
                .iter()
                .filter(|(value, _)| !lesion_labels.contains(value))
            {
                unlisted.entry(*value).or_default().push(place);
            }
        } else if noticed
            .labels
            .iter()
            .all(|(value, _)| known.contains(value))
        {
            verdict.notes.push((
                place,
                Note::new(
                    format!(
                        "the label holds none of data.lesion_labels {lesion_labels:?}, but {held}: taken as a case \
                         without lesion"
                    ),
                    "look whether that is so",
                ),
            ));
        } else {
            verdict.foreign.insert(
                place,
                CaseError::ForeignLabel {
                    held,
                    listed: lesion_labels.to_vec(),
                },
            );
        }
    }
    for (value, places) in unlisted {
        let remedy = "add it to data.lesion_labels if it is lesion; it counts as no lesion now";
        if 2 * places.len() > sound.len() && sound.len() > 1 {
            let what = format!(
                "{} of {} labels hold {value} too, which is not listed",
                places.len(),
                sound.len()
            );
            verdict.archive.push(Note::new(what, remedy));
        } else {
            let note = Note::new(
                format!("the label holds {value} too, which data.lesion_labels does not list"),
                remedy,
            );
            verdict
                .notes
                .extend(places.into_iter().map(|place| (place, note.clone())));
        }
    }
    verdict
}

/// `255 (498 voxels)`.
fn words(labels: &[(u16, u64)]) -> String {
    let few: Vec<String> = labels
        .iter()
        .take(6)
        .map(|(value, voxels)| format!("{value} ({voxels} voxels)"))
        .collect();
    let more = if labels.len() > few.len() {
        " and more"
    } else {
        ""
    };
    format!("{}{more}", few.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_census_counts_values_as_labels_are_read() {
        assert_eq!(census(&[0.0, 255.0, 1.0, 0.9999]), [(1, 2), (255, 1)]);
    }

    fn judged(labels: &[&[u16]], listed: &[u16]) -> Verdict {
        let noticed = |values: &&[u16]| Noticed {
            labels: values.iter().map(|v| (*v, 9)).collect(),
            ..Noticed::default()
        };
        let all: Vec<Noticed> = labels.iter().map(noticed).collect();
        judge(&all.iter().enumerate().collect::<Vec<_>>(), listed)
    }

    #[test]
    fn a_label_written_another_way_is_foreign_and_one_without_lesion_is_not() {
        let verdict = judged(&[&[1], &[1], &[255], &[]], &[1]);
        assert_eq!(verdict.foreign.keys().collect::<Vec<_>>(), [&2]);
        let words = verdict.foreign[&2].to_string();
        assert!(
            words.contains("[1]") && words.contains("255 (9 voxels)"),
            "{words}"
        );
        assert!(verdict.notes.is_empty() && verdict.archive.is_empty());
        // Oedema without enhancing tumour, where others have both.
        let verdict = judged(&[&[1, 2, 4], &[1, 2], &[1, 2, 4]], &[4]);
        assert!(verdict.foreign.is_empty());
        assert_eq!(
            (
                verdict.notes.len(),
                verdict.notes[0].0,
                verdict.archive.len()
            ),
            (1, 1, 2)
        );
        // All of them: every one is foreign.
        assert_eq!(judged(&[&[255], &[255]], &[1]).foreign.len(), 2);
    }

    #[test]
    fn a_value_that_few_labels_hold_is_said_of_each() {
        let verdict = judged(&[&[1], &[1, 7], &[1], &[1]], &[1]);
        assert_eq!(
            (
                verdict.notes.len(),
                verdict.notes[0].0,
                verdict.archive.len()
            ),
            (1, 1, 0)
        );
        assert!(verdict.notes[0].1.what.contains("holds 7 too"));
    }

    #[test]
    fn lesions_outside_the_brain_or_all_over_it_are_said() {
        let said = |lesion: [u8; 8]| {
            let mut notes = Vec::new();
            compare(&lesion, &[0, 0, 1, 1, 1, 1, 1, 0], &mut notes);
            notes.into_iter().map(|note| note.what).collect::<Vec<_>>()
        };
        assert!(said([0, 0, 1, 1, 0, 0, 0, 0]).is_empty() && said([0; 8]).is_empty());
        assert_eq!(
            said([1, 0, 1, 0, 0, 0, 0, 0]),
            ["1 of 2 voxels of lesion lie outside the brain"]
        );
        assert_eq!(
            said([0, 0, 1, 1, 1, 0, 0, 0]),
            ["lesion fills 3 of 5 voxels of brain"]
        );
    }
}
