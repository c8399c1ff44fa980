use super::*;
use imaging::nifti::{self, Form, Source, write_f32, write_u8};
use protocol::case::Grid;
use std::collections::BTreeMap;
use std::fs;

mod volumes;

const GRID: Grid = Grid {
    dims: [4, 6, 8],
    spacing_mm: [21.0, 7.0, 7.0],
};

fn input() -> Input {
    Input {
        sequences: ["t1", "flair"].map(Into::into).to_vec(),
        slices: 3,
        plane: 16,
        spacing_mm: None,
        clip_percentiles: None,
    }
}

/// A voxel of slice 2, in the brain.
const LESION: usize = 2 * 48 + 2 * 8 + 4;

/// The brain: all slices, but for a border of one voxel.
fn inside(at: usize) -> bool {
    let (y, x) = (at / 8 % 6, at % 8);
    (1..5).contains(&y) && (1..7).contains(&x)
}

/// A root with cases `a`, `b`, ... of both sequences and a label with one lesion voxel of value 4.
struct Site(tempfile::TempDir);

impl Site {
    fn new(cases: &[&str]) -> Self {
        let site = Self(tempfile::tempdir().unwrap());
        for case in cases {
            site.image(case, "t1", 1.0);
            site.image(case, "flair", 2.0);
            let mut label = vec![0; GRID.voxels()];
            label[LESION] = 4;
            write_u8(
                &site.path(case, "seg"),
                &label,
                &Source::new(&GRID, "LPS", Form::Qform).unwrap(),
            )
            .unwrap();
        }
        site
    }

    fn path(&self, case: &str, what: &str) -> PathBuf {
        let folder = self.0.path().join("root").join(case);
        fs::create_dir_all(&folder).unwrap();
        folder.join(format!("{case}_{what}.nii.gz"))
    }

    /// A ramp in the brain, another one in every case.
    fn image(&self, case: &str, what: &str, gain: f32) {
        let own = case
            .bytes()
            .fold(1.0, |own, byte| own * 2.0 + f32::from(byte));
        let value = |at: usize| {
            if inside(at) {
                own + at as f32 * gain
            } else {
                0.0
            }
        };
        let values: Vec<f32> = (0..GRID.voxels()).map(value).collect();
        write_f32(
            &self.path(case, what),
            &values,
            &Source::new(&GRID, "RAS", Form::Sform).unwrap(),
        )
        .unwrap();
    }

    fn config(&self, more: &str) -> Archives {
        let root = self.0.path().join("root");
        let text = format!(
            "root = '{}'\nlabel = '{{case}}/{{case}}_seg.nii.gz'\nlesion_labels = \
             [4]\n{more}\n[sequences]\nt1 = '{{case}}/{{case}}_t1.nii.gz'\nflair = \
             ['{{case}}/FLAIR.nii', '{{case}}/{{case}}_flair.nii.gz']\n",
            root.display()
        );
        toml::from_str::<DataConfig>(&text).unwrap().into()
    }

    fn open(&self, more: &str) -> Result<Cohort, DataError> {
        open(
            &self.config(more),
            &input(),
            &self.0.path().join("work"),
            &mut |_, _| {},
        )
    }

    fn reasons(&self) -> BTreeMap<String, String> {
        let cohort = self.open("").unwrap();
        cohort
            .skipped
            .into_iter()
            .map(|skipped| (skipped.id, skipped.reason.to_string()))
            .collect()
    }
}

fn names(cohort: &Cohort) -> Vec<&str> {
    cohort.cases.iter().map(CachedCase::id).collect()
}

#[test]
fn cases_are_found_prepared_and_counted() {
    let site = Site::new(&["b", "a", "c"]);
    let mut seen = Vec::new();
    let work = site.0.path().join("work");
    let cohort = open(&site.config(""), &input(), &work, &mut |done, total| {
        seen.push((done, total))
    })
    .unwrap();
    assert_eq!(names(&cohort), ["a", "b", "c"]);
    assert_eq!(seen, [(1, 3), (2, 3), (3, 3)]);
    let case = &cohort.cases[0];
    assert_eq!(
        (case.present(), case.depth(), case.grid()),
        (input().all(), 4, GRID)
    );
    assert_eq!(case.lesion_views(), [false, false, true, false]);
    let mut slab = vec![0.0; 2 * 16 * 16];
    case.read_slab(1, 1, &mut slab).unwrap();
    // Both sequences are the same up to gain and offset, and the mean is in the middle. Rows start
    // at 5, columns at 4.
    let brain: Vec<f32> = (0..GRID.voxels())
        .filter(|&at| inside(at))
        .map(|at| at as f32)
        .collect();
    let variance = brain.iter().map(|at| (at - 95.5).powi(2)).sum::<f32>() / brain.len() as f32;
    let z = (48.0 + 8.0 + 1.0 - 95.5) / variance.sqrt();
    assert!((slab[6 * 16 + 5] - z).abs() < 1e-3 && slab[..6 * 16].iter().all(|&v| v == 0.0));
    assert!((slab[256 + 6 * 16 + 5] - z).abs() < 1e-3);
    assert!(cohort.warnings.is_empty(), "{:?}", cohort.warnings);
}

#[test]
fn a_site_may_lack_or_drop_a_sequence_and_choose_its_cases() {
    let site = Site::new(&["a1", "a2", "b1"]);
    fs::remove_file(site.path("a1", "t1")).unwrap();
    let cohort = site.open("cases = 'a*'").unwrap();
    assert_eq!(names(&cohort), ["a1", "a2"]);
    assert_eq!(cohort.cases[0].present().label(&input().sequences), "flair");
    let cohort = site.open("drop = ['flair']").unwrap();
    assert_eq!(names(&cohort), ["a2", "b1"]);
    assert!(
        cohort
            .cases
            .iter()
            .all(|case| case.present().label(&input().sequences) == "t1")
    );
    let cohort = site.open("cases = ['b1', 'gone']").unwrap();
    assert_eq!(
        (names(&cohort), cohort.skipped[0].id.as_str()),
        (vec!["b1"], "gone")
    );
}

#[test]
fn settings_that_do_not_fit_the_federation_or_the_disk_are_refused() {
    let site = Site::new(&["a"]);
    assert!(
        matches!(site.open("drop = ['t2']"), Err(DataError::UnknownSequence { name, .. }) if name == "t2")
    );
    assert!(matches!(
        site.open("drop = ['t1', 'flair']"),
        Err(DataError::NoSequence)
    ));
    assert!(matches!(
        site.open("cases = ['x*']"),
        Err(DataError::NoCases { .. })
    ));
    let mut other = input();
    other.sequences[1] = "t2".into();
    let refused = open(&site.config(""), &other, site.0.path(), &mut |_, _| {});
    assert!(matches!(refused, Err(DataError::UnknownSequence { name, .. }) if name == "flair"));
    fs::write(
        site.0.path().join("work"),
        "a file where the folder belongs",
    )
    .unwrap();
    assert!(matches!(site.open(""), Err(DataError::Disk { .. })));
}

#[test]
fn bad_cases_are_skipped_and_named_with_their_reason() {
    let site = Site::new(&[
        "good", "cut", "grid", "moved", "nan", "flat", "zero", "odd", "bare",
    ]);
    let source = Source::new(&GRID, "RAS", Form::Sform).unwrap();
    let cut = fs::read(site.path("cut", "t1")).unwrap();
    fs::write(site.path("cut", "t1"), &cut[..cut.len() / 2]).unwrap();
    let wide = Grid {
        dims: [4, 6, 9],
        ..GRID
    };
    let source_wide = Source::new(&wide, "RAS", Form::Sform).unwrap();
    write_f32(
        &site.path("grid", "flair"),
        &vec![1.0; wide.voxels()],
        &source_wide,
    )
    .unwrap();
    let thick = Grid {
        spacing_mm: [24.5, 7.0, 7.0],
        ..GRID
    };
    let source_thick = Source::new(&thick, "RAS", Form::Sform).unwrap();
    write_u8(
        &site.path("moved", "seg"),
        &vec![0; GRID.voxels()],
        &source_thick,
    )
    .unwrap();
    let mut values = vec![1.0; GRID.voxels()];
    write_f32(&site.path("flat", "flair"), &values, &source).unwrap();
    values[7] = f32::NAN;
    write_f32(&site.path("nan", "t1"), &values, &source).unwrap();
    for what in ["t1", "flair"] {
        write_f32(&site.path("zero", what), &vec![0.0; GRID.voxels()], &source).unwrap();
    }
    write_f32(
        &site.path("odd", "seg"),
        &vec![0.25; GRID.voxels()],
        &source,
    )
    .unwrap();
    fs::remove_file(site.path("bare", "seg")).unwrap();

    let reasons = site.reasons();
    let expected = [
        ("cut", "t1: the file is cut short"),
        (
            "grid",
            "t1 has 8 x 6 x 4 voxels of 7.000 x 7.000 x 21.000 mm",
        ),
        ("grid", "flair has 9 x 6 x 4 voxels"),
        (
            "moved",
            "label has 8 x 6 x 4 voxels of 7.000 x 7.000 x 24.500 mm",
        ),
        ("nan", "t1 holds values that are not finite"),
        ("flat", "flair has the same value"),
        ("zero", "no brain"),
        ("odd", "0.25"),
        ("bare", "no label file"),
    ];
    for (case, words) in expected {
        assert!(reasons[case].contains(words), "{case}: {}", reasons[case]);
    }
    assert_eq!(reasons.len(), 8);
    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(site.0.path().join("work").join(SKIPPED)).unwrap())
            .unwrap();
    assert_eq!(
        (
            report["usable"].as_u64(),
            report["skipped"].as_array().unwrap().len()
        ),
        (Some(1), 8)
    );
    assert!(matches!(
        site.open("cases = ['bare', 'odd']"),
        Err(DataError::NothingLeft { count: 2, .. })
    ));
}

#[test]
fn a_brain_mask_rules_what_is_brain() {
    let site = Site::new(&["a"]);
    let mask: Vec<u8> = (0..GRID.voxels()).map(|i| u8::from(i >= 96)).collect();
    write_u8(
        &site.path("a", "mask"),
        &mask,
        &Source::new(&GRID, "ASL", Form::Sform).unwrap(),
    )
    .unwrap();
    let cohort = site.open("brain = '{case}/{case}_mask.nii.gz'").unwrap();
    assert_eq!(cohort.cases[0].native().unwrap().brain, mask);
    let mut slab = vec![0.0; 2 * 256];
    cohort.cases[0].read_slab(1, 1, &mut slab).unwrap();
    assert!(slab.iter().all(|&value| value == 0.0));
}

/// The cache's files and their bytes.
fn cache(site: &Site) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(site.0.path().join("work/cache")).unwrap();
    entries
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

#[test]
fn the_cache_follows_content_and_settings_and_mends_itself() {
    let site = Site::new(&["a", "b"]);
    site.open("").unwrap();
    let first = cache(&site);
    assert_eq!(first.len(), 2);
    // Untouched: an old time stamp survives. Damaged: rebuilt to the same bytes.
    let (kept, damaged) = (first.keys().next().unwrap(), first.keys().nth(1).unwrap());
    let stamp = fs::metadata(kept).unwrap().modified().unwrap();
    fs::write(damaged, b"LACUNAC\0 and then garbage").unwrap();
    assert_eq!(names(&site.open("").unwrap()), ["a", "b"]);
    assert_eq!(cache(&site), first);
    assert_eq!(fs::metadata(kept).unwrap().modified().unwrap(), stamp);
    // Other content or settings: other files.
    site.image("a", "t1", 3.0);
    site.open("").unwrap();
    assert_eq!(cache(&site).len(), 3);
    site.open("drop = ['t1']").unwrap();
    assert_eq!(cache(&site).len(), 5);
    assert!(cache(&site).keys().all(|path| {
        path.extension()
            .is_some_and(|extension| extension == "case")
    }));
}

#[test]
fn threads_change_nothing() {
    let site = Site::new(&["a", "b", "c", "d"]);
    site.open("").unwrap();
    let several = cache(&site);
    fs::remove_dir_all(site.0.path().join("work")).unwrap();
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap();
    assert_eq!(
        names(&pool.install(|| site.open("")).unwrap()),
        ["a", "b", "c", "d"]
    );
    assert_eq!(cache(&site), several);
}

#[test]
fn a_survey_reads_every_case_and_says_what_is_wrong() {
    let site = Site::new(&["a", "b"]);
    fs::remove_file(site.path("b", "flair")).unwrap();
    site.image("c", "t1", 1.0);
    fs::create_dir_all(site.0.path().join("root/__MACOSX")).unwrap();
    let survey = |more: &str| survey(&site.config(more), None, None, &mut |_, _| {}).unwrap();
    let found = survey("");
    assert_eq!(
        (found.cases, found.usable, found.patients, found.labelled),
        (3, 2, 2, true),
        "c has no label"
    );
    assert_eq!(
        found.sequences,
        [("flair".to_owned(), 1), ("t1".to_owned(), 2)]
    );
    let rows: Vec<(&str, &str)> = found
        .rows
        .iter()
        .map(|row| (row.case.as_str(), row.what.as_str()))
        .collect();
    assert_eq!(rows, [("c", "no label file")]);
    assert_eq!(found.ignored, ["__MACOSX".to_owned()].into());
    assert_eq!(survey("drop = ['flair']").sequences, [("t1".to_owned(), 2)]);
    fs::write(site.path("a", "flair"), b"no image").unwrap();
    let rows = survey("").rows;
    assert!(
        rows[0].case == "a" && rows[0].what.starts_with("flair: ") && rows[0].how_bad == "left out",
        "{rows:?}"
    );
    // Nothing is kept.
    assert!(!site.0.path().join("work").exists());
}

#[test]
fn a_survey_for_a_federation_names_brains_that_are_larger_than_its_planes() {
    let site = Site::new(&["a", "b"]);
    let look = |plane: Option<usize>| {
        let input = plane.map(|plane| Input { plane, ..input() });
        survey(&site.config(""), input.as_ref(), None, &mut |_, _| {}).unwrap()
    };
    let largest = look(None).largest_brain.unwrap();
    assert!(look(None).rows.is_empty());
    let least = largest.pixels[0].max(largest.pixels[1]);
    assert!(look(Some(least + 2)).rows.is_empty(), "{largest:?}");
    let rows = look(Some(least - 1)).rows;
    assert_eq!(rows.len(), 2);
    assert!(
        rows[0].what.contains("does not fit the model's plane"),
        "{rows:?}"
    );
}

#[test]
fn a_sequence_whose_file_has_nearly_the_right_name_is_said() {
    let site = Site::new(&["a", "b"]);
    fs::rename(site.path("a", "t1"), site.0.path().join("root/a/A-T1.nii")).unwrap();
    let cohort = site.open("").unwrap();
    assert_eq!(names(&cohort), ["a", "b"]);
    let Warned { id, note } = &cohort.warnings[0];
    assert!(
        id == "a" && note.what.contains("and there is A-T1.nii"),
        "{note:?}"
    );
}

/// Cases that are found by other patterns, as `id: reason or usable`.
fn found(site: &Site, table: &str) -> Vec<String> {
    let root = site.0.path().join("root");
    let text = format!("root = '{}'\n{table}", root.display());
    let archive: DataConfig = toml::from_str(&text).unwrap();
    let found = archive.find(&input()).unwrap();
    let outcome = |files: Result<Files, CaseError>| {
        files.map_or_else(|error| error.to_string(), |_| "usable".into())
    };
    found
        .cases
        .into_iter()
        .map(|(id, case)| format!("{id}: {}", outcome(case.files)))
        .collect()
}

fn put(site: &Site, names: &[&str]) {
    for name in names {
        let path = site.0.path().join("root").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }
}

#[test]
fn every_folder_that_could_be_a_case_is_accounted_for() {
    let site = Site::new(&[]);
    put(
        &site,
        &[
            "a/t1.nii",
            "b/T2.nii",
            "labels/a.nii",
            "labels/lost.nii",
            "readme.txt",
            ".hidden/t1.nii",
        ],
    );
    put(&site, &["a (1)/t1.nii", "a.part/t1.nii"]);
    fs::create_dir_all(site.0.path().join("root/c/t1.nii")).unwrap();
    fs::create_dir_all(site.0.path().join("root/empty")).unwrap();
    let table =
        "label = 'labels/{case}.nii'\nlesion_labels = [1]\nsequences = { t1 = '{case}/t1.nii' }\n";
    assert_eq!(
        found(&site, table),
        [
            "a: usable",
            "b: no file of its sequences exists, such as b/t1.nii; its folder contains T2.nii",
            "c: t1: there is a folder instead of the file",
            "empty: no file of its sequences exists, such as empty/t1.nii",
            "lost: no file of its sequences exists, such as lost/t1.nii",
        ]
    );
}

#[test]
fn patients_and_their_time_points_are_found_by_folder_and_by_name() {
    let site = Site::new(&[]);
    put(
        &site,
        &[
            "sub-1/ses-a/anat/sub-1_ses-a_t1.nii",
            "sub-1/ses-b/anat/sub-1_ses-b_t1.nii",
            "sub-2/readme",
        ],
    );
    let table =
        "sequences = { t1 = 'sub-{patient}/ses-{case}/anat/sub-{patient}_ses-{case}_t1.nii' }\n";
    let expected = "2: no file of its sequences exists, such as \
                    sub-2/ses-{case}/anat/sub-2_ses-{case}_t1.nii; its folder contains readme";
    assert_eq!(
        found(&site, table),
        ["1/a: usable", "1/b: usable", expected]
    );
    assert_eq!(
        found(&site, &format!("cases = ['1/b', '3']\n{table}")),
        ["1/b: usable", "3: no sequence file"]
    );
    assert_eq!(
        found(&site, &format!("cases = '1'\n{table}")),
        ["1/a: usable", "1/b: usable"]
    );
}

#[test]
fn a_file_of_one_case_is_no_other_case() {
    let site = Site::new(&[]);
    put(
        &site,
        &[
            "a.nii",
            "a_flair.nii",
            "a_seg.nii",
            "a_b.nii",
            "a_b_seg.nii",
        ],
    );
    let table = "label = '{case}_seg.nii'\nlesion_labels = [1]\n\
                 sequences = { t1 = '{case}.nii', flair = '{case}_flair.nii' }\n";
    assert_eq!(found(&site, table), ["a: usable", "a_b: usable"]);
}

#[cfg(unix)]
#[test]
fn links_that_lead_nowhere_and_names_that_are_no_text_are_cases_that_are_skipped() {
    use std::os::unix::ffi::OsStrExt;
    let site = Site::new(&["a", "b", "c"]);
    fs::remove_file(site.path("b", "flair")).unwrap();
    std::os::unix::fs::symlink("../.git/annex/objects/x", site.path("b", "flair")).unwrap();
    std::os::unix::fs::symlink("elsewhere", site.0.path().join("root/d")).unwrap();
    fs::write(
        site.path("c", "t1"),
        "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
    )
    .unwrap();
    fs::create_dir(
        site.0
            .path()
            .join("root")
            .join(std::ffi::OsStr::from_bytes(b"caf\xe9")),
    )
    .unwrap();
    let reasons = site.reasons();
    for (case, words) in [
        (
            "b",
            "flair: the link points to ../.git/annex/objects/x, which is not there",
        ),
        ("c", "t1: the file is a pointer of Git LFS"),
        ("d", "the case's folder: the link points to elsewhere"),
        ("caf\u{fffd}", "its name is not UTF-8"),
    ] {
        assert!(reasons[case].contains(words), "{case}: {}", reasons[case]);
    }
    assert_eq!(reasons.len(), 4);
}

#[test]
fn copies_are_left_out_and_cases_that_share_an_image_are_of_one_patient() {
    let site = Site::new(&["a", "b", "c", "d"]);
    for what in ["t1", "flair"] {
        let image = nifti::read(&site.path("a", what)).unwrap();
        // Other bytes, the same image.
        write_f32(
            &site.path("b", what),
            &image.values,
            &Source::new(&GRID, "LPS", Form::Qform).unwrap(),
        )
        .unwrap();
    }
    fs::copy(site.path("c", "flair"), site.path("d", "flair")).unwrap();
    let cohort = site.open("").unwrap();
    assert_eq!(names(&cohort), ["a", "c", "d"]);
    assert_eq!(
        cohort.skipped[0].reason.to_string(),
        "its images are those of a, voxel by voxel"
    );
    let patients: Vec<&str> = cohort
        .patients
        .iter()
        .map(|patient| patient.name.as_str())
        .collect();
    assert_eq!(patients, ["a", "c", "c"]);
    assert!(
        cohort.warnings[0].id == "d"
            && cohort.warnings[0]
                .note
                .what
                .starts_with("shares an image with c")
    );
    // The same from the cache.
    assert_eq!(site.open("").unwrap().warnings, cohort.warnings);
    fs::copy(site.path("c", "flair"), site.path("c", "t1")).unwrap();
    assert!(site.reasons()["c"].contains("are the same image"));
}

#[test]
fn a_label_with_other_values_is_left_out_and_named() {
    let site = Site::new(&["a", "b", "c"]);
    let mut label = vec![0; GRID.voxels()];
    label[LESION] = 255;
    write_u8(
        &site.path("b", "seg"),
        &label,
        &Source::new(&GRID, "RAS", Form::Sform).unwrap(),
    )
    .unwrap();
    let reasons = site.reasons();
    assert_eq!(reasons.len(), 1);
    assert!(
        reasons["b"].contains("none of data.lesion_labels [4], but 255 (1 voxels)"),
        "{reasons:?}"
    );
}

#[test]
fn an_error_of_ours_while_data_is_prepared_ends_the_site_instead_of_leaving_it_waiting() {
    assert_eq!(guarded(|| Ok(5)).unwrap(), 5);
    let broken = guarded(|| -> Result<(), DataError> { panic!("index out of range") }).unwrap_err();
    assert!(matches!(broken, DataError::Fault) && broken.class() == Class::Internal);
}
