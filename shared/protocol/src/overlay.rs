//! Pictures of representative cases: which cases those are, and the colours of what a model found
//! in them.
//!
//! Which case is a site's best, median and worst follows from the scores, which both ends have. So
//! a picture on its way says only which case it shows, and no site can call its best case the
//! worst.

use crate::jpeg::Picture;
use metrics::score::AtThreshold;
use serde::{Deserialize, Serialize};

/// How many representative cases a site has at most.
pub const MOST: usize = 3;

/// A picture of a case: an axial slice twice, on the left the model's probabilities, on the right
/// what it found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Overlay {
    /// The case's place in the site's list, as in its [`metrics::score::CaseScore`].
    pub case: u32,
    /// The picture.
    pub picture: Picture,
}

/// Why a case represents others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rank {
    /// The highest Dice.
    Best,
    /// The Dice in the middle.
    Median,
    /// The lowest Dice.
    Worst,
}

impl std::fmt::Display for Rank {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Best => "best",
            Self::Median => "median",
            Self::Worst => "worst",
        })
    }
}

/// A case that represents others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Representative {
    /// For which.
    pub rank: Rank,
    /// The case's place in the site's list.
    pub case: u32,
    /// Its Dice.
    pub dice: f64,
}

/// The best, the median and the worst case by Dice, of those with a lesion, from each case's counts
/// at one threshold.
///
/// Of equal cases the earlier one ranks higher; of two in the middle the lower one is the median.
/// Two cases are best and worst, a lone one is its own median.
#[must_use]
pub fn representative(
    counted: impl IntoIterator<Item = (u32, AtThreshold)>,
) -> Vec<Representative> {
    let with_lesion = |at: &AtThreshold| at.true_positive > 0 || at.false_negative > 0;
    // True negatives play no part in Dice, which is defined wherever there is a lesion.
    let dice = |(case, at): (u32, AtThreshold)| {
        Some((case, at.confusion(0).dice().filter(|_| with_lesion(&at))?))
    };
    let mut ranked: Vec<(u32, f64)> = counted.into_iter().filter_map(dice).collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let middle = ranked.len() / 2;
    let places = match ranked.len() {
        0 => vec![],
        1 => vec![(Rank::Median, 0)],
        2 => vec![(Rank::Best, 0), (Rank::Worst, 1)],
        count => vec![
            (Rank::Best, 0),
            (Rank::Median, middle),
            (Rank::Worst, count - 1),
        ],
    };
    let found = |(rank, place): (Rank, usize)| {
        ranked
            .get(place)
            .map(|&(case, dice)| Representative { rank, case, dice })
    };
    places.into_iter().filter_map(found).collect()
}

/// Red, green, blue.
pub type Colour = [u8; 3];

/// Lesion that was found (Okabe and Ito's bluish green: their colours can be told apart by the
/// colour-blind).
pub const TRUE_POSITIVE: Colour = [0, 158, 115];
/// Called lesion and is none (vermilion).
pub const FALSE_POSITIVE: Colour = [213, 94, 0];
/// Lesion that was missed (sky blue).
pub const FALSE_NEGATIVE: Colour = [86, 180, 233];

/// Probabilities from 0 to 1 at equal steps: matplotlib's viridis, whose lightness grows evenly, so
/// that it reads the same without colours.
pub const PROBABILITY: [Colour; 9] = [
    [68, 1, 84],
    [71, 44, 122],
    [59, 81, 139],
    [44, 113, 142],
    [33, 144, 141],
    [39, 173, 129],
    [92, 200, 99],
    [170, 220, 50],
    [253, 231, 37],
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Of 10 lesion voxels so many are found, and nothing else is called.
    fn counted(case: u32, found: u64) -> (u32, AtThreshold) {
        (
            case,
            AtThreshold {
                true_positive: found,
                false_negative: 10 - found,
                ..AtThreshold::default()
            },
        )
    }

    fn chosen(counted: &[(u32, AtThreshold)]) -> Vec<(Rank, u32)> {
        representative(counted.iter().copied())
            .into_iter()
            .map(|one| (one.rank, one.case))
            .collect()
    }

    #[test]
    fn best_median_and_worst_are_three_cases_with_a_lesion() {
        let healthy = (
            9,
            AtThreshold {
                false_positive: 4,
                ..AtThreshold::default()
            },
        );
        let cases = [
            counted(4, 3),
            healthy,
            counted(1, 9),
            counted(7, 0),
            counted(3, 5),
            counted(5, 4),
        ];
        assert_eq!(
            chosen(&cases),
            [(Rank::Best, 1), (Rank::Median, 5), (Rank::Worst, 7)]
        );
        // Nothing found is a Dice of 0, nine of ten found 2·9/(9 + 10).
        let dice: Vec<f64> = representative(cases)
            .into_iter()
            .map(|one| one.dice)
            .collect();
        assert!(
            (dice[0] - 18.0 / 19.0).abs() < 1e-12 && dice[2] == 0.0,
            "{dice:?}"
        );
    }

    #[test]
    fn equal_cases_stand_in_their_order() {
        assert_eq!(
            chosen(&[counted(8, 5), counted(2, 5), counted(6, 5), counted(4, 5)]),
            [(Rank::Best, 2), (Rank::Median, 6), (Rank::Worst, 8)]
        );
    }

    #[test]
    fn few_cases_have_few_representatives() {
        assert_eq!(chosen(&[]), []);
        assert_eq!(chosen(&[counted(3, 2)]), [(Rank::Median, 3)]);
        assert_eq!(
            chosen(&[counted(3, 2), counted(5, 8)]),
            [(Rank::Best, 5), (Rank::Worst, 3)]
        );
    }
}
