use super::*;
use imaging::nifti::{Form, Source, write_u8};
use metrics::statistics::{Method, rank_sum_by, signed_rank_by};
use protocol::case::Grid;
use rayon::prelude::*;
use serde_json::{Value, json};
use std::path::Path;

/// The folder of the public glioma cases and their reference numbers, if they are here.
fn gliomas() -> Option<(PathBuf, Value)> {
    let Some(data) = std::env::var_os("LACUNA_DATA") else {
        eprintln!(
            "SKIPPED: set LACUNA_DATA to the folder that holds glioma-tcga to check the \
             reference numbers"
        );
        return None;
    };
    let folder = PathBuf::from(data).join("glioma-tcga");
    let numbers = std::fs::read(folder.join("reference_numbers.json")).unwrap();
    Some((folder, serde_json::from_slice(&numbers).unwrap()))
}

fn args(reference: &Path, prediction: &Path) -> Args {
    Args {
        reference: reference.to_owned(),
        prediction: prediction.to_owned(),
        labels: vec![],
        prediction_labels: vec![],
        score: None,
        brain: vec![],
        no_distances: false,
        json: true,
        csv: None,
        force: false,
        pair: None,
        reference_suffix: String::new(),
        prediction_suffix: String::new(),
    }
}

impl Measured {
    fn get(&self, name: &str) -> Value {
        serde_json::from_str::<Value>(&self.json().unwrap()).unwrap()[name].clone()
    }
}

/// Every key of `theirs` is in `ours` with the same whole number or a real within a millionth.
fn agree(ours: &Value, theirs: &Value, place: &str, compared: &mut usize) {
    match theirs {
        Value::Object(values) => {
            for (key, value) in values {
                agree(&ours[key], value, &format!("{place}/{key}"), compared);
            }
            return;
        }
        Value::Number(number) if number.is_f64() => {
            let (a, b) = (ours.as_f64().unwrap_or(f64::NAN), number.as_f64().unwrap());
            assert!((a - b).abs() <= 1e-6, "{place}: {a} is not {b}");
        }
        _ => assert_eq!(ours, theirs, "{place}"),
    }
    *compared += 1;
}

/// Compares one case in every region and counts the values.
fn compare_case(folder: &Path, case: &str, expected: &Value) -> usize {
    let site = folder.join(expected["site"].as_str().unwrap()).join(case);
    let file = |kind: &str| site.join(format!("{case}_{kind}.nii.gz"));
    let regions: [(&str, &[u16], &[u16]); 4] = [
        ("ET", &[4], &[3]),
        ("TC", &[1, 4], &[1, 3]),
        ("WT", &[1, 2, 4], &[1, 2, 3]),
        ("RC", &[9], &[4]),
    ];
    let mut compared = 0;
    for (region, labels, prediction_labels) in regions {
        let mut args = args(&file("seg"), &file("pred"));
        (args.labels, args.prediction_labels) = (labels.to_vec(), prediction_labels.to_vec());
        args.score = Some(file("t1ce"));
        args.brain = ["t1", "t1ce", "t2", "flair"].map(file).to_vec();
        let ours: Value =
            serde_json::from_str(&score_pair(&args).unwrap().json().unwrap()).unwrap();
        let mut check = |theirs: Option<&Value>, ours: &Value| {
            if let Some(theirs) = theirs {
                agree(ours, theirs, &format!("{case}/{region}"), &mut compared);
            }
        };
        check(expected.get(region), &ours);
        check(
            expected["brats2023_MET_dil1_thr2"].get(region),
            &ours["brats2023_MET_dil1_thr2"],
        );
        check(
            expected["panoptica_mets"].get(region.to_lowercase()),
            &ours["panoptica_mets"],
        );
        for key in ["shape", "voxel_mm3", "brain_voxels"] {
            check(expected.get(key), &ours[key]);
        }
        check(
            expected["zscore_in_brain"].get("t1ce"),
            &ours["zscore_in_brain"]["t1ce"],
        );
    }
    compared
}

#[test]
fn the_reference_numbers_of_every_glioma_are_reproduced() {
    let Some((folder, numbers)) = gliomas() else {
        return;
    };
    let cases = numbers["cases"].as_object().unwrap();
    let compared = cases
        .iter()
        .par_bridge()
        .map(|(case, expected)| compare_case(&folder, case, expected));
    assert_eq!(
        compared.sum::<usize>(),
        8 * 147,
        "every value of every case"
    );
}

#[test]
fn the_reference_numbers_of_the_rank_tests_are_reproduced() {
    let Some((_, numbers)) = gliomas() else {
        return;
    };
    let tests = &numbers["tests"];
    let sample = |name: &str| serde_json::from_value::<Vec<f64>>(tests[name].clone()).unwrap();
    let (x, y) = (sample("x_ET_dice"), sample("y_TC_dice"));
    let normal = |continuity| Method::Normal { continuity };
    let u = |method| rank_sum_by(&x, &y, method).unwrap();
    let w = |method| signed_rank_by(&x, &y, method).unwrap();
    let plain = u(normal(false));
    let ours = json!({
        "ranksums": [plain.z, plain.p],
        "mannwhitneyu_asymptotic_cc": [u(normal(true)).statistic, u(normal(true)).p],
        "mannwhitneyu_asymptotic_nocc": [plain.statistic, plain.p],
        "mannwhitneyu_exact": [u(Method::Exact).statistic, u(Method::Exact).p],
        "wilcoxon_exact": [w(Method::Exact).statistic, w(Method::Exact).p],
        "wilcoxon_approx_nocc": [w(normal(false)).statistic, w(normal(false)).p],
        "wilcoxon_approx_cc": [w(normal(true)).statistic, w(normal(true)).p],
    });
    for (name, expected) in tests["dice"].as_object().unwrap() {
        for i in 0..2 {
            agree(&ours[name][i], &expected[i], name, &mut 0);
        }
    }
}

fn write(folder: &Path, name: &str, dims: [usize; 3], values: &[u8]) -> PathBuf {
    let grid = Grid {
        dims,
        spacing_mm: [2.0, 1.0, 1.0],
    };
    let path = folder.join(name);
    write_u8(
        &path,
        values,
        &Source::new(&grid, "LPS", Form::Sform).unwrap(),
    )
    .unwrap();
    path
}

#[test]
fn masks_on_two_grids_are_refused_with_both_grids_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (
        write(folder.path(), "a.nii", [1, 2, 3], &[0; 6]),
        write(folder.path(), "b.nii", [1, 3, 2], &[0; 6]),
    );
    let failure = run(&args(&one, &other)).unwrap_err();
    assert_eq!(failure.class, Class::Data);
    assert!(
        failure.what.contains("3 x 2 x 1") && failure.what.contains("2 x 3 x 1"),
        "{}",
        failure.what
    );
}

#[test]
fn labels_are_never_guessed_among_several() {
    let folder = tempfile::tempdir().unwrap();
    let several = write(folder.path(), "a.nii.gz", [1, 2, 3], &[0, 1, 2, 0, 4, 4]);
    let one = write(folder.path(), "b.nii.gz", [1, 2, 3], &[0, 0, 7, 0, 7, 7]);
    let failure = run(&args(&several, &one)).unwrap_err();
    assert!(
        failure.what.contains("[1, 2, 4]") && failure.hint.unwrap().contains("--labels"),
        "{}",
        failure.what
    );
    let measured = score_pair(&Args {
        prediction_labels: vec![7],
        labels: vec![2, 4],
        ..args(&several, &one)
    })
    .unwrap();
    assert_eq!(measured.get("dice"), 1.0);
    assert!(score_pair(&args(&one, &one)).is_ok());
    let background = Args {
        labels: vec![0],
        ..args(&one, &one)
    };
    assert_eq!(run(&background).unwrap_err().class, Class::Configuration);
}

#[test]
fn nothing_to_find_is_undefined_and_not_a_number_made_up() {
    let folder = tempfile::tempdir().unwrap();
    let empty = write(folder.path(), "a.nii", [2, 2, 2], &[0; 8]);
    let measured = score_pair(&args(&empty, &empty)).unwrap();
    for name in [
        "dice",
        "recall",
        "hd95_mm",
        "lesion_recall",
        "mean_dice_detected_lesions",
    ] {
        assert_eq!(measured.get(name), Value::Null, "{name}");
    }
    assert_eq!(measured.get("brats2023_MET_dil1_thr2")["legacy_dice"], 1.0);
}

#[test]
fn folders_give_a_line_for_each_case_that_has_both() {
    let folder = tempfile::tempdir().unwrap();
    let (seg, pred) = (folder.path().join("seg"), folder.path().join("pred"));
    for here in [&seg, &pred] {
        std::fs::create_dir_all(here.join("deeper")).unwrap();
    }
    write(&seg, "one_seg.nii.gz", [1, 1, 4], &[0, 1, 1, 0]);
    write(
        &seg.join("deeper"),
        "two_seg.nii.gz",
        [1, 1, 4],
        &[0, 1, 0, 0],
    );
    write(&seg, "three_seg.nii.gz", [1, 1, 4], &[0, 1, 0, 0]);
    write(&pred, "one_pred.nii", [1, 1, 4], &[0, 1, 1, 0]);
    write(&pred, "two_pred.nii.gz", [1, 1, 4], &[0, 0, 0, 0]);
    let csv = folder.path().join("out.csv");
    let both = Args {
        json: false,
        csv: Some(csv.clone()),
        reference_suffix: "_seg".into(),
        prediction_suffix: "_pred".into(),
        ..args(&seg, &pred)
    };
    run(&both).unwrap();
    let table = std::fs::read_to_string(csv).unwrap();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split(',').collect())
        .collect();
    let column = |name: &str| rows[0].iter().position(|&header| header == name).unwrap();
    assert_eq!(
        rows.iter().map(|row| row[0]).collect::<Vec<_>>(),
        ["case", "one", "two"]
    );
    assert_eq!(
        (rows[1][column("dice")], rows[2][column("dice")]),
        ("1.0", "0.0")
    );
    assert_eq!(rows[2][column("hd95_mm")], "");
    assert_eq!(rows[2][column("panoptica_mets.prec")], "");
}

#[test]
fn a_mask_that_was_resampled_is_scored_by_the_rule_of_training_and_a_soft_one_refused() {
    let folder = tempfile::tempdir().unwrap();
    let hard = write(folder.path(), "a.nii", [1, 1, 4], &[0, 1, 1, 0]);
    let source = imaging::nifti::read(&hard).unwrap().source;
    let soft = folder.path().join("b.nii");
    for (value, works) in [
        (0.9999, true),
        (0.999_999, true),
        (0.6, false),
        (f32::NAN, false),
    ] {
        imaging::nifti::write_f32(&soft, &[0.0, value, 1.0, 0.0], &source).unwrap();
        for (reference, prediction) in [(&soft, &hard), (&hard, &soft)] {
            match score_pair(&args(reference, prediction)) {
                Ok(measured) => assert!(works && measured.get("dice") == 1.0, "{value}"),
                Err(error) => assert!(
                    !works && error.to_string().contains("is no mask"),
                    "{value}: {error}"
                ),
            }
        }
    }
}

#[test]
fn what_is_odd_about_a_file_stands_in_the_json() {
    let folder = tempfile::tempdir().unwrap();
    let mask = write(folder.path(), "a.nii", [1, 1, 4], &[0, 1, 1, 0]);
    let mut bytes = std::fs::read(&mask).unwrap();
    bytes[123] = 6;
    std::fs::write(&mask, bytes).unwrap();
    let warnings = score_pair(&args(&mask, &mask)).unwrap().get("warnings");
    assert!(
        warnings[0].as_str().unwrap().contains("xyzt_units")
            && warnings[2].as_str().unwrap().contains("the same file")
            && warnings.as_array().unwrap().len() == 3
    );
    let brain = folder.path().join("brain.nii");
    let source = imaging::nifti::read(&mask).unwrap().source;
    imaging::nifti::write_f32(&brain, &[f32::NAN; 4], &source).unwrap();
    let with_brain = Args {
        score: Some(mask.clone()),
        brain: vec![brain],
        ..args(&mask, &mask)
    };
    assert!(matches!(
        score_pair(&with_brain),
        Err(ScoreError::ScoreNotFinite { .. })
    ));
}

/// References and predictions as `predict` writes them, a folder for each patient. The second
/// prediction is on another grid.
fn patients() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["p1", "p2", "p3"] {
        let (reference, prediction) = (
            folder.path().join("ref").join(name),
            folder.path().join("pred").join(name),
        );
        std::fs::create_dir_all(&reference).unwrap();
        std::fs::create_dir_all(&prediction).unwrap();
        write(&reference, "lesion.nii.gz", [1, 1, 4], &[0, 1, 1, 0]);
        let dims = if name == "p2" { [1, 1, 3] } else { [1, 1, 4] };
        write(&prediction, "mask.nii.gz", dims, &[0, 1, 1, 0][..dims[2]]);
        write(
            &prediction,
            "probability.nii.gz",
            dims,
            &[0, 1, 1, 0][..dims[2]],
        );
    }
    folder
}

fn all(folder: &Path) -> Args {
    let csv = Some(folder.join("table.csv"));
    Args {
        json: false,
        csv,
        ..args(&folder.join("ref"), &folder.join("pred"))
    }
}

fn names(csv: &Path) -> Vec<String> {
    let table = std::fs::read_to_string(csv).unwrap();
    table
        .lines()
        .skip(1)
        .map(|line| line.split(',').next().unwrap().to_owned())
        .collect()
}

#[test]
fn one_bad_pair_is_named_and_the_others_are_in_the_table() {
    let folder = patients();
    let failure = run(&all(folder.path())).unwrap_err();
    assert_eq!(
        (failure.class, failure.what.contains("1 of 3")),
        (Class::Data, true),
        "{}",
        failure.what
    );
    assert_eq!(names(&folder.path().join("table.csv")), ["p1", "p3"]);
    let by_pattern = Args {
        pair: Some(
            ["{case}/lesion.nii.gz", "{case}/probability.nii.gz"]
                .map(String::from)
                .to_vec(),
        ),
        force: true,
        ..all(folder.path())
    };
    assert!(run(&by_pattern).unwrap_err().what.contains("1 of 3"));
    assert_eq!(names(&folder.path().join("table.csv")), ["p1", "p3"]);
    let wrong = Args {
        pair: Some(vec!["lesion.nii.gz".into(), "{case}".into()]),
        ..by_pattern
    };
    let failure = run(&wrong).unwrap_err();
    assert!(
        failure.what.contains("{case}") && failure.class == Class::Configuration,
        "{}",
        failure.what
    );
}

#[test]
fn the_table_never_replaces_a_mask_and_an_older_table_only_by_force() {
    let folder = patients();
    std::fs::remove_dir_all(folder.path().join("pred/p2")).unwrap();
    run(&all(folder.path())).unwrap();
    assert!(
        run(&all(folder.path()))
            .unwrap_err()
            .what
            .contains("exists already")
    );
    run(&Args {
        force: true,
        ..all(folder.path())
    })
    .unwrap();
    let mask = folder.path().join("ref/p1/lesion.nii.gz");
    let before = std::fs::read(&mask).unwrap();
    for force in [false, true] {
        assert!(
            run(&Args {
                csv: Some(mask.clone()),
                force,
                ..all(folder.path())
            })
            .is_err()
        );
    }
    assert_eq!(std::fs::read(&mask).unwrap(), before);
}

#[test]
fn labels_a_little_off_a_whole_number_are_that_number_as_in_training() {
    use imaging::nifti::write_f32;
    let folder = tempfile::tempdir().unwrap();
    let hard = write(folder.path(), "a.nii.gz", [1, 1, 4], &[0, 1, 1, 0]);
    let soft = |value: f32| {
        let grid = Grid {
            dims: [1, 1, 4],
            spacing_mm: [2.0, 1.0, 1.0],
        };
        let path = folder.path().join("soft.nii.gz");
        let source = Source::new(&grid, "LPS", Form::Sform).unwrap();
        write_f32(&path, &[0.0, value, value, -1e-6], &source).unwrap();
        score_pair(&args(&hard, &path))
    };
    for value in [0.9999, 0.999_999, 1.0005] {
        assert_eq!(soft(value).unwrap().get("dice"), 1.0, "{value}");
    }
    for value in [0.99, 0.5, f32::NAN, 70000.0] {
        assert!(soft(value).is_err(), "{value}");
    }
}
