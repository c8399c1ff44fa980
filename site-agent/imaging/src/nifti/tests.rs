use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::LazyLock;

mod files;
mod odd;

const GRID: Grid = Grid {
    dims: [3, 4, 5],
    spacing_mm: [2.0, 1.0, 0.5],
};

#[test]
fn a_volume_comes_back_in_every_orientation_and_form() {
    let folder = tempfile::tempdir().unwrap();
    let values: Vec<f32> = (0..60).map(|v| v as f32 - 7.5).collect();
    for orientation in ["RAS", "LPI", "LAS", "ASL", "SRP", "PIR", "IRA", "LSP"] {
        for form in [Form::Sform, Form::Qform] {
            let source = Source::new(&GRID, orientation, form).unwrap();
            assert_eq!(source.grid(), GRID, "{orientation} {form:?}");
            for name in ["a.nii", "a.nii.gz"] {
                let path = folder.path().join(name);
                write_f32(&path, &values, &source).unwrap();
                let volume = read(&path).unwrap();
                assert_eq!(volume.values, values, "{orientation} {form:?} {name}");
                assert_eq!((volume.grid, volume.source.form()), (GRID, form));
                assert!(volume.source.same_place(&source));
            }
        }
    }
}

/// A little volume's bytes, written once.
static FILE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let source = Source::new(&GRID, "LPI", Form::Qform).unwrap();
    write_u8(&folder.path().join("a.nii"), &[3; 60], &source).unwrap();
    std::fs::read(folder.path().join("a.nii")).unwrap()
});

/// Reads bytes as a file.
fn parse(file: &[u8]) -> Result<Volume, NiftiError> {
    load(&|| Ok(Box::new(file)))
}

/// [`FILE`] with some bytes changed.
fn changed(at: usize, bytes: &[u8]) -> Result<Volume, NiftiError> {
    let mut file = FILE.clone();
    file[at..at + bytes.len()].copy_from_slice(bytes);
    parse(&file)
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packer, bytes).unwrap();
    packer.finish().unwrap()
}

/// What nibabel makes of a file: see tests/fixtures/nifti_fixtures.py.
#[derive(serde::Deserialize)]
struct Expected {
    form: String,
    dims: [usize; 3],
    spacing_mm: [f32; 3],
    affine: [[f64; 4]; 3],
    values: Vec<f32>,
}

fn fixtures() -> (PathBuf, BTreeMap<String, Expected>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/nifti");
    let expected = std::fs::read(folder.join("expected.json")).unwrap();
    (folder, serde_json::from_slice(&expected).unwrap())
}

fn close(a: f64, b: f64, relative: f64) -> bool {
    (a - b).abs() <= relative * a.abs().max(b.abs()).max(1.0)
}

#[test]
fn every_kind_of_file_reads_as_nibabel_reads_it() {
    let (folder, expected) = fixtures();
    assert_eq!(expected.len(), 43);
    for (name, expected) in expected {
        let volume = read(&folder.join(&name)).unwrap();
        assert_eq!(volume.grid.dims, expected.dims, "{name}");
        assert_eq!(
            format!("{:?}", volume.source.form()),
            expected.form,
            "{name}"
        );
        for (mine, theirs) in volume.grid.spacing_mm.iter().zip(expected.spacing_mm) {
            assert!(
                close((*mine).into(), theirs.into(), 1e-5),
                "{name}: {mine} {theirs}"
            );
        }
        let affine = volume.source.canonical_affine();
        for (mine, theirs) in affine
            .0
            .iter()
            .flatten()
            .zip(expected.affine.iter().flatten())
        {
            assert!(
                close(*mine, *theirs, 1e-5),
                "{name}: {affine:?} {:?}",
                expected.affine
            );
        }
        assert_eq!(volume.values.len(), expected.values.len());
        for (mine, theirs) in volume.values.iter().zip(&expected.values) {
            assert!(
                close((*mine).into(), (*theirs).into(), 1e-6),
                "{name}: {mine} {theirs}"
            );
        }
    }
}

#[test]
fn a_result_keeps_the_grid_affine_and_codes_of_its_source() {
    let (folder, expected) = fixtures();
    let out = tempfile::tempdir().unwrap();
    for name in expected.into_keys() {
        let volume = read(&folder.join(&name)).unwrap();
        let path = out.path().join("result.nii");
        write_f32(&path, &volume.values, &volume.source).unwrap();
        let again = read(&path).unwrap();
        assert_eq!(again, volume, "{name}");
        let stored = std::fs::read(folder.join(&name)).unwrap();
        if stored.starts_with(&348i32.to_le_bytes()) {
            // Dimensions, spacing, codes, quaternion and rows as they stood, byte by byte.
            let written = std::fs::read(&path).unwrap();
            assert_eq!(
                (&written[42..48], &written[76..92]),
                (&stored[42..48], &stored[76..92]),
                "{name}"
            );
            assert_eq!(written[252..328], stored[252..328], "{name}");
        }
    }
}

#[test]
fn a_result_carries_no_text_of_the_original_header() {
    let mut file = FILE.clone();
    for text in [4..32, 148..252, 328..344] {
        file[text].fill(b'X');
    }
    let volume = parse(&file).unwrap();
    let folder = tempfile::tempdir().unwrap();
    write_u8(&folder.path().join("a.nii"), &[1; 60], &volume.source).unwrap();
    assert!(
        !std::fs::read(folder.path().join("a.nii"))
            .unwrap()
            .contains(&b'X')
    );
}

#[test]
fn a_file_that_breaks_off_is_refused_wherever_it_breaks() {
    let packed = packed(&FILE);
    assert!(parse(&packed).is_ok());
    for length in 0..FILE.len() {
        assert!(parse(&FILE[..length]).is_err(), "{length}");
    }
    // The last bytes are the checksum and length: without them the content may be anything.
    for length in 0..packed.len() {
        assert!(parse(&packed[..length]).is_err(), "{length}");
    }
    let mut wrong = packed.clone();
    let checksum = wrong.len() - 6;
    wrong[checksum] ^= 1;
    let refused = parse(&wrong).unwrap_err();
    assert!(
        matches!(refused, NiftiError::Damaged(_)) && refused.to_string().contains("checksum"),
        "{refused}"
    );
    // Cut inside the checksum: every voxel is there, and the words say so.
    assert!(matches!(
        parse(&packed[..packed.len() - 3]),
        Err(NiftiError::Unfinished)
    ));
    let half = parse(&packed[..packed.len() / 2]).unwrap_err();
    assert!(
        matches!(half, NiftiError::Truncated { expected: 348 | 412, found } if found < 412),
        "{half}"
    );
}

#[test]
fn headers_that_contradict_themselves_are_refused() {
    let short = |value: i16| value.to_le_bytes();
    assert!(matches!(
        changed(72, &short(16)),
        Err(NiftiError::BitsPerVoxel {
            datatype: 2,
            bitpix: 16
        })
    ));
    for code in [0, 1, 32, 128, 1536, 1792, 2304, -4, 3] {
        assert!(
            matches!(changed(70, &short(code)), Err(NiftiError::VoxelType(found)) if found == code)
        );
    }
    for offset in [
        1.0,
        100.0,
        351.0,
        352.5,
        -352.0,
        f32::NAN,
        f32::INFINITY,
        1e30,
    ] {
        assert!(
            matches!(
                changed(108, &offset.to_le_bytes()),
                Err(NiftiError::Offset(_))
            ),
            "{offset}"
        );
    }
    assert!(matches!(
        changed(108, &368f32.to_le_bytes()),
        Err(NiftiError::Truncated { .. })
    ));
    for dim in [
        [0, 5, 4, 3],
        [2, 5, 4, 3],
        [8, 5, 4, 3],
        [-1, 5, 4, 3],
        [3, 0, 4, 3],
        [3, 5, -4, 3],
    ] {
        assert!(
            matches!(
                changed(40, &dim.map(short).concat()),
                Err(NiftiError::Dimensions(_))
            ),
            "{dim:?}"
        );
    }
    assert!(matches!(
        changed(40, &[4, 5, 4, 3, 2].map(short).concat()),
        Err(NiftiError::Dimensions(_))
    ));
    assert!(matches!(
        changed(40, &[5, 5, 4, 3, 1, 3].map(short).concat()),
        Err(NiftiError::Dimensions(_))
    ));
    for one in [
        [4, 5, 4, 3, 0, 9, 9, 9],
        [4, 5, 4, 3, -1, 0, 0, 0],
        [7, 5, 4, 3, 1, 0, 1, 0],
        [3, 5, 4, 3, 9, 9, 9, 9],
    ] {
        assert!(changed(40, &one.map(short).concat()).is_ok(), "{one:?}");
    }
    let absurd = [3, 32767, 32767, 32767].map(short).concat();
    assert!(matches!(changed(40, &absurd), Err(NiftiError::TooLarge(_))));
    let scaling = [2f32, f32::NAN].map(f32::to_le_bytes).concat();
    assert!(matches!(
        changed(112, &scaling),
        Err(NiftiError::Scaling { .. })
    ));
}

#[test]
fn dimensions_beyond_the_bytes_cost_no_memory() {
    // 2^28 voxels of 8 bytes announced, 60 bytes there, compressed or not.
    let mut file = FILE.clone();
    file[40..48].copy_from_slice(&[3i16, 16384, 16384, 1].map(i16::to_le_bytes).concat());
    file[70..74].copy_from_slice(&[64i16, 64].map(i16::to_le_bytes).concat());
    assert!(matches!(parse(&file), Err(NiftiError::Truncated { .. })));
    assert!(matches!(
        parse(&packed(&file)),
        Err(NiftiError::Truncated { .. })
    ));
}

#[test]
fn affines_that_place_no_grid_are_refused() {
    let sform = |rows: [f32; 12]| {
        let mut file = FILE.clone();
        file[252..254].copy_from_slice(&0i16.to_le_bytes());
        file[254..256].copy_from_slice(&1i16.to_le_bytes());
        file[280..328].copy_from_slice(&rows.map(f32::to_le_bytes).concat());
        parse(&file)
    };
    let good = [1., 0., 0., 0., 0., 1., 0., 0., 0., 0., 1., 0.];
    assert!(sform(good).is_ok());
    for (at, value) in [
        (0, 0.0),
        (5, f32::NAN),
        (3, f32::INFINITY),
        (10, 1e30),
        (1, 0.1),
        (1, 1.0),
        (2, -0.002),
    ] {
        let mut bad = good;
        bad[at] = value;
        assert!(
            matches!(
                sform(bad),
                Err(NiftiError::Unplaced {
                    form: Form::Sform,
                    ..
                })
            ),
            "{at} {value}"
        );
    }
    // Two stored axes along one of the patient's, and all three.
    for flat in [
        [1., 1., 0., 0., 0., 0., 0., 0., 0., 0., 1., 0.],
        [1., 1., 1., 0., 1., 1., 1., 0., 1., 1., 1., 0.],
    ] {
        assert!(matches!(
            sform(flat),
            Err(NiftiError::Unplaced {
                fault: Fault::Flat,
                ..
            })
        ));
    }
    for orientation in ["", "RA", "RAR", "RASS", "XYZ", "RLS", "ras"] {
        assert!(
            Source::new(&GRID, orientation, Form::Sform).is_err(),
            "{orientation}"
        );
    }
}

#[test]
fn files_of_other_formats_are_named() {
    for (bytes, word) in [(b"ni1\0", "second file"), (b"n+2\0", "magic")] {
        assert!(changed(344, bytes).unwrap_err().to_string().contains(word));
    }
    assert!(
        changed(0, &540i32.to_le_bytes())
            .unwrap_err()
            .to_string()
            .contains("NIfTI-2")
    );
    assert!(matches!(
        parse(b"DICM and so on"),
        Err(NiftiError::Truncated { .. })
    ));
    assert!(matches!(parse(&[7; 4096]), Err(NiftiError::Format(_))));
}

proptest! {
    #[test]
    fn a_corrupt_header_never_panics(
        changes in prop::collection::vec((0usize..352, any::<u8>()), 1..12),
        cut in 0usize..400,
        pack: bool,
    ) {
        let mut bytes = FILE.clone();
        for (at, value) in changes {
            bytes[at] = value;
        }
        bytes.truncate(bytes.len() - cut.saturating_sub(360));
        if pack {
            bytes = packed(&bytes);
        }
        if let Ok(volume) = parse(&bytes) {
            prop_assert_eq!(volume.values.len(), volume.grid.voxels());
            prop_assert!(volume.grid.spacing_mm.iter().all(|mm| *mm > 0.0));
        }
    }

    #[test]
    fn fields_at_their_extremes_never_panic(at in 20usize..86, pattern in prop::sample::select(vec![
        [0u8; 4], [0xff; 4], [0, 0, 0x80, 0x7f], [0, 0, 0xc0, 0x7f], [0xff, 0x7f, 0xff, 0x7f], [0, 0x80, 0, 0x80],
    ])) {
        let _ = changed(4 * at, &pattern);
    }

    #[test]
    fn damaged_compression_never_panics(at in 0usize..1000, value: u8) {
        let mut bytes = packed(&FILE);
        let at = at % bytes.len();
        bytes[at] = value;
        let _ = parse(&bytes);
    }
}
