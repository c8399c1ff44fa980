//! Real images, moved by known amounts.

use super::{Rigid, degrees, product, turned_between};
use crate::nifti::{Volume, read, write_f32};
use crate::register::{Registration, Verdict, register, resample};
use crate::vector::{difference, length};
use std::path::Path;

#[test]
fn a_real_image_that_is_moved_is_brought_back() {
    let Some(root) = std::env::var_os("LACUNA_DATA") else {
        eprintln!(
            "SKIPPED: a_real_image_that_is_moved_is_brought_back needs LACUNA_DATA, the folder \
             of glioma-tcga"
        );
        return;
    };
    let site = Path::new(&root).join("glioma-tcga/TCGA-02");
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(&site).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    folders.sort();
    for (folder, sequence) in [(&folders[0], "t1"), (&folders[1], "flair")] {
        let case = folder.file_name().unwrap().to_str().unwrap();
        let image = |name: &str| read(&folder.join(format!("{case}_{name}.nii.gz"))).unwrap();
        let (fixed, moving) = (image("t1ce"), image(sequence));
        let unmoved = register(&fixed, &moving, 2).unwrap();
        assert!(unmoved.lookup.size_mm() < 1.0);
        assert_eq!(unmoved.judgement.verdict, Verdict::Good);
        // By its header alone, in all directions.
        let truth = Rigid::new(degrees([4.0, -3.5, 7.0]), [8.0, -6.0, 9.0], [0.0; 3]);
        let moved = placed(&moving, &truth);
        is_found(&fixed, &moved, &truth, &unmoved);
        // By its voxels, within the slices: what leaves the slab is lost.
        let truth = Rigid::new(degrees([0.0, 0.0, 7.0]), [8.0, -6.0, 0.0], [0.0; 3]);
        let moved = Volume {
            values: resample(&moving, &moving, &truth.inverse()).unwrap(),
            ..moving.clone()
        };
        is_found(&fixed, &moved, &truth, &unmoved);
    }
}

/// The image with another sform.
fn placed(volume: &Volume, truth: &Rigid) -> Volume {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.nii");
    write_f32(&path, &volume.values, &volume.source).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    // srow_x, srow_y and srow_z begin at byte 280. The columns are three steps and a place.
    for column in 0..4 {
        let at = [0, 1, 2].map(|row| 280 + 16 * row + 4 * column);
        let stored = at.map(|at| {
            let number: [u8; 4] = bytes[at..at + 4].try_into().unwrap();
            f64::from(f32::from_le_bytes(number))
        });
        let moved = if column == 3 {
            truth.apply(stored)
        } else {
            truth.turned(stored)
        };
        for (at, value) in at.into_iter().zip(moved) {
            bytes[at..at + 4].copy_from_slice(&(value as f32).to_le_bytes());
        }
    }
    // The sform alone counts.
    bytes[252..254].copy_from_slice(&0i16.to_le_bytes());
    bytes[254..256].copy_from_slice(&1i16.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    read(&path).unwrap()
}

/// The moved image shows at `truth(place)` what the image shows at `place`.
#[track_caller]
fn is_found(fixed: &Volume, moved: &Volume, truth: &Rigid, unmoved: &Registration) {
    let found = register(fixed, moved, 2).unwrap();
    let affine = fixed.source.canonical_affine();
    let [_, height, width] = fixed.grid.dims;
    let mut most: f64 = 0.0;
    for (place, value) in fixed.values.iter().enumerate() {
        if *value == 0.0 {
            continue;
        }
        let at = [
            place % width,
            place / width % height,
            place / (width * height),
        ];
        let at = affine.apply(at.map(|index| index as f64));
        let expected = truth.apply(unmoved.lookup.apply(at));
        most = most.max(length(difference(expected, found.lookup.apply(at))));
    }
    let both = Rigid {
        turn: product(&truth.turn, &unmoved.lookup.turn),
        ..*truth
    };
    let turn = turned_between(&found.lookup, &both);
    println!(
        "{most:.4} mm at most, {turn:.4} degrees\n{:?}\n{:?}",
        unmoved.judgement, found.judgement
    );
    assert!(most < 0.1 && turn < 0.1, "{most} mm, {turn} degrees");
    assert_eq!(found.judgement.verdict, Verdict::Good);
}
