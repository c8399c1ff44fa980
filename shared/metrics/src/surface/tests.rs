use super::*;
use proptest::prelude::*;

/// Made by `tests/fixtures/metrics/surface.py` with the reference implementation.
const REFERENCE: &str = include_str!("../../../../tests/fixtures/metrics/surface.json");

#[derive(serde::Deserialize)]
struct Known {
    dims: [usize; 3],
    spacing_mm: [f64; 3],
    reference: String,
    prediction: String,
    hd95_mm: f64,
    dice_1mm: f64,
}

#[test]
fn uneven_grids_give_the_reference_implementations_values() {
    let mask = |text: &str| text.bytes().map(|byte| byte - b'0').collect::<Vec<u8>>();
    for known in serde_json::from_str::<Vec<Known>>(REFERENCE).unwrap() {
        let (reference, prediction) = (mask(&known.reference), mask(&known.prediction));
        let between =
            SurfaceDistances::between(&reference, &prediction, known.dims, known.spacing_mm)
                .unwrap();
        assert!(
            (between.hausdorff(0.95) - known.hd95_mm).abs() < 1e-9,
            "{:?}",
            known.spacing_mm
        );
        assert!(
            (between.dice(1.0) - known.dice_1mm).abs() < 1e-9,
            "{:?}",
            known.spacing_mm
        );
    }
}

const ONE: [f64; 3] = [1.0; 3];

fn masks() -> impl Strategy<Value = (Vec<u8>, Vec<u8>, [usize; 3])> {
    (1usize..5, 1usize..6, 1usize..6).prop_flat_map(|(z, y, x)| {
        let mask = || prop::collection::vec(prop::sample::select(vec![0u8, 0, 1]), z * y * x);
        (mask(), mask(), Just([z, y, x]))
    })
}

/// The corners that lesion and other voxels share, found by asking for each of the eight
/// neighbours.
fn corners(mask: &[u8], dims: [usize; 3]) -> Vec<[f64; 3]> {
    let voxel = |place: [isize; 3]| {
        let inside = (0..3).all(|axis| (0..dims[axis] as isize).contains(&place[axis]));
        inside
            && mask[(place[0] as usize * dims[1] + place[1] as usize) * dims[2] + place[2] as usize]
                != 0
    };
    let mut found = Vec::new();
    for z in 0..=dims[0] as isize {
        for y in 0..=dims[1] as isize {
            for x in 0..=dims[2] as isize {
                let lesion = (0..8)
                    .filter(|i| voxel([z - (i >> 2), y - (i >> 1 & 1), x - (i & 1)]))
                    .count();
                if lesion % 8 != 0 {
                    found.push([z as f64, y as f64, x as f64]);
                }
            }
        }
    }
    found
}

#[test]
fn a_mask_against_itself_is_at_no_distance_and_nothing_has_no_distance() {
    let mask = [0, 1, 1, 0, 0, 1, 0, 0];
    let same = SurfaceDistances::between(&mask, &mask, [2, 2, 2], ONE).unwrap();
    assert_eq!((same.hausdorff(1.0), same.dice(0.0)), (0.0, 1.0));
    assert_eq!(
        SurfaceDistances::between(&mask, &[0; 8], [2, 2, 2], ONE),
        None
    );
    assert_eq!(
        SurfaceDistances::between(&[0; 8], &[0; 8], [2, 2, 2], ONE),
        None
    );
}

#[test]
fn a_box_moved_by_two_voxels_of_three_millimetres_is_six_away() {
    let slab = |from: usize| {
        (0..6)
            .map(|z| u8::from((from..from + 2).contains(&z)))
            .collect::<Vec<_>>()
    };
    let moved = SurfaceDistances::between(&slab(0), &slab(2), [6, 1, 1], [3.0, 1.0, 1.0]).unwrap();
    assert_eq!(moved.hausdorff(1.0), 6.0);
    assert!(moved.dice(5.9) < 1.0 && moved.dice(6.0) == 1.0);
}

#[test]
fn sums_of_many_values_go_by_halves_and_eights() {
    for count in [0, 5, 8, 100, 128, 129, 1000] {
        let values: Vec<f64> = (0..count).map(|i| f64::from(i) * 0.5).collect();
        assert_eq!(
            pairwise_sum(&values),
            f64::from(count * (count - 1).max(0)) / 4.0
        );
    }
}

proptest! {
    #[test]
    fn distances_are_to_the_nearest_corner_of_all((reference, prediction, dims) in masks(), thick in 1u8..6) {
        let spacing = [f64::from(thick), 1.0, 0.5];
        let (ours, theirs) = (corners(&reference, dims), corners(&prediction, dims));
        let nearest = |of: &[[f64; 3]], to: &[[f64; 3]]| {
            let apart = |a: &[f64; 3], b: &[f64; 3]| {
                (0..3).map(|axis| ((a[axis] - b[axis]) * spacing[axis]).powi(2)).sum::<f64>().sqrt()
            };
            let mut all: Vec<f64> =
                of.iter().map(|a| to.iter().map(|b| apart(a, b)).fold(f64::INFINITY, f64::min)).collect();
            all.sort_by(f64::total_cmp);
            all
        };
        match SurfaceDistances::between(&reference, &prediction, dims, spacing) {
            None => prop_assert!(ours.is_empty() || theirs.is_empty()),
            Some(found) => {
                for (surfels, brute) in [(found.of_reference, nearest(&ours, &theirs)), (found.of_prediction, nearest(&theirs, &ours))] {
                    prop_assert_eq!(surfels.len(), brute.len());
                    prop_assert!(surfels.iter().zip(&brute).all(|(a, b)| (a.distance_mm - b).abs() < 1e-9));
                }
            }
        }
    }

    #[test]
    fn swapping_the_masks_or_mirroring_space_changes_no_distance((reference, prediction, dims) in masks()) {
        let measure = |a: &[u8], b: &[u8]| SurfaceDistances::between(a, b, dims, [2.0, 1.0, 0.7]);
        let backwards = |mask: &[u8]| mask.iter().rev().copied().collect::<Vec<_>>();
        if let Some(here) = measure(&reference, &prediction) {
            prop_assert_eq!(measure(&prediction, &reference).unwrap().hausdorff(0.95), here.hausdorff(0.95));
            let mirrored = measure(&backwards(&reference), &backwards(&prediction)).unwrap();
            prop_assert!((mirrored.hausdorff(0.95) - here.hausdorff(0.95)).abs() < 1e-9);
            prop_assert!((mirrored.dice(1.0) - here.dice(1.0)).abs() < 1e-9);
        }
    }
}
