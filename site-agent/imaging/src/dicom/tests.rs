use super::placed::{PlaceError, PlacedMask, SliceMasks};
use super::segmentation;
use super::series::{Series, SeriesError};
use super::structure_set::{self, Structure, outlines};
use super::write::Making;
use crate::nifti::Affine;
use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::tags;
use dicom_object::{FileMetaTableBuilder, InMemDicomObject, open_file};
use std::path::Path;

const MR: &str = "1.2.840.10008.5.1.4.1.1.4";
const ROWS: usize = 12;
const COLUMNS: usize = 10;
const SLICES: usize = 6;

const MAKING: Making<'static> = Making {
    date: "20260102",
    time: "030405",
    version: "1.2.3",
    model: "federation, round 3, 0011aabb",
    series_number: 9000,
};

/// Writes a sagittal-oblique series: slices turned by 20 degrees about the patient's long axis.
fn write_series(folder: &Path, series: &str) {
    let (sin, cos) = 20_f64.to_radians().sin_cos();
    let (along_columns, along_rows) = ([sin, cos, 0.0], [0.0, 0.0, -1.0]);
    let normal = crate::vector::cross(along_columns, along_rows);
    for slice in 0..SLICES {
        let position: Vec<String> = (0..3)
            .map(|axis| {
                format!(
                    "{:.6}",
                    5.0 * axis as f64 - 20.0 + 2.5 * slice as f64 * normal[axis]
                )
            })
            .collect();
        let orientation: Vec<String> = along_columns
            .iter()
            .chain(&along_rows)
            .map(|cosine| format!("{cosine:.9}"))
            .collect();
        let mut object = InMemDicomObject::new_empty();
        let uid = format!("{series}.{}", slice + 1);
        for (tag, vr, text) in [
            (tags::SOP_CLASS_UID, VR::UI, MR),
            (tags::SOP_INSTANCE_UID, VR::UI, uid.as_str()),
            (tags::SERIES_INSTANCE_UID, VR::UI, series),
            (tags::STUDY_INSTANCE_UID, VR::UI, "1.2.3"),
            (tags::FRAME_OF_REFERENCE_UID, VR::UI, "1.2.4"),
            (tags::PATIENT_NAME, VR::PN, "Doe^Jane"),
            (tags::PATIENT_ID, VR::LO, "17"),
            (tags::STUDY_DATE, VR::DA, "20250101"),
            (tags::MODALITY, VR::CS, "MR"),
            (tags::IMAGE_POSITION_PATIENT, VR::DS, &position.join("\\")),
            (
                tags::IMAGE_ORIENTATION_PATIENT,
                VR::DS,
                &orientation.join("\\"),
            ),
            (tags::PIXEL_SPACING, VR::DS, "0.9\\0.8"),
            (tags::SLICE_THICKNESS, VR::DS, "2.5"),
        ] {
            object.put(DataElement::new(tag, vr, PrimitiveValue::from(text)));
        }
        for (tag, number) in [(tags::ROWS, ROWS), (tags::COLUMNS, COLUMNS)] {
            object.put(DataElement::new(
                tag,
                VR::US,
                PrimitiveValue::from(number as u16),
            ));
        }
        let meta = FileMetaTableBuilder::new().transfer_syntax("1.2.840.10008.1.2.1");
        // File names in no order.
        let name = format!("{}.dcm", (slice * 7 + 3) % 11);
        object
            .with_meta(meta)
            .unwrap()
            .write_to_file(folder.join(name))
            .unwrap();
    }
}

/// The affine that a converter gives the series' own grid: width along columns, height along rows,
/// depth along slices.
fn own_affine(series: &Series) -> Affine {
    let origin = series.place(0, 0.0, 0.0);
    let ends = [
        series.place(0, 0.0, 1.0),
        series.place(0, 1.0, 0.0),
        series.place(1, 0.0, 0.0),
    ];
    let mut affine = [[0.0; 4]; 3];
    for axis in 0..3 {
        let sign = if axis < 2 { -1.0 } else { 1.0 };
        for (column, end) in ends.iter().enumerate() {
            affine[axis][column] = sign * (end[axis] - origin[axis]);
        }
        affine[axis][3] = sign * origin[axis];
    }
    Affine(affine)
}

fn ball() -> Vec<u32> {
    let mut mask = vec![0; SLICES * ROWS * COLUMNS];
    for (index, voxel) in mask.iter_mut().enumerate() {
        let (x, y, z) = (
            index % COLUMNS,
            index / COLUMNS % ROWS,
            index / COLUMNS / ROWS,
        );
        let away = [x as f64 - 4.0, y as f64 - 6.0, z as f64 - 2.0];
        let far = away.iter().map(|part| part * part).sum::<f64>() > 5.0;
        // A hole, and a pixel that touches the ball at a corner only.
        *voxel = u32::from(!far && (x, y, z) != (4, 6, 2) || (x, y, z) == (7, 9, 2));
    }
    mask
}

/// The ball on the series' own grid.
fn ball_on(series: &Series) -> SliceMasks {
    let placed = PlacedMask {
        labels: &ball(),
        dims: [SLICES, ROWS, COLUMNS],
        affine: own_affine(series),
    };
    placed.on(series).unwrap()
}

#[test]
fn a_mask_on_the_series_own_grid_comes_back_voxel_by_voxel() {
    let folder = tempfile::tempdir().unwrap();
    write_series(folder.path(), "1.2.5");
    let series = Series::read(folder.path(), None).unwrap();
    assert_eq!(series.slices.len(), SLICES);
    assert!((series.slice_spacing - 2.5).abs() < 1e-5);
    let on = ball_on(&series);
    assert_eq!(on.slices.concat(), ball());
    assert!((on.mm3_before - on.mm3_after).abs() < 1e-2, "{on:?}");
    assert_eq!(on.mm3_outside, 0.0);
}

#[test]
fn a_mask_of_another_place_is_refused_and_not_cut() {
    let folder = tempfile::tempdir().unwrap();
    write_series(folder.path(), "1.2.5");
    let series = Series::read(folder.path(), None).unwrap();
    let mut affine = own_affine(&series);
    affine.0[2][3] += 40.0;
    let mask = ball();
    let placed = PlacedMask {
        labels: &mask,
        dims: [SLICES, ROWS, COLUMNS],
        affine,
    };
    assert!(matches!(
        placed.on(&series),
        Err(PlaceError::Outside { .. })
    ));
}

#[test]
fn one_of_several_series_must_be_named_and_two_images_at_one_place_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    write_series(folder.path(), "1.2.5");
    let second = folder.path().join("second");
    std::fs::create_dir(&second).unwrap();
    write_series(&second, "1.2.6");
    std::fs::write(folder.path().join("readme.txt"), "no image").unwrap();
    let several = Series::read(folder.path(), None).unwrap_err();
    assert!(
        matches!(&several, SeriesError::Several { found, .. } if found.len() == 2),
        "{several}"
    );
    assert!(!several.to_string().contains("Doe"), "{several}");
    assert_eq!(
        Series::read(folder.path(), Some("1.2.6"))
            .unwrap()
            .series_uid,
        "1.2.6"
    );
    assert!(matches!(
        Series::read(folder.path(), Some("1.9")),
        Err(SeriesError::Absent { .. })
    ));
    std::fs::copy(second.join("3.dcm"), second.join("copy.dcm")).unwrap();
    assert!(matches!(
        Series::read(&second, None),
        Err(SeriesError::SamePlace { .. })
    ));
}

#[test]
fn a_segmentation_holds_the_marked_pixels_at_the_places_of_their_slices() {
    let folder = tempfile::tempdir().unwrap();
    write_series(folder.path(), "1.2.5");
    let series = Series::read(folder.path(), None).unwrap();
    let on = ball_on(&series);
    let path = folder.path().join("mask.seg.dcm");
    segmentation::write(&path, &series, &on, &MAKING).unwrap();
    let object = open_file(&path).unwrap();
    assert_eq!(
        object
            .element(tags::PATIENT_ID)
            .unwrap()
            .to_str()
            .unwrap()
            .trim_end(),
        "17"
    );
    let frames: usize = object
        .element(tags::NUMBER_OF_FRAMES)
        .unwrap()
        .to_int()
        .unwrap();
    let marked: Vec<usize> = (0..SLICES)
        .filter(|&slice| on.slices[slice].contains(&1))
        .collect();
    assert_eq!(frames, marked.len());
    let bytes = object
        .element(tags::PIXEL_DATA)
        .unwrap()
        .to_bytes()
        .unwrap()
        .into_owned();
    let groups = object
        .element(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE)
        .unwrap();
    let groups = groups.items().unwrap();
    for (frame, &slice) in marked.iter().enumerate() {
        for pixel in 0..ROWS * COLUMNS {
            let bit = frame * ROWS * COLUMNS + pixel;
            assert_eq!(
                u32::from(bytes[bit / 8] >> (bit % 8) & 1),
                on.slices[slice][pixel]
            );
        }
        let plane = groups[frame]
            .element(tags::PLANE_POSITION_SEQUENCE)
            .unwrap()
            .items()
            .unwrap()[0]
            .clone();
        let position = plane
            .element(tags::IMAGE_POSITION_PATIENT)
            .unwrap()
            .to_multi_float64()
            .unwrap();
        for (found, expected) in position.iter().zip(series.slices[slice].position) {
            assert!((found - expected).abs() < 1e-6);
        }
    }
    // The same input gives the same bytes.
    let again = folder.path().join("again.seg.dcm");
    segmentation::write(&again, &series, &on, &MAKING).unwrap();
    assert_eq!(
        std::fs::read(&path).unwrap(),
        std::fs::read(&again).unwrap()
    );
}

/// The pixels whose centres an odd number of outlines go around.
fn filled(outlines: &[Vec<(usize, usize)>], rows: usize, columns: usize) -> Vec<bool> {
    let mut mask = vec![false; rows * columns];
    for outline in outlines {
        let ends = outline.iter().cycle().skip(1);
        for (from, to) in outline.iter().zip(ends) {
            // Each upright edge turns over what is on its right.
            for row in from.0.min(to.0)..from.0.max(to.0) {
                for column in from.1..columns {
                    mask[row * columns + column] ^= from.1 == to.1;
                }
            }
        }
    }
    mask
}

#[test]
fn outlines_go_around_exactly_the_marked_pixels() {
    let (rows, columns) = (9, 7);
    let mut state = 12345_u32;
    for density in 1..9 {
        for _ in 0..40 {
            let mask: Vec<bool> = (0..rows * columns)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 16 & 7) < density
                })
                .collect();
            let outlines = outlines(&mask, columns);
            assert_eq!(filled(&outlines, rows, columns), mask, "{outlines:?}");
            assert!(outlines.iter().all(|outline| outline.len() >= 4));
        }
    }
    assert!(outlines(&[false; 12], 4).is_empty());
}

#[test]
fn a_structure_set_has_closed_contours_on_the_slices_of_the_series() {
    let folder = tempfile::tempdir().unwrap();
    write_series(folder.path(), "1.2.5");
    let series = Series::read(folder.path(), None).unwrap();
    let on = ball_on(&series);
    let path = folder.path().join("lesions.rtstruct.dcm");
    let structure = Structure {
        name: "Lesion 1".into(),
        label: 1,
    };
    structure_set::write(&path, &series, &on, &[structure], &MAKING).unwrap();
    let object = open_file(&path).unwrap();
    let contours = object
        .element(tags::ROI_CONTOUR_SEQUENCE)
        .unwrap()
        .items()
        .unwrap()[0]
        .element(tags::CONTOUR_SEQUENCE)
        .unwrap()
        .items()
        .unwrap()
        .to_vec();
    // One outline on four slices; the middle one has a hole and a pixel of its own.
    assert_eq!(contours.len(), 5 + 2);
    for contour in contours {
        let points: u32 = contour
            .element(tags::NUMBER_OF_CONTOUR_POINTS)
            .unwrap()
            .to_int()
            .unwrap();
        let data = contour
            .element(tags::CONTOUR_DATA)
            .unwrap()
            .to_multi_float64()
            .unwrap();
        assert_eq!(data.len(), 3 * points as usize);
    }
}
