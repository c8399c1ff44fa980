//! What a DICOM header says of how an image was made, for the rules.

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use serde::Deserialize;

/// GE's private name of the pulse sequence, such as `BRAVO`.
const GE_PULSE_SEQUENCE: Tag = Tag(0x0019, 0x109c);
const GE_INTERNAL_PULSE_SEQUENCE: Tag = Tag(0x0019, 0x109e);

/// Seconds of a day.
const DAY: f64 = 86_400.0;

/// The nearest plane of the patient's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Plane {
    Axial,
    Sagittal,
    Coronal,
}

impl Plane {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Axial => "axial",
            Self::Sagittal => "sagittal",
            Self::Coronal => "coronal",
        }
    }
}

/// How an image was made. What the header lacks is `None` or empty; times are milliseconds, angles
/// degrees.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    pub modality: String,
    /// SeriesDescription, as typed.
    pub description: String,
    pub protocol: String,
    /// All names of the pulse sequence.
    pub pulse_sequence: String,
    pub image_type: Vec<String>,
    /// `2D` or `3D`.
    pub acquisition: Option<String>,
    /// ScanningSequence: SE, IR, GR, EP, RM.
    pub scanning: Vec<String>,
    /// SequenceVariant: SK, MTC, SS, TRSS, SP, MP, OSP.
    pub variant: Vec<String>,
    pub tr_ms: Option<f64>,
    pub te_ms: Option<f64>,
    pub ti_ms: Option<f64>,
    pub flip_deg: Option<f64>,
    pub echo_train: Option<f64>,
    pub thickness_mm: Option<f64>,
    pub body_part: String,
    pub angiography: bool,
    /// A b-value above 0.
    pub diffusion: bool,
    /// ContrastBolusAgent, where the element is there.
    pub agent: Option<String>,
    /// When the contrast was given, and when the acquisition began: seconds on one time line.
    pub contrast_s: Option<f64>,
    pub acquired_s: Option<f64>,
    pub plane: Option<Plane>,
}

impl Facts {
    /// Reads them from one image, classic or multi-frame.
    pub(super) fn of(object: &InMemDicomObject) -> Self {
        let frames = Frames::of(object);
        let date = [tags::ACQUISITION_DATE, tags::SERIES_DATE, tags::STUDY_DATE]
            .into_iter()
            .map(|tag| text(object, tag))
            .find(|date| !date.is_empty())
            .unwrap_or_default();
        let acquired = text(object, tags::ACQUISITION_DATE_TIME);
        let acquired_s = match acquired.split_at_checked(8) {
            Some((day, time)) => seconds(day, time),
            None => [tags::ACQUISITION_TIME, tags::SERIES_TIME]
                .into_iter()
                .find_map(|tag| seconds(&date, &text(object, tag))),
        };
        let mut pulse_sequence = Vec::new();
        for tag in [
            tags::SEQUENCE_NAME,
            tags::PULSE_SEQUENCE_NAME,
            GE_PULSE_SEQUENCE,
            GE_INTERNAL_PULSE_SEQUENCE,
        ] {
            let name = text(object, tag);
            if !name.is_empty() && !pulse_sequence.contains(&name) {
                pulse_sequence.push(name);
            }
        }
        let mut image_type = codes(object, tags::IMAGE_TYPE);
        for code in frames.codes(tags::MR_IMAGE_FRAME_TYPE_SEQUENCE, tags::FRAME_TYPE) {
            if !image_type.contains(&code) {
                image_type.push(code);
            }
        }
        let positive = |value: Option<f64>| value.filter(|value| *value > 0.0);
        let timing = tags::MR_TIMING_AND_RELATED_PARAMETERS_SEQUENCE;
        Self {
            modality: text(object, tags::MODALITY).to_uppercase(),
            description: text(object, tags::SERIES_DESCRIPTION),
            protocol: text(object, tags::PROTOCOL_NAME),
            pulse_sequence: pulse_sequence.join(" "),
            image_type,
            acquisition: Some(text(object, tags::MR_ACQUISITION_TYPE).to_uppercase())
                .filter(|text| !text.is_empty()),
            scanning: scanning(object),
            variant: codes(object, tags::SEQUENCE_VARIANT),
            tr_ms: positive(frames.number(timing, tags::REPETITION_TIME)),
            te_ms: positive(
                number(object, tags::ECHO_TIME)
                    .or_else(|| frames.number(tags::MR_ECHO_SEQUENCE, tags::EFFECTIVE_ECHO_TIME)),
            ),
            ti_ms: positive(
                number(object, tags::INVERSION_TIME)
                    .or_else(|| frames.number(tags::MR_MODIFIER_SEQUENCE, tags::INVERSION_TIMES)),
            ),
            flip_deg: positive(frames.number(timing, tags::FLIP_ANGLE)),
            echo_train: positive(frames.number(timing, tags::ECHO_TRAIN_LENGTH)),
            thickness_mm: positive(
                frames.number(tags::PIXEL_MEASURES_SEQUENCE, tags::SLICE_THICKNESS),
            ),
            body_part: text(object, tags::BODY_PART_EXAMINED).to_uppercase(),
            angiography: text(object, tags::ANGIO_FLAG).eq_ignore_ascii_case("Y"),
            diffusion: frames
                .number(tags::MR_DIFFUSION_SEQUENCE, tags::DIFFUSION_B_VALUE)
                .is_some_and(|b| b > 0.0),
            agent: agent(object),
            contrast_s: seconds(&date, &text(object, tags::CONTRAST_BOLUS_START_TIME)),
            acquired_s,
            plane: frames.orientation().map(|cosines| plane(&cosines)),
        }
    }

    /// Whether an inversion pulse is known of.
    pub(super) fn inverts(&self) -> bool {
        self.ti_ms.is_some() || self.scanning.iter().any(|code| code == "IR")
    }
}

/// A multi-frame image's groups of values: those that all frames share, and the first frame's.
pub(super) struct Frames<'a> {
    object: &'a InMemDicomObject,
    groups: Vec<&'a InMemDicomObject>,
}

impl<'a> Frames<'a> {
    pub(super) fn of(object: &'a InMemDicomObject) -> Self {
        let mut groups = Vec::new();
        for tag in [
            tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE,
            tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE,
        ] {
            groups.extend(items(object, tag).first());
        }
        Self { object, groups }
    }

    /// A number of the image itself, or else of a group.
    fn number(&self, group: Tag, tag: Tag) -> Option<f64> {
        number(self.object, tag).or_else(|| {
            self.groups
                .iter()
                .filter_map(|one| items(one, group).first())
                .find_map(|one| number(one, tag))
        })
    }

    fn codes(&self, group: Tag, tag: Tag) -> Vec<String> {
        let mut found = Vec::new();
        for one in &self.groups {
            for item in items(one, group) {
                found.extend(codes(item, tag));
            }
        }
        found
    }

    /// ImageOrientationPatient.
    pub(super) fn orientation(&self) -> Option<[f64; 6]> {
        let of = |object: &InMemDicomObject| numbers(object, tags::IMAGE_ORIENTATION_PATIENT);
        of(self.object).or_else(|| {
            self.groups
                .iter()
                .filter_map(|one| items(one, tags::PLANE_ORIENTATION_SEQUENCE).first())
                .find_map(of)
        })
    }

    /// ImagePositionPatient of each frame; of the image itself where it has only one.
    pub(super) fn positions(&self) -> Vec<[f64; 3]> {
        if let Some(one) = numbers(self.object, tags::IMAGE_POSITION_PATIENT) {
            return vec![one];
        }
        let mut found = Vec::new();
        for frame in items(self.object, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE) {
            let place = items(frame, tags::PLANE_POSITION_SEQUENCE).first();
            found.extend(place.and_then(|place| numbers(place, tags::IMAGE_POSITION_PATIENT)));
        }
        found
    }
}

/// The items of a sequence; none where it is missing or something else.
fn items(object: &InMemDicomObject, tag: Tag) -> &[InMemDicomObject] {
    object
        .get(tag)
        .and_then(|element| element.items())
        .unwrap_or_default()
}

/// An element's text without padding; empty where it is missing.
pub(super) fn text(object: &InMemDicomObject, tag: Tag) -> String {
    let element = object.get(tag);
    let text = element.and_then(|element| element.to_str().ok());
    text.map(|text| text.trim_matches(['\0', ' ']).to_owned())
        .unwrap_or_default()
}

/// An element's values in capitals, without padding and empty ones.
fn codes(object: &InMemDicomObject, tag: Tag) -> Vec<String> {
    let texts = object
        .get(tag)
        .and_then(|element| element.to_multi_str().ok());
    let mut codes = Vec::new();
    for text in texts.iter().flat_map(|texts| texts.iter()) {
        for code in text.split('\\') {
            let code = code.trim_matches(['\0', ' ']).to_uppercase();
            if !code.is_empty() {
                codes.push(code);
            }
        }
    }
    codes
}

/// An element's first value, where it is a finite number.
pub(super) fn number(object: &InMemDicomObject, tag: Tag) -> Option<f64> {
    let values = object.get(tag)?.to_multi_float64().ok()?;
    values.first().copied().filter(|value| value.is_finite())
}

fn numbers<const N: usize>(object: &InMemDicomObject, tag: Tag) -> Option<[f64; N]> {
    let values = object.get(tag)?.to_multi_float64().ok()?;
    let values: [f64; N] = values.try_into().ok()?;
    values
        .iter()
        .all(|value| value.is_finite())
        .then_some(values)
}

/// ScanningSequence; of a multi-frame image, which has other elements for it, the same codes.
fn scanning(object: &InMemDicomObject) -> Vec<String> {
    let mut found = codes(object, tags::SCANNING_SEQUENCE);
    if !found.is_empty() {
        return found;
    }
    let is = |tag, value: &str| text(object, tag).eq_ignore_ascii_case(value);
    let both = is(tags::ECHO_PULSE_SEQUENCE, "BOTH");
    if both || is(tags::ECHO_PULSE_SEQUENCE, "SPIN") {
        found.push("SE".into());
    }
    if both || is(tags::ECHO_PULSE_SEQUENCE, "GRADIENT") {
        found.push("GR".into());
    }
    if is(tags::INVERSION_RECOVERY, "YES") {
        found.push("IR".into());
    }
    if is(tags::ECHO_PLANAR_PULSE_SEQUENCE, "YES") {
        found.push("EP".into());
    }
    found
}

/// The contrast agent's name. A multi-frame image, and some classic ones, list it as a code.
fn agent(object: &InMemDicomObject) -> Option<String> {
    if object.get(tags::CONTRAST_BOLUS_AGENT).is_some() {
        return Some(text(object, tags::CONTRAST_BOLUS_AGENT));
    }
    let coded = items(object, tags::CONTRAST_BOLUS_AGENT_SEQUENCE).first()?;
    let meaning = text(coded, tags::CODE_MEANING);
    Some(if meaning.is_empty() {
        "coded".into()
    } else {
        meaning
    })
}

/// The patient's plane that is nearest to two cosines.
fn plane(cosines: &[f64; 6]) -> Plane {
    let [a, b, c, d, e, f] = *cosines;
    let [x, y, z] = crate::vector::cross([a, b, c], [d, e, f]).map(f64::abs);
    if z >= x && z >= y {
        Plane::Axial
    } else if x >= y {
        Plane::Sagittal
    } else {
        Plane::Coronal
    }
}

/// A date (`YYYYMMDD`) and a time (`HHMMSS.F`) as seconds on one time line; `None` for what is no
/// time. A missing date is day 0.
pub(super) fn seconds(date: &str, time: &str) -> Option<f64> {
    let digits = |text: &str| text.parse::<u32>().ok();
    let hours = digits(time.get(..2)?)?;
    let minutes = time.get(2..4).map_or(Some(0), digits)?;
    let rest: f64 = match time.get(4..) {
        None | Some("") => 0.0,
        // An offset from UTC may follow the time.
        Some(rest) => rest.split(['+', '-']).next()?.parse().ok()?,
    };
    if hours > 23 || minutes > 59 || !(0.0..61.0).contains(&rest) {
        return None;
    }
    let time = f64::from(hours * 3600 + minutes * 60) + rest;
    Some(day(date).unwrap_or(0.0) * DAY + time)
}

/// A number that grows by one each day.
fn day(date: &str) -> Option<f64> {
    let number = |range: std::ops::Range<usize>| date.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(4..6)?, number(6..8)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years begin in March, so that the leap day is the last one.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    Some((365 * year + leap + (153 * month + 2) / 5 + day) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dicom_core::value::DataSetSequence;
    use dicom_core::{DataElement, PrimitiveValue, VR};

    #[test]
    fn times_of_one_day_and_over_midnight_are_on_one_line() {
        let at = |date, time| seconds(date, time).unwrap();
        assert_eq!(
            at("20260102", "101112.5") - at("20260102", "101012.500000"),
            60.0
        );
        assert_eq!(
            at("20240301", "000000") - at("20240228", "235900"),
            DAY + 60.0
        );
        assert_eq!(at("20260101", "00") - at("20251231", "2359"), 60.0);
        assert_eq!(
            at("20260101", "101112+0100") - at("20260101", "101112"),
            0.0
        );
        for time in ["", "1", "noon", "250000", "10:11:12", "1€"] {
            assert_eq!(seconds("20260102", time), None, "{time}");
        }
        assert!(seconds("", "101112").is_some());
    }

    #[test]
    fn the_plane_is_the_nearest_one() {
        assert_eq!(plane(&[1.0, 0.1, 0.0, -0.1, 0.95, 0.3]), Plane::Axial);
        assert_eq!(plane(&[0.0, 1.0, 0.0, 0.0, 0.0, -1.0]), Plane::Sagittal);
        assert_eq!(plane(&[1.0, 0.0, 0.0, 0.0, 0.0, -1.0]), Plane::Coronal);
    }

    /// An element with text, whose values are separated as in a file.
    fn put(object: &mut InMemDicomObject, tag: Tag, vr: VR, text: &str) {
        let values = text.split('\\').map(str::to_owned).collect();
        object.put(DataElement::new(tag, vr, PrimitiveValue::Strs(values)));
    }

    /// An element with one item, which has numbers or codes.
    fn group(tag: Tag, elements: &[(Tag, VR, &str)]) -> DataElement<InMemDicomObject> {
        let mut item = InMemDicomObject::new_empty();
        for (tag, vr, text) in elements {
            if *vr == VR::FD {
                let number: f64 = text.parse().unwrap();
                item.put(DataElement::new(*tag, *vr, PrimitiveValue::from(number)));
            } else {
                put(&mut item, *tag, *vr, text);
            }
        }
        DataElement::new(tag, VR::SQ, DataSetSequence::from(vec![item]))
    }

    #[test]
    fn a_multi_frame_image_tells_the_same_as_a_classic_one() {
        let mut shared = InMemDicomObject::new_empty();
        for element in [
            group(
                tags::MR_TIMING_AND_RELATED_PARAMETERS_SEQUENCE,
                &[
                    (tags::REPETITION_TIME, VR::DS, "2300"),
                    (tags::FLIP_ANGLE, VR::DS, "9"),
                ],
            ),
            group(
                tags::MR_ECHO_SEQUENCE,
                &[(tags::EFFECTIVE_ECHO_TIME, VR::FD, "2.98")],
            ),
            group(
                tags::MR_MODIFIER_SEQUENCE,
                &[(tags::INVERSION_TIMES, VR::FD, "900")],
            ),
            group(
                tags::PLANE_ORIENTATION_SEQUENCE,
                &[(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, "0\\1\\0\\0\\0\\-1")],
            ),
            group(
                tags::MR_IMAGE_FRAME_TYPE_SEQUENCE,
                &[(tags::FRAME_TYPE, VR::CS, "ORIGINAL\\PRIMARY\\UNI")],
            ),
        ] {
            shared.put(element);
        }
        let mut frames = Vec::new();
        for place in ["0\\0\\1", "0\\0\\2"] {
            let mut frame = InMemDicomObject::new_empty();
            frame.put(group(
                tags::PLANE_POSITION_SEQUENCE,
                &[(tags::IMAGE_POSITION_PATIENT, VR::DS, place)],
            ));
            frames.push(frame);
        }
        let mut object = InMemDicomObject::new_empty();
        object.put(DataElement::new(
            tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE,
            VR::SQ,
            DataSetSequence::from(vec![shared]),
        ));
        object.put(DataElement::new(
            tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE,
            VR::SQ,
            DataSetSequence::from(frames),
        ));
        object.put(group(
            tags::CONTRAST_BOLUS_AGENT_SEQUENCE,
            &[(tags::CODE_MEANING, VR::LO, "Gadobutrol")],
        ));
        for (tag, vr, text) in [
            (tags::ECHO_PULSE_SEQUENCE, VR::CS, "GRADIENT"),
            (tags::INVERSION_RECOVERY, VR::CS, "YES"),
            (tags::MR_ACQUISITION_TYPE, VR::CS, "3D"),
            (tags::ACQUISITION_DATE_TIME, VR::DT, "20260102101112.5"),
        ] {
            put(&mut object, tag, vr, text);
        }
        let facts = Facts::of(&object);
        assert_eq!(facts.scanning, ["GR", "IR"]);
        assert_eq!(facts.image_type, ["ORIGINAL", "PRIMARY", "UNI"]);
        assert_eq!(
            [facts.tr_ms, facts.te_ms, facts.ti_ms, facts.flip_deg],
            [2300.0, 2.98, 900.0, 9.0].map(Some)
        );
        assert_eq!(facts.agent.as_deref(), Some("Gadobutrol"));
        assert_eq!(facts.plane, Some(Plane::Sagittal));
        assert_eq!(facts.acquired_s, seconds("20260102", "101112.5"));
        let positions = Frames::of(&object).positions();
        assert_eq!(positions, [[0.0, 0.0, 1.0], [0.0, 0.0, 2.0]]);
    }
}
