//! The physics that a cohort promises, seen in the voxels.

use super::*;
use crate::phantom::draw::{length, minus};
use crate::phantom::{Disease, ScannerChoice};
use metrics::sequence::SequenceSet;
use std::collections::BTreeMap;
use std::sync::OnceLock;

const BRAVO: usize = 0;
const T1_PRE: usize = 1;
const T1_POST: usize = 2;
const FLAIR: usize = 3;

fn cohort(site: &str) -> Cohort {
    Cohort {
        seed: 7,
        site: site.into(),
        cases: 1,
        lacks: SequenceSet::EMPTY,
        scanner: ScannerChoice::Reference,
        plane: 64,
        slices: 24,
        spacing_mm: None,
        disease: Disease {
            lesions: [2, 5, 12],
            diameter_mm: [6.0, 12.0, 30.0],
            mimics: 2.0,
        },
        brain_extracted: false,
    }
}

fn hash(phantom: &Phantom) -> String {
    let mut hasher = blake3::Hasher::new();
    for value in phantom.volumes.iter().flatten() {
        hasher.update(&value.to_le_bytes());
    }
    hasher.update(&phantom.lesion);
    hasher.update(&phantom.brain);
    hasher.finalize().to_hex()[..16].to_string()
}

/// Relative signal in each sequence, the mean over the voxels that findings of one kind fill, in a
/// few cases.
fn seen(kind: Kind) -> [f64; 4] {
    static SEEN: OnceLock<BTreeMap<Kind, [f64; 4]>> = OnceLock::new();
    SEEN.get_or_init(signals)[&kind]
}

fn signals() -> BTreeMap<Kind, [f64; 4]> {
    let cohort = Cohort {
        plane: 128,
        slices: 48,
        ..cohort("seen")
    };
    let mut sums: BTreeMap<Kind, ([f64; 4], f64)> = BTreeMap::new();
    for index in 0..4 {
        let phantom = examine(&cohort, index);
        let patient = patient(&cohort, index);
        let mut top = vec![None; phantom.grid.voxels()];
        for (finding, patch) in rasterised(&patient, &phantom.grid) {
            for (offset, &filled) in patch
                .filled
                .iter()
                .enumerate()
                .filter(|(_, filled)| **filled > 0.0)
            {
                top[patch.voxel(offset, &phantom.grid)] = Some((finding.kind, filled));
            }
        }
        for (voxel, top) in top.iter().enumerate() {
            let Some((kind, 0.9..)) = *top else { continue };
            if phantom.brain[voxel] == 1 || kind == Kind::Vessel {
                let (sum, voxels) = sums.entry(kind).or_default();
                *voxels += 1.0;
                (0..4).for_each(|s| sum[s] += f64::from(phantom.volumes[s][voxel]) / 1000.0);
            }
        }
    }
    sums.into_iter()
        .map(|(kind, (sum, voxels))| (kind, sum.map(|s| s / voxels)))
        .collect()
}

fn patient(cohort: &Cohort, index: usize) -> Patient {
    let case = format!("{}-{:04}", cohort.site, index + 1);
    let mut rng = stream(
        cohort.seed,
        0,
        &format!("{}/{case}", cohort.site),
        Purpose::Phantom,
    );
    Patient::draw(&mut rng, &cohort.grid([1.0; 2]), &cohort.disease, 1.0)
}

#[test]
fn a_case_is_the_same_alone_among_others_and_on_any_number_of_threads() {
    let cohort = Cohort {
        scanner: ScannerChoice::Auto,
        ..cohort("north")
    };
    let case = examine(&cohort, 3);
    let one = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap();
    assert_eq!(one.install(|| examine(&cohort, 3)), case);
    assert_eq!(
        examine(
            &Cohort {
                cases: 40,
                ..cohort.clone()
            },
            3
        ),
        case
    );
    assert_ne!(
        examine(
            &Cohort {
                seed: 8,
                ..cohort.clone()
            },
            3
        )
        .volumes,
        case.volumes
    );
    assert_ne!(examine(&cohort, 4).volumes, case.volumes);
    assert_eq!(hash(&case), "04d804f2a597bf22");
}

#[test]
fn only_after_gadolinium_is_a_lesion_bright() {
    let lesion = seen(Kind::Lesion);
    assert!(lesion[BRAVO] > 1.1 && lesion[T1_POST] > 1.1, "{lesion:?}");
    assert!(lesion[T1_PRE] < 0.8, "{lesion:?}");
    let core = seen(Kind::Necrosis);
    assert!(core[BRAVO] < 0.7 && core[T1_POST] < 0.7, "{core:?}");
}

#[test]
fn each_mimic_is_betrayed_by_one_sequence() {
    let lesion = seen(Kind::Lesion);
    let vessel = seen(Kind::SlowVein);
    assert!(
        vessel[T1_POST] > 0.9 && vessel[BRAVO] > lesion[BRAVO] + 0.15,
        "{vessel:?}"
    );
    let blood = seen(Kind::Blood);
    assert!(
        blood[BRAVO] > 1.1 && blood[T1_POST] > 1.1 && blood[T1_PRE] > lesion[T1_PRE] + 0.4,
        "{blood:?}"
    );
    let tuft = seen(Kind::Telangiectasia);
    assert!(
        tuft[T1_POST] > 1.1 && tuft[BRAVO] > 1.1 && tuft[FLAIR] < lesion[FLAIR] - 0.2,
        "{tuft:?}"
    );
    let spot = seen(Kind::Spot);
    assert!(
        spot[FLAIR] > 1.0 && spot[T1_POST] < 0.9 && spot[BRAVO] < 0.95,
        "{spot:?}"
    );
    let oedema = seen(Kind::Oedema);
    assert!(oedema[FLAIR] > 0.8 && oedema[T1_POST] < 0.9, "{oedema:?}");
}

#[test]
fn flowing_blood_is_bright_in_the_gradient_echo_and_void_in_the_spin_echo() {
    let vessel = seen(Kind::Vessel);
    assert!(vessel[BRAVO] > 1.4, "{vessel:?}");
    assert!(
        [T1_PRE, T1_POST, FLAIR].iter().all(|&s| vessel[s] < 0.5),
        "{vessel:?}"
    );
}

#[test]
fn the_label_is_where_the_lesions_are() {
    for index in 0..8 {
        let cohort = cohort("label");
        let phantom = examine(&cohort, index);
        let balls: Vec<_> = patient(&cohort, index)
            .findings
            .into_iter()
            .filter_map(|finding| match finding.shape {
                Shape::Blob(blob) if finding.kind == Kind::Lesion => {
                    Some((blob.centre, blob.radius))
                }
                _ => None,
            })
            .collect();
        assert_eq!(balls.len(), phantom.diameters_mm.len());
        let plane = phantom.grid.dims[1] * phantom.grid.dims[2];
        let labelled: Vec<Point> = (0..phantom.grid.voxels())
            .filter(|&v| phantom.lesion[v] == 1)
            .map(|v| place(&phantom.grid, v / plane, v % plane))
            .collect();
        for p in &labelled {
            // A labelled centre may be outside the ball by half a voxel's diagonal, stretch and
            // lumps.
            assert!(
                balls
                    .iter()
                    .any(|&(centre, radius)| length(minus(*p, centre)) < 1.7 * radius + 4.5)
            );
        }
        for (centre, radius) in balls {
            let near = labelled
                .iter()
                .filter(|p| length(minus(**p, centre)) < 1.7 * radius + 4.5)
                .count();
            assert!(near > 0, "a lesion of radius {radius} has no label");
        }
        assert!(
            phantom
                .lesion
                .iter()
                .zip(&phantom.brain)
                .all(|(lesion, brain)| lesion <= brain)
        );
    }
}

#[test]
fn lesions_are_mostly_small_and_several_to_a_patient() {
    let cohort = Cohort {
        disease: Disease {
            lesions: [1, 4, 20],
            diameter_mm: [3.0, 7.0, 30.0],
            mimics: 1.0,
        },
        plane: 16,
        slices: 8,
        ..cohort("sizes")
    };
    let cases: Vec<_> = (0..60)
        .map(|index| examine(&cohort, index).diameters_mm)
        .collect();
    let all: Vec<f32> = cases.iter().flatten().copied().collect();
    let share = |low: f32, high: f32| {
        all.iter().filter(|d| (low..high).contains(*d)).count() as f32 / all.len() as f32
    };
    assert!(
        share(0.0, 10.0) > 0.6 && share(0.0, 10.0) < 0.95,
        "{}",
        share(0.0, 10.0)
    );
    assert!(share(15.0, 31.0) > 0.01);
    assert_eq!(share(1.9, 31.0), 1.0);
    let mean = all.len() as f32 / cases.len() as f32;
    assert!((3.0..8.0).contains(&mean), "{mean} lesions per patient");
    assert!(cases.iter().all(|c| (1..=20).contains(&c.len())));
    assert!(cases.iter().any(|c| c.len() > 10) && cases.iter().any(|c| c.len() <= 2));
}

#[test]
fn sites_differ_as_scanners_do_and_the_reference_does_not() {
    let of = |site: &str, scanner: ScannerChoice| {
        examine(
            &Cohort {
                scanner,
                ..cohort(site)
            },
            0,
        )
    };
    let phantoms: Vec<_> = ["a", "b", "c", "d", "e", "f"]
        .map(|s| of(s, ScannerChoice::Auto))
        .into();
    let brightest = |p: &Phantom| p.volumes[BRAVO].iter().copied().fold(0.0, f32::max);
    let spread: Vec<f32> = phantoms.iter().map(brightest).collect();
    let [low, high] = [
        spread.iter().copied().fold(f32::MAX, f32::min),
        spread.iter().copied().fold(0.0, f32::max),
    ];
    assert!(high > 1.5 * low, "{spread:?}");
    assert!(
        phantoms
            .iter()
            .any(|p| p.orientation != phantoms[0].orientation)
    );
    assert!(
        phantoms
            .iter()
            .any(|p| p.grid.spacing_mm != phantoms[0].grid.spacing_mm)
    );
    assert_eq!(
        of("a", ScannerChoice::Reference).grid,
        of("b", ScannerChoice::Reference).grid
    );
    let like = of("g", "like a".parse().unwrap());
    assert_eq!(
        (like.grid, like.orientation),
        (phantoms[0].grid, phantoms[0].orientation)
    );
    assert_ne!(
        like.volumes, phantoms[0].volumes,
        "other patients of the same hospital"
    );
}

#[test]
fn extraction_zeroes_all_but_the_brain() {
    let cohort = Cohort {
        brain_extracted: true,
        ..cohort("bare")
    };
    let phantom = examine(&cohort, 0);
    for volume in &phantom.volumes {
        assert!(
            volume
                .iter()
                .zip(&phantom.brain)
                .all(|(value, brain)| *brain == 1 || *value == 0.0)
        );
    }
    let lit = phantom.volumes[T1_PRE]
        .iter()
        .zip(&phantom.brain)
        .filter(|(v, b)| **b == 1 && **v > 0.0)
        .count();
    let brain = phantom.brain.iter().filter(|b| **b == 1).count();
    assert!(lit as f32 > 0.99 * brain as f32);
    let litres = brain as f64 * phantom.grid.voxel_mm3() / 1e6;
    assert!((0.9..1.8).contains(&litres), "a brain of {litres} litres");
}
