//! What every object that we write has, and how its elements are put together.

use super::series::Series;
use dicom_core::value::DataSetSequence;
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::{FileMetaTableBuilder, InMemDicomObject, WriteError};
use std::path::Path;

/// Explicit VR little endian: what every reader knows.
const TRANSFER_SYNTAX: &str = "1.2.840.10008.1.2.1";

/// The longest text of a value of type LO, in characters.
const LONG_STRING: usize = 64;

/// The date and the time of day now, UTC, as [`Making`] takes them.
#[must_use]
pub fn utc_now() -> (String, String) {
    let now = dicom_core::chrono::Utc::now();
    (
        now.format("%Y%m%d").to_string(),
        now.format("%H%M%S").to_string(),
    )
}

/// Who made an object, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Making<'a> {
    /// `YYYYMMDD`.
    pub date: &'a str,
    /// `HHMMSS`.
    pub time: &'a str,
    /// The program's version.
    pub version: &'a str,
    /// The model and how it was used; what is longer than 64 characters is cut in some places.
    pub model: &'a str,
    pub series_number: u32,
}

/// Why an object was not written.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    #[error("the object's head cannot be made: {0}")]
    Head(String),
    #[error("the object cannot be written: {0}")]
    Write(#[from] Box<WriteError>),
}

/// A data set that elements are added to one by one.
#[derive(Debug, Clone)]
pub(super) struct DataSet(pub(super) InMemDicomObject);

impl DataSet {
    pub(super) fn new() -> Self {
        Self(InMemDicomObject::new_empty())
    }

    pub(super) fn text(mut self, tag: Tag, vr: VR, text: &str) -> Self {
        self.0
            .put(DataElement::new(tag, vr, PrimitiveValue::from(text)));
        self
    }

    /// Text of type LO, cut where it is too long.
    pub(super) fn long_text(self, tag: Tag, text: &str) -> Self {
        let cut: String = text.chars().take(LONG_STRING).collect();
        self.text(tag, VR::LO, &cut)
    }

    pub(super) fn empty(mut self, tag: Tag, vr: VR) -> Self {
        self.0.put(DataElement::new(tag, vr, PrimitiveValue::Empty));
        self
    }

    pub(super) fn number(mut self, tag: Tag, number: u16) -> Self {
        self.0
            .put(DataElement::new(tag, VR::US, PrimitiveValue::from(number)));
        self
    }

    /// Decimal strings, with as many digits as a reader may rely on (16 characters at most).
    pub(super) fn decimals(self, tag: Tag, values: &[f64]) -> Self {
        let texts: Vec<String> = values.iter().map(|value| decimal(*value)).collect();
        self.text(tag, VR::DS, &texts.join("\\"))
    }

    pub(super) fn items(mut self, tag: Tag, items: Vec<DataSet>) -> Self {
        let items: Vec<InMemDicomObject> = items.into_iter().map(|item| item.0).collect();
        self.0
            .put(DataElement::new(tag, VR::SQ, DataSetSequence::from(items)));
        self
    }

    pub(super) fn item(self, tag: Tag, item: DataSet) -> Self {
        self.items(tag, vec![item])
    }

    /// A coded concept.
    pub(super) fn code(self, tag: Tag, value: &str, scheme: &str, meaning: &str) -> Self {
        let code = Self::new()
            .text(tags::CODE_VALUE, VR::SH, value)
            .text(tags::CODING_SCHEME_DESIGNATOR, VR::SH, scheme)
            .text(tags::CODE_MEANING, VR::LO, meaning);
        self.item(tag, code)
    }

    /// What every object has: the patient and study of the series, and who made it.
    pub(super) fn head(
        series: &Series,
        making: &Making<'_>,
        class: &str,
        modality: &str,
        description: &str,
    ) -> Self {
        let mut head = Self(series.common.clone());
        // Required even where the source left them out; then they are empty.
        for (tag, vr) in [
            (tags::STUDY_DATE, VR::DA),
            (tags::STUDY_TIME, VR::TM),
            (tags::ACCESSION_NUMBER, VR::SH),
            (tags::REFERRING_PHYSICIAN_NAME, VR::PN),
            (tags::PATIENT_NAME, VR::PN),
            (tags::PATIENT_ID, VR::LO),
            (tags::PATIENT_BIRTH_DATE, VR::DA),
            (tags::PATIENT_SEX, VR::CS),
            (tags::STUDY_ID, VR::SH),
            (tags::POSITION_REFERENCE_INDICATOR, VR::LO),
        ] {
            if head.0.get(tag).is_none() {
                head = head.empty(tag, vr);
            }
        }
        // The same moment and model make the same object, any other another one.
        let name = [
            series.series_uid.as_str(),
            making.model,
            class,
            making.date,
            making.time,
        ]
        .join("\n");
        head.text(tags::SOP_CLASS_UID, VR::UI, class)
            .text(tags::SOP_INSTANCE_UID, VR::UI, &uid(&[&name, "instance"]))
            .text(tags::SERIES_INSTANCE_UID, VR::UI, &uid(&[&name, "series"]))
            .text(
                tags::FRAME_OF_REFERENCE_UID,
                VR::UI,
                &series.frame_of_reference_uid,
            )
            .text(tags::MODALITY, VR::CS, modality)
            .text(tags::SERIES_DESCRIPTION, VR::LO, description)
            .text(
                tags::SERIES_NUMBER,
                VR::IS,
                &making.series_number.to_string(),
            )
            .text(tags::SERIES_DATE, VR::DA, making.date)
            .text(tags::SERIES_TIME, VR::TM, making.time)
            .text(tags::INSTANCE_NUMBER, VR::IS, "1")
            .text(tags::INSTANCE_CREATION_DATE, VR::DA, making.date)
            .text(tags::INSTANCE_CREATION_TIME, VR::TM, making.time)
            .text(tags::MANUFACTURER, VR::LO, "Lacuna")
            .text(tags::MANUFACTURER_MODEL_NAME, VR::LO, "Lacuna site-agent")
            .text(tags::DEVICE_SERIAL_NUMBER, VR::LO, "0")
            .text(tags::SOFTWARE_VERSIONS, VR::LO, making.version)
    }

    /// Writes a file.
    pub(super) fn write(self, path: &Path) -> Result<(), ObjectError> {
        let meta = FileMetaTableBuilder::new().transfer_syntax(TRANSFER_SYNTAX);
        let object = self
            .0
            .with_meta(meta)
            .map_err(|error| ObjectError::Head(error.to_string()))?;
        object.write_to_file(path).map_err(Box::new)?;
        Ok(())
    }
}

/// A number as a decimal string of at most 16 characters.
fn decimal(value: f64) -> String {
    for digits in (0..=10).rev() {
        let text = format!("{value:.digits$}");
        let text = match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
            false => text,
        };
        if text.len() <= 16 {
            return if text == "-0" { "0".into() } else { text };
        }
    }
    format!("{value:.8e}")
}

/// A UID that follows from what it names (2.25 and 128 bits, PS3.5 B.2): the same input has the
/// same.
pub(super) fn uid(of: &[&str]) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in of {
        hasher.update(part.as_bytes());
        hasher.update(&[0]);
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    format!("2.25.{}", u128::from_be_bytes(bytes))
}
