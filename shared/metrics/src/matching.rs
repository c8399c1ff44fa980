//! Lesions matched one to one, and the panoptic quality that follows (Kirillov et al. 2019;
//! panoptica, Kofler et al. 2023, with the settings of BraTS-METS: components by 26 neighbours,
//! matched to maximise the sum of Dice).

use super::components::Components;
use super::confusion::ratio;
use super::overlap::Overlaps;
use std::collections::BTreeMap;

/// Pairs below this Dice are no match, and each match is worth this much besides its Dice.
const LEAST: f64 = 1e-6;

/// Lesions of reference and prediction in pairs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Matching {
    /// Lesions of the reference.
    pub reference: u32,
    /// Components of the prediction.
    pub predicted: u32,
    /// Pairs.
    pub matched: u32,
    /// The sum of the pairs' Dice.
    pub dice_sum: f64,
}

impl Matching {
    /// The best matching of lesions with predicted components by the voxels they share.
    #[must_use]
    pub fn best(lesions: &Components, predicted: &Components, shared: &Overlaps) -> Self {
        let dice = |(&(lesion, piece), &voxels): (&(u32, u32), &u64)| {
            let dice = 2.0 * voxels as f64 / (lesions.size(lesion) + predicted.size(piece)) as f64;
            (dice >= LEAST).then_some((lesion, piece, dice))
        };
        let edges: Vec<_> = shared.iter().filter_map(dice).collect();
        let pairs: Vec<f64> = clusters(&edges)
            .iter()
            .flat_map(|cluster| match_cluster(cluster))
            .collect();
        Self {
            reference: lesions.count() as u32,
            predicted: predicted.count() as u32,
            matched: pairs.len() as u32,
            dice_sum: pairs.iter().sum(),
        }
    }

    /// Matched share of predicted components; `None` without any.
    #[must_use]
    pub fn precision(&self) -> Option<f64> {
        ratio(f64::from(self.matched), f64::from(self.predicted))
    }

    /// Matched share of lesions; `None` without any.
    #[must_use]
    pub fn recall(&self) -> Option<f64> {
        ratio(f64::from(self.matched), f64::from(self.reference))
    }

    /// Recognition quality, the F1 of matches: `2 tp / (lesions + components)`; `None` without
    /// either.
    #[must_use]
    pub fn recognition(&self) -> Option<f64> {
        ratio(
            2.0 * f64::from(self.matched),
            f64::from(self.reference) + f64::from(self.predicted),
        )
    }

    /// Segmentation quality: the mean Dice of matched pairs, zero where nothing matched; `None`
    /// with nothing to match.
    #[must_use]
    pub fn segmentation(&self) -> Option<f64> {
        let nothing = self.reference + self.predicted == 0;
        ratio(self.dice_sum, f64::from(self.matched)).or((!nothing).then_some(0.0))
    }

    /// Panoptic quality: recognition times segmentation.
    #[must_use]
    pub fn panoptic(&self) -> Option<f64> {
        Some(self.recognition()? * self.segmentation()?)
    }
}

/// A lesion, a predicted component, and their Dice.
type Edge = (u32, u32, f64);

/// Groups the edges so that no lesion or component is in two groups: each can be matched alone.
fn clusters(edges: &[Edge]) -> Vec<Vec<Edge>> {
    let mut of_lesion = BTreeMap::<u32, usize>::new();
    let mut of_piece = BTreeMap::<u32, usize>::new();
    let mut groups: Vec<Vec<Edge>> = Vec::new();
    for &edge in edges {
        let (lesion, piece) = (
            of_lesion.get(&edge.0).copied(),
            of_piece.get(&edge.1).copied(),
        );
        let group = lesion.or(piece).unwrap_or_else(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[group].push(edge);
        if let Some(other) = piece.filter(|&other| other != group) {
            let moved = std::mem::take(&mut groups[other]);
            for &(lesion, piece, _) in &moved {
                of_lesion.insert(lesion, group);
                of_piece.insert(piece, group);
            }
            groups[group].extend(moved);
        }
        of_lesion.insert(edge.0, group);
        of_piece.insert(edge.1, group);
    }
    groups
}

/// The Dice of each pair in the matching with the largest sum.
fn match_cluster(edges: &[Edge]) -> Vec<f64> {
    let index = |ids: Vec<u32>| -> BTreeMap<u32, usize> {
        let distinct: std::collections::BTreeSet<u32> = ids.into_iter().collect();
        distinct
            .into_iter()
            .enumerate()
            .map(|(i, id)| (id, i))
            .collect()
    };
    let lesions = index(edges.iter().map(|edge| edge.0).collect());
    let pieces = index(edges.iter().map(|edge| edge.1).collect());
    let turned = lesions.len() > pieces.len();
    let (rows, columns) = if turned {
        (pieces.len(), lesions.len())
    } else {
        (lesions.len(), pieces.len())
    };
    let mut worth = vec![vec![0.0; columns]; rows];
    for &(lesion, piece, dice) in edges {
        let (row, column) = if turned {
            (pieces[&piece], lesions[&lesion])
        } else {
            (lesions[&lesion], pieces[&piece])
        };
        worth[row][column] = dice + LEAST;
    }
    let chosen = assign(&worth);
    let dice = worth
        .iter()
        .zip(chosen)
        .map(|(row, column)| row[column] - LEAST);
    dice.filter(|&dice| dice > 0.0).collect()
}

/// For each row a column of its own, so that the sum of `worth` is largest: the Hungarian method
/// with potentials, for no more rows than columns (Kuhn 1955, Munkres 1957; cubic in the rows).
fn assign(worth: &[Vec<f64>]) -> Vec<usize> {
    let columns = worth.first().map_or(0, Vec::len);
    let (mut row_potential, mut column_potential) = (vec![0.0; worth.len()], vec![0.0; columns]);
    let mut row_of = vec![None::<usize>; columns];
    for start in 0..worth.len() {
        let (mut slack, mut came_from) =
            (vec![f64::INFINITY; columns], vec![None::<usize>; columns]);
        let mut done = vec![false; columns];
        let (mut row, mut column) = (start, None::<usize>);
        loop {
            let mut best = (f64::INFINITY, 0);
            for next in (0..columns).filter(|&next| !done[next]) {
                let reduced = -worth[row][next] - row_potential[row] - column_potential[next];
                if reduced < slack[next] {
                    (slack[next], came_from[next]) = (reduced, column);
                }
                if slack[next] < best.0 {
                    best = (slack[next], next);
                }
            }
            row_potential[start] += best.0;
            for other in 0..columns {
                match (done[other], row_of[other]) {
                    (true, Some(owner)) => {
                        row_potential[owner] += best.0;
                        column_potential[other] -= best.0;
                    }
                    _ => slack[other] -= best.0,
                }
            }
            column = Some(best.1);
            done[best.1] = true;
            match row_of[best.1] {
                Some(owner) => row = owner,
                None => break,
            }
        }
        while let Some(here) = column {
            column = came_from[here];
            row_of[here] = column.map_or(Some(start), |before| row_of[before]);
        }
    }
    let mut chosen = vec![0; worth.len()];
    row_of
        .iter()
        .enumerate()
        .for_each(|(column, row)| row.iter().for_each(|&row| chosen[row] = column));
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The largest sum over every way to give rows columns of their own.
    fn brute(worth: &[Vec<f64>], used: &mut Vec<bool>) -> f64 {
        let Some((first, rest)) = worth.split_first() else {
            return 0.0;
        };
        let mut best = f64::NEG_INFINITY;
        for column in 0..first.len() {
            if !used[column] {
                used[column] = true;
                best = best.max(first[column] + brute(rest, used));
                used[column] = false;
            }
        }
        best
    }

    proptest! {
        #[test]
        fn the_assignment_is_the_best_of_all(rows in 1usize..5, more in 0usize..3, seed in prop::collection::vec(0u8..20, 35)) {
            let worth: Vec<Vec<f64>> =
                (0..rows).map(|r| (0..rows + more).map(|c| f64::from(seed[r * 7 + c]) / 4.0).collect()).collect();
            let chosen = assign(&worth);
            let distinct: std::collections::BTreeSet<_> = chosen.iter().collect();
            prop_assert_eq!(distinct.len(), rows);
            let sum: f64 = worth.iter().zip(&chosen).map(|(row, &column)| row[column]).sum();
            prop_assert!((sum - brute(&worth, &mut vec![false; rows + more])).abs() < 1e-9);
        }

        #[test]
        fn clusters_keep_every_edge_and_share_no_end(ends in prop::collection::btree_set((0u32..8, 0u32..8), 0..20)) {
            let edges: Vec<Edge> = ends.iter().map(|&(a, b)| (a, b, 0.5)).collect();
            let groups = clusters(&edges);
            let mut all: Vec<_> = groups.iter().flatten().map(|&(a, b, _)| (a, b)).collect();
            all.sort_unstable();
            prop_assert_eq!(all, ends.into_iter().collect::<Vec<_>>());
            for (i, one) in groups.iter().enumerate() {
                for other in &groups[i + 1..] {
                    prop_assert!(one.iter().all(|a| other.iter().all(|b| a.0 != b.0 && a.1 != b.1)));
                }
            }
        }
    }

    #[test]
    fn nothing_to_match_has_no_quality_and_nothing_matched_has_none_of_it() {
        let nothing = Matching {
            reference: 0,
            predicted: 0,
            matched: 0,
            dice_sum: 0.0,
        };
        assert_eq!(
            (
                nothing.recognition(),
                nothing.segmentation(),
                nothing.panoptic()
            ),
            (None, None, None)
        );
        let missed = Matching {
            reference: 2,
            predicted: 0,
            matched: 0,
            dice_sum: 0.0,
        };
        assert_eq!(
            (missed.precision(), missed.recall(), missed.panoptic()),
            (None, Some(0.0), Some(0.0))
        );
    }
}
