//! De-facing against the authors' program, its invariants, and a folder.

use super::face::Face;
use super::*;
use crate::folder::FolderError;
use crate::nifti::{Form, Source, Volume, read, write_f32};
use proptest::prelude::*;
use protocol::case::Grid;
use std::fs;
use std::path::{Path, PathBuf};

/// tests/fixtures/deface_fixtures.py says what these files are.
fn fixture(name: &str) -> Volume {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/deface");
    read(&folder.join(format!("{name}.nii.gz"))).unwrap()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().map(|&value| u8::from(value != 0.0)).collect()
}

#[test]
fn the_authors_program_removes_the_same_voxels() {
    for name in ["round", "turned", "sagittal", "thick", "cut"] {
        let brain = fixture(&format!("{name}_brain"));
        let left = fixture(&format!("{name}_left"));
        assert!(brain.source.same_place(&left.source));
        let mask = bytes(&brain.values);
        let face = Face::by_brain(&mask, &brain.grid, MARGIN_MM).unwrap();
        let mut ours = vec![1.0; left.values.len()];
        let removed = face.remove(&mut ours, &mask);
        assert!(removed > 0, "{name}");
        assert_eq!(ours, left.values, "{name}");
    }
}

/// A ball in millimetres, from the middle of the grid.
#[derive(Clone, Copy, Debug)]
struct Ball {
    right: f64,
    front: f64,
    top: f64,
    radius: f64,
}

fn balls(grid: &Grid, balls: &[Ball]) -> Vec<u8> {
    let [depth, height, width] = grid.dims;
    let mut mask = Vec::with_capacity(grid.voxels());
    let along = |at: usize, axis: usize| {
        (at as f64 - (grid.dims[axis] as f64 - 1.0) / 2.0) * f64::from(grid.spacing_mm[axis])
    };
    for z in 0..depth {
        for y in 0..height {
            for x in 0..width {
                let is_in = |ball: &Ball| {
                    let away = [
                        along(x, 2) - ball.right,
                        along(y, 1) - ball.front,
                        along(z, 0) - ball.top,
                    ];
                    away.iter().map(|mm| mm * mm).sum::<f64>() < ball.radius * ball.radius
                };
                mask.push(u8::from(balls.iter().any(is_in)));
            }
        }
    }
    mask
}

fn any_ball() -> impl Strategy<Value = Ball> {
    (-20.0..20.0, -40.0..40.0, -30.0..40.0, 8.0..40.0).prop_map(|(right, front, top, radius)| {
        Ball {
            right,
            front,
            top,
            radius,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever the brain, the grid and the margin.
    #[test]
    fn brain_and_lesions_stay_and_the_plane_is_below_the_brain_by_the_margin(
        dims in [10..40usize, 10..40usize, 6..20usize],
        spacing_mm in [1.0..6.0f32, 1.0..6.0f32, 3.0..6.0f32],
        brain in prop::collection::vec(any_ball(), 1..4),
        lesion in any_ball(),
        margin_mm in 0.0..30.0,
    ) {
        let grid = Grid { dims, spacing_mm };
        let mask = balls(&grid, &brain);
        let Ok(face) = Face::by_brain(&mask, &grid, margin_mm) else {
            return Ok(());
        };
        let lesion = balls(&grid, &[Ball { radius: 8.0, ..lesion }]);
        let mut keep = mask.clone();
        for (keep, lesion) in keep.iter_mut().zip(&lesion) {
            *keep |= lesion;
        }
        let old: Vec<f32> = (1..=grid.voxels()).map(|value| value as f32).collect();
        let mut new = old.clone();
        let removed = face.remove(&mut new, &keep);
        let mut gone = 0;
        let [depth, height, width] = dims;
        for (place, (&old, &new)) in old.iter().zip(&new).enumerate() {
            prop_assert!(new == old || new == 0.0);
            prop_assert!(keep[place] == 0 || new == old);
            let (slice, row) = (place / width / height, place / width % height);
            if new == 0.0 {
                gone += 1;
                // No brain in the same row at this height, or below the plane's margin.
                let reach = slice + (margin_mm / f64::from(spacing_mm[0])) as usize;
                for above in 0..=reach.min(depth - 1) {
                    let start = (above * height + row) * width;
                    prop_assert!(!mask[start..start + width].contains(&1));
                }
            }
        }
        prop_assert_eq!(gone, removed);
    }
}

/// A head of 200 mm: a brain, and a ball for the face in front of it and below.
const HEAD: Grid = Grid {
    dims: [40, 44, 30],
    spacing_mm: [5.0, 5.0, 5.0],
};
const BRAIN: [Ball; 2] = [
    Ball {
        right: 0.0,
        front: 0.0,
        top: 30.0,
        radius: 55.0,
    },
    Ball {
        right: 0.0,
        front: -15.0,
        top: -30.0,
        radius: 20.0,
    },
];
const NOSE: Ball = Ball {
    right: 0.0,
    front: 70.0,
    top: -45.0,
    radius: 25.0,
};

#[test]
fn the_face_goes_and_brains_without_a_shape_are_refused() {
    let brain = balls(&HEAD, &BRAIN);
    let face = Face::by_brain(&brain, &HEAD, MARGIN_MM).unwrap();
    assert!((20.0..89.0).contains(&face.rises_degrees), "{face:?}");
    let nose = balls(&HEAD, &[NOSE]);
    let mut image: Vec<f32> = nose.iter().map(|&voxel| f32::from(voxel)).collect();
    let voxels = nose.iter().filter(|&&voxel| voxel == 1).count();
    let removed = face.remove(&mut image, &brain);
    assert!(removed * 10 > voxels * 9, "{removed} of {voxels}");
    let nothing = vec![0; HEAD.voxels()];
    assert_eq!(
        Face::by_brain(&nothing, &HEAD, MARGIN_MM),
        Err(FaceError::Empty)
    );
    let flat = Grid {
        dims: [4, 1, 4],
        ..HEAD
    };
    assert_eq!(
        Face::by_brain(
            &[0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0],
            &flat,
            1.0
        ),
        Err(FaceError::Flat)
    );
}

fn write(folder: &Path, file: &str, values: &[f32], orientation: &str) {
    let path = folder.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let source = Source::new(&HEAD, orientation, Form::Sform).unwrap();
    write_f32(&path, values, &source).unwrap();
}

fn job(folder: &Path) -> Job {
    Job {
        input: folder.join("in"),
        out: folder.join("out"),
        brain: "brain".into(),
        lesions: vec!["lesion".into()],
        margin_mm: MARGIN_MM,
        force: false,
        threads: 2,
    }
}

fn states(report: &Report) -> Vec<State> {
    let mut states = Vec::new();
    for case in &report.cases {
        for image in &case.images {
            states.push(image.state);
        }
    }
    states
}

/// All files below a folder with their content.
fn content(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push((path.clone(), fs::read(path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_folder_is_defaced_and_run_again() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("in");
    let brain: Vec<f32> = balls(&HEAD, &BRAIN)
        .iter()
        .map(|&voxel| f32::from(voxel))
        .collect();
    let lesion_ball = Ball {
        radius: 6.0,
        ..NOSE
    };
    let lesion: Vec<f32> = balls(&HEAD, &[lesion_ball])
        .iter()
        .map(|&voxel| f32::from(voxel))
        .collect();
    let mut head = brain.clone();
    for (head, nose) in head.iter_mut().zip(balls(&HEAD, &[NOSE])) {
        *head += 3.0 * f32::from(nose);
    }
    let flair: Vec<f32> = head.iter().map(|value| 0.5 * value).collect();
    for (name, orientation) in [("a_1", "RAS"), ("b_1", "PIL")] {
        write(&input, &format!("{name}/bravo.nii.gz"), &head, orientation);
        write(&input, &format!("{name}/flair.nii.gz"), &flair, orientation);
        write(&input, &format!("{name}/brain.nii.gz"), &brain, orientation);
    }
    write(&input, "a_1/lesion.nii.gz", &lesion, "RAS");
    write(&input, "a_1/other.nii.gz", &head, "RAS");
    write(&input, "c_1/bravo.nii.gz", &head, "RAS");
    write(&input, "d_1/bravo.nii.gz", &head, "RAS");
    write(&input, "d_1/brain.nii.gz", &head, "RAS");

    let report = job(folder.path()).run(&mut |_, _| ()).unwrap();
    let (w, k, f) = (State::Written, State::Kept, State::Failed);
    // a_1: brain, lesion, bravo, flair. d_1's mask holds three values.
    assert_eq!(states(&report), [w, w, w, w, w, w, w, f, f, f], "{report}");
    assert_eq!(report.cases[0].left_alone, ["other.nii.gz"]);
    assert!(report.to_string().contains("site-agent brain"), "{report}");
    assert!(report.cases[0].notes[0].contains("lesions"), "{report}");
    assert!(report.left_out().is_some());
    let out = folder.path().join("out");
    assert!(!out.join("a_1/other.nii.gz").exists());
    let defaced = read(&out.join("a_1/bravo.nii.gz")).unwrap();
    let turned = read(&out.join("b_1/bravo.nii.gz")).unwrap();
    let mut nose_left = 0;
    for place in 0..head.len() {
        if brain[place] == 1.0 || lesion[place] == 1.0 {
            assert_eq!(defaced.values[place], head[place]);
        } else if head[place] > 0.0 {
            nose_left += usize::from(defaced.values[place] > 0.0);
        }
        if lesion[place] == 0.0 {
            assert_eq!(turned.values[place], defaced.values[place]);
        }
    }
    assert!(nose_left < 50, "{nose_left}");
    assert_eq!(read(&out.join("a_1/brain.nii.gz")).unwrap().values, brain);
    let picture = out.join(report.cases[0].picture.as_ref().unwrap());
    assert!(fs::read(picture).unwrap().starts_with(b"\x89PNG"));

    // The same bytes, by a run in the same folder and by one in another.
    let before = content(&out);
    let again = job(folder.path()).run(&mut |_, _| ()).unwrap();
    assert_eq!(states(&again), [k, k, k, k, k, k, k, f, f, f], "{again}");
    let mut elsewhere = job(folder.path());
    elsewhere.out = folder.path().join("elsewhere");
    elsewhere.threads = 1;
    elsewhere.run(&mut |_, _| ()).unwrap();
    for (path, bytes) in before {
        let file = path.strip_prefix(&out).unwrap();
        if file != Path::new("deface.json") {
            assert_eq!(
                fs::read(elsewhere.out.join(file)).unwrap(),
                bytes,
                "{file:?}"
            );
        }
    }

    // An image that is as it was written is known as de-faced, and no other.
    assert!(is_defaced(&out.join("a_1/bravo.nii.gz")).unwrap());
    assert!(!is_defaced(&out.join("a_1/brain.nii.gz")).unwrap());
    assert!(!is_defaced(&input.join("a_1/bravo.nii.gz")).unwrap());
    fs::copy(input.join("a_1/flair.nii.gz"), out.join("a_1/flair.nii.gz")).unwrap();
    assert!(!is_defaced(&out.join("a_1/flair.nii.gz")).unwrap());
    // It is not replaced by itself either.
    let changed = job(folder.path()).run(&mut |_, _| ()).unwrap();
    assert_eq!(states(&changed)[3], f, "{changed}");
    let mut forced = job(folder.path());
    forced.force = true;
    assert_eq!(states(&forced.run(&mut |_, _| ()).unwrap())[3], w);
    assert!(is_defaced(&out.join("a_1/flair.nii.gz")).unwrap());
}

#[test]
fn settings_that_cannot_be_used_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run = |job: Job| job.run(&mut |_, _| ());
    assert!(matches!(
        run(job(folder.path())),
        Err(DefaceError::Folder(FolderError::Unlisted { .. }))
    ));
    for name in ["", "a/b", ".x", "flair"] {
        let mut wrong = job(folder.path());
        wrong.brain = name.into();
        assert!(matches!(run(wrong), Err(DefaceError::Name(_))), "{name}");
    }
    for margin in [-1.0, f64::NAN, 200.0] {
        let mut wrong = job(folder.path());
        wrong.margin_mm = margin;
        assert!(matches!(run(wrong), Err(DefaceError::Margin(_))));
    }
}
