use super::*;
use crate::train::tests::{federation, fresh};
use protocol::model_file::{ModelCard, encode};

fn calibration(weights: &str) -> Calibration {
    let operating_points = OperatingPoints {
        dice: Some(0.5),
        youden: Some(0.125),
        patients: 3,
        curve: Vec::new(),
    };
    Calibration {
        version: calibration::VERSION,
        software: "0".into(),
        model: "demo".into(),
        round: 7,
        weights: weights.into(),
        cases: 3,
        lesions: 4,
        left_out: 1,
        intervals: Intervals {
            dice: Some([0.25, 0.75]),
            youden: None,
        },
        operating_points,
    }
}

#[test]
fn a_calibration_comes_back_as_it_was_and_only_for_its_own_model() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("north.toml");
    let weights = fresh(&federation("")).id();
    let own = calibration(&weights.hex());
    own.write(&path).unwrap();
    assert_eq!(Calibration::read(&path, weights).unwrap(), own);
    calibration(&"0".repeat(64)).write(&path).unwrap();
    let refused = Failure::from(Calibration::read(&path, weights).unwrap_err());
    assert_eq!(refused.class, Class::Configuration);
    assert!(
        refused.what.contains("of another model") && refused.what.contains(&weights.hex()),
        "{}",
        refused.what
    );
    std::fs::write(&path, "version = 2\n").unwrap();
    assert!(Calibration::read(&path, weights).is_err());
}

#[test]
fn intervals_hold_the_thresholds_that_patients_choose() {
    let brain = |bin| ScoreHistogram {
        bins: vec![(bin - 100, 0, 90), (bin, 10, 0)],
    };
    let brains = [brain(900), brain(1000), brain(1100)];
    let brains: Vec<&ScoreHistogram> = brains.iter().collect();
    let patients: Vec<Vec<&ScoreHistogram>> = brains.iter().map(|&brain| vec![brain]).collect();
    let (chosen, found) = (choose(&brains), intervals(&patients));
    for (threshold, interval) in [(chosen.dice, found.dice), (chosen.youden, found.youden)] {
        let ([low, high], threshold) = (interval.unwrap(), threshold.unwrap());
        assert!(
            low < high && (low..=high).contains(&threshold),
            "{low} {threshold} {high}"
        );
    }
}

#[test]
fn all_cases_of_a_patient_are_drawn_together() {
    let brain = |bin| ScoreHistogram {
        bins: vec![(bin - 100, 0, 90), (bin, 10, 0)],
    };
    let brains = [brain(900), brain(1100)];
    let brains: Vec<&ScoreHistogram> = brains.iter().collect();
    let chosen = choose(&brains);
    // One patient's two cases: every draw is the same.
    let found = intervals(&[brains]);
    assert_eq!(found.dice, chosen.dice.map(|threshold| [threshold; 2]));
    assert_eq!(found.youden, chosen.youden.map(|threshold| [threshold; 2]));
}

#[test]
fn a_site_finds_its_own_thresholds_on_its_own_cases_and_leaves_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let cohort = crate::phantom::Cohort::new(
        &crate::phantom::Common {
            plane: 32,
            slices: 8,
            ..Default::default()
        },
        &crate::phantom::Site {
            name: "west".into(),
            cases: 2,
            lacks: Vec::new(),
            scanner: crate::phantom::ScannerChoice::Auto,
        },
    );
    let written = crate::phantom::write(&path("west"), &cohort.unwrap(), &mut |_| ()).unwrap();
    let mut federation = federation("");
    federation.input.sequences = crate::phantom::SEQUENCES.map(Into::into).into();
    federation.input.plane = 32;
    let card = ModelCard {
        name: "demo".into(),
        input: federation.input.clone(),
        model: federation.model.clone(),
        round: 7,
        operating_points: OperatingPoints::default(),
    };
    let parameters = fresh(&federation);
    std::fs::write(path("model"), encode(&parameters, &card).unwrap()).unwrap();
    let args = Args {
        model: path("model"),
        config: written.data,
        out: path("own.toml"),
        force: false,
        json: false,
    };
    run(&args).unwrap();
    let found = Calibration::read(&args.out, parameters.id()).unwrap();
    assert_eq!((found.cases, found.left_out, found.round), (2, 0, 7));
    // Lesions that touch each other are one in the reference.
    assert!(found.lesions > 0 && found.lesions as usize <= written.lesions);
    assert!(found.operating_points.dice.is_some() && found.operating_points.curve.len() > 2);
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 3, "the phantoms, the model and the calibration");
    assert!(run(&args).unwrap_err().what.contains("exists already"));
}
