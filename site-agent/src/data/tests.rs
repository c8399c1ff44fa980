use super::*;
use crate::nifti::{Form, Source, write_f32, write_u8};
use shared::case::Grid;
use std::collections::BTreeMap;
use std::fs;

mod volumes;

const GRID: Grid = Grid { dims: [4, 6, 8], spacing_mm: [3.0, 1.0, 1.0] };

fn input() -> Input {
    Input { sequences: ["t1", "flair"].map(Into::into).to_vec(), slices: 3, plane: 16, spacing_mm: None }
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
            label[100] = 4;
            write_u8(&site.path(case, "seg"), &label, &Source::new(&GRID, "LPS", Form::Qform).unwrap()).unwrap();
        }
        site
    }

    fn path(&self, case: &str, what: &str) -> PathBuf {
        let folder = self.0.path().join("root").join(case);
        fs::create_dir_all(&folder).unwrap();
        folder.join(format!("{case}_{what}.nii.gz"))
    }

    /// A ramp with a zero border voxel at the start.
    fn image(&self, case: &str, what: &str, gain: f32) {
        let values: Vec<f32> = (0..GRID.voxels()).map(|i| i as f32 * gain).collect();
        write_f32(&self.path(case, what), &values, &Source::new(&GRID, "RAS", Form::Sform).unwrap()).unwrap();
    }

    fn config(&self, more: &str) -> Archives {
        let root = self.0.path().join("root");
        let text = format!(
            "root = '{}'\nlabel = '{{case}}/{{case}}_seg.nii.gz'\nlesion_labels = [4]\n{more}\n[sequences]\n\
             t1 = '{{case}}/{{case}}_t1.nii.gz'\nflair = ['{{case}}/FLAIR.nii', '{{case}}/{{case}}_flair.nii.gz']\n",
            root.display()
        );
        toml::from_str::<DataConfig>(&text).unwrap().into()
    }

    fn open(&self, more: &str) -> Result<Cohort, DataError> {
        open(&self.config(more), &input(), &self.0.path().join("work"), &mut |_, _| {})
    }

    fn reasons(&self) -> BTreeMap<String, String> {
        let cohort = self.open("").unwrap();
        cohort.skipped.into_iter().map(|skipped| (skipped.id, skipped.reason.to_string())).collect()
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
    let cohort = open(&site.config(""), &input(), &work, &mut |done, total| seen.push((done, total))).unwrap();
    assert_eq!(names(&cohort), ["a", "b", "c"]);
    assert_eq!(seen, [(1, 3), (2, 3), (3, 3)]);
    let case = &cohort.cases[0];
    assert_eq!((case.present(), case.depth(), case.grid()), (input().all(), 4, GRID));
    // Voxel 100 lies in slice 2.
    assert_eq!(case.lesion_views(), [false, false, true, false]);
    let mut slab = vec![0.0; 2 * 16 * 16];
    case.read_slab(1, 1, &mut slab).unwrap();
    // The brain is 1..=191, mean 96, and both sequences are the same up to gain. Rows start at 5, columns at 4.
    let z = (48.0 - 96.0) / ((191.0f32 * 191.0 - 1.0) / 12.0).sqrt();
    assert!((slab[5 * 16 + 4] - z).abs() < 1e-3 && slab[..5 * 16].iter().all(|&v| v == 0.0));
    assert!((slab[256 + 5 * 16 + 4] - z).abs() < 1e-3);
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
    assert!(cohort.cases.iter().all(|case| case.present().label(&input().sequences) == "t1"));
    let cohort = site.open("cases = ['b1', 'gone']").unwrap();
    assert_eq!((names(&cohort), cohort.skipped[0].id.as_str()), (vec!["b1"], "gone"));
}

#[test]
fn settings_that_do_not_fit_the_federation_or_the_disk_are_refused() {
    let site = Site::new(&["a"]);
    assert!(matches!(site.open("drop = ['t2']"), Err(DataError::UnknownSequence { name, .. }) if name == "t2"));
    assert!(matches!(site.open("drop = ['t1', 'flair']"), Err(DataError::NoSequence)));
    assert!(matches!(site.open("cases = ['x*']"), Err(DataError::NoCases { .. })));
    let mut other = input();
    other.sequences[1] = "t2".into();
    let refused = open(&site.config(""), &other, site.0.path(), &mut |_, _| {});
    assert!(matches!(refused, Err(DataError::UnknownSequence { name, .. }) if name == "flair"));
    fs::write(site.0.path().join("work"), "a file where the folder belongs").unwrap();
    assert!(matches!(site.open(""), Err(DataError::Disk { .. })));
}

#[test]
fn bad_cases_are_skipped_and_named_with_their_reason() {
    let site = Site::new(&["good", "cut", "grid", "moved", "nan", "flat", "zero", "odd", "bare"]);
    let source = Source::new(&GRID, "RAS", Form::Sform).unwrap();
    let cut = fs::read(site.path("cut", "t1")).unwrap();
    fs::write(site.path("cut", "t1"), &cut[..cut.len() / 2]).unwrap();
    let wide = Grid { dims: [4, 6, 9], ..GRID };
    let source_wide = Source::new(&wide, "RAS", Form::Sform).unwrap();
    write_f32(&site.path("grid", "flair"), &vec![1.0; wide.voxels()], &source_wide).unwrap();
    let thick = Grid { spacing_mm: [3.5, 1.0, 1.0], ..GRID };
    let source_thick = Source::new(&thick, "RAS", Form::Sform).unwrap();
    write_u8(&site.path("moved", "seg"), &vec![0; GRID.voxels()], &source_thick).unwrap();
    let mut values = vec![1.0; GRID.voxels()];
    write_f32(&site.path("flat", "flair"), &values, &source).unwrap();
    values[7] = f32::NAN;
    write_f32(&site.path("nan", "t1"), &values, &source).unwrap();
    for what in ["t1", "flair"] {
        write_f32(&site.path("zero", what), &vec![0.0; GRID.voxels()], &source).unwrap();
    }
    write_f32(&site.path("odd", "seg"), &vec![0.25; GRID.voxels()], &source).unwrap();
    fs::remove_file(site.path("bare", "seg")).unwrap();

    let reasons = site.reasons();
    let expected = [
        ("cut", "t1: the file is cut short"),
        ("grid", "t1 has 8 x 6 x 4 voxels of 1.000 x 1.000 x 3.000 mm"),
        ("grid", "flair has 9 x 6 x 4 voxels"),
        ("moved", "label has 8 x 6 x 4 voxels of 1.000 x 1.000 x 3.500 mm"),
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
        serde_json::from_slice(&fs::read(site.0.path().join("work").join(SKIPPED)).unwrap()).unwrap();
    assert_eq!((report["usable"].as_u64(), report["skipped"].as_array().unwrap().len()), (Some(1), 8));
    assert!(matches!(site.open("cases = ['bare', 'odd']"), Err(DataError::NothingLeft { count: 2, .. })));
}

#[test]
fn a_brain_mask_rules_what_is_brain() {
    let site = Site::new(&["a"]);
    let mask: Vec<u8> = (0..GRID.voxels()).map(|i| u8::from(i >= 96)).collect();
    write_u8(&site.path("a", "mask"), &mask, &Source::new(&GRID, "ASL", Form::Sform).unwrap()).unwrap();
    let cohort = site.open("brain = '{case}/{case}_mask.nii.gz'").unwrap();
    assert_eq!(cohort.cases[0].native().unwrap().brain, mask);
    let mut slab = vec![0.0; 2 * 256];
    cohort.cases[0].read_slab(1, 1, &mut slab).unwrap();
    assert!(slab.iter().all(|&value| value == 0.0));
}

/// The cache's files and their bytes.
fn cache(site: &Site) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(site.0.path().join("work/cache")).unwrap();
    entries.map(|entry| entry.unwrap().path()).map(|path| (path.clone(), fs::read(path).unwrap())).collect()
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
    assert!(cache(&site).keys().all(|path| path.extension().is_some_and(|extension| extension == "case")));
}

#[test]
fn threads_change_nothing() {
    let site = Site::new(&["a", "b", "c", "d"]);
    site.open("").unwrap();
    let several = cache(&site);
    fs::remove_dir_all(site.0.path().join("work")).unwrap();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(names(&pool.install(|| site.open("")).unwrap()), ["a", "b", "c", "d"]);
    assert_eq!(cache(&site), several);
}

#[test]
fn a_survey_counts_what_the_patterns_find_and_reads_the_first_file() {
    let site = Site::new(&["a", "b"]);
    fs::remove_file(site.path("b", "flair")).unwrap();
    fs::create_dir_all(site.0.path().join("root/c")).unwrap();
    site.image("c", "t1", 1.0);
    let survey = |more: &str| survey(&site.config(more)).unwrap().remove(0);
    let found = survey("");
    assert_eq!((found.cases, found.labelled, found.unusable), (3, 2, 1), "c has no label");
    assert_eq!(found.sequences, [("flair".to_owned(), 1), ("t1".to_owned(), 2)]);
    assert!(matches!(found.first, Some(Ok(()))));
    assert_eq!(survey("drop = ['flair']").sequences, [("t1".to_owned(), 2)]);
    fs::write(site.path("a", "flair"), b"no image").unwrap();
    assert!(matches!(survey("").first, Some(Err(_))));
}
