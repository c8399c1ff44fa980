//! From the cases' counts to a round's validation score and the thresholds of the report.

use crate::identity::SiteName;
use crate::operating::{Chosen, OperatingPoints, choose, sweep};
use crate::outcome::RunOutcome;
use crate::overlay::Overlay;
use metrics::score::{CaseScore, ScoreHistogram, SubsetScore};
use std::collections::BTreeMap;

/// What one site counted under one model.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct SiteResult {
    /// One entry a case, in the site's order.
    pub(super) cases: Vec<CaseScore>,
    /// The cases shown a part of their sequences, by case and subset.
    pub(super) subsets: Vec<SubsetScore>,
    /// Pictures that the site sent along.
    pub(super) overlays: Vec<Overlay>,
}

/// What the sites counted, by name.
pub(super) type Scores = BTreeMap<SiteName, SiteResult>;

fn brains(scores: &Scores) -> impl Iterator<Item = &ScoreHistogram> {
    scores
        .values()
        .flat_map(|counted| &counted.cases)
        .map(|case| &case.brain)
}

/// The Dice of all cases' brains pooled, at the threshold where it is best; `None` without a lesion
/// voxel.
pub(super) fn pooled_dice(scores: &Scores) -> Option<f64> {
    ScoreHistogram::merged(&brains(scores).collect::<Vec<_>>())
        .best_dice()
        .map(|(_, dice)| dice)
}

/// The same for each site alone, in site order.
pub(super) fn dice_by_site(scores: &Scores) -> Vec<(SiteName, Option<f64>)> {
    let own = |counted: &SiteResult| {
        let brains: Vec<&ScoreHistogram> = counted.cases.iter().map(|case| &case.brain).collect();
        ScoreHistogram::merged(&brains)
            .best_dice()
            .map(|(_, dice)| dice)
    };
    scores
        .iter()
        .map(|(site, counted)| (site.clone(), own(counted)))
        .collect()
}

/// Chooses the report's thresholds on the validation cases. Returns those that exist, in the
/// outcome's order.
pub(super) fn choose_thresholds(validation: &Scores, outcome: &mut RunOutcome) -> Vec<f32> {
    let chosen = choose(&brains(validation).collect::<Vec<_>>());
    outcome.threshold = chosen.youden;
    outcome.threshold_pooled = chosen.youden_pooled;
    outcome.threshold_dice = chosen.dice;
    chosen.all()
}

/// Whether no site counted any case.
pub(super) fn has_no_cases(scores: &Scores) -> bool {
    scores.values().all(|counted| counted.cases.is_empty())
}

/// Takes a model's own thresholds for the report. Returns those that exist, in the outcome's order.
pub(super) fn keep_thresholds(points: &OperatingPoints, outcome: &mut RunOutcome) -> Vec<f32> {
    let kept = Chosen {
        youden: points.youden,
        youden_pooled: None,
        dice: points.dice,
    };
    outcome.threshold = kept.youden;
    outcome.threshold_dice = kept.dice;
    kept.all()
}

/// Thresholds for a free-response curve, found on the validation cases.
pub(super) fn choose_sweep(validation: &Scores) -> Vec<f32> {
    sweep(&brains(validation).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::tests::site_name;
    use crate::outcome::RunKind;
    use metrics::sequence::SequenceSet;

    fn scores(bins: Vec<(u16, u64, u64)>) -> Scores {
        let case = CaseScore {
            case: 0,
            subset: SequenceSet::full(1),
            voxel_mm3: 1.0,
            brain: ScoreHistogram { bins },
            outside: ScoreHistogram::default(),
            at: Vec::new(),
            sweep: Vec::new(),
        };
        Scores::from([(
            site_name("north"),
            SiteResult {
                cases: vec![case],
                ..SiteResult::default()
            },
        )])
    }

    #[test]
    fn the_headline_is_the_mean_of_the_patients_own_youden_thresholds() {
        let (clear, faint) = (
            scores(vec![(400, 0, 90), (1500, 10, 0)]),
            scores(vec![(400, 0, 90), (800, 10, 0)]),
        );
        let both = Scores::from([
            (site_name("north"), clear["north"].clone()),
            (site_name("south"), faint["north"].clone()),
        ]);
        let chosen = |scores: &Scores| {
            let mut outcome =
                super::super::checkpoint::RunProgress::new(RunKind::Federation, Vec::new()).outcome;
            let all = choose_thresholds(scores, &mut outcome);
            assert_eq!(all.len(), 3);
            (
                outcome.threshold.unwrap(),
                outcome.threshold_pooled.unwrap(),
            )
        };
        let ((clear, _), (faint, _), (mean, pooled)) =
            (chosen(&clear), chosen(&faint), chosen(&both));
        assert!(faint < 0.1 && clear > 0.9);
        assert!((mean - (clear + faint) / 2.0).abs() < 1e-6);
        assert_eq!(
            pooled, faint,
            "all lesions are called without a single other voxel"
        );
    }

    #[test]
    fn a_sweep_finds_lesion_voxels_in_equal_steps() {
        let sweep = choose_sweep(&scores((100..1800).map(|bin| (bin, 1, 1)).collect()));
        assert_eq!(sweep.len(), 16);
        let found = |threshold: f32| {
            scores((100..1800).map(|bin| (bin, 1, 1)).collect())["north"].cases[0]
                .brain
                .confusion(threshold)
                .tp
        };
        for (step, &threshold) in sweep.iter().enumerate() {
            assert_eq!(found(threshold), 100 * (step as u64 + 1));
        }
    }

    #[test]
    fn few_levels_give_few_thresholds_and_no_lesion_none() {
        assert_eq!(
            choose_sweep(&scores(vec![(900, 5, 5), (1200, 5, 0)])).len(),
            2
        );
        assert!(choose_sweep(&scores(vec![(900, 0, 5)])).is_empty());
        assert!(choose_sweep(&Scores::new()).is_empty());
    }
}
