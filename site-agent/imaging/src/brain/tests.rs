//! Masks from zeros and by programs, and what is refused.

use super::*;
use crate::nifti::{Form, Source, Volume, read, write_f32};
use protocol::case::Grid;
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// 160 mm in each direction, 10 mm voxels.
const GRID: Grid = Grid {
    dims: [16, 16, 16],
    spacing_mm: [10.0, 10.0, 10.0],
};

/// A volume with `inside` in a ball of some radius in voxels, and zeros around it.
fn ball(radius: f64, inside: impl Fn(usize) -> f32) -> Volume {
    let mut values = Vec::new();
    for place in 0..GRID.voxels() {
        let mut away = 0.0;
        for at in [place / 256, place / 16 % 16, place % 16] {
            away += (at as f64 - 7.5) * (at as f64 - 7.5);
        }
        let is_inside = away < radius * radius;
        values.push(if is_inside { inside(place) } else { 0.0 });
    }
    Volume {
        grid: GRID,
        values,
        source: Source::new(&GRID, "LPS", Form::Sform).unwrap(),
        warnings: Vec::new(),
    }
}

/// Skull-stripped: 1000 and more in a ball of 0.4 litres.
fn stripped() -> Volume {
    ball(4.5, |place| 1000.0 + place as f32)
}

fn write(folder: &Path, file: &str, volume: &Volume) {
    let path = folder.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    write_f32(&path, &volume.values, &volume.source).unwrap();
}

fn one_where_not_zero(volume: &Volume) -> Vec<u8> {
    let mut mask = Vec::new();
    for value in &volume.values {
        mask.push(u8::from(*value != 0.0));
    }
    mask
}

fn states(report: &Report) -> Vec<State> {
    report.cases.iter().map(|case| case.state).collect()
}

#[test]
fn zeros_give_a_mask_of_all_sequences_without_holes() {
    let folder = tempfile::tempdir().unwrap();
    let mut holed = stripped();
    let middle = (8 * 16 + 8) * 16 + 8;
    holed.values[middle] = 0.0;
    write(folder.path(), "a/bravo.nii.gz", &holed);
    write(folder.path(), "a/flair.nii.gz", &ball(3.0, |_| 7.0));
    write(folder.path(), "b/flair.nii.gz", &ball(9.0, |_| 7.0));
    write(folder.path(), "c/flair.nii.gz", &ball(20.0, |_| 7.0));
    write(folder.path(), "d/flair.nii.gz", &ball(1.0, |_| 7.0));
    let mut own = ball(3.0, |_| 1.0);
    write(folder.path(), "e/flair.nii.gz", &stripped());
    write(folder.path(), "e/brain.nii.gz", &own);
    let job = Job {
        folder: folder.path().into(),
        way: Way::Zeros,
        force: false,
    };
    let report = job.run(&mut |_, _| ()).unwrap();
    let (w, k, f) = (State::Written, State::Kept, State::Failed);
    // c has no zeros, d has a brain of 8 ml, and e has a mask of its own.
    assert_eq!(states(&report), [w, w, f, f, k], "{report}");
    assert!(report.left_out().is_some());
    assert_eq!(report.cases[0].filled_voxels, Some(0));
    let mask = read(&folder.path().join("a/brain.nii.gz")).unwrap();
    assert_eq!(one_where_not_zero(&mask), one_where_not_zero(&stripped()));

    let again = job.run(&mut |_, _| ()).unwrap();
    assert_eq!(states(&again), [k, k, f, f, k], "{again}");
    // A mask of another image is not kept, and not replaced by itself.
    write(folder.path(), "a/bravo.nii.gz", &ball(4.0, |_| 9.0));
    own.values[middle] = 1.0;
    write(folder.path(), "b/brain.nii.gz", &own);
    let changed = job.run(&mut |_, _| ()).unwrap();
    assert_eq!(states(&changed), [f, f, f, f, k], "{changed}");
    let forced = Job { force: true, ..job };
    let forced = forced.run(&mut |_, _| ()).unwrap();
    assert_eq!(states(&forced), [w, w, f, f, w], "{forced}");
}

#[test]
fn commands_without_places_or_time_are_refused() {
    for line in ["", "hd-bet", "hd-bet -i {in}", "{in} {out}", "x {out}"] {
        let refused = Program::parse(line, 1.0);
        assert!(matches!(refused, Err(BrainError::Places(_))), "{line}");
    }
    for minutes in [0.0, -1.0, f64::NAN, 1e9] {
        let refused = Program::parse("hd-bet -i {in} -o {out}", minutes);
        assert!(matches!(refused, Err(BrainError::Minutes(_))), "{minutes}");
    }
    let words = Program::parse("hd-bet  -i {in} -o {out}", 1.0).unwrap();
    assert_eq!(words.words(), ["hd-bet", "-i", "{in}", "-o", "{out}"]);
}

#[cfg(unix)]
mod programs {
    use super::*;
    use std::time::Instant;

    /// A script whose first argument is the image and whose second one is the result.
    fn script(text: &str, minutes: f64) -> Program {
        let words = ["sh", "-c", text, "sh", "{in}", "{out}"];
        Program::new(words.map(String::from).to_vec(), minutes).unwrap()
    }

    fn refused(text: &str, work: &Path) -> BrainError {
        script(text, 1.0).mask(&stripped(), work).unwrap_err()
    }

    #[test]
    fn a_mask_and_a_skull_stripped_image_are_taken() {
        // A space in a path does not cut an argument in two.
        let folder = tempfile::tempdir().unwrap();
        let work = folder.path().join("a b");
        let program = Program::parse("cp {in} {out}", 1.0).unwrap();
        let mask = program.mask(&stripped(), &work).unwrap();
        assert_eq!(mask.brain, one_where_not_zero(&stripped()));
        write(folder.path(), "mask.nii.gz", &ball(3.5, |_| 255.0));
        let copy = format!("cp '{}/mask.nii.gz' \"$2\"", folder.path().display());
        let mask = script(&copy, 1.0).mask(&stripped(), &work).unwrap();
        assert_eq!(mask.brain, one_where_not_zero(&ball(3.5, |_| 1.0)));
        // Nothing is left of the copies.
        assert_eq!(fs::read_dir(&work).unwrap().count(), 0);
    }

    #[test]
    fn what_goes_wrong_is_said_with_the_programs_words() {
        let folder = tempfile::tempdir().unwrap();
        let work = folder.path();
        let failed = refused("echo fine; echo 'no GPU' >&2; exit 3", work);
        let said = failed.to_string();
        assert!(said.contains("3") && said.contains("no GPU"), "{said}");
        assert!(matches!(refused("true", work), BrainError::Nothing(_)));
        let text = refused("echo no image > \"$2\"", work);
        assert!(matches!(text, BrainError::Result(_)));
        let missing = Program::parse("/nowhere/hd-bet {in} {out}", 1.0).unwrap();
        let missing = missing.mask(&stripped(), work).unwrap_err();
        assert!(matches!(missing, BrainError::Start { .. }), "{missing}");
        let begin = Instant::now();
        let late = script("sleep 60", 0.005).mask(&stripped(), work);
        assert!(matches!(late, Err(BrainError::Late { .. })), "{late:?}");
        assert!(begin.elapsed().as_secs() < 30);
    }

    #[test]
    fn what_is_no_brain_of_the_image_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let give = |volume: &Volume| {
            write(folder.path(), "given.nii.gz", volume);
            let copy = format!("cp '{}/given.nii.gz' \"$2\"", folder.path().display());
            refused(&copy, folder.path())
        };
        assert!(matches!(
            give(&ball(1.0, |_| 1.0)),
            BrainError::NoBrain { .. }
        ));
        let shares = ball(4.5, |place| place as f32 / 5000.0);
        assert!(matches!(give(&shares), BrainError::NoMask(_)));
        assert!(matches!(give(&ball(4.5, |_| 0.0)), BrainError::NoMask(_)));
        let mut moved = ball(4.5, |_| 1.0);
        moved.source = Source::new(
            &Grid {
                spacing_mm: [10.0, 10.0, 9.0],
                ..GRID
            },
            "LPS",
            Form::Sform,
        )
        .unwrap();
        assert!(matches!(give(&moved), BrainError::OtherGrid));
    }

    #[test]
    fn a_program_runs_once_for_each_image() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "one.nii.gz", &stripped());
        write(folder.path(), "two.nii.gz", &ball(4.0, |_| 3.0));
        let count = folder.path().join("count");
        let text = format!("echo once >> '{}'; cp \"$1\" \"$2\"", count.display());
        let program = script(&text, 1.0);
        let runs = || fs::read_to_string(&count).unwrap().lines().count();
        for _ in 0..2 {
            let cache = MaskCache::new(folder.path().join("brains"));
            let one = cache
                .mask(&program, &folder.path().join("one.nii.gz"))
                .unwrap();
            let two = cache
                .mask(&program, &folder.path().join("two.nii.gz"))
                .unwrap();
            assert_ne!(one, two);
            let mask = read(&one).unwrap();
            assert_eq!(one_where_not_zero(&mask), one_where_not_zero(&stripped()));
        }
        assert_eq!(runs(), 2);
        // Another command is asked again.
        let cache = MaskCache::new(folder.path().join("brains"));
        let other = script(&format!("{text}; true"), 1.0);
        cache
            .mask(&other, &folder.path().join("one.nii.gz"))
            .unwrap();
        assert_eq!(runs(), 3);
    }
}

/// Finds a brain where the image is bright, and none in an image without a bright voxel.
#[derive(Debug)]
struct Bright(&'static str);

impl Network for Bright {
    fn name(&self) -> String {
        self.0.into()
    }

    fn brain(&self, image: &Volume) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
        let mut brain = Vec::new();
        for &value in &image.values {
            brain.push(u8::from(value > 1000.0));
        }
        if brain.contains(&1) {
            Ok(brain)
        } else {
            Err("the image is dark".into())
        }
    }
}

#[test]
fn a_networks_masks_are_checked_named_and_made_again_for_another_network() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a/t1_post.nii.gz", &stripped());
    write(folder.path(), "a/flair.nii.gz", &ball(3.0, |_| 7.0));
    write(folder.path(), "b/flair.nii.gz", &ball(3.0, |_| 7.0));
    write(folder.path(), "c/flair.nii.gz", &ball(1.0, |_| 2000.0));
    let mut job = Job {
        folder: folder.path().into(),
        way: Way::Network(Arc::new(Bright("one"))),
        force: false,
    };
    let report = job.run(&mut |_, _| ()).unwrap();
    let (w, k, f) = (State::Written, State::Kept, State::Failed);
    assert_eq!(states(&report), [w, f, f], "{report}");
    assert_eq!(report.cases[0].network.as_deref(), Some("one"));
    assert!(report.to_string().contains("t1_post, by one"), "{report}");
    let whys: Vec<_> = report.cases.iter().map(|case| case.why.clone()).collect();
    assert!(whys[1].as_ref().unwrap().contains("the image is dark"));
    assert!(whys[2].as_ref().unwrap().contains("no brain"));
    let mask = read(&folder.path().join("a/brain.nii.gz")).unwrap();
    assert_eq!(one_where_not_zero(&mask), one_where_not_zero(&stripped()));

    assert_eq!(states(&job.run(&mut |_, _| ()).unwrap()), [k, f, f]);
    job.way = Way::Network(Arc::new(Bright("two")));
    assert_eq!(states(&job.run(&mut |_, _| ()).unwrap()), [f, f, f]);
    job.force = true;
    assert_eq!(states(&job.run(&mut |_, _| ()).unwrap()), [w, f, f]);
}
