use super::*;
use metrics::score::{AtThreshold, LesionCounts, SweepPoint};
use metrics::sequence::SequenceSet;

fn point(threshold: f32, false_positives: f64) -> FrocPoint {
    FrocPoint {
        threshold,
        sensitivity: 0.5,
        false_positives,
        false_positives_10mm3: 0.0,
    }
}

fn points() -> OperatingPoints {
    let curve = vec![
        point(0.9, 0.5),
        point(0.5, 1.0),
        point(0.3, 4.0),
        point(0.1, 0.75),
    ];
    OperatingPoints {
        dice: Some(0.4),
        youden: Some(0.01),
        patients: 4,
        curve,
    }
}

#[test]
fn names_are_read_and_written_alike() {
    for name in ["dice", "youden", "fp-per-patient=1", "fp-per-patient=0.5"] {
        assert_eq!(name.parse::<OperatingPoint>().unwrap().to_string(), name);
    }
    for wrong in [
        "",
        "Dice",
        "fp-per-patient",
        "fp-per-patient=-1",
        "fp-per-patient=nan",
        "0.5",
    ] {
        assert!(
            wrong
                .parse::<OperatingPoint>()
                .unwrap_err()
                .to_string()
                .contains("fp-per-patient=1"),
            "{wrong}"
        );
    }
}

#[test]
fn the_limit_on_false_findings_is_kept_by_every_higher_threshold_too() {
    let at = |most| points().threshold(OperatingPoint::FalsePositives(most));
    // At 0.1 there are few again, because false regions have grown together.
    assert_eq!((at(1.0), at(0.75), at(0.5)), (Ok(0.5), Ok(0.9), Ok(0.9)));
    assert_eq!(at(100.0), Ok(0.1));
    assert_eq!(
        at(0.25),
        Err(OperatingError::TooFew {
            most: 0.25,
            fewest: 0.5
        })
    );
}

#[test]
fn a_point_without_a_threshold_says_which_ones_have_one() {
    let old = OperatingPoints {
        dice: None,
        curve: Vec::new(),
        ..points()
    };
    let words = old.threshold(OperatingPoint::Dice).unwrap_err().to_string();
    assert!(
        words.contains("for dice") && words.contains("youden (0.01)"),
        "{words}"
    );
    assert!(old.threshold(OperatingPoint::FalsePositives(1.0)).is_err());
    assert_eq!(old.threshold(OperatingPoint::Youden), Ok(0.01));
}

#[test]
fn the_curve_holds_every_threshold_that_was_counted_from_the_highest_down() {
    let case = |found, false_positive| {
        let lesions = LesionCounts {
            reference: 2,
            detected: found,
            false_positive,
            ..LesionCounts::default()
        };
        CaseScore {
            case: 0,
            subset: SequenceSet::full(1),
            voxel_mm3: 1.0,
            brain: ScoreHistogram::default(),
            outside: ScoreHistogram::default(),
            at: vec![AtThreshold {
                threshold: 0.25,
                lesions,
                ..AtThreshold::default()
            }],
            sweep: [0.75, 0.25, 0.125]
                .map(|threshold| SweepPoint { threshold, lesions })
                .to_vec(),
        }
    };
    let (one, other) = (case(1, 3), case(2, 0));
    let points = OperatingPoints::of(Some(0.25), None, &[&one, &other]);
    let curve: Vec<_> = points
        .curve
        .iter()
        .map(|p| (p.threshold, p.sensitivity, p.false_positives))
        .collect();
    assert_eq!(
        curve,
        [(0.75, 0.75, 1.5), (0.25, 0.75, 1.5), (0.125, 0.75, 1.5)]
    );
    assert_eq!((points.patients, points.check()), (2, Ok(())));
    assert!(OperatingPoints::of(None, None, &[]).is_empty());
}

#[test]
fn points_that_cannot_be_are_refused() {
    let refused = |change: &dyn Fn(&mut OperatingPoints)| {
        let mut points = points();
        change(&mut points);
        points.check().unwrap_err().to_string()
    };
    assert!(refused(&|points| points.dice = Some(1.5)).contains("1.5"));
    assert!(refused(&|points| points.youden = Some(f32::NAN)).contains("NaN"));
    assert!(refused(&|points| points.curve.reverse()).contains("do not fall"));
    assert!(refused(&|points| points.curve[0].false_positives = f64::NAN).contains("cannot be"));
    assert!(refused(&|points| points.curve[0].sensitivity = 2.0).contains("cannot be"));
    assert_eq!(points().check(), Ok(()));
}
