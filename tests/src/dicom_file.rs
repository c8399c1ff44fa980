//! Writes MR images as DICOM files.

use dicom_core::value::PrimitiveValue;
use dicom_core::{DataElement, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use std::path::Path;

const EXPLICIT_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2.1";
const MR_IMAGE: &str = "1.2.840.10008.5.1.4.1.1.4";

/// One slice of an MR series.
#[derive(Clone, Debug)]
pub struct MrSlice {
    pub instance: String,
    pub columns: u16,
    pub bits_stored: u16,
    /// Row by row.
    pub pixels: Vec<u16>,
}

impl MrSlice {
    /// Writes the file, with `texts` as further elements.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn write(&self, texts: &[(Tag, VR, &str)], path: &Path) {
        let mut object = InMemDicomObject::new_empty();
        put_text(&mut object, tags::SOP_CLASS_UID, VR::UI, MR_IMAGE);
        put_text(&mut object, tags::SOP_INSTANCE_UID, VR::UI, &self.instance);
        put_text(&mut object, tags::MODALITY, VR::CS, "MR");
        let monochrome = "MONOCHROME2";
        put_text(
            &mut object,
            tags::PHOTOMETRIC_INTERPRETATION,
            VR::CS,
            monochrome,
        );
        for (tag, vr, text) in texts {
            put_text(&mut object, *tag, *vr, text);
        }
        let rows = self.pixels.len() / usize::from(self.columns);
        for (tag, number) in [
            (tags::ROWS, rows as u16),
            (tags::COLUMNS, self.columns),
            (tags::SAMPLES_PER_PIXEL, 1),
            (tags::BITS_ALLOCATED, 16),
            (tags::BITS_STORED, self.bits_stored),
            (tags::HIGH_BIT, self.bits_stored - 1),
            (tags::PIXEL_REPRESENTATION, 0),
        ] {
            object.put(DataElement::new(tag, VR::US, PrimitiveValue::from(number)));
        }
        let pixels = PrimitiveValue::U16(self.pixels.as_slice().into());
        object.put(DataElement::new(tags::PIXEL_DATA, VR::OW, pixels));
        let meta = FileMetaTableBuilder::new().transfer_syntax(EXPLICIT_LITTLE_ENDIAN);
        object.with_meta(meta).unwrap().write_to_file(path).unwrap();
    }
}

fn put_text(object: &mut InMemDicomObject, tag: Tag, vr: VR, text: &str) {
    object.put(DataElement::new(tag, vr, PrimitiveValue::from(text)));
}
