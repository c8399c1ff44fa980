//! A mask as a DICOM segmentation (PS3.3 A.51): one binary segment on the slices of a series.

use super::placed::SliceMasks;
use super::series::{Series, Slice};
use super::write::{DataSet, Making, ObjectError, uid};

use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::tags;
use std::path::Path;

const SEGMENTATION_STORAGE: &str = "1.2.840.10008.5.1.4.1.1.66.4";

/// Writes the mask as one segment called lesion. Slices without a marked pixel are left out, unless
/// none has any: then all are there, and show that nothing was found.
///
/// # Errors
/// See [`ObjectError`].
pub fn write(
    path: &Path,
    series: &Series,
    masks: &SliceMasks,
    making: &Making<'_>,
) -> Result<(), ObjectError> {
    let mut frames = Vec::new();
    for (slice, mask) in series.slices.iter().zip(&masks.slices) {
        if mask.iter().any(|&pixel| pixel != 0) {
            frames.push((slice, mask));
        }
    }
    if frames.is_empty() {
        frames = series.slices.iter().zip(&masks.slices).collect();
    }
    let dimensions = uid(&[&series.series_uid, making.model, "dimensions"]);
    let mut out = DataSet::head(
        series,
        making,
        SEGMENTATION_STORAGE,
        "SEG",
        "Brain metastases, automatic",
    )
    .text(tags::IMAGE_TYPE, VR::CS, "DERIVED\\PRIMARY")
    .text(tags::CONTENT_DATE, VR::DA, making.date)
    .text(tags::CONTENT_TIME, VR::TM, making.time)
    .text(tags::CONTENT_LABEL, VR::CS, "LESIONS")
    .text(
        tags::CONTENT_DESCRIPTION,
        VR::LO,
        "Brain metastases found by a network",
    )
    .text(tags::CONTENT_CREATOR_NAME, VR::PN, "Lacuna^site-agent")
    .number(tags::SAMPLES_PER_PIXEL, 1)
    .text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2")
    .text(tags::NUMBER_OF_FRAMES, VR::IS, &frames.len().to_string())
    .number(tags::ROWS, series.rows as u16)
    .number(tags::COLUMNS, series.columns as u16)
    .number(tags::BITS_ALLOCATED, 1)
    .number(tags::BITS_STORED, 1)
    .number(tags::HIGH_BIT, 0)
    .number(tags::PIXEL_REPRESENTATION, 0)
    .text(tags::LOSSY_IMAGE_COMPRESSION, VR::CS, "00")
    .text(tags::SEGMENTATION_TYPE, VR::CS, "BINARY")
    .item(tags::SEGMENT_SEQUENCE, segment(making))
    .item(
        tags::DIMENSION_ORGANIZATION_SEQUENCE,
        DataSet::new().text(tags::DIMENSION_ORGANIZATION_UID, VR::UI, &dimensions),
    )
    .items(
        tags::DIMENSION_INDEX_SEQUENCE,
        vec![
            dimension(
                &dimensions,
                tags::REFERENCED_SEGMENT_NUMBER,
                tags::SEGMENT_IDENTIFICATION_SEQUENCE,
                "Segment",
            ),
            dimension(
                &dimensions,
                tags::IMAGE_POSITION_PATIENT,
                tags::PLANE_POSITION_SEQUENCE,
                "Position",
            ),
        ],
    )
    .item(tags::REFERENCED_SERIES_SEQUENCE, referenced(series))
    .item(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, shared(series));
    let mut places = Vec::with_capacity(frames.len());
    for (number, (slice, _)) in (1..).zip(&frames) {
        places.push(frame(slice, number));
    }
    out = out.items(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, places);
    let pixels = frames.iter().flat_map(|(_, mask)| mask.iter());
    out.0.put(DataElement::new(
        tags::PIXEL_DATA,
        VR::OB,
        PrimitiveValue::from(packed(pixels)),
    ));
    out.write(path)
}

fn segment(making: &Making<'_>) -> DataSet {
    DataSet::new()
        .number(tags::SEGMENT_NUMBER, 1)
        .text(tags::SEGMENT_LABEL, VR::LO, "Brain metastases")
        .text(tags::SEGMENT_ALGORITHM_TYPE, VR::CS, "AUTOMATIC")
        .long_text(tags::SEGMENT_ALGORITHM_NAME, making.model)
        .code(
            tags::SEGMENTED_PROPERTY_CATEGORY_CODE_SEQUENCE,
            "49755003",
            "SCT",
            "Morphologically Abnormal Structure",
        )
        .code(
            tags::SEGMENTED_PROPERTY_TYPE_CODE_SEQUENCE,
            "14799000",
            "SCT",
            "Neoplasm, Metastatic",
        )
        .code(tags::ANATOMIC_REGION_SEQUENCE, "12738006", "SCT", "Brain")
}

fn dimension(
    organization: &str,
    pointer: dicom_core::Tag,
    group: dicom_core::Tag,
    label: &str,
) -> DataSet {
    let mut out = DataSet::new()
        .text(tags::DIMENSION_ORGANIZATION_UID, VR::UI, organization)
        .text(tags::DIMENSION_DESCRIPTION_LABEL, VR::LO, label);
    for (tag, value) in [
        (tags::DIMENSION_INDEX_POINTER, pointer),
        (tags::FUNCTIONAL_GROUP_POINTER, group),
    ] {
        out.0
            .put(DataElement::new(tag, VR::AT, PrimitiveValue::from(value)));
    }
    out
}

/// The images that the mask is of.
fn referenced(series: &Series) -> DataSet {
    let instances = series.slices.iter().map(reference).collect();
    DataSet::new()
        .text(tags::SERIES_INSTANCE_UID, VR::UI, &series.series_uid)
        .items(tags::REFERENCED_INSTANCE_SEQUENCE, instances)
}

pub(super) fn reference(slice: &Slice) -> DataSet {
    DataSet::new()
        .text(tags::REFERENCED_SOP_CLASS_UID, VR::UI, &slice.class_uid)
        .text(
            tags::REFERENCED_SOP_INSTANCE_UID,
            VR::UI,
            &slice.instance_uid,
        )
}

/// What all frames have alike.
fn shared(series: &Series) -> DataSet {
    let orientation: Vec<f64> = series.orientation.iter().flatten().copied().collect();
    DataSet::new()
        .item(
            tags::PLANE_ORIENTATION_SEQUENCE,
            DataSet::new().decimals(tags::IMAGE_ORIENTATION_PATIENT, &orientation),
        )
        .item(
            tags::PIXEL_MEASURES_SEQUENCE,
            DataSet::new()
                .decimals(tags::PIXEL_SPACING, &series.pixel_spacing)
                .decimals(tags::SLICE_THICKNESS, &[series.slice_spacing])
                .decimals(tags::SPACING_BETWEEN_SLICES, &[series.slice_spacing]),
        )
        .item(
            tags::SEGMENT_IDENTIFICATION_SEQUENCE,
            DataSet::new().number(tags::REFERENCED_SEGMENT_NUMBER, 1),
        )
}

/// What one frame has for itself; `number` counts the frames from 1.
fn frame(slice: &Slice, number: u32) -> DataSet {
    let mut content = DataSet::new();
    content.0.put(DataElement::new(
        tags::DIMENSION_INDEX_VALUES,
        VR::UL,
        PrimitiveValue::U32([1, number].as_slice().into()),
    ));
    let source = reference(slice).code(
        tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE,
        "121322",
        "DCM",
        "Source image for image processing operation",
    );
    let derivation = DataSet::new()
        .item(tags::SOURCE_IMAGE_SEQUENCE, source)
        .code(
            tags::DERIVATION_CODE_SEQUENCE,
            "113076",
            "DCM",
            "Segmentation",
        );
    DataSet::new()
        .item(tags::FRAME_CONTENT_SEQUENCE, content)
        .item(
            tags::PLANE_POSITION_SEQUENCE,
            DataSet::new().decimals(tags::IMAGE_POSITION_PATIENT, &slice.position),
        )
        .item(tags::DERIVATION_IMAGE_SEQUENCE, derivation)
}

/// Pixels as bits, the first in the lowest bit (PS3.5 8.1.1), filled up to an even number of bytes.
fn packed<'a>(pixels: impl Iterator<Item = &'a u32>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (index, &pixel) in pixels.enumerate() {
        if index % 8 == 0 {
            bytes.push(0);
        }
        if let (true, Some(byte)) = (pixel != 0, bytes.last_mut()) {
            *byte |= 1 << (index % 8);
        }
    }
    if bytes.len() % 2 == 1 {
        bytes.push(0);
    }
    bytes
}
