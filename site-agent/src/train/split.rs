//! Which of a site's cases train, and which are kept back for validation.

use rand::seq::SliceRandom;
use random::{Purpose, stream};
use std::collections::BTreeMap;

/// Where one case comes from.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The site or archive.
    pub site: &'a str,
    /// All cases of one patient are on the same side of the split.
    pub patient: &'a str,
}

/// Splits cases into those to train on and those kept back for validation, as ascending indices.
/// The cases of each site or archive are split separately, patient by patient.
///
/// About `share` of the cases is kept back: those of at least one patient where there are two, and
/// never all; none for a share of zero. The choice depends on the names of origins and patients,
/// not on their order, so pooled cases are split as they are at the sites that they come from.
#[must_use]
pub fn split(cases: &[Origin<'_>], share: f32, seed: u64) -> (Vec<usize>, Vec<usize>) {
    let mut sites: BTreeMap<&str, BTreeMap<&str, Vec<usize>>> = BTreeMap::new();
    for (index, case) in cases.iter().enumerate() {
        let patients = sites.entry(case.site).or_default();
        patients.entry(case.patient).or_default().push(index);
    }
    let mut training = Vec::new();
    let mut validation = Vec::new();
    for (site, patients) in sites {
        let mut patients: Vec<Vec<usize>> = patients.into_values().collect();
        patients.shuffle(&mut stream(seed, 0, site, Purpose::Split));
        let kept = kept_back(&patients, share);
        for (place, patient) in patients.into_iter().enumerate() {
            if kept.contains(&place) {
                validation.extend(patient)
            } else {
                training.extend(patient)
            }
        }
    }
    training.sort_unstable();
    validation.sort_unstable();
    (training, validation)
}

/// The indices of the patients kept back: each one in turn whose cases still fit into the share.
fn kept_back(patients: &[Vec<usize>], share: f32) -> Vec<usize> {
    if patients.len() < 2 {
        return Vec::new();
    }
    let cases: usize = patients.iter().map(Vec::len).sum();
    let wanted = (share * cases as f32).round() as usize;
    let wanted = wanted.clamp(usize::from(share > 0.0), cases - 1);
    let mut kept = Vec::new();
    let mut count = 0;
    for (place, patient) in patients.iter().enumerate() {
        if count + patient.len() <= wanted && kept.len() + 1 < patients.len() {
            kept.push(place);
            count += patient.len();
        }
    }
    if kept.is_empty() && wanted > 0 {
        // No patient is small enough: take the smallest.
        kept.extend((0..patients.len()).min_by_key(|&place| patients[place].len()));
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Splits the cases of one site, each named by its patient.
    fn part(patients: &[&str], share: f32, seed: u64, site: &str) -> (Vec<usize>, Vec<usize>) {
        let cases: Vec<Origin<'_>> = patients
            .iter()
            .map(|patient| Origin { site, patient })
            .collect();
        split(&cases, share, seed)
    }

    #[test]
    fn one_case_trains_and_two_are_shared_out() {
        assert_eq!(part(&["a"], 0.9, 1, "north"), (vec![0], vec![]));
        let (training, validation) = part(&["a", "b"], 0.01, 1, "north");
        assert_eq!((training.len(), validation.len()), (1, 1));
        assert_eq!(part(&["a", "b"], 0.0, 1, "north").1.len(), 0);
    }

    #[test]
    fn the_order_of_discovery_does_not_matter() {
        let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let turned: Vec<&str> = names.iter().rev().copied().collect();
        let kept = |names: &[&str]| {
            let (_, validation) = part(names, 0.4, 3, "north");
            let mut kept: Vec<String> = validation.iter().map(|&i| names[i].into()).collect();
            kept.sort();
            kept
        };
        assert_eq!(kept(&names), kept(&turned));
        assert_eq!(kept(&names).len(), 3);
    }

    #[test]
    fn one_patient_with_many_time_points_only_trains() {
        assert_eq!(
            part(&["a", "a", "a"], 0.3, 1, "north"),
            (vec![0, 1, 2], vec![])
        );
    }

    #[test]
    fn a_patient_larger_than_the_share_is_kept_back_only_where_all_are() {
        for seed in 0..20 {
            assert_eq!(
                part(&["a", "a", "a", "a", "b"], 0.3, seed, "s"),
                (vec![0, 1, 2, 3], vec![4])
            );
            assert_eq!(
                part(&["a", "a", "a", "b", "b"], 0.2, seed, "s"),
                (vec![0, 1, 2], vec![3, 4])
            );
        }
    }

    proptest! {
        #[test]
        fn every_case_has_one_part_and_every_patient_one_side(
            patients in proptest::collection::vec(0u8..12, 0..40), share in 0.0f32..0.9, seed: u64,
        ) {
            let names: Vec<String> = patients.iter().map(ToString::to_string).collect();
            let patients: Vec<&str> = names.iter().map(String::as_str).collect();
            let (training, validation) = part(&patients, share, seed, "s");
            let mut all = [training.clone(), validation.clone()].concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..names.len()).collect::<Vec<_>>());
            prop_assert!(names.is_empty() || !training.is_empty());
            for &kept in &validation {
                for &used in &training {
                    prop_assert_ne!(&names[used], &names[kept]);
                }
            }
            let several = names.iter().any(|name| *name != names[0]);
            prop_assert_eq!(!validation.is_empty(), several && share > 0.0);
        }
    }
}
