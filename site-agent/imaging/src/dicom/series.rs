//! One DICOM series of slices: its geometry, and what an object made from it must repeat.

use crate::vector::{cross, difference, dot};
use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::{DefaultDicomObject, InMemDicomObject, OpenFileOptions};
use std::path::{Path, PathBuf};

/// Slices of one plane, in order along their normal.
#[derive(Clone, Debug)]
pub struct Series {
    pub series_uid: String,
    pub study_uid: String,
    pub frame_of_reference_uid: String,
    pub rows: usize,
    pub columns: usize,
    /// Millimetres between rows, and between columns.
    pub pixel_spacing: [f64; 2],
    /// Millimetres between slices where they are even, otherwise the mean.
    pub slice_spacing: f64,
    /// Directions in which the column index and the row index grow, in patient axes (left, back,
    /// top).
    pub orientation: [[f64; 3]; 2],
    pub slices: Vec<Slice>,
    /// Elements of the patient and the study, as the source has them.
    pub(super) common: InMemDicomObject,
}

/// One image of a series.
#[derive(Clone, Debug, PartialEq)]
pub struct Slice {
    pub instance_uid: String,
    pub class_uid: String,
    /// Centre of the first pixel, in patient axes (left, back, top), millimetres.
    pub position: [f64; 3],
    /// Along the normal.
    pub height: f64,
}

/// Why a folder holds no series that something can be placed on. No text of a patient is repeated.
#[derive(Debug, thiserror::Error)]
pub enum SeriesError {
    #[error("cannot read {}: {source}", .path.display())]
    Disk {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("there is no DICOM image in {}", .0.display())]
    Empty(PathBuf),
    #[error("{} holds {} series: name one of {}", .folder.display(), .found.len(), .found.join(", "))]
    Several { folder: PathBuf, found: Vec<String> },
    #[error("{} holds no series {wanted}, but {}", .folder.display(), .found.join(", "))]
    Absent {
        folder: PathBuf,
        wanted: String,
        found: Vec<String>,
    },
    #[error("{}: {tag} is missing or cannot be read", .path.display())]
    Element { path: PathBuf, tag: &'static str },
    #[error("{}: {what} differs from the other slices'", .path.display())]
    Differs { path: PathBuf, what: &'static str },
    #[error("{} and {} are at the same place: two time points or echoes in one series", .first.display(), .second.display())]
    SamePlace { first: PathBuf, second: PathBuf },
}

/// What of the patient and the study every object of the study repeats.
const COMMON: [Tag; 16] = [
    tags::SPECIFIC_CHARACTER_SET,
    tags::STUDY_DATE,
    tags::STUDY_TIME,
    tags::ACCESSION_NUMBER,
    tags::REFERRING_PHYSICIAN_NAME,
    tags::STUDY_DESCRIPTION,
    tags::PATIENT_NAME,
    tags::PATIENT_ID,
    tags::ISSUER_OF_PATIENT_ID,
    tags::PATIENT_BIRTH_DATE,
    tags::PATIENT_SEX,
    tags::PATIENT_AGE,
    tags::PATIENT_IDENTITY_REMOVED,
    tags::STUDY_INSTANCE_UID,
    tags::STUDY_ID,
    tags::POSITION_REFERENCE_INDICATOR,
];

/// How much cosines of the same direction may differ, by rounding in the file.
const SAME_DIRECTION: f64 = 1e-3;
/// Slices nearer than this, in millimetres, are at the same place.
const SAME_PLACE: f64 = 1e-3;

impl Series {
    /// The series of the DICOM files in a folder and the folders below. Other files are passed by.
    ///
    /// # Errors
    /// See [`SeriesError`]. Where a folder holds several series, `wanted` must name one by its UID.
    pub fn read(folder: &Path, wanted: Option<&str>) -> Result<Self, SeriesError> {
        let mut files = Vec::new();
        list(folder, &mut files)?;
        files.sort();
        let mut images = Vec::new();
        for path in files {
            // Pixels are not needed.
            let opened = OpenFileOptions::new()
                .read_until(tags::PIXEL_DATA)
                .open_file(&path);
            let Ok(object) = opened else { continue };
            if object.get(tags::IMAGE_POSITION_PATIENT).is_some() {
                images.push((path, object));
            }
        }
        let mut found: Vec<String> = Vec::new();
        for (path, object) in &images {
            let uid = text(path, object, tags::SERIES_INSTANCE_UID, "SeriesInstanceUID")?;
            if !found.contains(&uid) {
                found.push(uid);
            }
        }
        let chosen = match (wanted, found.as_slice()) {
            (_, []) => return Err(SeriesError::Empty(folder.into())),
            (None, [one]) => one.clone(),
            (None, _) => {
                return Err(SeriesError::Several {
                    folder: folder.into(),
                    found,
                });
            }
            (Some(wanted), _) if found.iter().any(|uid| uid == wanted) => wanted.to_owned(),
            (Some(wanted), _) => {
                return Err(SeriesError::Absent {
                    folder: folder.into(),
                    wanted: wanted.to_owned(),
                    found,
                });
            }
        };
        images.retain(|(path, object)| {
            let uid = text(path, object, tags::SERIES_INSTANCE_UID, "SeriesInstanceUID");
            uid.is_ok_and(|uid| uid == chosen)
        });
        Self::of(&images)
    }

    fn of(images: &[(PathBuf, DefaultDicomObject)]) -> Result<Self, SeriesError> {
        let Some((path, first)) = images.first() else {
            return Err(SeriesError::Empty(PathBuf::new()));
        };
        let geometry = Geometry::of(path, first)?;
        let mut slices = Vec::with_capacity(images.len());
        for (path, object) in images {
            let other = Geometry::of(path, object)?;
            if let Some(what) = geometry.difference(&other) {
                return Err(SeriesError::Differs {
                    path: path.clone(),
                    what,
                });
            }
            let position: [f64; 3] = numbers(
                path,
                object,
                tags::IMAGE_POSITION_PATIENT,
                "ImagePositionPatient",
            )?;
            let slice = Slice {
                instance_uid: text(path, object, tags::SOP_INSTANCE_UID, "SOPInstanceUID")?,
                class_uid: text(path, object, tags::SOP_CLASS_UID, "SOPClassUID")?,
                position,
                height: dot(position, geometry.normal()),
            };
            slices.push((path, slice));
        }
        slices.sort_by(|(_, a), (_, b)| a.height.total_cmp(&b.height));
        for pair in slices.windows(2) {
            if pair[1].1.height - pair[0].1.height < SAME_PLACE {
                return Err(SeriesError::SamePlace {
                    first: pair[0].0.clone(),
                    second: pair[1].0.clone(),
                });
            }
        }
        let slices: Vec<Slice> = slices.into_iter().map(|(_, slice)| slice).collect();
        let slice_spacing = match slices.as_slice() {
            [first, .., last] => (last.height - first.height) / (slices.len() - 1) as f64,
            _ => geometry.thickness,
        };
        let mut common = InMemDicomObject::new_empty();
        for tag in COMMON {
            if let Some(element) = first.get(tag) {
                common.put(element.clone());
            }
        }
        Ok(Self {
            series_uid: text(path, first, tags::SERIES_INSTANCE_UID, "SeriesInstanceUID")?,
            study_uid: text(path, first, tags::STUDY_INSTANCE_UID, "StudyInstanceUID")?,
            frame_of_reference_uid: text(
                path,
                first,
                tags::FRAME_OF_REFERENCE_UID,
                "FrameOfReferenceUID",
            )?,
            rows: geometry.rows,
            columns: geometry.columns,
            pixel_spacing: geometry.pixel_spacing,
            slice_spacing,
            orientation: geometry.orientation,
            slices,
            common,
        })
    }

    /// A place in patient axes (left, back, top), millimetres. Whole numbers are pixels' centres.
    #[must_use]
    pub fn place(&self, slice: usize, row: f64, column: f64) -> [f64; 3] {
        let [along_columns, along_rows] = self.orientation;
        let [row_step, column_step] = self.pixel_spacing;
        let mut place = self.slices[slice].position;
        for axis in 0..3 {
            place[axis] +=
                column * column_step * along_columns[axis] + row * row_step * along_rows[axis];
        }
        place
    }

    /// Cubic millimetres of a pixel with its slice.
    #[must_use]
    pub fn pixel_mm3(&self) -> f64 {
        self.pixel_spacing[0] * self.pixel_spacing[1] * self.slice_spacing
    }

    /// Whether a place, in patient axes, is within half a pixel and half a slice of some pixel.
    #[must_use]
    pub fn contains(&self, place: [f64; 3]) -> bool {
        let (Some(first), Some(last)) = (self.slices.first(), self.slices.last()) else {
            return false;
        };
        let normal = cross(self.orientation[0], self.orientation[1]);
        let height = dot(place, normal);
        let half = self.slice_spacing / 2.0 + SAME_PLACE;
        if height < first.height - half || height > last.height + half {
            return false;
        }
        let from = difference(place, first.position);
        let column = dot(from, self.orientation[0]) / self.pixel_spacing[1];
        let row = dot(from, self.orientation[1]) / self.pixel_spacing[0];
        let inside = |at: f64, side: usize| at > -0.51 && at < side as f64 - 0.49;
        inside(column, self.columns) && inside(row, self.rows)
    }
}

/// What all slices of a series have alike.
struct Geometry {
    rows: usize,
    columns: usize,
    pixel_spacing: [f64; 2],
    orientation: [[f64; 3]; 2],
    thickness: f64,
}

impl Geometry {
    fn of(path: &Path, object: &DefaultDicomObject) -> Result<Self, SeriesError> {
        let [a, b, c, d, e, f] = numbers(
            path,
            object,
            tags::IMAGE_ORIENTATION_PATIENT,
            "ImageOrientationPatient",
        )?;
        let [rows] = numbers(path, object, tags::ROWS, "Rows")?;
        let [columns] = numbers(path, object, tags::COLUMNS, "Columns")?;
        let thickness = numbers(path, object, tags::SLICE_THICKNESS, "SliceThickness");
        Ok(Self {
            rows: rows as usize,
            columns: columns as usize,
            pixel_spacing: numbers(path, object, tags::PIXEL_SPACING, "PixelSpacing")?,
            orientation: [[a, b, c], [d, e, f]],
            thickness: thickness.map_or(1.0, |[thickness]| thickness),
        })
    }

    fn normal(&self) -> [f64; 3] {
        cross(self.orientation[0], self.orientation[1])
    }

    fn difference(&self, other: &Self) -> Option<&'static str> {
        if (self.rows, self.columns) != (other.rows, other.columns) {
            return Some("the number of rows or columns");
        }
        for axis in 0..2 {
            if (self.pixel_spacing[axis] - other.pixel_spacing[axis]).abs() > SAME_PLACE {
                return Some("PixelSpacing");
            }
            for part in 0..3 {
                let apart = self.orientation[axis][part] - other.orientation[axis][part];
                if apart.abs() > SAME_DIRECTION {
                    return Some("ImageOrientationPatient");
                }
            }
        }
        None
    }
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), SeriesError> {
    let failed = |source| SeriesError::Disk {
        path: folder.into(),
        source,
    };
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

fn text(
    path: &Path,
    object: &DefaultDicomObject,
    tag: Tag,
    name: &'static str,
) -> Result<String, SeriesError> {
    let value = object.get(tag).and_then(|element| element.to_str().ok());
    let value = value.map(|text| text.trim_end_matches(['\0', ' ']).to_owned());
    value
        .filter(|text| !text.is_empty())
        .ok_or_else(|| SeriesError::Element {
            path: path.into(),
            tag: name,
        })
}

fn numbers<const N: usize>(
    path: &Path,
    object: &DefaultDicomObject,
    tag: Tag,
    name: &'static str,
) -> Result<[f64; N], SeriesError> {
    let values = object
        .get(tag)
        .and_then(|element| element.to_multi_float64().ok());
    let values = values.filter(|values| values.iter().all(|value| value.is_finite()));
    values
        .and_then(|values| values.try_into().ok())
        .ok_or_else(|| SeriesError::Element {
            path: path.into(),
            tag: name,
        })
}
