//! Which of a site's cases train, and which are kept back for validation.

use crate::case::CachedCase;
use rand::seq::SliceRandom;
use random::{Purpose, stream};
use std::collections::BTreeMap;

/// Parts cases into those to train on and those kept back for validation, as indices, ascending; `origin` names the
/// site or archive that each case comes from, and each is parted by itself.
///
/// `share` of the cases is kept back, but one at least where there are two, and never all; nothing is kept back
/// for a share of zero. The choice depends on the names of origins and cases, not on the order in which they were found:
/// cases that are pooled are parted as they are at the sites they come from.
#[must_use]
pub fn split(cases: &[(&str, &CachedCase)], share: f32, seed: u64) -> (Vec<usize>, Vec<usize>) {
    let mut origins: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, (origin, _)) in cases.iter().enumerate() {
        origins.entry(origin).or_default().push(index);
    }
    let (mut training, mut validation) = (Vec::new(), Vec::new());
    for (origin, own) in origins {
        let names: Vec<&str> = own.iter().map(|&index| cases[index].1.id()).collect();
        let (train, kept) = part(&names, share, seed, origin);
        training.extend(train.into_iter().map(|index| own[index]));
        validation.extend(kept.into_iter().map(|index| own[index]));
    }
    training.sort_unstable();
    validation.sort_unstable();
    (training, validation)
}

fn part(names: &[&str], share: f32, seed: u64, site: &str) -> (Vec<usize>, Vec<usize>) {
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_by_key(|&index| names[index]);
    order.shuffle(&mut stream(seed, 0, site, Purpose::Split));
    let (mut validation, mut training) = (order, Vec::new());
    if validation.len() >= 2 {
        let wanted = (share * validation.len() as f32).round() as usize;
        training = validation.split_off(wanted.clamp(usize::from(share > 0.0), validation.len() - 1));
    } else {
        std::mem::swap(&mut validation, &mut training);
    }
    validation.sort_unstable();
    training.sort_unstable();
    (training, validation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
            let mut kept: Vec<String> = part(names, 0.4, 3, "north").1.iter().map(|&i| names[i].to_string()).collect();
            kept.sort();
            kept
        };
        assert_eq!(kept(&names), kept(&turned));
        assert_eq!(kept(&names).len(), 3);
    }

    proptest! {
        #[test]
        fn every_case_has_exactly_one_part(count in 0usize..40, share in 0.0f32..0.9, seed: u64) {
            let names: Vec<String> = (0..count).map(|i| i.to_string()).collect();
            let (training, validation) = part(&names.iter().map(String::as_str).collect::<Vec<_>>(), share, seed, "s");
            let mut all = [training.clone(), validation].concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..count).collect::<Vec<_>>());
            prop_assert!(count == 0 || !training.is_empty());
        }
    }
}
