//! Checks of reference segmentations: within a case, and against the other cases of the archive.

use super::CaseError;
use crate::case::{Note, Noticed};
use metrics::components::{Connectivity, components};
use std::collections::{BTreeMap, BTreeSet};

/// The most values of a label that are counted.
const MAX_VALUES: usize = 256;
/// The share of the brain above which lesions are suspicious.
const MAX_LESION_SHARE: f64 = 0.5;
/// The share of lesion voxels that may be outside the brain without a warning: the edge of a mask
/// is never exact.
const MAX_OUTSIDE_SHARE: f64 = 0.1;

/// The values of a label other than 0, each with its number of voxels.
pub(super) fn census(values: &[f32]) -> Vec<(u16, u64)> {
    let mut counts = BTreeMap::new();
    for &value in values {
        let value = value.round() as u16;
        if value != 0 {
            *counts.entry(value).or_insert(0u64) += 1;
        }
    }
    counts.into_iter().take(MAX_VALUES).collect()
}

/// Warns where the reference and the brain do not match. Both masks are 0 or 1 a voxel.
pub(super) fn compare(lesion: &[u8], brain: &[u8], dims: [usize; 3], notes: &mut Vec<Note>) {
    let mut all = 0;
    let mut outside = 0;
    let mut brain_voxels = 0;
    for (&lesion, &brain) in lesion.iter().zip(brain) {
        all += u64::from(lesion);
        outside += u64::from(lesion & !brain & 1);
        brain_voxels += u64::from(brain);
    }
    if outside as f64 > MAX_OUTSIDE_SHARE * all as f64 {
        notes.push(Note::new(
            format!("{outside} of {all} lesion voxels are outside the brain"),
            "check that label, brain mask and images belong together",
        ));
    } else if outside > 0 {
        let regions = components(lesion, dims, Connectivity::TwentySix);
        let touched = regions.touched(brain);
        let lost = touched.iter().filter(|touched| !**touched).count();
        if lost > 0 {
            notes.push(Note::new(
                format!(
                    "{lost} of {} lesions are outside the brain",
                    regions.count()
                ),
                "check that the brain mask covers the whole brain: the network is not shown \
                 these lesions",
            ));
        }
    }
    if (all - outside) as f64 > MAX_LESION_SHARE * brain_voxels as f64 {
        notes.push(Note::new(
            format!(
                "lesion fills {} of {brain_voxels} brain voxels",
                all - outside
            ),
            "check that the label is not inverted, and that data.lesion_labels names no value of \
             the brain",
        ));
    }
}

/// The result of comparing the labels of one archive; cases are named by their index.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// Cases without any lesion value whose label has values that no other label has.
    pub(super) foreign: BTreeMap<usize, CaseError>,
    /// Warnings about single cases.
    pub(super) notes: Vec<(usize, Note)>,
    /// Warnings about the archive.
    pub(super) archive: Vec<Note>,
}

/// Compares the labels of an archive. A label with other values only, but without any lesion value,
/// is a case without lesion if labels with lesions have these values too (oedema, for example).
/// Otherwise it was written with different values than the others, and is refused.
pub(super) fn judge(cases: &[(usize, &Noticed)], lesion_labels: &[u16]) -> Verdict {
    let mut verdict = Verdict::default();
    // The values of all labels with lesions.
    let mut known: BTreeSet<u16> = BTreeSet::new();
    let mut with_lesions = 0;
    for (_, noticed) in cases {
        if has_lesion(noticed, lesion_labels) {
            with_lesions += 1;
            known.extend(noticed.labels.iter().map(|(value, _)| *value));
        }
    }
    let mut unlisted: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
    if !cases.is_empty() && cases.iter().all(|(_, noticed)| noticed.labels.is_empty()) {
        let what = format!("none of {} labels has any lesion", cases.len());
        verdict.archive.push(Note::new(
            what,
            "check that data.label names the right files",
        ));
    }
    for &(place, noticed) in cases {
        if noticed.labels.is_empty() {
            continue;
        }
        let held = describe(&noticed.labels);
        if has_lesion(noticed, lesion_labels) {
            for (value, _) in &noticed.labels {
                if !lesion_labels.contains(value) {
                    unlisted.entry(*value).or_default().push(place);
                }
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
                        "the label has none of data.lesion_labels {lesion_labels:?}, but {held}: \
                         taken as a case without lesion"
                    ),
                    "check that the case has no lesion",
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
        let remedy = "add it to data.lesion_labels if it is lesion; now it is not";
        if 2 * places.len() > with_lesions && with_lesions > 1 {
            let what = format!(
                "{} of {} labels also have {value}, which data.lesion_labels does not list",
                places.len(),
                with_lesions
            );
            verdict.archive.push(Note::new(what, remedy));
        } else {
            let note = Note::new(
                format!("the label holds {value} too, which data.lesion_labels does not list"),
                remedy,
            );
            for place in places {
                verdict.notes.push((place, note.clone()));
            }
        }
    }
    verdict
}

fn has_lesion(noticed: &Noticed, lesion_labels: &[u16]) -> bool {
    noticed
        .labels
        .iter()
        .any(|(value, _)| lesion_labels.contains(value))
}

/// `255 (498 voxels)`, for up to six values.
fn describe(labels: &[(u16, u64)]) -> String {
    let mut texts = Vec::new();
    for (value, voxels) in labels.iter().take(6) {
        texts.push(format!("{value} ({voxels} voxels)"));
    }
    let mut text = texts.join(", ");
    if labels.len() > texts.len() {
        text += " and more";
    }
    text
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
            compare(&lesion, &[0, 0, 1, 1, 1, 1, 1, 0], [1, 2, 4], &mut notes);
            notes.into_iter().map(|note| note.what).collect::<Vec<_>>()
        };
        assert!(said([0, 0, 1, 1, 0, 0, 0, 0]).is_empty() && said([0; 8]).is_empty());
        assert_eq!(
            said([1, 0, 1, 0, 0, 0, 0, 0]),
            ["1 of 2 lesion voxels are outside the brain"]
        );
        assert_eq!(
            said([0, 0, 1, 1, 1, 0, 0, 0]),
            ["lesion fills 3 of 5 brain voxels"]
        );
    }
}
