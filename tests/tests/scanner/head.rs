//! A synthetic head as a function of the patient's space, and its series as a scanner exports them.

use dicom_core::VR;
use dicom_dictionary_std::tags;
use journeys::dicom_file::MrSlice;
use std::fs;
use std::path::Path;

/// Columns, rows and slices of a series.
pub(crate) const SIDES: [usize; 3] = [46, 58, 52];
/// A voxel, millimetres in each direction.
pub(crate) const VOXEL_MM: f64 = 4.0;
/// How far the top of the skull is off the middle of the grid.
const RAISED_MM: f64 = 4.0;

/// A point in millimetres to the patient's right, front and top.
pub(crate) type Place = [f64; 3];

struct Part {
    middle: Place,
    radii: Place,
    bravo: f64,
    flair: f64,
}

const fn part(middle: Place, radii: Place, bravo: f64, flair: f64) -> Part {
    Part {
        middle,
        radii,
        bravo,
        flair,
    }
}

/// Later parts are over earlier ones: scalp, jaw, nose, skull, brain, ventricle.
const PARTS: [Part; 8] = [
    part([0.0, -5.0, 5.0], [84.0, 100.0, 95.0], 800.0, 450.0),
    part([0.0, 60.0, -65.0], [45.0, 40.0, 25.0], 700.0, 400.0),
    part(NOSE, [20.0, 22.0, 28.0], 800.0, 450.0),
    part([0.0, -5.0, 5.0], [77.0, 93.0, 88.0], 60.0, 40.0),
    part([0.0, 0.0, 20.0], [62.0, 78.0, 50.0], 600.0, 500.0),
    part([0.0, -45.0, -20.0], [42.0, 28.0, 24.0], 600.0, 500.0),
    part([0.0, -20.0, -35.0], [13.0, 13.0, 32.0], 550.0, 450.0),
    part([12.0, -5.0, 25.0], [8.0, 28.0, 12.0], 320.0, 120.0),
];
pub(crate) const NOSE: Place = [0.0, 88.0, -30.0];
pub(crate) const LESION_MM: f64 = 12.0;

/// One patient.
pub(crate) struct Patient {
    pub(crate) id: &'static str,
    pub(crate) lesion: Place,
    /// How the head was moved before the second series: turns about the axis to the top and the
    /// axis to the right, degrees, and a shift.
    pub(crate) turned: [f64; 2],
    pub(crate) shifted: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sequence {
    Bravo,
    Flair,
}

impl Patient {
    /// Where a point of a series is in the head that was not moved.
    fn unmoved(&self, place: Place, sequence: Sequence) -> Place {
        if sequence == Sequence::Bravo {
            return place;
        }
        let [x, y, z] = [0, 1, 2].map(|axis| place[axis] - self.shifted[axis]);
        let (sin, cos) = self.turned[0].to_radians().sin_cos();
        let [x, y] = [cos * x + sin * y, cos * y - sin * x];
        let (sin, cos) = self.turned[1].to_radians().sin_cos();
        [x, cos * y + sin * z, cos * z - sin * y]
    }

    /// Whether a point of a series is lesion.
    pub(crate) fn is_lesion(&self, place: Place, sequence: Sequence) -> bool {
        let place = self.unmoved(place, sequence);
        distance(place, self.lesion) < LESION_MM
    }

    /// The brightness at a point of a series. Edges are a few millimetres wide.
    fn brightness(&self, place: Place, sequence: Sequence) -> f64 {
        let place = self.unmoved(place, sequence);
        let lesion = part(self.lesion, [LESION_MM; 3], 1500.0, 1100.0);
        let mut value = 0.0;
        for part in PARTS.iter().chain([&lesion]) {
            let mut square = 0.0;
            let mut smallest = f64::INFINITY;
            for (axis, radius) in part.radii.iter().enumerate() {
                square += ((place[axis] - part.middle[axis]) / radius).powi(2);
                smallest = smallest.min(*radius);
            }
            let outside = (square.sqrt() - 1.0) * smallest;
            let inside = 1.0 / (1.0 + outside.exp());
            let own = match sequence {
                Sequence::Bravo => part.bravo,
                Sequence::Flair => part.flair,
            };
            value += inside * (own - value);
        }
        value
    }

    /// Writes a series as a PACS does: files without an ending.
    pub(crate) fn write(&self, sequence: Sequence, folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        for slice in 0..SIDES[2] {
            let mut pixels: Vec<u16> = Vec::with_capacity(SIDES[0] * SIDES[1]);
            for row in 0..SIDES[1] {
                for column in 0..SIDES[0] {
                    let value = self.brightness(place(column, row, slice), sequence);
                    pixels.push(value.round() as u16);
                }
            }
            self.write_slice(
                sequence,
                slice,
                pixels,
                &folder.join(format!("I{slice:05}")),
            );
        }
    }

    fn write_slice(&self, sequence: Sequence, slice: usize, pixels: Vec<u16>, file: &Path) {
        let (number, description, scanning, times) = match sequence {
            Sequence::Bravo => ("1", "AX BRAVO +C", "GR", ["8.2", "3.2", "450"]),
            Sequence::Flair => ("2", "CUBE FLAIR", "SE\\IR", ["7600", "119", "2162"]),
        };
        let study = format!("1.2.3.{}", self.id);
        let series = format!("{study}.{number}");
        let first = place(0, 0, slice);
        let position = format!("{}\\{}\\{}", -first[0], -first[1], first[2]);
        let instance_number = (slice + 1).to_string();
        let time = format!("10100{number}");
        let voxel = VOXEL_MM.to_string();
        let spacing = format!("{voxel}\\{voxel}");
        let mut texts = vec![
            (tags::STUDY_INSTANCE_UID, VR::UI, &*study),
            (tags::SERIES_INSTANCE_UID, VR::UI, &series),
            (tags::FRAME_OF_REFERENCE_UID, VR::UI, "1.2.5"),
            (tags::PATIENT_NAME, VR::PN, "Canary^Carla"),
            (tags::PATIENT_ID, VR::LO, self.id),
            (tags::PATIENT_BIRTH_DATE, VR::DA, "19500101"),
            (tags::PATIENT_SEX, VR::CS, "F"),
            (tags::STUDY_DATE, VR::DA, "20260102"),
            (tags::STUDY_TIME, VR::TM, "101112"),
            (tags::ACQUISITION_DATE, VR::DA, "20260102"),
            (tags::ACQUISITION_TIME, VR::TM, &time),
            (tags::MANUFACTURER, VR::LO, "GE MEDICAL SYSTEMS"),
            (tags::SERIES_DESCRIPTION, VR::LO, description),
            (tags::PROTOCOL_NAME, VR::LO, "BRAIN W/WO CONTRAST"),
            (tags::SERIES_NUMBER, VR::IS, number),
            (tags::INSTANCE_NUMBER, VR::IS, &instance_number),
            (tags::IMAGE_TYPE, VR::CS, "ORIGINAL\\PRIMARY\\OTHER"),
            (tags::MR_ACQUISITION_TYPE, VR::CS, "3D"),
            (tags::SCANNING_SEQUENCE, VR::CS, scanning),
            (tags::SEQUENCE_VARIANT, VR::CS, "SS\\SK"),
            (tags::FLIP_ANGLE, VR::DS, "12"),
            (tags::REPETITION_TIME, VR::DS, times[0]),
            (tags::ECHO_TIME, VR::DS, times[1]),
            (tags::INVERSION_TIME, VR::DS, times[2]),
            (tags::IMAGE_POSITION_PATIENT, VR::DS, &position),
            (tags::IMAGE_ORIENTATION_PATIENT, VR::DS, "1\\0\\0\\0\\1\\0"),
            (tags::PIXEL_SPACING, VR::DS, &spacing),
            (tags::SLICE_THICKNESS, VR::DS, &voxel),
            (tags::SPACING_BETWEEN_SLICES, VR::DS, &voxel),
        ];
        if sequence == Sequence::Bravo {
            texts.push((tags::CONTRAST_BOLUS_AGENT, VR::LO, "GADAVIST"));
        }
        let image = MrSlice {
            instance: format!("{series}.{}", slice + 1),
            columns: SIDES[0] as u16,
            bits_stored: 12,
            pixels,
        };
        image.write(&texts, file);
    }
}

/// Millimetres between two points.
pub(crate) fn distance(one: Place, other: Place) -> f64 {
    let [x, y, z] = [0, 1, 2].map(|axis| one[axis] - other[axis]);
    (x * x + y * y + z * z).sqrt()
}

/// The middle of a voxel. Columns run to the patient's left, rows to the back.
fn place(column: usize, row: usize, slice: usize) -> Place {
    let from_middle = |at: usize, axis: usize| at as f64 - (SIDES[axis] as f64 - 1.0) / 2.0;
    [
        -VOXEL_MM * from_middle(column, 0),
        -VOXEL_MM * from_middle(row, 1),
        VOXEL_MM * from_middle(slice, 2) + RAISED_MM,
    ]
}

/// The middle of a voxel of an imported image: columns to the right, rows to the front.
pub(crate) fn place_of_image(column: usize, row: usize, slice: usize) -> Place {
    place(SIDES[0] - 1 - column, SIDES[1] - 1 - row, slice)
}
