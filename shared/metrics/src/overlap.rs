//! Which components of two masks share voxels, and how many.

use super::components::Components;
use std::collections::BTreeMap;

/// Shared voxels by the pair of labels, components without a shared voxel left out.
pub type Overlaps = BTreeMap<(u32, u32), u64>;

/// Counts the voxels that each pair of labels shares; label 0 is no component.
#[must_use]
pub fn overlaps(a: &[u32], b: &[u32]) -> Overlaps {
    let mut shared = Overlaps::new();
    let mut run = ((0, 0), 0);
    for pair in a
        .iter()
        .copied()
        .zip(b.iter().copied())
        .filter(|&(a, b)| a != 0 && b != 0)
    {
        if pair != run.0 {
            flush(&mut shared, run);
            run = (pair, 0);
        }
        run.1 += 1;
    }
    flush(&mut shared, run);
    shared
}

fn flush(shared: &mut Overlaps, (pair, voxels): ((u32, u32), u64)) {
    if voxels > 0 {
        *shared.entry(pair).or_default() += voxels;
    }
}

/// For each reference lesion that the prediction touches: its Dice with all predicted components
/// that touch it. Their mean is the mean Dice over detected lesions, which leaves missed lesions
/// and false positives out.
#[must_use]
pub fn dice_of_detected(
    lesions: &Components,
    predicted: &Components,
    shared: &Overlaps,
) -> Vec<f64> {
    let mut sums = BTreeMap::<u32, (u64, u64)>::new();
    for (&(lesion, piece), &voxels) in shared {
        let sum = sums.entry(lesion).or_default();
        *sum = (sum.0 + voxels, sum.1 + predicted.size(piece));
    }
    sums.iter()
        .map(|(&lesion, &(both, called))| {
            2.0 * both as f64 / (lesions.size(lesion) + called) as f64
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::components::{Connectivity, components};

    #[test]
    fn a_lesion_in_two_pieces_is_compared_with_both() {
        let of = |mask: &[u8]| components(mask, [1, 1, 10], Connectivity::TwentySix);
        let lesions = of(&[0, 1, 1, 1, 1, 0, 1, 1, 0, 0]);
        let predicted = of(&[1, 1, 0, 1, 0, 0, 0, 0, 0, 1]);
        let shared = overlaps(&lesions.labels, &predicted.labels);
        assert_eq!(shared, Overlaps::from([((1, 1), 1), ((1, 2), 1)]));
        assert_eq!(
            dice_of_detected(&lesions, &predicted, &shared),
            [2.0 * 2.0 / (4.0 + 3.0)]
        );
    }
}
