//! Known moves of synthetic heads. The moved image is the same function at moved places, so no
//! interpolation blurs the truth.

pub(super) mod phantom;
mod real;

use super::rigid::{Rigid, product};
use super::*;
use phantom::{Contrast, Head, Known};
use protocol::case::Grid;
use std::path::Path;
use std::time::Instant;

/// Isotropic, and with thick slices.
const FINE: Grid = Grid {
    dims: [90, 110, 95],
    spacing_mm: [1.8, 1.8, 1.8],
};
const THICK: Grid = Grid {
    dims: [54, 200, 180],
    spacing_mm: [3.0, 1.0, 1.0],
};

fn still() -> Rigid {
    Rigid::new([0.0; 3], [0.0; 3], [0.0; 3])
}

fn degrees(axis: [f64; 3]) -> [f64; 3] {
    axis.map(f64::to_radians)
}

/// The turn between two moves, degrees.
fn turned_between(one: &Rigid, other: &Rigid) -> f64 {
    let both = Rigid {
        turn: product(&one.turn, &other.inverse().turn),
        shift: [0.0; 3],
        centre: [0.0; 3],
    };
    both.degrees()
}

#[track_caller]
fn finds(truth: Rigid, fixed_grid: &Grid, moving_grid: &Grid, contrast: Contrast) -> Rigid {
    let fixed = Head::default().volume(fixed_grid, &still(), Contrast::T1);
    // The moving image shows at `truth(place)` what the fixed one shows at `place`.
    let moving = Head::default().volume(moving_grid, &truth.inverse(), contrast);
    let begin = Instant::now();
    let found = register(&fixed, &moving, 2).unwrap();
    let (mm, turn) = (
        found.lookup.apart(&truth),
        turned_between(&found.lookup, &truth),
    );
    println!(
        "{contrast:?}: {mm:.4} mm, {turn:.4} degrees off, {:.1} s, {:?}",
        begin.elapsed().as_secs_f64(),
        found.judgement
    );
    assert!(mm < 0.1 && turn < 0.1, "{mm} mm, {turn} degrees");
    assert_eq!(found.judgement.verdict, Verdict::Good);
    assert!((found.judgement.moved_mm - truth.size_mm()).abs() < 0.5);
    found.lookup
}

/// A pair of the fixture, whose move must be found as SimpleITK finds it.
#[track_caller]
fn finds_known(name: &str, fixed_grid: &Grid, moving_grid: &Grid, contrast: Contrast) {
    let known = Known::read();
    let pair = known.pairs.iter().find(|pair| pair.name == name).unwrap();
    let truth = Rigid::new(degrees(pair.degrees), pair.shift, [0.0; 3]);
    let found = finds(truth, fixed_grid, moving_grid, contrast);
    let theirs = Rigid {
        turn: pair.simpleitk.turn,
        shift: pair.simpleitk.shift,
        centre: [0.0; 3],
    };
    let (mm, turn) = (found.apart(&theirs), turned_between(&found, &theirs));
    println!("{name}: {mm:.4} mm, {turn:.4} degrees from SimpleITK");
    assert!(mm < 0.1 && turn < 0.1, "{mm} mm, {turn} degrees");
}

#[test]
fn a_large_move_is_found_across_contrasts() {
    finds_known("large_move", &FINE, &FINE, Contrast::Flair);
}

#[test]
fn thick_slices_are_brought_onto_thin_ones() {
    finds_known("thick_onto_thin", &FINE, &THICK, Contrast::T1);
}

#[test]
fn thin_slices_are_brought_onto_thick_ones_across_contrasts() {
    finds_known("thin_onto_thick", &THICK, &FINE, Contrast::Flair);
}

#[test]
fn elastix_finds_the_same_move() {
    let Ok(elastix) = Elastix::find(Path::new("elastix")) else {
        eprintln!("SKIPPED: elastix_finds_the_same_move needs the program elastix");
        return;
    };
    let known = Known::read();
    let pair = known.pairs.iter().find(|pair| pair.name == "large_move");
    let pair = pair.unwrap();
    let truth = Rigid::new(degrees(pair.degrees), pair.shift, [0.0; 3]);
    let fixed = Head::default().volume(&FINE, &still(), Contrast::T1);
    let moving = Head::default().volume(&FINE, &truth.inverse(), Contrast::Flair);
    let folder = tempfile::tempdir().unwrap();
    let work = folder.path().join("work");
    let theirs = elastix.lookup(&fixed, &moving, &work, 2).unwrap();
    assert!(!work.exists());
    let ours = register(&fixed, &moving, 2).unwrap();
    let (mm, turn) = (
        ours.lookup.apart(&theirs),
        turned_between(&ours.lookup, &theirs),
    );
    println!("{mm:.4} mm, {turn:.4} degrees from {}", elastix.version());
    assert!(mm < 0.1 && turn < 0.1, "{mm} mm, {turn} degrees");
    let judged = search::judged(&fixed, &moving, theirs, 2).unwrap();
    assert_eq!(judged.judgement.verdict, Verdict::Good);
}

#[test]
fn what_is_aligned_stays() {
    finds(still(), &FINE, &FINE, Contrast::Flair);
}

#[test]
fn threads_change_no_bit() {
    let small = Grid {
        dims: [40, 50, 45],
        spacing_mm: [4.0, 4.0, 4.0],
    };
    let truth = Rigid::new(degrees([2.0, 1.0, -3.0]), [2.0, 3.0, -4.0], [0.0; 3]);
    let fixed = Head::default().volume(&small, &still(), Contrast::T1);
    let moving = Head::default().volume(&small, &truth, Contrast::Flair);
    let one = register(&fixed, &moving, 1).unwrap();
    let three = register(&fixed, &moving, 3).unwrap();
    assert_eq!(one.lookup, three.lookup);
    assert_eq!(one.judgement, three.judgement);
}

#[test]
fn a_hopeless_pair_is_doubtful_and_a_bad_image_an_error() {
    let grid = Grid {
        dims: [40, 50, 45],
        spacing_mm: [4.0, 4.0, 4.0],
    };
    let fixed = Head::default().volume(&grid, &still(), Contrast::T1);
    let mut noise = fixed.clone();
    let mut state = 1u32;
    for value in &mut noise.values {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *value = (state >> 8) as f32;
    }
    let found = register(&fixed, &noise, 2).unwrap();
    println!("noise: {:?}", found.judgement);
    assert_eq!(found.judgement.verdict, Verdict::Doubtful);
    assert!(!found.judgement.why.is_empty());

    let mut bad = fixed.clone();
    bad.values.fill(3.0);
    assert!(matches!(
        register(&fixed, &bad, 2),
        Err(RegisterError::Constant)
    ));
    bad.values.fill(f32::NAN);
    assert!(matches!(
        register(&bad, &fixed, 2),
        Err(RegisterError::Constant)
    ));
    // Some broken voxels do no harm.
    let mut spoilt = fixed.clone();
    for value in spoilt.values.iter_mut().step_by(5000) {
        *value = f32::NAN;
    }
    let found = register(&fixed, &spoilt, 2).unwrap();
    assert!(found.lookup.size_mm() < 0.2, "{}", found.lookup.size_mm());
    let tiny = Grid {
        dims: [2, 50, 45],
        ..grid
    };
    let tiny = Head::default().volume(&tiny, &still(), Contrast::T1);
    assert!(matches!(
        register(&fixed, &tiny, 2),
        Err(RegisterError::Small(_))
    ));
}

#[test]
fn an_image_on_another_grid_is_itself_where_the_places_are_the_same() {
    let grid = Grid {
        dims: [20, 25, 22],
        spacing_mm: [8.0, 8.0, 8.0],
    };
    let head = Head::default().volume(&grid, &still(), Contrast::T1);
    assert_eq!(resample(&head, &head, &still()).unwrap(), head.values);
    assert_eq!(resample_mask(&head, &head, &still()).unwrap(), head.values);
    // One voxel to the right, by the patient's axes.
    let shift = Rigid::new([0.0; 3], [8.0, 0.0, 0.0], [0.0; 3]);
    for moved in [
        resample(&head, &head, &shift).unwrap(),
        resample_mask(&head, &head, &shift).unwrap(),
    ] {
        for (place, value) in moved.iter().enumerate() {
            let expected = if place % 22 == 21 {
                0.0
            } else {
                head.values[place + 1]
            };
            assert!((value - expected).abs() < 1e-3, "{value} {expected}");
        }
    }
}
