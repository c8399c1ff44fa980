//! The lesion-wise scores of the BraTS 2023 challenges (Saluja et al., "BraTS-2023-Metrics"; Moawad
//! et al. 2023, arXiv 2306.00838, for metastases).
//!
//! Reference lesions that touch once grown are one lesion. Each is compared with all predicted
//! components that reach its grown self, however small; predicted components that reach none are
//! false positives. Missed lesions and false positives score Dice 0 and a fixed distance.

use super::components::{Components, Connectivity, components};
use super::confusion::ratio;
use super::dilate::dilated;
use super::overlap::{Overlaps, overlaps};
use super::surface::SurfaceDistances;
use super::window::Window;
use std::collections::BTreeSet;

/// What differs between the challenges.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// How often the reference is grown by its 18 neighbours.
    pub dilations: usize,
    /// Reference lesions up to this volume are not scored, mm³.
    pub ignored_mm3: f64,
    /// The distance of a missed lesion or a false positive, mm.
    pub penalty_mm: f64,
}

/// The rule for metastases (BraTS-MET 2023).
pub const METASTASES: Rule = Rule {
    dilations: 1,
    ignored_mm3: 2.0,
    penalty_mm: 374.0,
};

/// Lesion-wise scores of one case.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LesionWise {
    /// Scored reference lesions that the prediction reaches.
    pub found: u32,
    /// Scored reference lesions that it does not.
    pub missed: u32,
    /// Predicted components that reach no reference lesion.
    pub false_positive: u32,
    /// The sum of Dice over scored lesions, by lesions and false positives; `None` without either.
    pub dice: Option<f64>,
    /// The mean HD95 over scored lesions and false positives, mm; `None` without either, or if not
    /// asked for.
    pub hd95_mm: Option<f64>,
}

/// Scores two masks (nonzero is lesion) of `dims`, width fastest, whose voxels are `spacing_mm`
/// apart along the same axes. Distances take most of the time and are measured only if asked for.
#[must_use]
pub fn lesion_wise(
    reference: &[u8],
    prediction: &[u8],
    dims: [usize; 3],
    spacing_mm: [f64; 3],
    rule: &Rule,
    distances: bool,
) -> LesionWise {
    let case = Case::new(reference, prediction, dims, rule.dilations);
    let voxel_mm3: f64 = spacing_mm.iter().product();
    let (mut found, mut missed, mut dice, mut hd95) = (0, 0, 0.0, 0.0);
    let mut reached = BTreeSet::new();
    for lesion in 1..=case.lesions.count() as u32 {
        let pieces: Vec<u32> = case.pieces(lesion).collect();
        reached.extend(pieces.iter().copied());
        if case.lesions.size(lesion) as f64 * voxel_mm3 <= rule.ignored_mm3 {
            continue;
        }
        *(if pieces.is_empty() {
            &mut missed
        } else {
            &mut found
        }) += 1;
        dice += case.dice(lesion, &pieces);
        if distances {
            hd95 += case
                .hd95(lesion, &pieces, spacing_mm)
                .unwrap_or(rule.penalty_mm);
        }
    }
    let false_positive = case.predicted.count() - reached.len();
    let scored = f64::from(found + missed) + false_positive as f64;
    let hd95_mm =
        ratio(hd95 + false_positive as f64 * rule.penalty_mm, scored).filter(|_| distances);
    LesionWise {
        found,
        missed,
        false_positive: false_positive as u32,
        dice: ratio(dice, scored),
        hd95_mm,
    }
}

/// Lesions and predicted components, cut to the window that holds them.
struct Case {
    dims: [usize; 3],
    /// Reference lesions after joining, without what they grew by.
    lesions: Components,
    predicted: Components,
    /// Voxels that a grown lesion shares with a predicted component.
    near: Overlaps,
    /// Voxels that a lesion itself shares.
    inside: Overlaps,
    lesion_boxes: Vec<Option<Window>>,
    predicted_boxes: Vec<Option<Window>>,
}

impl Case {
    fn new(reference: &[u8], prediction: &[u8], dims: [usize; 3], dilations: usize) -> Self {
        let window = Window::around(dims, |i| reference[i] != 0 || prediction[i] != 0);
        let window = window.map_or(
            Window {
                origin: [0; 3],
                dims: [0; 3],
            },
            |window| window.grown(dilations, dims),
        );
        let (reference, prediction) = (window.cut(reference, dims), window.cut(prediction, dims));
        let dims = window.dims;
        let mut grown = reference.clone();
        for _ in 0..dilations {
            grown = dilated(&grown, dims, Connectivity::Eighteen);
        }
        let grown = components(&grown, dims, Connectivity::TwentySix);
        let predicted = components(&prediction, dims, Connectivity::TwentySix);
        let near = overlaps(&grown.labels, &predicted.labels);
        let lesions = grown.restricted(&reference);
        Self {
            dims,
            inside: overlaps(&lesions.labels, &predicted.labels),
            lesion_boxes: lesions.windows(dims),
            predicted_boxes: predicted.windows(dims),
            lesions,
            predicted,
            near,
        }
    }

    /// The predicted components that reach a grown lesion.
    fn pieces(&self, lesion: u32) -> impl Iterator<Item = u32> + '_ {
        self.near
            .range((lesion, 0)..=(lesion, u32::MAX))
            .map(|(&(_, piece), _)| piece)
    }

    fn dice(&self, lesion: u32, pieces: &[u32]) -> f64 {
        let both: u64 = pieces
            .iter()
            .filter_map(|&piece| self.inside.get(&(lesion, piece)))
            .sum();
        let called: u64 = pieces.iter().map(|&piece| self.predicted.size(piece)).sum();
        2.0 * both as f64 / (self.lesions.size(lesion) + called) as f64
    }

    /// HD95 of one lesion; `None` if it is missed.
    fn hd95(&self, lesion: u32, pieces: &[u32], spacing_mm: [f64; 3]) -> Option<f64> {
        let boxes = pieces
            .iter()
            .filter_map(|&piece| self.predicted_boxes[piece as usize - 1].as_ref());
        let window = boxes.fold(self.lesion_boxes[lesion as usize - 1]?, |window, piece| {
            window.joined(piece)
        });
        let lesion = window
            .cut(&self.lesions.labels, self.dims)
            .into_iter()
            .map(|label| u8::from(label == lesion));
        let called = window.cut(&self.predicted.labels, self.dims).into_iter();
        let called: Vec<u8> = called
            .map(|label| u8::from(pieces.binary_search(&label).is_ok()))
            .collect();
        let between = SurfaceDistances::between(
            &lesion.collect::<Vec<_>>(),
            &called,
            window.dims,
            spacing_mm,
        )?;
        Some(between.hausdorff(0.95))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: [f64; 3] = [1.0; 3];

    fn score(reference: &[u8], prediction: &[u8]) -> LesionWise {
        lesion_wise(
            reference,
            prediction,
            [1, 1, reference.len()],
            ONE,
            &METASTASES,
            true,
        )
    }

    #[test]
    fn lesions_two_voxels_apart_are_one_and_a_near_miss_is_found() {
        //                       one lesion, in two pieces     another
        let reference = [1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0];
        let prediction = [0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let scores = score(&reference, &prediction);
        assert_eq!(
            (scores.found, scores.missed, scores.false_positive),
            (1, 1, 0)
        );
        assert_eq!(scores.dice, Some(0.0));
        assert!(scores.hd95_mm.unwrap() > 374.0 / 2.0);
    }

    #[test]
    fn a_tiny_lesion_is_not_scored_but_takes_the_prediction_that_reaches_it() {
        let scores = score(&[1, 1, 0, 0, 0, 0, 0], &[1, 0, 0, 0, 0, 1, 0]);
        assert_eq!(
            (scores.found, scores.missed, scores.false_positive),
            (0, 0, 1)
        );
        assert_eq!((scores.dice, scores.hd95_mm), (Some(0.0), Some(374.0)));
    }

    #[test]
    fn nothing_to_find_and_nothing_found_has_no_score() {
        let scores = score(&[0; 5], &[0; 5]);
        assert_eq!((scores.dice, scores.hd95_mm), (None, None));
    }

    #[test]
    fn a_prediction_that_covers_two_lesions_counts_whole_against_each() {
        let reference = [1, 1, 1, 0, 0, 0, 0, 1, 1, 1];
        let scores = score(&reference, &[1; 10]);
        assert_eq!((scores.found, scores.false_positive), (2, 0));
        assert!((scores.dice.unwrap() - 2.0 * 3.0 / 13.0).abs() < 1e-12);
    }
}
