//! From which probability a voxel of the mask is lesion: by name, from the model's card or a site's
//! own calibration, or as a number.

use super::PredictError;
use crate::calibration::Calibration;
use protocol::operating::{OperatingPoint, OperatingPoints};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::path::PathBuf;

/// Where the thresholds of named points come from.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Origin {
    /// The federation's validation patients.
    Model,
    /// A site's own patients.
    Calibration(PathBuf),
}

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Wish {
    /// By name; [`OperatingPoint::Dice`] when nothing is said.
    pub(super) point: Option<OperatingPoint>,
    /// As a number.
    pub(super) number: Option<f32>,
}

/// The threshold of the mask, and the named points that the summary shows.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Thresholds {
    pub(super) chosen: Threshold,
    /// Both points of equal rank, as far as they are known, and the chosen one, each once.
    pub(super) shown: Vec<Threshold>,
    pub(super) origin: Origin,
}

/// One way to choose the threshold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Threshold {
    /// `dice`, `youden`, `fp-per-patient=N`, or `threshold` for a number that was given.
    pub(super) name: String,
    /// From which probability on a voxel is lesion.
    pub(super) probability: f32,
    /// What it is good for.
    pub(super) meaning: Cow<'static, str>,
}

impl Threshold {
    fn of(point: OperatingPoint, probability: f32) -> Self {
        Self {
            name: point.to_string(),
            probability,
            meaning: point.meaning().into(),
        }
    }
}

/// Chooses.
pub(super) fn choose(
    wish: &Wish,
    card: &OperatingPoints,
    calibration: Option<(PathBuf, Calibration)>,
) -> Result<Thresholds, PredictError> {
    let (points, origin) = match calibration {
        Some((path, calibration)) => (calibration.operating_points, Origin::Calibration(path)),
        None => (card.clone(), Origin::Model),
    };
    let chosen = match (wish.number, wish.point) {
        (Some(number), _) => {
            if !(0.0..=1.0).contains(&number) {
                return Err(PredictError::Threshold(number));
            }
            Threshold {
                name: "threshold".into(),
                probability: number,
                meaning: "the number given with --threshold".into(),
            }
        }
        (None, _) if points.is_empty() => return Err(PredictError::NoThreshold),
        (None, point) => {
            let point = point.unwrap_or(OperatingPoint::Dice);
            Threshold::of(point, points.threshold(point)?)
        }
    };
    let mut shown: Vec<Threshold> = Vec::new();
    for point in [OperatingPoint::Dice, OperatingPoint::Youden] {
        shown.extend(
            points
                .threshold(point)
                .ok()
                .map(|probability| Threshold::of(point, probability)),
        );
    }
    if !shown.contains(&chosen) {
        shown.push(chosen.clone());
    }
    Ok(Thresholds {
        chosen,
        shown,
        origin,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points() -> OperatingPoints {
        OperatingPoints {
            dice: Some(0.6),
            youden: Some(0.01),
            patients: 3,
            curve: Vec::new(),
        }
    }

    #[test]
    fn a_mask_is_an_outline_unless_something_else_is_asked_for() {
        let chosen = |wish: &Wish| {
            choose(wish, &points(), None).map(|thresholds| thresholds.chosen.probability)
        };
        assert_eq!(chosen(&Wish::default()).unwrap(), 0.6);
        assert_eq!(
            chosen(&Wish {
                point: Some(OperatingPoint::Youden),
                number: None
            })
            .unwrap(),
            0.01
        );
        assert_eq!(
            chosen(&Wish {
                point: None,
                number: Some(0.25)
            })
            .unwrap(),
            0.25
        );
        assert!(
            chosen(&Wish {
                point: None,
                number: Some(1.25)
            })
            .is_err()
        );
    }

    #[test]
    fn both_named_points_are_shown_with_equal_rank_and_a_number_beside_them() {
        let names = |wish: &Wish| {
            let shown = choose(wish, &points(), None).unwrap().shown;
            shown.into_iter().map(|one| one.name).collect::<Vec<_>>()
        };
        assert_eq!(names(&Wish::default()), ["dice", "youden"]);
        assert_eq!(
            names(&Wish {
                point: None,
                number: Some(0.25)
            }),
            ["dice", "youden", "threshold"]
        );
    }

    #[test]
    fn an_older_model_is_never_used_at_youdens_threshold_unasked() {
        let old = OperatingPoints {
            dice: None,
            ..points()
        };
        let refused = choose(&Wish::default(), &old, None)
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("dice") && refused.contains("youden (0.01)"),
            "{refused}"
        );
        assert!(
            choose(
                &Wish {
                    point: Some(OperatingPoint::Youden),
                    number: None
                },
                &old,
                None
            )
            .is_ok()
        );
    }
}
