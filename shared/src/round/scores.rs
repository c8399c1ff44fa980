//! From the cases' counts to a round's validation score and the thresholds of the report.

use crate::outcome::RunOutcome;
use crate::score::{CaseScore, ScoreHistogram};
use std::collections::BTreeMap;

/// Cases by site, in the site's order.
pub(super) type Scores = BTreeMap<String, Vec<CaseScore>>;

/// The Dice of all cases' brains pooled, at the threshold where it is best; `None` without a lesion voxel.
pub(super) fn pooled_dice(scores: &Scores) -> Option<f64> {
    let brains: Vec<&ScoreHistogram> = scores.values().flatten().map(|case| &case.brain).collect();
    ScoreHistogram::merged(&brains).best_dice().map(|(_, dice)| dice)
}

/// Chooses the thresholds from the validation cases' brains: Youden's index on the pooled voxels, the mean of the
/// patients' own Youden thresholds, and the best pooled Dice. Returns those that exist, in this order.
///
/// Inside the brain only: the air around the head costs no specificity, so counting it would make false positives
/// look cheap and push Youden's threshold towards zero by the size of the field of view.
pub(super) fn choose_thresholds(validation: &Scores, outcome: &mut RunOutcome) -> Vec<f32> {
    let brains: Vec<&ScoreHistogram> = validation.values().flatten().map(|case| &case.brain).collect();
    let pooled = ScoreHistogram::merged(&brains);
    let own: Vec<f64> = brains.iter().filter_map(|v| v.youden().map(|youden| f64::from(youden.threshold))).collect();
    outcome.threshold = pooled.youden().map(|youden| youden.threshold);
    outcome.threshold_per_patient = (!own.is_empty()).then(|| (own.iter().sum::<f64>() / own.len() as f64) as f32);
    outcome.threshold_dice = pooled.best_dice().map(|(threshold, _)| threshold);
    [outcome.threshold, outcome.threshold_per_patient, outcome.threshold_dice].into_iter().flatten().collect()
}
