use super::*;
use crate::train::tests::{federation, fresh};
use imaging::nifti::{Form, Source, read, write_f32, write_u8};
use program::Class;
use protocol::case::Grid;
use protocol::model_file::{ModelCard, encode};
use protocol::operating::OperatingPoints;
use tempfile::TempDir;

const GRID: Grid = Grid {
    dims: [4, 20, 24],
    spacing_mm: [3.0, 1.0, 1.0],
};

/// A folder with a model, two sequences stored left to right, back to front, upside down, and a
/// third one whose grid differs.
fn folder(threshold: Option<f32>) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let federation = federation("");
    let (input, model) = (federation.input.clone(), federation.model.clone());
    let operating_points = OperatingPoints {
        dice: threshold,
        youden: threshold.map(|t| t / 2.0),
        ..Default::default()
    };
    let card = ModelCard {
        name: "demo".into(),
        input,
        model,
        round: 7,
        operating_points,
    };
    std::fs::write(
        folder.path().join("model"),
        encode(&fresh(&federation), &card).unwrap(),
    )
    .unwrap();
    for (seed, name, grid) in [
        (3, "bright.nii.gz", GRID),
        (5, "dark.nii.gz", GRID),
        (
            7,
            "other.nii.gz",
            Grid {
                dims: [4, 20, 23],
                ..GRID
            },
        ),
    ] {
        let value = |at: usize| {
            if at % 24 < 4 {
                0.0
            } else {
                (at * seed % 101) as f32
            }
        };
        let values: Vec<f32> = (0..grid.voxels()).map(value).collect();
        let source = Source::new(&grid, "LPI", Form::Qform).unwrap();
        write_f32(&folder.path().join(name), &values, &source).unwrap();
    }
    folder
}

fn args(folder: &TempDir, sequences: &[(&str, &str)]) -> Args {
    let path = |name: &str| folder.path().join(name);
    Args {
        model: path("model"),
        out: path("new/out"),
        sequences: sequences
            .iter()
            .map(|&(name, file)| (name.into(), path(file)))
            .collect(),
        brain: None,
        operating_point: None,
        threshold: None,
        calibration: None,
        cases: None,
        config: None,
        register: false,
        reference: None,
        dicom: None,
        series: None,
        dicom_sequence: None,
        force: false,
        device: "cpu".into(),
        kernel_cache: None,
        threads: Some(1),
        json: false,
    }
}

#[test]
fn results_lie_on_the_patients_grid_and_agree_with_each_other() {
    let folder = folder(Some(0.01));
    let summary = Task::resolve(&args(&folder, &[("dark", "dark.nii.gz")]))
        .unwrap()
        .run()
        .unwrap();
    let patient = read(&folder.path().join("dark.nii.gz")).unwrap();
    let (map, mask) = (
        read(&summary.probability).unwrap(),
        read(&summary.mask).unwrap(),
    );
    assert_eq!((&map.source, map.grid), (&patient.source, patient.grid));
    assert_eq!((&mask.source, mask.grid), (&patient.source, patient.grid));
    let called: Vec<f32> = map
        .values
        .iter()
        .map(|&p| f32::from(u8::from(p >= 0.01)))
        .collect();
    assert_eq!(called, mask.values);
    assert_eq!(called.iter().sum::<f32>() as usize, summary.lesion_voxels);
    assert_eq!(summary.sequences, ["dark"]);
    assert!((summary.lesion_mm3 - 3.0 * summary.lesion_voxels as f64).abs() < 1e-9);
    assert_eq!(
        (summary.operating_point.as_str(), summary.hashed),
        ("dice", true)
    );
    // Both operating points are shown; the mask is the one for outlines.
    let [dice, youden] = summary.operating_points.as_slice() else {
        panic!("{:?}", summary.operating_points)
    };
    assert_eq!(
        (dice.mask, dice.lesion_voxels, youden.mask),
        (true, summary.lesion_voxels, false)
    );
    let lower = map.values.iter().filter(|&&p| p >= 0.005).count();
    assert_eq!(
        (youden.threshold.probability, youden.lesion_voxels),
        (0.005, lower)
    );
    let words = summary.to_string();
    assert!(
        words.contains("* dice") && words.contains("youden") && words.contains("publication"),
        "{words}"
    );
}

#[test]
fn the_results_of_another_patient_stay_unless_force_is_said() {
    let folder = folder(Some(0.01));
    let mut args = args(&folder, &[("dark", "dark.nii.gz")]);
    std::fs::create_dir_all(&args.out).unwrap();
    let mask = args.out.join("mask.nii.gz");
    std::fs::write(&mask, "another patient's").unwrap();
    let refused = Failure::from(Task::resolve(&args).err().unwrap());
    assert!(
        refused.what.contains("mask.nii.gz") && refused.hint.unwrap().contains("--force"),
        "{}",
        refused.what
    );
    assert_eq!(std::fs::read(&mask).unwrap(), b"another patient's");
    args.force = true;
    Task::resolve(&args).unwrap().run().unwrap();
    assert!(read(&mask).is_ok());
    // The same patient's result is replaced; that of other files of the folder is kept, that of
    // other folders refused.
    args.force = false;
    let first = Task::resolve(&args).unwrap().run().unwrap();
    assert!(
        first
            .warnings
            .iter()
            .all(|words| !words.contains("is kept as")),
        "{:?}",
        first.warnings
    );
    let before = std::fs::read(&mask).unwrap();
    args.sequences[0].1 = folder.path().join("bright.nii.gz");
    let second = Task::resolve(&args).unwrap().run().unwrap();
    assert!(
        second
            .warnings
            .iter()
            .any(|words| words.contains("mask.nii.gz.1")),
        "{:?}",
        second.warnings
    );
    assert_eq!(
        std::fs::read(args.out.join("mask.nii.gz.1")).unwrap(),
        before
    );
    let elsewhere = folder.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    std::fs::copy(&args.sequences[0].1, elsewhere.join("bright.nii.gz")).unwrap();
    args.sequences[0].1 = elsewhere.join("bright.nii.gz");
    let refused = Failure::from(Task::resolve(&args).err().unwrap());
    assert!(
        refused.what.contains("mask.nii.gz exists already"),
        "{}",
        refused.what
    );
    // An input is never replaced, whatever is said.
    args.sequences.push(("bright".into(), mask.clone()));
    let refused = Failure::from(Task::resolve(&args).err().unwrap());
    assert!(refused.what.contains("is the input"), "{}", refused.what);
}

#[test]
fn a_damaged_model_is_refused_before_anything_is_written() {
    let folder = folder(Some(0.01));
    let args = args(&folder, &[("dark", "dark.nii.gz")]);
    let mut bytes = std::fs::read(&args.model).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&args.model, bytes).unwrap();
    let refused = Failure::from(Task::resolve(&args).err().unwrap());
    assert!(
        refused.what.contains("damaged or was changed") && !args.out.exists(),
        "{}",
        refused.what
    );
}

#[test]
fn what_a_patient_lacks_changes_the_map_and_order_does_not() {
    let map = |sequences: &[(&str, &str)]| {
        let folder = folder(Some(0.5));
        let summary = Task::resolve(&args(&folder, sequences))
            .unwrap()
            .run()
            .unwrap();
        read(&summary.probability).unwrap().values
    };
    let (bright, dark) = (("bright", "bright.nii.gz"), ("dark", "dark.nii.gz"));
    assert_eq!(map(&[bright, dark]), map(&[dark, bright]));
    assert_ne!(map(&[bright, dark]), map(&[bright]));
}

#[test]
fn a_brain_mask_says_where_the_brain_is() {
    let folder = folder(Some(0.5));
    let source = Source::new(&GRID, "LPI", Form::Qform).unwrap();
    // Only the second slice shows brain.
    let brain: Vec<u8> = (0..GRID.voxels())
        .map(|at| u8::from(at / 480 == 1))
        .collect();
    write_u8(&folder.path().join("brain.nii"), &brain, &source).unwrap();
    let mut args = args(&folder, &[("dark", "dark.nii.gz")]);
    args.brain = Some(folder.path().join("brain.nii"));
    let summary = Task::resolve(&args).unwrap().run().unwrap();
    let map = read(&summary.probability).unwrap().values;
    let highest = |slice: usize| {
        map[slice * 480..][..480]
            .iter()
            .copied()
            .fold(0.0, f32::max)
    };
    assert!(highest(1) > 1e-4);
    assert!([0, 2, 3].iter().all(|&slice| highest(slice) < 1e-12));
}

#[test]
fn what_cannot_work_is_refused_with_what_would() {
    let folder = folder(None);
    let refusal = |change: &dyn Fn(&mut Args)| {
        let mut args = args(&folder, &[("dark", "dark.nii.gz")]);
        args.threshold = Some(0.5);
        change(&mut args);
        let refused = Task::resolve(&args)
            .and_then(|task| task.run())
            .unwrap_err();
        Failure::from(refused).what
    };
    let stranger = refusal(&|args| args.sequences[0].0 = "t1".into());
    assert!(
        stranger.contains("\"t1\"") && stranger.contains("bright, dark"),
        "{stranger}"
    );
    assert!(refusal(&|args| args.sequences.clear()).contains("bright, dark"));
    assert!(refusal(&|args| args.sequences.push(args.sequences[0].clone())).contains("twice"));
    assert!(refusal(&|args| args.threshold = None).contains("from which probability"));
    assert!(refusal(&|args| args.threshold = Some(f32::NAN)).contains("NaN"));
    assert!(refusal(&|args| args.model.push("none")).contains("none"));
    assert!(refusal(&|args| args.device = "abacus".into()).contains("abacus"));
    let grids = refusal(&|args| {
        args.sequences
            .push(("bright".into(), folder.path().join("other.nii.gz")))
    });
    assert!(grids.contains("24") && grids.contains("23"), "{grids}");
}

#[test]
fn a_sequence_is_typed_as_name_and_file() {
    assert_eq!(named("t1=a=b.nii"), Ok(("t1".into(), "a=b.nii".into())));
    assert!(named("t1").is_err() && named("=a").is_err() && named("t1=").is_err());
}

#[test]
fn a_brain_larger_than_the_plane_is_looked_at_whole_and_the_summary_says_so() {
    let folder = folder(Some(0.5));
    let wide = Grid {
        dims: [2, 20, 90],
        ..GRID
    };
    let source = Source::new(&wide, "LPI", Form::Qform).unwrap();
    // The surroundings are at one side.
    let value = |at: usize| {
        if at % 90 < 9 {
            0.0
        } else {
            1.0 + (at * 5 % 101) as f32
        }
    };
    let values: Vec<f32> = (0..wide.voxels()).map(value).collect();
    write_f32(&folder.path().join("wide.nii"), &values, &source).unwrap();
    let summary = Task::resolve(&args(&folder, &[("dark", "wide.nii")]))
        .unwrap()
        .run()
        .unwrap();
    assert_eq!(summary.brain_shown, 1.0);
    assert!(
        summary
            .warnings
            .iter()
            .any(|words| words.contains("32 x 90")),
        "{:?}",
        summary.warnings
    );
    let map = read(&summary.probability).unwrap().values;
    let looked_at = map
        .iter()
        .zip(&values)
        .all(|(&probability, &value)| value == 0.0 || probability > 1e-10);
    assert!(looked_at, "a voxel of the brain was not looked at");
    // A brain that fits is told nothing of parts.
    let summary = Task::resolve(&args(&folder, &[("dark", "dark.nii.gz")]))
        .unwrap()
        .run()
        .unwrap();
    assert_eq!(summary.brain_shown, 1.0);
    assert!(
        !summary.warnings.iter().any(|words| words.contains("plane")),
        "{:?}",
        summary.warnings
    );
}

#[test]
fn a_network_that_gives_no_numbers_is_refused() {
    let folder = folder(Some(0.5));
    let mut task = Task::resolve(&args(&folder, &[("dark", "dark.nii.gz")])).unwrap();
    let manifest = task.segmenter.model.parameters.manifest().clone();
    let huge = vec![f32::MAX; task.segmenter.model.parameters.values().len()];
    task.segmenter.model.parameters =
        protocol::parameters::Parameters::new(manifest, huge).unwrap();
    assert!(matches!(task.run(), Err(PredictError::NotFinite(_))));
}

#[test]
fn what_is_odd_about_a_file_stands_in_the_summary() {
    let folder = folder(Some(0.5));
    let mut junk = std::fs::read(folder.path().join("dark.nii.gz")).unwrap();
    junk.extend(b"end of tape");
    std::fs::write(folder.path().join("dark.nii.gz"), junk).unwrap();
    let summary = Task::resolve(&args(&folder, &[("dark", "dark.nii.gz")]))
        .unwrap()
        .run()
        .unwrap();
    assert!(
        summary.warnings[0].starts_with("dark: bytes that are not gzip"),
        "{:?}",
        summary.warnings
    );
}

/// Copies of the folder's images as `CASE/SEQUENCE.nii.gz`.
fn folder_of_cases(folder: &TempDir) -> PathBuf {
    let root = folder.path().join("cases");
    for (case, name) in [
        ("a-1", "bright"),
        ("a-1", "dark"),
        ("a-2", "dark"),
        ("b-1", "dark"),
    ] {
        std::fs::create_dir_all(root.join(case)).unwrap();
        let file = format!("{name}.nii.gz");
        std::fs::copy(folder.path().join(&file), root.join(case).join(&file)).unwrap();
    }
    std::fs::write(root.join("b-1/dark.nii.gz"), "no image").unwrap();
    root
}

/// The lines of the table, without their last columns.
fn table(args: &Args) -> Vec<String> {
    let text = std::fs::read_to_string(args.out.join("predictions.csv")).unwrap();
    let cells = |line: &str| line.split(',').take(3).collect::<Vec<_>>().join(",");
    text.lines().skip(1).map(cells).collect()
}

#[test]
fn every_patient_of_a_folder_has_a_result_of_its_own_and_finished_ones_are_kept() {
    let folder = folder(Some(0.01));
    let mut many = args(&folder, &[]);
    many.cases = Some(folder_of_cases(&folder));
    let failure = run(&many).unwrap_err();
    assert_eq!(
        (failure.class, failure.what.contains("1 of 3 patients")),
        (Class::Data, true)
    );
    assert_eq!(
        table(&many),
        [
            "a-1,segmented,bright dark",
            "a-2,segmented,dark",
            "b-1,left out,"
        ]
    );
    // As if each had been segmented alone.
    let alone = args(&folder, &[("dark", "dark.nii.gz")]);
    let alone = Task::resolve(&alone).unwrap().run().unwrap();
    let mask = |path: PathBuf| read(&path).unwrap().values;
    assert_eq!(mask(many.out.join("a-2/mask.nii.gz")), mask(alone.mask));

    // A case that is put right is segmented; what is finished is kept; what changed is made again.
    let root = many.cases.clone().unwrap();
    let copy = |from: &str, to: &str| {
        std::fs::copy(folder.path().join(from), root.join(to)).unwrap();
    };
    copy("dark.nii.gz", "b-1/dark.nii.gz");
    std::fs::remove_file(root.join("a-1/bright.nii.gz")).unwrap();
    copy("bright.nii.gz", "a-1/dark.nii.gz");
    run(&many).unwrap();
    assert_eq!(
        table(&many),
        ["a-1,segmented,dark", "a-2,kept,dark", "b-1,segmented,dark"]
    );
    copy("bright.nii.gz", "a-1/bright.nii.gz");
    let failure = run(&many).unwrap_err();
    assert_eq!(failure.class, Class::Data);
    let text = std::fs::read_to_string(many.out.join("predictions.csv")).unwrap();
    assert!(
        text.contains("bright and dark are the same image")
            && text.contains("that of an earlier run"),
        "{text}"
    );
    copy("dark.nii.gz", "a-1/dark.nii.gz");
    many.threshold = Some(0.5);
    many.cases = Some(root.join("a-*"));
    run(&many).unwrap();
    assert_eq!(
        table(&many),
        ["a-1,segmented,bright dark", "a-2,segmented,dark"]
    );

    // A brain mask in the folders is used, and then every patient needs one.
    let source = Source::new(&GRID, "LPI", Form::Qform).unwrap();
    let brain: Vec<u8> = (0..GRID.voxels())
        .map(|at| u8::from(at % 24 >= 4))
        .collect();
    write_u8(&root.join("a-1/brain.nii.gz"), &brain, &source).unwrap();
    assert_eq!(run(&many).unwrap_err().class, Class::Data);
    assert_eq!(table(&many)[1], "a-2,left out,");
    std::fs::remove_file(root.join("a-1/brain.nii.gz")).unwrap();

    // The same by patterns, and by a site's file.
    many.cases = Some(root.clone());
    many.sequences = vec![("dark".into(), "{case}/dark.nii.gz".into())];
    many.force = true;
    run(&many).unwrap();
    many.force = false;
    assert_eq!(table(&many)[0], "a-1,segmented,dark");
    many.sequences.clear();
    many.cases = None;
    let site = folder.path().join("site.toml");
    let data = format!(
        "device = 'cpu'\n[data]\nroot = '{}'\nlabel = '{{case}}/none.nii'\nlesion_labels = [1]\n\
         [data.sequences]\ndark = '{{case}}/dark.nii.gz'\n",
        root.display()
    );
    std::fs::write(&site, data).unwrap();
    many.config = Some(site);
    run(&many).unwrap();
    assert_eq!(
        table(&many),
        ["a-1,kept,dark", "a-2,kept,dark", "b-1,kept,dark"]
    );
}

#[test]
fn a_folder_without_patients_or_a_wrong_pattern_is_refused() {
    let folder = folder(Some(0.01));
    let refusal = |cases: PathBuf, pattern: Option<(&str, &str)>| {
        let mut many = args(&folder, &[]);
        many.cases = Some(cases);
        if let Some((name, pattern)) = pattern {
            many.sequences.push((name.into(), pattern.into()));
        }
        run(&many).unwrap_err()
    };
    let none = refusal(folder.path().to_owned(), None);
    assert!(
        none.what.contains("bright.nii.gz, dark.nii.gz"),
        "{}",
        none.what
    );
    assert_eq!(none.class, Class::Data);
    let root = folder_of_cases(&folder);
    let fixed = refusal(root.clone(), Some(("dark", "dark.nii.gz")));
    assert!(fixed.what.contains("--sequence dark"), "{}", fixed.what);
    let unknown = refusal(root, Some(("t9", "{case}/t9.nii.gz")));
    assert!(unknown.what.contains("\"t9\""), "{}", unknown.what);
}

/// A head with structures, at a place in the patient's space.
fn head(shift_mm: [f64; 3], contrast: f64) -> (Vec<f32>, Grid) {
    let grid = Grid {
        dims: [26, 26, 26],
        spacing_mm: [5.0, 5.0, 5.0],
    };
    let blobs = [
        [20.0, 0.0, 10.0],
        [-15.0, 20.0, -5.0],
        [0.0, -25.0, 15.0],
        [-10.0, -10.0, -25.0],
    ];
    let mut values = Vec::with_capacity(grid.voxels());
    for z in 0..26 {
        for y in 0..26 {
            for x in 0..26 {
                let mut place = [0.0; 3];
                for (axis, index) in [x, y, z].into_iter().enumerate() {
                    place[axis] = (f64::from(index) - 12.5) * 5.0 - shift_mm[axis];
                }
                let [right, front, top] = place;
                let radius = (right / 45.0).powi(2) + (front / 52.0).powi(2) + (top / 48.0).powi(2);
                let mut value = if radius < 1.0 { 100.0 } else { 0.0 };
                for blob in blobs {
                    let mut square = 0.0;
                    for axis in 0..3 {
                        square += (place[axis] - blob[axis]).powi(2);
                    }
                    if radius < 1.0 {
                        value += contrast * (-square / 200.0).exp();
                    }
                }
                values.push(value as f32);
            }
        }
    }
    (values, grid)
}

#[test]
fn a_patient_who_moved_between_sequences_is_registered_and_gets_the_mask_back_on_each() {
    let folder = folder(Some(0.01));
    let save = |name: &str, shift: [f64; 3], contrast: f64| {
        let (values, grid) = head(shift, contrast);
        let source = Source::new(&grid, "RAS", Form::Qform).unwrap();
        write_f32(&folder.path().join(name), &values, &source).unwrap();
    };
    save("bright.nii.gz", [0.0; 3], 90.0);
    save("dark.nii.gz", [10.0, -5.0, 5.0], -70.0);
    let mut moved = args(
        &folder,
        &[("bright", "bright.nii.gz"), ("dark", "dark.nii.gz")],
    );
    moved.register = true;
    let summary = Task::resolve(&moved).unwrap().run().unwrap();
    assert_eq!(
        summary.sequences,
        ["bright", "dark"],
        "{:?}",
        summary.warnings
    );
    let [dark] = summary.registered.as_slice() else {
        panic!("{:?}", summary.registered)
    };
    assert_eq!(
        (dark.sequence.as_str(), dark.onto.as_str()),
        ("dark", "bright")
    );
    assert!(
        (dark.moved_mm - 150f64.sqrt()).abs() < 0.5,
        "{}",
        dark.moved_mm
    );
    // Voxels of 5 mm: the mask moves by 2, -1 and 1 of them.
    let mask = read(&summary.mask).unwrap().values;
    let back = read(dark.mask.as_ref().unwrap()).unwrap().values;
    assert!(summary.lesion_voxels > 10);
    let (mut same, mut all) = (0, 0);
    for (at, value) in mask.iter().enumerate() {
        let [z, y, x] = [at / 676, at / 26 % 26, at % 26];
        if *value != 0.0 && x + 2 < 26 && y > 0 && z + 1 < 26 {
            all += 1;
            same += usize::from(back[(z + 1) * 676 + (y - 1) * 26 + x + 2] != 0.0);
        }
    }
    assert!(same * 20 > all * 19, "{same} of {all}");
    assert!(moved.out.join("registered/dark.nii.gz").exists());
    assert!(!moved.out.join(".registered").exists());

    // The registered image is an input that must stay.
    moved.sequences[1].1 = moved.out.join("registered/dark.nii.gz");
    let refused = Failure::from(Task::resolve(&moved).err().unwrap());
    assert!(refused.what.contains("is the input"), "{}", refused.what);
}

#[test]
fn a_sequence_that_fits_nowhere_is_left_out_and_named() {
    let folder = folder(Some(0.01));
    let (values, grid) = head([0.0; 3], 90.0);
    let source = Source::new(&grid, "RAS", Form::Qform).unwrap();
    write_f32(&folder.path().join("bright.nii.gz"), &values, &source).unwrap();
    let mut state = 1u32;
    let mut noise = values.clone();
    for value in &mut noise {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *value = (state >> 8) as f32;
    }
    write_f32(&folder.path().join("dark.nii.gz"), &noise, &source).unwrap();
    let mut args = args(
        &folder,
        &[("bright", "bright.nii.gz"), ("dark", "dark.nii.gz")],
    );
    args.register = true;
    let summary = Task::resolve(&args).unwrap().run().unwrap();
    assert_eq!(summary.sequences, ["bright"]);
    assert!(
        summary
            .warnings
            .iter()
            .any(|words| words.starts_with("dark was left out")),
        "{:?}",
        summary.warnings
    );
    assert!(!summary.registered[0].used && summary.registered[0].mask.is_none());
    assert!(args.out.join("registered/dark.png").exists());
}
