//! Which cases belong to one patient: by their names, and by images that are the same.

use crate::case::Note;
use std::collections::BTreeMap;

/// One usable case, as far as this is about.
pub(super) struct Member<'a> {
    /// Its archive's name; empty for a site's only one.
    pub(super) archive: &'a str,
    /// The patient's name, by the patterns.
    pub(super) patient: &'a str,
    /// Hashes of its images.
    pub(super) images: &'a [String],
}

/// What the cases have to do with each other.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Alike {
    /// Of each case, the first case, by its place, that stays on one side of the split with it:
    /// itself, mostly.
    pub(super) first: Vec<usize>,
    /// Cases whose images are all those of an earlier one, with that one's place.
    pub(super) copies: BTreeMap<usize, usize>,
    /// Pairs of cases that share some image.
    pub(super) shared: Vec<(usize, usize)>,
}

/// Compares all cases.
pub(super) fn compare(members: &[Member<'_>]) -> Alike {
    let mut alike = Alike {
        first: (0..members.len()).collect(),
        ..Alike::default()
    };
    let mut patients: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut images: BTreeMap<&str, usize> = BTreeMap::new();
    for (place, member) in members.iter().enumerate() {
        let of_patient = *patients
            .entry((member.archive, member.patient))
            .or_insert(place);
        alike.join(of_patient, place);
        let mut others = Vec::new();
        for image in member.images {
            let other = *images.entry(image).or_insert(place);
            if other != place && !others.contains(&other) {
                others.push(other);
                alike.join(other, place);
            }
        }
        let same = others
            .iter()
            .find(|&&other| same_images(&members[other], member));
        if let Some(&same) = same {
            alike.copies.insert(place, same);
        } else {
            alike
                .shared
                .extend(others.into_iter().map(|other| (other, place)));
        }
    }
    for place in 0..members.len() {
        alike.first[place] = alike.root(place);
    }
    alike
}

fn same_images(one: &Member<'_>, other: &Member<'_>) -> bool {
    one.images.len() == other.images.len()
        && one.images.iter().all(|image| other.images.contains(image))
}

impl Alike {
    /// The first of all that a case is joined with.
    fn root(&self, mut place: usize) -> usize {
        while self.first[place] != place {
            place = self.first[place];
        }
        place
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        self.first[one.max(other)] = one.min(other);
    }
}

/// Says of an archive without `{patient}` that some of its cases seem to be time points of one
/// patient.
pub(super) fn time_points(ids: &[&str]) -> Option<Note> {
    let mut stems: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for id in ids {
        if let Some(stem) = before_time_point(id) {
            stems.entry(stem).or_default().push(id);
        }
    }
    let several: Vec<&Vec<&str>> = stems.values().filter(|ids| ids.len() > 1).collect();
    let example = several.first()?;
    // One number for all is the hospital's, not a patient's.
    if stems.len() < 2 {
        return None;
    }
    let what = format!(
        "several names look like time points of one patient, such as {} and {}",
        example[0], example[1]
    );
    Some(Note::new(
        what,
        "write {patient} for the patient's part in every pattern, so that one patient never trains and validates",
    ))
}

/// The part before a time point: what stands before the last number or letter, as in
/// `MET-00002-001`, `100324B` or `P07_ses-2`.
fn before_time_point(id: &str) -> Option<&str> {
    let digit = |character: char| character.is_ascii_digit();
    let stem = match id.strip_suffix(|character: char| character.is_ascii_uppercase()) {
        Some(stem) if stem.ends_with(digit) => stem,
        _ => {
            let stem = id.trim_end_matches(digit);
            if stem.len() == id.len() || id.len() - stem.len() > 4 {
                return None;
            }
            let stem = stem.trim_end_matches(|character: char| character.is_ascii_alphabetic());
            let stem = stem.strip_suffix(['-', '_', '.', ' '])?;
            stem.strip_suffix("_ses").unwrap_or(stem)
        }
    };
    stem.contains(digit).then_some(stem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(cases: &[(&str, &[&str])]) -> Alike {
        let images: Vec<Vec<String>> = cases
            .iter()
            .map(|(_, images)| images.iter().map(ToString::to_string).collect())
            .collect();
        let mut members = Vec::new();
        for ((patient, _), images) in cases.iter().zip(&images) {
            members.push(Member {
                archive: "",
                patient,
                images,
            });
        }
        compare(&members)
    }

    #[test]
    fn cases_of_one_patient_and_cases_that_share_an_image_stay_together() {
        let alike = compared(&[
            ("p", &["1"]),
            ("q", &["2", "3"]),
            ("p", &["4"]),
            ("r", &["3", "5"]),
            ("s", &["6", "4"]),
        ]);
        assert_eq!(alike.first, [0, 1, 0, 1, 0]);
        assert_eq!(alike.shared, [(1, 3), (2, 4)]);
        assert!(alike.copies.is_empty());
    }

    #[test]
    fn a_case_whose_images_are_all_anothers_is_its_copy() {
        let alike = compared(&[
            ("p", &["1", "2"]),
            ("q", &["2", "1"]),
            ("r", &["1"]),
            ("s", &["1", "2"]),
        ]);
        assert_eq!(alike.copies, [(1, 0), (3, 0)].into());
        assert_eq!((alike.first, alike.shared), (vec![0; 4], vec![(0, 2)]));
    }

    #[test]
    fn patients_of_two_archives_are_two_although_their_names_are_one() {
        let images = [vec!["1".to_owned()], vec!["2".to_owned()]];
        let member = |archive, images| Member {
            archive,
            patient: "07",
            images,
        };
        assert_eq!(
            compare(&[member("pacs", &images[0]), member("trial", &images[1])]).first,
            [0, 1]
        );
    }

    #[test]
    fn names_of_time_points_are_noticed_and_numbered_cases_are_not() {
        for ids in [
            &[
                "BraTS-MET-00001-000",
                "BraTS-MET-00001-001",
                "BraTS-MET-00002-000",
            ][..],
            &["100324A", "100324B", "100325A"],
            &["P07_ses-1", "P07_ses-2", "P08_ses-1"],
        ] {
            let note = time_points(ids).map(|note| note.what);
            assert!(note.is_some_and(|note| note.contains(ids[1])), "{ids:?}");
        }
        for ids in [
            &["north-0001", "north-0002"][..],
            &["site1-0001", "site1-0002"],
            &["00001", "00002"],
            &["BraTS-MET-00001-000", "BraTS-MET-00002-000"],
        ] {
            assert_eq!(time_points(ids), None, "{ids:?}");
        }
    }
}
