//! Which cases belong to one patient: by their names, and by images that are the same.

use crate::case::Note;
use std::collections::BTreeMap;

/// What is compared of one usable case.
pub(super) struct Member<'a> {
    /// Its archive's name; empty for a site's only one.
    pub(super) archive: &'a str,
    /// The patient's name, by the patterns.
    pub(super) patient: &'a str,
    /// Hashes of its images.
    pub(super) images: &'a [String],
}

/// Which cases are of one patient or have the same images; cases are named by their index.
#[derive(Debug, Default, PartialEq)]
pub(super) struct SamePatient {
    /// For each case, the first case that must be on the same side of the split; usually itself.
    pub(super) first: Vec<usize>,
    /// Cases with exactly the images of an earlier case, and that case.
    pub(super) copies: BTreeMap<usize, usize>,
    /// Pairs of cases that share some images.
    pub(super) shared: Vec<(usize, usize)>,
}

pub(super) fn compare(members: &[Member<'_>]) -> SamePatient {
    let mut found = SamePatient {
        first: (0..members.len()).collect(),
        ..SamePatient::default()
    };
    let mut patients: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut images: BTreeMap<&str, usize> = BTreeMap::new();
    for (place, member) in members.iter().enumerate() {
        let of_patient = *patients
            .entry((member.archive, member.patient))
            .or_insert(place);
        found.join(of_patient, place);
        let mut others = Vec::new();
        for image in member.images {
            let other = *images.entry(image).or_insert(place);
            if other != place && !others.contains(&other) {
                others.push(other);
                found.join(other, place);
            }
        }
        let same = others
            .iter()
            .find(|&&other| same_images(&members[other], member));
        if let Some(&same) = same {
            found.copies.insert(place, same);
        } else {
            for other in others {
                found.shared.push((other, place));
            }
        }
    }
    for place in 0..members.len() {
        found.first[place] = found.root(place);
    }
    found
}

fn same_images(one: &Member<'_>, other: &Member<'_>) -> bool {
    one.images.len() == other.images.len()
        && one.images.iter().all(|image| other.images.contains(image))
}

impl SamePatient {
    /// The first of all cases that a case is joined with.
    fn root(&self, mut place: usize) -> usize {
        while self.first[place] != place {
            place = self.first[place];
        }
        place
    }

    fn join(&mut self, one: usize, other: usize) {
        let one = self.root(one);
        let other = self.root(other);
        self.first[one.max(other)] = one.min(other);
    }
}

/// A warning where names in an archive without `{patient}` look like time points of one patient.
pub(super) fn time_points(ids: &[&str]) -> Option<Note> {
    let mut stems: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for id in ids {
        if let Some(stem) = before_time_point(id) {
            stems.entry(stem).or_default().push(id);
        }
    }
    // The first time point may have no ending: `P1` next to `P1_2`.
    for id in ids {
        if let Some(others) = stems.get_mut(id) {
            others.push(id);
        }
    }
    let several: Vec<&Vec<&str>> = stems.values().filter(|ids| ids.len() > 1).collect();
    let example = several.first()?;
    // A number that all names share is the hospital's, not a patient's.
    if stems.len() < 2 {
        return None;
    }
    let what = format!(
        "several names look like time points of one patient, such as {} and {}",
        example[0], example[1]
    );
    Some(Note::new(
        what,
        "write {patient} for the patient's part in every pattern, so that no patient is in both \
         training and validation",
    ))
}

/// Words for time points.
const TIMES: [&str; 10] = [
    "pre",
    "post",
    "baseline",
    "followup",
    "follow-up",
    "first",
    "second",
    "before",
    "after",
    "fu",
];

/// The part of a name before its time point: a last number, letter, date or word. `MET-00002` of
/// `MET-00002-001`, `100324` of `100324B`, `P07` of `P07_ses-2`, `P001` of `P001t2`, `0001` of
/// `0001_a`, `100` of `100_baseline`, `Meier` of `Meier_20190301`.
fn before_time_point(id: &str) -> Option<&str> {
    let digit = |character: char| character.is_ascii_digit();
    let separator = |character: char| matches!(character, '-' | '_' | '.' | ' ');
    let small = id.to_ascii_lowercase();
    for word in TIMES {
        let Some(stem) = small.strip_suffix(word) else {
            continue;
        };
        // Letters of ASCII alone were changed, so places are the same.
        let stem = id.get(..stem.len())?.strip_suffix(separator);
        if let Some(stem) = stem {
            return Some(stem.strip_suffix("_ses").unwrap_or(stem));
        }
    }
    if let Some((stem, ending)) = id.rsplit_once(separator) {
        let is_date = ending.len() == 8 && (ending.starts_with("19") || ending.starts_with("20"));
        if is_date && ending.chars().all(digit) {
            return Some(stem);
        }
        if ending.len() == 1 && ending.chars().all(|c| c.is_ascii_alphabetic()) {
            return stem.ends_with(digit).then_some(stem);
        }
    }
    let stem = match id.strip_suffix(|character: char| character.is_ascii_uppercase()) {
        Some(stem) if stem.ends_with(digit) => stem,
        _ => {
            let stem = id.trim_end_matches(digit);
            if stem.len() == id.len() || id.len() - stem.len() > 4 {
                return None;
            }
            let before_letters =
                stem.trim_end_matches(|character: char| character.is_ascii_alphabetic());
            match before_letters.strip_suffix(separator) {
                Some(stem) => stem.strip_suffix("_ses").unwrap_or(stem),
                // `P001t2`: letters between two numbers.
                None if before_letters.len() < stem.len() && before_letters.ends_with(digit) => {
                    before_letters
                }
                None => return None,
            }
        }
    };
    stem.contains(digit).then_some(stem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(cases: &[(&str, &[&str])]) -> SamePatient {
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
        let found = compared(&[
            ("p", &["1"]),
            ("q", &["2", "3"]),
            ("p", &["4"]),
            ("r", &["3", "5"]),
            ("s", &["6", "4"]),
        ]);
        assert_eq!(found.first, [0, 1, 0, 1, 0]);
        assert_eq!(found.shared, [(1, 3), (2, 4)]);
        assert!(found.copies.is_empty());
    }

    #[test]
    fn a_case_whose_images_are_all_anothers_is_its_copy() {
        let found = compared(&[
            ("p", &["1", "2"]),
            ("q", &["2", "1"]),
            ("r", &["1"]),
            ("s", &["1", "2"]),
        ]);
        assert_eq!(found.copies, [(1, 0), (3, 0)].into());
        assert_eq!((found.first, found.shared), (vec![0; 4], vec![(0, 2)]));
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
            &["P1", "P1_2", "P2", "P2_2"],
            &["sub-01_ses-pre", "sub-01_ses-post", "sub-02_ses-pre"],
            &["100_baseline", "100_followup", "101_baseline"],
            &["P001t1", "P001t2", "P002t1"],
            &["Meier_20190301", "Meier_20200301", "Kunz_20190404"],
            &["0001_a", "0001_b", "0002_a"],
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
