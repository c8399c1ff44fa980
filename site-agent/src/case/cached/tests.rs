use super::*;
use crate::case::Note;

/// Three slices of 2 x 4 native pixels on planes of 3, second of three sequences missing.
fn case() -> Prepared {
    let image = |start: usize| Some((0..27).map(|i| (start + i) as f32).collect());
    let mut lesion = vec![0; 24];
    lesion[9] = 1;
    Prepared {
        id: "patient".into(),
        sequences: vec![image(100), None, image(200)],
        label: Some(Placement::WHOLE_PIXELS.place_nearest(&lesion, [3, 2, 4], [3, 3])),
        plane: 3,
        canvas: [3, 3],
        native: Native {
            grid: Grid {
                dims: [3, 2, 4],
                spacing_mm: [5.0, 1.0, 1.0],
            },
            brain: (0..24).map(|i| u8::from(i % 3 > 0)).collect(),
            lesion: Some(lesion),
        },
        placement: Placement::WHOLE_PIXELS,
        noticed: Noticed {
            notes: vec![Note::new("t1: odd", "look at it")],
            labels: vec![(1, 1)],
            ..Noticed::default()
        },
    }
}

/// One slice of 4 x 6 native pixels on a canvas as large, seen through windows of 3.
fn large() -> Prepared {
    let mut lesion = vec![0; 24];
    lesion[5] = 1; // the right end of the first row
    Prepared {
        sequences: vec![None, Some((1..=24).map(|v| v as f32).collect())],
        label: Some(lesion.clone()),
        canvas: [4, 6],
        native: Native {
            grid: Grid {
                dims: [1, 4, 6],
                spacing_mm: [5.0, 1.0, 1.0],
            },
            brain: (0..24).map(|i| u8::from(i % 6 > 3)).collect(),
            lesion: Some(lesion),
        },
        ..case()
    }
}

fn stored(case: &Prepared) -> (tempfile::TempDir, CachedCase) {
    let folder = tempfile::tempdir().unwrap();
    case.store(&folder.path().join("case")).unwrap();
    let cached = CachedCase::open(&folder.path().join("case")).unwrap();
    (folder, cached)
}

#[test]
fn a_slab_holds_neighbours_zeros_beyond_the_ends_and_zeros_for_a_missing_sequence() {
    let (_folder, cached) = stored(&case());
    let mut slab = vec![f32::NAN; 3 * 3 * 9];
    cached.read_slab(0, 3, &mut slab).unwrap();
    assert_eq!(slab[..9], [0.0; 9]);
    assert_eq!(
        slab[9..27],
        (100..118).map(|v| v as f32).collect::<Vec<_>>()
    );
    assert_eq!(slab[27..54], [0.0; 27]);
    assert_eq!(slab[63], 200.0);
    let loaded = cached.load().unwrap();
    for centre in 0..3 {
        let (mut from_disk, mut from_memory) = (vec![f32::NAN; 81], vec![f32::NAN; 81]);
        cached.read_slab(centre, 3, &mut from_disk).unwrap();
        loaded.fill_slab(centre, 3, &mut from_memory);
        assert_eq!(from_disk, from_memory, "{centre}");
    }
    cached.read_slab(2, 3, &mut slab).unwrap();
    assert_eq!(slab[..18], (109..127).map(|v| v as f32).collect::<Vec<_>>());
    assert_eq!(slab[18..27], [0.0; 9]);
}

#[test]
fn masks_labels_and_facts_come_back() {
    let case = case();
    let (_folder, cached) = stored(&case);
    assert_eq!(cached.native().unwrap(), case.native);
    assert_eq!(cached.load().unwrap(), case);
    assert_eq!(cached.count_lesions(), 1);
    assert_eq!(
        (cached.id(), cached.present(), cached.plane()),
        ("patient", case.present(), 3)
    );
    assert_eq!(
        (cached.lesion_views(), cached.noticed()),
        (&[false, true, false][..], &case.noticed)
    );
    let mut label = [9; 9];
    cached.read_label(1, &mut label).unwrap();
    assert_eq!(label, case.label.as_ref().unwrap()[9..18]);
}

#[test]
fn a_brain_larger_than_the_plane_is_seen_through_views_that_reach_every_pixel() {
    let case = large();
    let (_folder, cached) = stored(&case);
    assert_eq!(cached.load().unwrap(), case);
    let tiles = case.tiles();
    let corners: Vec<[usize; 2]> = (0..tiles.count()).map(|tile| tiles.corner(tile)).collect();
    assert_eq!(
        corners,
        [
            [0, 0],
            [0, 1],
            [0, 2],
            [0, 3],
            [1, 0],
            [1, 1],
            [1, 2],
            [1, 3]
        ]
    );
    // The lesion is in the upper right corner; the brain in the last two columns.
    assert_eq!(
        cached.lesion_views(),
        [false, false, false, true, false, false, false, false]
    );
    assert_eq!(
        case.brain_views(),
        [false, false, true, true, false, false, true, true]
    );
    assert_eq!(case.brain_shown(), 1.0);
    for view in 0..8 {
        let (mut from_disk, mut from_memory, mut label) =
            (vec![f32::NAN; 18], vec![f32::NAN; 18], [9; 9]);
        cached.read_slab(view, 1, &mut from_disk).unwrap();
        case.fill_slab(view, 1, &mut from_memory);
        assert_eq!(from_disk, from_memory, "{view}");
        cached.read_label(view, &mut label).unwrap();
        assert_eq!(label.contains(&1), cached.lesion_views()[view]);
    }
    let mut last = vec![f32::NAN; 18];
    cached.read_slab(7, 1, &mut last).unwrap();
    assert_eq!(
        last[9..],
        [10.0, 11.0, 12.0, 16.0, 17.0, 18.0, 22.0, 23.0, 24.0]
    );
    assert!(matches!(
        cached.read_slab(8, 1, &mut last),
        Err(CaseFileError::Size { .. })
    ));
}

#[test]
fn a_case_without_reference_says_so() {
    let mut case = case();
    (case.label, case.native.lesion) = (None, None);
    let (_folder, cached) = stored(&case);
    assert!(!cached.has_label() && cached.native().unwrap().lesion.is_none());
    assert_eq!(cached.count_lesions(), 0);
    assert_eq!(cached.load().unwrap(), case);
    assert!(matches!(
        cached.read_label(0, &mut [0; 9]),
        Err(CaseFileError::NoLabel)
    ));
}

#[test]
fn one_changed_or_missing_byte_anywhere_is_damage() {
    let (folder, _) = stored(&case());
    let path = folder.path().join("case");
    let whole = std::fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        std::fs::write(&path, &changed).unwrap();
        assert!(
            matches!(CachedCase::open(&path), Err(CaseFileError::Damaged)),
            "byte {at}"
        );
    }
    std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    assert!(matches!(
        CachedCase::open(&path),
        Err(CaseFileError::Damaged)
    ));
}

#[test]
fn what_does_not_fit_is_refused() {
    let (_folder, cached) = stored(&case());
    assert!(matches!(
        cached.read_slab(0, 5, &mut [0.0; 81]),
        Err(CaseFileError::Size { .. })
    ));
    assert!(matches!(
        cached.read_slab(3, 3, &mut [0.0; 81]),
        Err(CaseFileError::Size { .. })
    ));
    let mut short = case();
    short.native.brain.pop();
    assert!(matches!(
        short.store(Path::new("nowhere")),
        Err(CaseFileError::Size { .. })
    ));
}
