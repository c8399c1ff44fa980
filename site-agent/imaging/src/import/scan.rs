//! All DICOM files of a folder by patient, study and series. Only headers are read.

use super::error::ImportError;
use super::facts::{Facts, Frames, number, seconds, text};
use super::lengths;
use crate::parallel::in_parallel;
use crate::vector::{cross, dot};
use dicom_dictionary_std::tags;
use dicom_object::{DefaultDicomObject, OpenFileOptions};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// The media storage class of a DICOMDIR, which lists files and is none.
const DIRECTORY: &str = "1.2.840.10008.1.3.10";
/// How the classes of MR images begin, classic and multi-frame.
const MR_IMAGES: &str = "1.2.840.10008.5.1.4.1.1.4";
/// Transfer syntaxes whose pixels are stored as they are: implicit and explicit little endian.
const NATIVE: [&str; 2] = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"];
/// How the element of the pixels begins in a native file.
const PIXEL_DATA: [u8; 4] = [0xe0, 0x7f, 0x10, 0x00];
/// Slices nearer than this, in millimetres, are at the same place.
const SAME_PLACE: f64 = 0.01;
/// How much cosines of one direction may differ, by rounding in the file.
const SAME_DIRECTION: f64 = 1e-2;
/// How much larger the largest step between slices may be than the smallest.
const EVEN: f64 = 1.5;

/// What a folder holds.
#[derive(Debug, Default)]
pub struct Scan {
    pub patients: Vec<Patient>,
    pub files: Files,
}

/// What became of the files.
#[derive(Debug, Default)]
pub struct Files {
    /// All that were looked at.
    pub seen: usize,
    /// Images that belong to a series.
    pub images: usize,
    /// Copies of an image, by SOPInstanceUID.
    pub copies: usize,
    /// DICOM objects that are no images (reports, presentation states), by Modality.
    pub no_images: BTreeMap<String, usize>,
    /// DICOMDIR files.
    pub directories: usize,
    /// Not DICOM.
    pub foreign: Vec<PathBuf>,
    /// DICOM that cannot be used, with the reason.
    pub damaged: Vec<(PathBuf, Fault)>,
}

/// Why a file cannot be used. Repeats no text of the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("it cannot be read: {0}")]
    Unreadable(io::ErrorKind),
    #[error("its header is damaged")]
    Header,
    #[error("it begins like DICOM, but lacks the file header")]
    NoFileHeader,
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("it is cut short: pixels are missing")]
    CutShort,
    #[error("the folder cannot be listed: {0}")]
    Folder(io::ErrorKind),
}

/// One patient. The fields are confidential.
#[derive(Debug)]
pub struct Patient {
    /// PatientID; of a patient without one, the StudyInstanceUID.
    pub id: String,
    pub has_id: bool,
    pub names: BTreeSet<String>,
    pub birth_dates: BTreeSet<String>,
    /// In order of date.
    pub studies: Vec<Study>,
}

/// One study. The fields are confidential.
#[derive(Debug)]
pub struct Study {
    pub uid: String,
    pub date: String,
    pub start_s: f64,
    /// In order of number.
    pub series: Vec<Series>,
}

/// One series.
#[derive(Debug)]
pub struct Series {
    pub uid: String,
    pub number: i64,
    pub facts: Facts,
    /// In the order of their numbers and places.
    pub files: Vec<PathBuf>,
    /// Images: files, or frames of multi-frame files.
    pub frames: usize,
    /// Different places along the normal.
    pub slices: usize,
    /// Pixels of a slice.
    pub rows: usize,
    pub columns: usize,
    /// Smallest and largest step between slices, millimetres.
    pub steps_mm: Option<[f64; 2]>,
    /// Files of it that are damaged.
    pub damaged: usize,
    /// What differs between its images.
    pub mixed: Vec<&'static str>,
    /// Hash of the images' UIDs.
    pub content: blake3::Hash,
}

/// One image's header.
struct Image {
    path: PathBuf,
    patient_id: String,
    patient_name: String,
    birth_date: String,
    study_uid: String,
    study_date: String,
    study_time: String,
    series_uid: String,
    series_number: i64,
    instance_uid: String,
    instance_number: i64,
    facts: Facts,
    orientation: Option<[f64; 6]>,
    positions: Vec<[f64; 3]>,
    frames: usize,
    rows: usize,
    columns: usize,
    fault: Option<Fault>,
}

/// What a file turned out to be.
enum Found {
    Image(Box<Image>),
    NoImage(String),
    Directory,
    Foreign,
    Damaged(Fault),
}

/// Reads the headers of all files in a folder and below, on so many threads. `progress` is told how
/// many files are done, of how many.
///
/// # Errors
/// The folder itself cannot be listed, or holds no image.
pub fn scan(
    folder: &Path,
    threads: usize,
    progress: &mut (dyn FnMut(usize, usize) + Send),
) -> Result<Scan, ImportError> {
    let mut files = Files::default();
    let mut paths = Vec::new();
    list(folder, folder, &mut paths, &mut files)?;
    paths.sort();
    files.seen = paths.len();
    let found = in_parallel(&paths, threads, &|path: &PathBuf| look(path), progress);
    let mut images = Vec::new();
    for (path, found) in paths.into_iter().zip(found) {
        match found {
            Found::Image(image) => images.push(*image),
            Found::NoImage(modality) => *files.no_images.entry(modality).or_default() += 1,
            Found::Directory => files.directories += 1,
            Found::Foreign => files.foreign.push(path),
            Found::Damaged(fault) => files.damaged.push((path, fault)),
        }
    }
    let mut scan = Scan {
        patients: Vec::new(),
        files,
    };
    scan.group(images);
    if scan.patients.is_empty() {
        return Err(ImportError::NoImages {
            folder: folder.into(),
            files: scan.files.seen,
            damaged: scan.files.damaged.len(),
        });
    }
    Ok(scan)
}

/// Lists files. Hidden ones, and links to folders, which may lead anywhere, are passed by.
fn list(
    root: &Path,
    folder: &Path,
    paths: &mut Vec<PathBuf>,
    files: &mut Files,
) -> Result<(), ImportError> {
    let entries =
        std::fs::read_dir(folder).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
    let entries = match entries {
        Ok(entries) => entries,
        Err(source) if folder == root => {
            return Err(ImportError::Folder {
                folder: folder.into(),
                source,
            });
        }
        Err(error) => {
            files
                .damaged
                .push((folder.into(), Fault::Folder(error.kind())));
            return Ok(());
        }
    };
    for entry in entries {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let kind = entry.file_type();
        let is_link = kind.as_ref().is_ok_and(std::fs::FileType::is_symlink);
        if path.is_dir() {
            if !is_link {
                list(root, &path, paths, files)?;
            }
        } else {
            paths.push(path);
        }
    }
    Ok(())
}

/// Reads one header.
fn look(path: &Path) -> Found {
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(132).read_to_end(&mut start));
    if let Err(error) = read {
        return Found::Damaged(Fault::Unreadable(error.kind()));
    }
    if path
        .file_name()
        .is_some_and(|name| name.eq_ignore_ascii_case("DICOMDIR"))
    {
        return Found::Directory;
    }
    if start.get(128..132) != Some(b"DICM") {
        // A first element of group 2 or 8, little endian.
        let bare = matches!(start.get(..4), Some([2 | 8, 0, low, 0]) if *low <= 0x20);
        return if bare {
            Found::Damaged(Fault::NoFileHeader)
        } else {
            Found::Foreign
        };
    }
    // A fault in the parser must not end the import of all other files.
    let image = catch_unwind(AssertUnwindSafe(|| image(path)));
    image.unwrap_or(Found::Damaged(Fault::Header))
}

fn image(path: &Path) -> Found {
    if !File::open(path).and_then(lengths::fit).unwrap_or(false) {
        return Found::Damaged(Fault::Header);
    }
    let opened = OpenFileOptions::new()
        .read_until(tags::PIXEL_DATA)
        .open_file(path);
    let Ok(object) = opened else {
        return Found::Damaged(Fault::Header);
    };
    let storage = object.meta().media_storage_sop_class_uid();
    if storage.trim_end_matches('\0') == DIRECTORY {
        return Found::Directory;
    }
    let size = |tag| number(&object, tag).unwrap_or_default().max(0.0) as usize;
    let (rows, columns) = (size(tags::ROWS), size(tags::COLUMNS));
    let frames = Frames::of(&object);
    let study_date = text(&object, tags::STUDY_DATE);
    let image = Image {
        path: path.into(),
        patient_id: text(&object, tags::PATIENT_ID),
        patient_name: text(&object, tags::PATIENT_NAME),
        birth_date: text(&object, tags::PATIENT_BIRTH_DATE),
        study_uid: text(&object, tags::STUDY_INSTANCE_UID),
        study_date,
        study_time: text(&object, tags::STUDY_TIME),
        series_uid: text(&object, tags::SERIES_INSTANCE_UID),
        series_number: number(&object, tags::SERIES_NUMBER).unwrap_or_default() as i64,
        instance_uid: text(&object, tags::SOP_INSTANCE_UID),
        instance_number: number(&object, tags::INSTANCE_NUMBER).unwrap_or_default() as i64,
        facts: Facts::of(&object),
        orientation: frames.orientation(),
        positions: frames.positions(),
        frames: size(tags::NUMBER_OF_FRAMES).max(1),
        rows,
        columns,
        fault: None,
    };
    if rows == 0 || columns == 0 {
        // A report has no rows; neither has an image that ends before them.
        let class = text(&object, tags::SOP_CLASS_UID);
        let modality = image.facts.modality.clone();
        return if class.is_empty() || class.starts_with(MR_IMAGES) {
            Found::Damaged(Fault::Missing("Rows or Columns"))
        } else if modality.is_empty() {
            Found::NoImage("unknown".into())
        } else {
            Found::NoImage(modality)
        };
    }
    for (name, uid) in [
        ("StudyInstanceUID", &image.study_uid),
        ("SeriesInstanceUID", &image.series_uid),
        ("SOPInstanceUID", &image.instance_uid),
    ] {
        if uid.is_empty() {
            return Found::Damaged(Fault::Missing(name));
        }
    }
    let fault = is_cut_short(path, &object, &image).then_some(Fault::CutShort);
    Found::Image(Box::new(Image { fault, ..image }))
}

/// Whether pixels are missing at the end of a file. The pixels of an intact file begin before the
/// last bytes that they need.
fn is_cut_short(path: &Path, object: &DefaultDicomObject, image: &Image) -> bool {
    let syntax = object.meta().transfer_syntax();
    if !NATIVE.contains(&syntax.trim_end_matches('\0')) {
        return false;
    }
    let samples = number(object, tags::SAMPLES_PER_PIXEL)
        .unwrap_or(1.0)
        .max(1.0);
    let bits = number(object, tags::BITS_ALLOCATED)
        .unwrap_or(16.0)
        .max(1.0);
    let pixels = image.rows as f64 * image.columns as f64 * image.frames as f64;
    let needed = (pixels * samples * bits / 8.0) as u64;
    let Ok(mut file) = File::open(path) else {
        return true;
    };
    let Ok(length) = file.seek(SeekFrom::End(0)) else {
        return true;
    };
    // The rest of the pixels' own element head is between its tag and the pixels.
    let implicit = syntax.trim_end_matches('\0') == NATIVE[0];
    let head = if implicit { 4 } else { 8 };
    let Some(before) = length.checked_sub(needed.saturating_add(head)) else {
        return true;
    };
    let mut header = Vec::new();
    let read = file
        .rewind()
        .and_then(|()| (&file).take(before).read_to_end(&mut header));
    read.is_err()
        || !header
            .windows(PIXEL_DATA.len())
            .any(|bytes| bytes == PIXEL_DATA)
}

impl Scan {
    /// Sorts images into patients, studies and series.
    fn group(&mut self, images: Vec<Image>) {
        let mut seen = BTreeSet::new();
        let mut patients: BTreeMap<(bool, String), Vec<Image>> = BTreeMap::new();
        for image in images {
            if let Some(fault) = &image.fault {
                self.files.damaged.push((image.path.clone(), fault.clone()));
            } else if !seen.insert(image.instance_uid.clone()) {
                self.files.copies += 1;
                continue;
            } else {
                self.files.images += 1;
            }
            let has_id = !image.patient_id.is_empty();
            let id = if has_id {
                image.patient_id.clone()
            } else {
                image.study_uid.clone()
            };
            patients.entry((has_id, id)).or_default().push(image);
        }
        for ((has_id, id), images) in patients {
            let mut patient = Patient {
                id,
                has_id,
                names: BTreeSet::new(),
                birth_dates: BTreeSet::new(),
                studies: Vec::new(),
            };
            let mut studies: BTreeMap<String, Vec<Image>> = BTreeMap::new();
            for image in images {
                patient.names.insert(image.patient_name.clone());
                patient.birth_dates.insert(image.birth_date.clone());
                studies
                    .entry(image.study_uid.clone())
                    .or_default()
                    .push(image);
            }
            for of in [&mut patient.names, &mut patient.birth_dates] {
                of.remove("");
            }
            for (uid, images) in studies {
                patient.studies.push(study(uid, images));
            }
            patient
                .studies
                .sort_by(|a, b| a.start_s.total_cmp(&b.start_s).then(a.uid.cmp(&b.uid)));
            self.patients.push(patient);
        }
    }
}

fn study(uid: String, images: Vec<Image>) -> Study {
    let mut date = String::new();
    let mut start_s = f64::MAX;
    let mut groups: BTreeMap<String, Vec<Image>> = BTreeMap::new();
    for image in images {
        let time = if image.study_time.len() < 2 {
            "00"
        } else {
            &image.study_time
        };
        if let Some(start) = seconds(&image.study_date, time)
            && start < start_s
        {
            start_s = start;
            date.clone_from(&image.study_date);
        }
        groups
            .entry(image.series_uid.clone())
            .or_default()
            .push(image);
    }
    let mut all: Vec<Series> = groups
        .into_iter()
        .map(|(uid, images)| series(uid, images))
        .collect();
    all.sort_by(|a, b| a.number.cmp(&b.number).then(a.uid.cmp(&b.uid)));
    Study {
        uid,
        date,
        start_s,
        series: all,
    }
}

/// Brings a series' images together. There is at least one.
fn series(uid: String, mut images: Vec<Image>) -> Series {
    let mut sound = BTreeSet::new();
    for image in &images {
        if image.fault.is_none() {
            sound.insert(image.instance_uid.clone());
        }
    }
    // A damaged copy of a sound image is no loss.
    images.retain(|image| image.fault.is_none() || !sound.contains(&image.instance_uid));
    let damaged = images.len() - sound.len();
    if !sound.is_empty() {
        images.retain(|image| image.fault.is_none());
    }
    images.sort_by(|a, b| {
        let height = |image: &Image| image.positions.first().map_or(0.0, |place| place[2]);
        a.instance_number
            .cmp(&b.instance_number)
            .then(height(a).total_cmp(&height(b)))
            .then(a.instance_uid.cmp(&b.instance_uid))
    });
    let first = &images[0];
    let mut mixed = Vec::new();
    let differs = |other: &dyn Fn(&Image) -> bool| images.iter().any(other);
    let away = |one: &Image| match (one.orientation, first.orientation) {
        (Some(one), Some(first)) => one
            .iter()
            .zip(first)
            .any(|(one, first)| (one - first).abs() > SAME_DIRECTION),
        (one, first) => one.is_some() != first.is_some(),
    };
    if differs(&away) {
        mixed.push("directions of slices");
    }
    if differs(&|one| (one.rows, one.columns) != (first.rows, first.columns)) {
        mixed.push("sizes of slices");
    }
    if differs(&|one| one.facts.te_ms != first.facts.te_ms) {
        mixed.push("echo times");
    }
    if differs(&|one| one.facts.ti_ms != first.facts.ti_ms) {
        mixed.push("inversion times");
    }
    if differs(&|one| one.facts.agent.is_some() != first.facts.agent.is_some()) {
        mixed.push("kinds of contrast");
    }
    let mut facts = first.facts.clone();
    for image in &images {
        // What one image is, the series holds.
        for code in &image.facts.image_type {
            if !facts.image_type.contains(code) {
                facts.image_type.push(code.clone());
            }
        }
        facts.diffusion |= image.facts.diffusion;
        if let (Some(first), Some(other)) = (facts.acquired_s, image.facts.acquired_s) {
            facts.acquired_s = Some(first.min(other));
        }
    }
    let heights = heights(&images, first.orientation);
    let mut hash = blake3::Hasher::new();
    for image in &images {
        hash.update(image.instance_uid.as_bytes());
        hash.update(b"\n");
    }
    Series {
        uid,
        number: first.series_number,
        facts,
        frames: images.iter().map(|image| image.frames).sum(),
        slices: heights.len(),
        rows: first.rows,
        columns: first.columns,
        steps_mm: steps(&heights),
        damaged,
        mixed,
        content: hash.finalize(),
        files: images.into_iter().map(|image| image.path).collect(),
    }
}

/// The different places along the normal, in order.
fn heights(images: &[Image], orientation: Option<[f64; 6]>) -> Vec<f64> {
    let Some([a, b, c, d, e, f]) = orientation else {
        return Vec::new();
    };
    let normal = cross([a, b, c], [d, e, f]);
    let mut heights: Vec<f64> = Vec::new();
    for image in images {
        for place in &image.positions {
            heights.push(dot(*place, normal));
        }
    }
    heights.sort_by(f64::total_cmp);
    heights.dedup_by(|next, known| *next - *known < SAME_PLACE);
    heights
}

fn steps(heights: &[f64]) -> Option<[f64; 2]> {
    let mut steps: Option<[f64; 2]> = None;
    for pair in heights.windows(2) {
        let step = pair[1] - pair[0];
        let [least, most] = steps.unwrap_or([step, step]);
        steps = Some([least.min(step), most.max(step)]);
    }
    steps
}

impl Series {
    /// Why it is no single volume, whatever the rules say.
    pub(super) fn impossible(&self) -> Option<String> {
        if self.damaged == self.files.len() {
            return Some("all of its files are damaged".into());
        }
        if self.slices == 0 {
            return Some("its slices have no position".into());
        }
        for what in &self.mixed {
            if what.ends_with("slices") {
                return Some(format!("it holds several {what}"));
            }
        }
        if self.frames > self.slices {
            return Some(format!(
                "it holds {} images of {} slices: several echoes, times or kinds of image",
                self.frames, self.slices
            ));
        }
        None
    }

    /// What a person should look at before it is used.
    pub(super) fn oddities(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.damaged > 0 {
            found.push(format!("{} of its files are damaged", self.damaged));
        }
        for what in &self.mixed {
            found.push(format!("it holds several {what}"));
        }
        if let Some([least, most]) = self.steps_mm
            && most > EVEN * least
        {
            found.push(format!(
                "steps between slices are {least:.1} to {most:.1} mm: slices may be missing"
            ));
        }
        found
    }
}
