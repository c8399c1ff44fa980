use super::*;
use proptest::prelude::*;
use std::sync::LazyLock;

const GRID: Grid = Grid { dims: [3, 4, 5], spacing_mm: [2.0, 1.0, 0.5] };

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

proptest! {
    #[test]
    fn a_corrupt_header_never_panics(changes in prop::collection::vec((0usize..352, any::<u8>()), 1..12)) {
        let mut bytes = FILE.clone();
        for (at, value) in changes {
            bytes[at] = value;
        }
        if let Ok(volume) = parse(&bytes) {
            prop_assert_eq!(volume.values.len(), volume.grid.voxels());
        }
    }
}
