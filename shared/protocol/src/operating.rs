//! Operating points: from which probability on a voxel counts as lesion, as validation patients
//! chose it.
//!
//! Two have equal rank. `dice` is for outlines and volumes, `youden` is the publication's and finds
//! the most. A third, `fp-per-patient=N`, says how many false findings are bearable.

use metrics::lesion::{FrocPoint, counted_points};
use metrics::score::{CaseScore, ScoreHistogram};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How many thresholds a free-response curve is swept through.
const SWEEP: u64 = 16;
/// The most points that a stored curve may have.
const MOST_POINTS: usize = 64;

/// A named way to choose the threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OperatingPoint {
    /// The threshold of the best Dice over all validation voxels together.
    Dice,
    /// The mean of the validation patients' own Youden thresholds.
    Youden,
    /// The lowest threshold at which validation patients had no more than so many false findings
    /// each.
    FalsePositives(f64),
}

impl OperatingPoint {
    /// What a mask at this point is good for, in one line.
    #[must_use]
    pub fn meaning(&self) -> &'static str {
        match self {
            Self::Dice => "the best Dice on validation patients: for outlines and volumes",
            Self::Youden => {
                "the publication's, by Youden's index: finds the most, and marks far more than \
                 the lesions"
            }
            Self::FalsePositives(_) => {
                "the lowest measured threshold at which validation patients had so few false \
                 findings each"
            }
        }
    }
}

impl fmt::Display for OperatingPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dice => f.write_str("dice"),
            Self::Youden => f.write_str("youden"),
            Self::FalsePositives(most) => write!(f, "fp-per-patient={most}"),
        }
    }
}

impl FromStr for OperatingPoint {
    type Err = UnknownPoint;

    fn from_str(text: &str) -> Result<Self, UnknownPoint> {
        let most = text
            .strip_prefix("fp-per-patient=")
            .and_then(|most| most.parse::<f64>().ok());
        match (text, most) {
            ("dice", _) => Ok(Self::Dice),
            ("youden", _) => Ok(Self::Youden),
            (_, Some(most)) if most.is_finite() && most >= 0.0 => Ok(Self::FalsePositives(most)),
            _ => Err(UnknownPoint { found: text.into() }),
        }
    }
}

/// A text that names no operating point.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected dice, youden or fp-per-patient=N, such as fp-per-patient=1")]
pub struct UnknownPoint {
    /// The text.
    pub found: String,
}

/// Why operating points that came from a file cannot be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PointsError {
    /// A threshold outside 0 to 1.
    #[error("a threshold of {found:?} is no probability")]
    Threshold {
        /// The threshold.
        found: f32,
    },
    /// The curve is not from the highest threshold down, or too long.
    #[error("thresholds of the curve do not fall, or are more than {MOST_POINTS}")]
    Curve {
        /// How many thresholds it has.
        points: usize,
    },
    /// A count below zero or not finite, or a sensitivity outside 0 to 1.
    #[error("the curve holds counts that cannot be, at the threshold {threshold}")]
    Counts {
        /// The threshold that they belong to.
        threshold: f32,
    },
}

/// What validation patients chose, and how many false findings they had at each threshold that was
/// counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatingPoints {
    /// The threshold of [`OperatingPoint::Dice`]; `None` where there was no lesion to find.
    pub dice: Option<f32>,
    /// The threshold of [`OperatingPoint::Youden`].
    pub youden: Option<f32>,
    /// Validation patients that were counted.
    pub patients: u32,
    /// Lesions found and false findings at each threshold, from the highest threshold down. Empty
    /// where nothing was counted.
    pub curve: Vec<FrocPoint>,
}

/// Why an operating point has no threshold.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum OperatingError {
    /// Nothing was found for it on validation patients, or the file is older than the point.
    #[error("no threshold is known for {asked}; known: {}", if known.is_empty() { "none" } else { known.as_str() })]
    Unknown {
        /// What was asked for.
        asked: OperatingPoint,
        /// What there is.
        known: String,
    },
    /// Even the highest counted threshold gives more false findings.
    #[error(
        "no counted threshold has as few as {most} false findings per patient: the fewest were \
         {fewest}"
    )]
    TooFew {
        /// What was asked for.
        most: f64,
        /// What there is.
        fewest: f64,
    },
}

impl OperatingPoints {
    /// The threshold of a point.
    ///
    /// The count of false findings can fall again at low thresholds, where false regions grow
    /// together. A threshold is taken only if it and every higher one keep to the limit.
    ///
    /// # Errors
    /// See [`OperatingError`].
    pub fn threshold(&self, point: OperatingPoint) -> Result<f32, OperatingError> {
        let unknown = || OperatingError::Unknown {
            asked: point,
            known: self.known(),
        };
        match point {
            OperatingPoint::Dice => self.dice.ok_or_else(unknown),
            OperatingPoint::Youden => self.youden.ok_or_else(unknown),
            OperatingPoint::FalsePositives(most) => {
                let first = self.curve.first().ok_or_else(unknown)?;
                let within = self
                    .curve
                    .iter()
                    .take_while(|point| point.false_positives <= most)
                    .last();
                let fewest = first.false_positives;
                within
                    .map(|point| point.threshold)
                    .ok_or(OperatingError::TooFew { most, fewest })
            }
        }
    }

    fn known(&self) -> String {
        let mut known = Vec::new();
        known.extend(self.dice.map(|threshold| format!("dice ({threshold})")));
        known.extend(self.youden.map(|threshold| format!("youden ({threshold})")));
        if !self.curve.is_empty() {
            known.push("fp-per-patient=N".to_owned());
        }
        known.join(", ")
    }

    /// Whether anything is known at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.dice.is_none() && self.youden.is_none() && self.curve.is_empty()
    }

    /// What validation cases chose and counted.
    #[must_use]
    pub fn of(dice: Option<f32>, youden: Option<f32>, validation: &[&CaseScore]) -> Self {
        let curve = counted_points(validation);
        Self {
            dice,
            youden,
            patients: u32::try_from(validation.len()).unwrap_or(u32::MAX),
            curve,
        }
    }

    /// Whether points that came from a file can be: probabilities, and counts that are numbers.
    ///
    /// # Errors
    /// See [`PointsError`].
    pub fn check(&self) -> Result<(), PointsError> {
        let own = [self.dice, self.youden].into_iter().flatten();
        if let Some(found) = own
            .chain(self.curve.iter().map(|point| point.threshold))
            .find(|&t| !is_probability(t))
        {
            return Err(PointsError::Threshold { found });
        }
        if self.curve.len() > MOST_POINTS
            || !self.curve.is_sorted_by(|a, b| a.threshold > b.threshold)
        {
            return Err(PointsError::Curve {
                points: self.curve.len(),
            });
        }
        let sound = |point: &FrocPoint| {
            let counts = [point.false_positives, point.false_positives_10mm3];
            counts
                .iter()
                .all(|count| count.is_finite() && *count >= 0.0)
                && (0.0..=1.0).contains(&point.sensitivity)
        };
        for point in &self.curve {
            if !sound(point) {
                return Err(PointsError::Counts {
                    threshold: point.threshold,
                });
            }
        }
        Ok(())
    }
}

fn is_probability(threshold: f32) -> bool {
    (0.0..=1.0).contains(&threshold)
}

/// Thresholds that validation patients choose.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Chosen {
    /// The mean of the patients' own Youden thresholds.
    pub youden: Option<f32>,
    /// Youden's threshold of all voxels together.
    pub youden_pooled: Option<f32>,
    /// The threshold of the best Dice of all voxels together.
    pub dice: Option<f32>,
}

impl Chosen {
    /// The thresholds that exist, in this order.
    #[must_use]
    pub fn all(&self) -> Vec<f32> {
        [self.youden, self.youden_pooled, self.dice]
            .into_iter()
            .flatten()
            .collect()
    }
}

/// Chooses thresholds from the validation patients' brains.
///
/// Inside the brain only: the air around the head costs no specificity, so counting it would make
/// false positives look cheap and push Youden's threshold towards zero by the size of the field of
/// view.
#[must_use]
pub fn choose(brains: &[&ScoreHistogram]) -> Chosen {
    let pooled = ScoreHistogram::merged(brains);
    let own: Vec<f64> = brains
        .iter()
        .filter_map(|v| v.youden().map(|youden| f64::from(youden.threshold)))
        .collect();
    Chosen {
        youden: (!own.is_empty()).then(|| (own.iter().sum::<f64>() / own.len() as f64) as f32),
        youden_pooled: pooled.youden().map(|youden| youden.threshold),
        dice: pooled.best_dice().map(|(threshold, _)| threshold),
    }
}

/// Thresholds for a free-response curve, from the highest down: those that find every share of the
/// validation patients' lesion voxels in equal steps, as far as they differ. Empty without a lesion
/// voxel.
#[must_use]
pub fn sweep(brains: &[&ScoreHistogram]) -> Vec<f32> {
    let pooled = ScoreHistogram::merged(brains);
    let (lesions, _) = pooled.totals();
    let points = pooled.roc().points();
    let reaching = |step: u64| {
        points
            .iter()
            .find(|point| point.tp * (SWEEP + 1) >= step * lesions)
    };
    let mut sweep: Vec<f32> = (1..=SWEEP)
        .filter_map(|step| Some(reaching(step)?.threshold))
        .collect();
    sweep.retain(|_| lesions > 0);
    sweep.dedup();
    sweep
}

#[cfg(test)]
mod tests;
