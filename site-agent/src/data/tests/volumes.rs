//! Single files and volumes of a case: what is covered, what is warned about, and what is refused.

use super::*;
use crate::case::Prepared;

/// A grid twice as wide as the model's plane.
const WIDE: Grid = Grid {
    dims: [2, 8, 40],
    spacing_mm: [3.0, 1.0, 1.0],
};

/// A case with a brain from column `first` on, and a lesion at its left end.
fn wide(site: &Site, case: &str, first: usize) {
    let source = Source::new(&WIDE, "LPS", Form::Qform).unwrap();
    let value = |at: usize| {
        if at % 40 >= first {
            1.0 + (at * 7 % 13) as f32
        } else {
            0.0
        }
    };
    for (what, factor) in [("t1", 1.0), ("flair", 3.0)] {
        let values: Vec<f32> = (0..WIDE.voxels()).map(|at| factor * value(at)).collect();
        write_f32(&site.path(case, what), &values, &source).unwrap();
    }
    let label: Vec<u8> = (0..WIDE.voxels())
        .map(|at| if at % 40 == first && at < 80 { 4 } else { 0 })
        .collect();
    write_u8(&site.path(case, "seg"), &label, &source).unwrap();
}

fn prepared(site: &Site, case: &str, input: &Input) -> Result<Prepared, CaseError> {
    let sequences = ["t1", "flair"]
        .map(|what| Some(site.path(case, what)))
        .to_vec();
    let files = Files {
        sequences,
        label: Some(site.path(case, "seg")),
        brain: None,
    };
    prepare(case, &files, input, &[4]).map(|(prepared, _)| prepared)
}

#[test]
fn a_brain_larger_than_the_plane_is_covered_whole_and_said_to_be_in_parts() {
    let site = Site::new(&[]);
    wide(&site, "a", 2);
    let case = prepared(&site, "a", &input()).unwrap();
    // The brain's last column, 39, is 19.5 from the middle.
    assert_eq!((case.canvas, case.plane), ([16, 40], 16));
    assert_eq!(case.brain_shown(), 1.0);
    let notes = &case.noticed.notes;
    assert!(
        notes.iter().any(|note| note
            .what
            .contains("does not fit the model's plane of 16 x 16")),
        "{notes:?}"
    );
    let restored = case.restore(case.sequences[0].as_ref().unwrap(), f32::NAN);
    let brain = &case.native.brain;
    assert!(
        restored
            .iter()
            .zip(brain)
            .all(|(value, brain)| (*brain == 0) == (*value == 0.0) && value.is_finite())
    );
    let cohort = site.open("").unwrap();
    assert!(
        cohort.cases[0].lesion_views().contains(&true),
        "the lesion is outside the middle of the image"
    );
    let seen: Vec<bool> = case.brain_views();
    let lesion = cohort.cases[0].lesion_views();
    assert!(
        lesion
            .iter()
            .zip(&seen)
            .all(|(lesion, seen)| *seen || !lesion),
        "every lesion's view is looked at"
    );
    let report = fs::read_to_string(site.0.path().join("work").join(SKIPPED)).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let warnings = report["warnings"].as_array().unwrap();
    let parts = warnings
        .iter()
        .find(|line| line["warning"].as_str().unwrap().contains("16 x 40"))
        .unwrap();
    assert_eq!(parts["case"], "a");
    // The same from the cache.
    let again = site.open("").unwrap();
    assert_eq!(again.cases[0].noticed(), &case.noticed);
}

#[test]
fn a_brain_that_fits_is_cut_and_padded_as_ever_whatever_lies_around_it() {
    let site = Site::new(&[]);
    wide(&site, "a", 12);
    let mask: Vec<u8> = (0..WIDE.voxels())
        .map(|at| u8::from((12..28).contains(&(at % 40))))
        .collect();
    write_u8(
        &site.path("a", "mask"),
        &mask,
        &Source::new(&WIDE, "LPS", Form::Qform).unwrap(),
    )
    .unwrap();
    let cohort = site.open("brain = '{case}/{case}_mask.nii.gz'").unwrap();
    let case = cohort.cases[0].load().unwrap();
    assert_eq!(case.canvas, [16, 16]);
    assert!(
        !case
            .noticed
            .notes
            .iter()
            .any(|note| note.what.contains("does not fit")),
        "{:?}",
        case.noticed
    );
    assert_eq!(cohort.cases[0].lesion_views().len(), 2);
}

#[test]
fn a_case_that_does_not_fit_into_memory_is_refused_before_any_is_taken() {
    let site = Site::new(&[]);
    let long = Grid {
        dims: [32767, 1, 1],
        spacing_mm: [1.0; 3],
    };
    let source = Source::new(&long, "RAS", Form::Sform).unwrap();
    for (what, step) in [("t1", 7), ("flair", 5), ("seg", 3)] {
        // The surroundings at both ends, a brain between them.
        let value = |at: usize| {
            if (2000..30_000).contains(&at) {
                1 + (at % step) as u8
            } else {
                0
            }
        };
        let values: Vec<u8> = (0..long.voxels()).map(value).collect();
        write_u8(&site.path("a", what), &values, &source).unwrap();
    }
    let refused = prepared(
        &site,
        "a",
        &Input {
            plane: 256,
            ..input()
        },
    )
    .unwrap_err();
    assert!(
        matches!(
            refused,
            CaseError::TooLarge {
                depth: 32767,
                height: 256,
                width: 256
            }
        ),
        "{refused}"
    );
    // A very fine spacing makes a small image large.
    let fine = Input {
        spacing_mm: Some(0.001),
        ..input()
    };
    wide(&site, "b", 2);
    assert!(matches!(
        prepared(&site, "b", &fine),
        Err(CaseError::TooLarge { .. })
    ));
}

#[test]
fn a_header_that_cannot_be_is_skipped_and_an_odd_one_is_noted() {
    let site = Site::new(&["good", "far", "turned"]);
    let patch = |case: &str, what: &str, at: usize, bytes: &[u8]| {
        let mut unpacked = Vec::new();
        let file = fs::read(site.path(case, what)).unwrap();
        io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&file[..]), &mut unpacked).unwrap();
        unpacked[at..at + bytes.len()].copy_from_slice(bytes);
        // Uncompressed under the same name: content tells.
        fs::write(site.path(case, what), unpacked).unwrap();
    };
    patch("far", "t1", 123, &[1]);
    patch("turned", "flair", 123, &[5]);
    let cohort = site.open("").unwrap();
    assert_eq!(names(&cohort), ["good", "turned"]);
    let notes = &cohort.cases[1].noticed().notes;
    assert!(
        notes
            .iter()
            .any(|note| note.what.contains("flair: 5 in xyzt_units")),
        "{notes:?}"
    );
    let reason = cohort.skipped[0].reason.to_string();
    assert!(
        reason.contains("t1: voxels of 7000 x 7000 x 21000 mm") && reason.contains("metres"),
        "{reason}"
    );
    // `doctor` decides alike.
    let rows = survey(&site.config(""), None, None, &mut |_, _| ())
        .unwrap()
        .rows;
    let said = |case: &str, words: &str| {
        rows.iter()
            .any(|row| row.case == case && row.what.contains(words))
    };
    assert!(
        said("far", "7000 x 7000 x 21000 mm") && said("turned", "xyzt_units"),
        "{rows:?}"
    );
}

#[test]
fn a_mask_that_was_resampled_trains_and_a_soft_one_is_refused() {
    let site = Site::new(&["near", "soft"]);
    let source = Source::new(&GRID, "RAS", Form::Sform).unwrap();
    for (case, value) in [("near", 3.9996), ("soft", 3.6)] {
        let mut values = vec![0.0; GRID.voxels()];
        values[100] = value;
        write_f32(&site.path(case, "seg"), &values, &source).unwrap();
    }
    let cohort = site.open("").unwrap();
    assert_eq!(
        (names(&cohort), cohort.cases[0].count_lesions()),
        (vec!["near"], 1)
    );
    assert!(
        cohort.skipped[0].reason.to_string().contains("threshold"),
        "{}",
        cohort.skipped[0].reason
    );
}
