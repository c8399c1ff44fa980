use super::*;
use crate::evaluate::{Scored, score_cases};
use crate::train::tests::{cohort, federation, fresh, patient};
use protocol::message::EvaluationRequest;
use std::collections::BTreeSet;
use std::fs;
use std::ops::ControlFlow;

const THRESHOLD: f32 = 0.5;

/// Scores five patients, one of them without a lesion, then draws in `work`.
fn drawn(permitted: Overlays, work: &Path) -> Result<Vec<Overlay>, OverlayError> {
    let mut patients: Vec<Prepared> = (0..5).map(|id| patient(id, [true, id % 2 == 0])).collect();
    patients[3].native.lesion.as_mut().unwrap().fill(0);
    patients[3].label.as_mut().unwrap().fill(0);
    let (_folder, cases) = cohort(&patients);
    let cases: Vec<&CachedCase> = cases.iter().collect();
    let (federation, device) = (federation(""), Device::flex());
    let (models, mut counted) = ([fresh(&federation)], Vec::new());
    let wanted = EvaluationRequest {
        thresholds: vec![THRESHOLD],
        ..EvaluationRequest::default()
    };
    score_cases(
        &cases,
        &federation,
        &models,
        &wanted,
        &device,
        &mut |scored| {
            if let Scored::Case(score) = scored {
                counted.push((score.case, score.at[0]));
            }
            ControlFlow::Continue(())
        },
    )
    .unwrap();
    let (federation, device) = (&federation, &device);
    let scene = Scene {
        cases: &cases,
        federation,
        models: &models,
        threshold: THRESHOLD,
        device,
    };
    scene.draw(&counted, permitted, work)
}

fn files(work: &Path) -> BTreeSet<String> {
    let Ok(folder) = fs::read_dir(work.join("overlays")) else {
        return BTreeSet::new();
    };
    folder
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn off_draws_nothing_and_keeps_what_is_there() {
    let work = tempfile::tempdir().unwrap();
    fs::create_dir(work.path().join("overlays")).unwrap();
    fs::write(work.path().join("overlays/case-077.png"), "old").unwrap();
    assert_eq!(drawn(Overlays::Off, work.path()).unwrap(), []);
    assert_eq!(files(work.path()).len(), 1);
}

#[test]
fn keep_draws_three_cases_by_number_and_names_them_in_the_index_alone() {
    let work = tempfile::tempdir().unwrap();
    fs::create_dir(work.path().join("overlays")).unwrap();
    fs::write(work.path().join("overlays/case-077.png"), "old").unwrap();
    assert_eq!(drawn(Overlays::Keep, work.path()).unwrap(), []);
    let files = files(work.path());
    assert_eq!(files.len(), 4, "{files:?}");
    assert!(
        files.contains("overlays.json")
            && !files.contains("case-003.png")
            && !files.contains("case-077.png")
    );
    let index = fs::read(work.path().join("overlays/overlays.json")).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    let pictures = index["pictures"].as_array().unwrap();
    assert_eq!(
        (pictures.len(), &index["sent_to_the_coordinator"]),
        (3, &false.into())
    );
    for (picture, rank) in pictures.iter().zip(["best", "median", "worst"]) {
        let file = picture["file"].as_str().unwrap();
        let case = file.trim_start_matches("case-00").trim_end_matches(".png");
        assert!(
            files.contains(file) && picture["case"] == format!("patient {case}"),
            "{picture}"
        );
        assert_eq!(
            (picture["rank"].as_str(), picture["background"].as_str()),
            (Some(rank), Some("bright"))
        );
        assert!(image::open(work.path().join("overlays").join(file)).is_ok());
    }
}

#[test]
fn send_gives_the_same_cases_to_the_coordinator_as_well() {
    let work = tempfile::tempdir().unwrap();
    let sent = drawn(Overlays::Send, work.path()).unwrap();
    let numbers: BTreeSet<String> = sent
        .iter()
        .map(|overlay| format!("case-{:03}.png", overlay.case))
        .collect();
    assert!(
        numbers.len() == 3 && numbers.is_subset(&files(work.path())),
        "{numbers:?}"
    );
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error_without_a_path() {
    let work = tempfile::tempdir().unwrap();
    let blocked = work.path().join("file");
    fs::write(&blocked, "").unwrap();
    let error = drawn(Overlays::Send, &blocked).unwrap_err();
    assert!(
        matches!(error, OverlayError::Disk(_)) && !error.to_string().contains("file/"),
        "{error}"
    );
}
