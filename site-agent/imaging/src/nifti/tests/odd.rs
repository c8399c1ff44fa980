//! Headers that contradict themselves: what is decided, what is said about it, and what is refused.

use super::*;

/// What ITK makes of a file: see tests/fixtures/nifti_odd_fixtures.py.
#[derive(serde::Deserialize)]
struct ByItk {
    dims: [usize; 3],
    spacing_mm: [f32; 3],
    affine: [[f64; 4]; 3],
    values: Vec<f32>,
    warnings: usize,
}

#[test]
fn headers_that_contradict_themselves_are_decided_as_itk_decides_them_and_warned_about() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/nifti_odd");
    let expected = std::fs::read(folder.join("expected.json")).unwrap();
    let expected: BTreeMap<String, ByItk> = serde_json::from_slice(&expected).unwrap();
    assert_eq!(expected.len(), 22);
    for (name, expected) in expected {
        let volume = read(&folder.join(&name)).unwrap();
        assert_eq!(
            (volume.grid.dims, &volume.values),
            (expected.dims, &expected.values),
            "{name}"
        );
        let affine = volume.source.canonical_affine();
        for (mine, theirs) in affine
            .0
            .iter()
            .flatten()
            .zip(expected.affine.iter().flatten())
        {
            assert!(
                close(*mine, *theirs, 2e-4),
                "{name}: {affine:?} {:?}",
                expected.affine
            );
        }
        for (mine, theirs) in volume.grid.spacing_mm.iter().zip(expected.spacing_mm) {
            assert!(
                close((*mine).into(), theirs.into(), 1e-5),
                "{name}: {mine} {theirs}"
            );
        }
        assert_eq!(
            volume.warnings.len(),
            expected.warnings,
            "{name}: {:?}",
            volume.warnings
        );
        // What is written on such a grid is read at the same place.
        let out = tempfile::tempdir().unwrap();
        write_f32(&out.path().join("a.nii"), &volume.values, &volume.source).unwrap();
        let again = read(&out.path().join("a.nii")).unwrap();
        assert_eq!(
            (again.source.canonical_affine(), again.values),
            (affine, volume.values),
            "{name}"
        );
    }
}

/// [`FILE`], placed by a form with these numbers.
fn formed(code_at: usize, at: usize, numbers: &[f32]) -> Vec<u8> {
    let mut file = FILE.clone();
    file[252..256].fill(0);
    file[code_at] = 1;
    for (index, number) in numbers.iter().enumerate() {
        file[at + 4 * index..][..4].copy_from_slice(&number.to_le_bytes());
    }
    file
}

#[test]
fn left_against_right_is_said_with_the_way_the_axes_run() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/nifti_odd");
    let warnings = read(&folder.join("left_and_right_differ.nii"))
        .unwrap()
        .warnings;
    let [Warning::Disagreement { sform, qform, .. }] = &warnings[..] else {
        panic!("{warnings:?}")
    };
    assert_eq!((sform.as_str(), qform.as_str()), ("LPS", "RPS"));
    let words = warnings[0].to_string();
    assert!(
        words.contains("LPS by the sform") && words.contains("RPS by the qform"),
        "{words}"
    );
}

#[test]
fn a_quaternion_that_is_no_rotation_is_refused_unless_the_sform_is_good() {
    let refused = |b: f32, c: f32, d: f32| parse(&formed(252, 256, &[b, c, d])).unwrap_err();
    for [b, c, d] in [[0.9, 0.9, 0.9], [1.001, 0.0, 0.0], [0.0, 0.0, -2.0]] {
        let refused = refused(b, c, d);
        assert!(
            matches!(
                refused,
                NiftiError::Unplaced {
                    fault: Fault::Quaternion(_),
                    ..
                }
            ),
            "{refused}"
        );
    }
    assert!(matches!(
        refused(f32::NAN, 0.0, 0.0),
        NiftiError::Unplaced {
            fault: Fault::Number,
            ..
        }
    ));
    for d in [1.0, 1.000_000_5, -1.000_05] {
        assert!(
            parse(&formed(252, 256, &[0.0, 0.0, d]))
                .unwrap()
                .warnings
                .is_empty()
        );
    }
}

#[test]
fn a_spacing_of_zero_is_the_sforms_or_refused() {
    let good = [2.0, 0., 0., 0., 0., 1.0, 0., 0., 0., 0., 0.5, 0.];
    for nothing in [0.0, f32::NAN, f32::INFINITY] {
        let mut file = formed(254, 280, &good);
        file[80..92].copy_from_slice(&[nothing; 3].map(f32::to_le_bytes).concat());
        let volume = parse(&file).unwrap();
        assert_eq!(volume.grid.spacing_mm, [0.5, 1.0, 2.0]);
        assert!(matches!(volume.warnings[..], [Warning::NoPixdim { .. }]));
        for code in [252, 4] {
            let mut file = formed(code, 256, &[0.0, 0.0, 1.0]);
            file[80..92].copy_from_slice(&[nothing; 3].map(f32::to_le_bytes).concat());
            let refused = parse(&file).unwrap_err();
            assert!(
                matches!(
                    refused,
                    NiftiError::Unplaced {
                        fault: Fault::NoSpacing,
                        ..
                    }
                ),
                "{refused}"
            );
        }
    }
}

#[test]
fn a_negative_length_is_a_length_and_said() {
    for (code, at, numbers) in [
        (
            254,
            280,
            &[2.0, 0., 0., 0., 0., 1.0, 0., 0., 0., 0., 0.5, 0.][..],
        ),
        (252, 256, &[0.0; 6]),
    ] {
        let mut file = formed(code, at, numbers);
        file[80..92].copy_from_slice(&[2f32, 1.0, 0.5].map(f32::to_le_bytes).concat());
        let usual = parse(&file).unwrap();
        file[80..92].copy_from_slice(&[-2f32, -1.0, 0.5].map(f32::to_le_bytes).concat());
        let negative = parse(&file).unwrap();
        assert_eq!(
            negative.source.canonical_affine(),
            usual.source.canonical_affine()
        );
        assert_eq!(negative.warnings, [Warning::Sign([-2.0, -1.0, 0.5])]);
    }
}

#[test]
fn voxels_that_no_patient_has_are_refused_with_the_unit() {
    let spaced = |mm: f32, units: u8| {
        let mut file = formed(252, 80, &[mm; 3]);
        file[256..280].fill(0);
        file[123] = units;
        parse(&file).map(|volume| volume.grid.spacing_mm[0])
    };
    for (mm, units, wanted) in [
        (0.01, 2, 0.01),
        (100.0, 0, 100.0),
        (0.001, 1, 1.0),
        (900.0, 3, 0.9),
        (1.0, 10, 1.0),
    ] {
        assert!(
            (spaced(mm, units).unwrap() - wanted).abs() < 1e-5,
            "{mm} {units}"
        );
    }
    for (mm, units, word) in [
        (6.8, 1, "metres"),
        (0.0068, 2, "millimetres"),
        (1.0, 3, "microns"),
        (6800.0, 0, "no unit"),
    ] {
        let refused = spaced(mm, units).unwrap_err();
        assert!(
            matches!(refused, NiftiError::Spacing { .. }) && refused.to_string().contains(word),
            "{refused}"
        );
    }
}

#[test]
fn an_offset_inside_the_header_is_decided_by_the_length_of_the_file() {
    for pack in [false, true] {
        for stored in [0f32, 348.0] {
            let mut file = FILE.clone();
            file[108..112].copy_from_slice(&stored.to_le_bytes());
            let content = |file: &[u8]| if pack { packed(file) } else { file.to_vec() };
            let volume = parse(&content(&file)).unwrap();
            assert_eq!(volume.values, [3.0; 60]);
            assert_eq!(volume.warnings, [Warning::Offset { stored, taken: 352 }]);
            let behind = [&file[..348], &file[352..]].concat();
            let volume = parse(&content(&behind)).unwrap();
            assert_eq!(
                (volume.values, &volume.warnings),
                (vec![3.0; 60], &vec![Warning::Offset { stored, taken: 348 }])
            );
            assert!(matches!(
                parse(&content(&file[..411])),
                Err(NiftiError::Truncated { .. })
            ));
            let longer = [&file[..], &[7; 99]].concat();
            assert!(matches!(
                parse(&content(&longer)),
                Err(NiftiError::Truncated { .. } | NiftiError::Offset(_))
            ));
        }
    }
}
