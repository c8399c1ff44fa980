//! A folder of cases: the same images without the face.

use super::error::DefaceError;
use super::face::Face;
use super::picture;
use super::record::{Made, Record};
use super::report::{CaseReport, ImageReport, Report, State};
use crate::folder::{self, CaseFolder, ENDING, FolderError, SEQUENCES, write_json};
use crate::mask::two_values;
use crate::nifti::{self, Volume, write_f32};
use crate::parallel::in_parallel;
use program::private;
use std::fs;
use std::path::{Path, PathBuf};

/// What is remembered between runs, and the pictures.
const HIDDEN: &str = ".deface";

/// A part of every record. To be raised where the same images would be de-faced otherwise.
const METHOD: &str = "quickshear 1";

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Job {
    /// The folder with `CASE/SEQUENCE.nii.gz`.
    pub input: PathBuf,
    /// The new folder, or that of an earlier run.
    pub out: PathBuf,
    /// `CASE/NAME.nii.gz` is the brain mask.
    pub brain: String,
    /// `CASE/NAME.nii.gz` are masks of lesions, whose voxels are kept wherever they are.
    pub lesions: Vec<String>,
    /// How far the plane is below the brain, millimetres.
    pub margin_mm: f64,
    /// Replaces what is there.
    pub force: bool,
    pub threads: usize,
}

/// The work on one case.
struct Work<'a> {
    job: &'a Job,
    case: &'a CaseFolder,
    /// The masks that the case has, the brain's first.
    masks: Vec<&'a str>,
    record: Record,
    /// Read when first needed.
    head: Option<Head>,
}

/// What the images of a case are changed by.
struct Head {
    brain: Volume,
    face: Face,
    /// 1 where no image may change: brain and lesions.
    keep: Vec<u8>,
}

impl Job {
    /// De-faces all cases, and writes `deface.json`.
    ///
    /// # Errors
    /// Folders or names that cannot be used. Trouble with one case is in the report.
    pub fn run(
        &self,
        progress: &mut (dyn FnMut(usize, usize) + Send),
    ) -> Result<Report, DefaceError> {
        for name in self.lesions.iter().chain([&self.brain]) {
            let is_plain =
                !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\']);
            if !is_plain || SEQUENCES.contains(&name.as_str()) {
                return Err(DefaceError::Name(name.clone()));
            }
        }
        if !(0.0..=100.0).contains(&self.margin_mm) {
            return Err(DefaceError::Margin(self.margin_mm));
        }
        let cases = folder::cases(&self.input)?;
        folder::open(&self.input, &self.out, HIDDEN)?;
        let pictures = self.out.join(HIDDEN).join("pictures");
        private::create_folder(&pictures).map_err(FolderError::disk(&pictures))?;
        let reports = in_parallel(
            &cases,
            self.threads.clamp(1, cases.len()),
            &|case| {
                let mut work = Work {
                    job: self,
                    case,
                    masks: self.masks(case),
                    record: Record::default(),
                    head: None,
                };
                work.run()
            },
            progress,
        );
        // Drafts of a run that was killed. What is left is removed by the next run.
        let _ = fs::remove_dir_all(self.out.join(HIDDEN).join("work"));
        let report = Report { cases: reports };
        report.write(&self.out)?;
        Ok(report)
    }

    fn masks(&self, case: &CaseFolder) -> Vec<&str> {
        let mut masks = Vec::new();
        for name in [&self.brain].into_iter().chain(&self.lesions) {
            if case.has(name) && !masks.contains(&name.as_str()) {
                masks.push(name.as_str());
            }
        }
        masks
    }
}

impl Work<'_> {
    fn run(&mut self) -> CaseReport {
        let case = self.case;
        let mut report = CaseReport {
            case: case.name.clone(),
            rises_degrees: None,
            images: Vec::new(),
            picture: None,
            notes: Vec::new(),
            left_alone: case.others(&self.masks),
        };
        let mut names = self.masks.clone();
        names.extend(&case.sequences);
        let hashes = match self.open() {
            Ok(hashes) => hashes,
            Err(error) => {
                for name in names {
                    report.images.push(failed(name, &error));
                }
                return report;
            }
        };
        for name in names {
            let done = self.image(name, &hashes);
            report
                .images
                .push(done.unwrap_or_else(|error| failed(name, &error)));
        }
        let is_there = |image: &ImageReport| image.state != State::Failed;
        if !report.images.iter().any(is_there) {
            return report;
        }
        report.rises_degrees = Some(self.record.rises_degrees);
        let lesion_voxels = self.record.lesion_voxels_in_face;
        if lesion_voxels > 0 {
            report.notes.push(format!(
                "{lesion_voxels} voxels of lesions are below the plane: they were kept"
            ));
        }
        for image in &report.images {
            if image.removed_voxels == Some(0) {
                report
                    .notes
                    .push(format!("{}: there was nothing to remove", image.image));
            }
        }
        let drawn = report
            .images
            .iter()
            .find(|image| is_there(image) && image.removed_voxels.is_some());
        if let Some(image) = drawn {
            match self.draw(&image.image) {
                Ok(path) => report.picture = Some(path),
                Err(error) => report.notes.push(error.to_string()),
            }
        }
        report
    }

    /// Reads the record, makes the case's folder, and hashes the masks.
    fn open(&mut self) -> Result<String, DefaceError> {
        if !self.case.has(&self.job.brain) {
            return Err(DefaceError::NoBrain(file_of(&self.job.brain)));
        }
        let folder = self.out();
        private::create_folder(&folder).map_err(FolderError::disk(&folder))?;
        // A record that cannot be read is none: what is there is then not replaced without force.
        let record = Record::read(&folder).map_err(FolderError::disk(&folder))?;
        self.record = record.unwrap_or_default();
        let mut hashes = format!("{METHOD} {}", self.job.margin_mm);
        for name in &self.masks {
            hashes += &format!(" {}", self.hash(name)?);
        }
        Ok(hashes)
    }

    fn out(&self) -> PathBuf {
        self.job.out.join(&self.case.name)
    }

    fn input(&self, name: &str) -> PathBuf {
        self.job.input.join(&self.case.name).join(file_of(name))
    }

    fn hash(&self, name: &str) -> Result<String, DefaceError> {
        let path = self.input(name);
        let hash = nifti::hash(&path).map_err(|source| DefaceError::Image { path, source })?;
        Ok(hash.to_hex().to_string())
    }

    /// Makes an image or a mask, unless it is there.
    fn image(&mut self, name: &str, hashes: &str) -> Result<ImageReport, DefaceError> {
        let from = format!("{hashes} {}", self.hash(name)?);
        let file = file_of(name);
        let target = self.out().join(&file);
        if let Some(made) = self.record.files.get(&file)
            && made.from == from
            && !self.job.force
            && nifti::hash(&target).is_ok_and(|hash| hash.to_hex().as_str() == made.hash)
        {
            return Ok(finished(name, State::Kept, made));
        }
        if target.exists() && !self.job.force {
            return Err(DefaceError::Exists(target));
        }
        let mut volume = read(&self.input(name))?;
        if self.head.is_none() {
            self.head = Some(self.read_head()?);
        }
        let Some(head) = &self.head else {
            return Err(DefaceError::NoBrain(file_of(&self.job.brain)));
        };
        if !head.brain.source.same_place(&volume.source) {
            return Err(DefaceError::Grid { file });
        }
        let mut removed_voxels = None;
        if !self.masks.contains(&name) {
            removed_voxels = Some(head.face.remove(&mut volume.values, &head.keep));
        }
        let drafts = self.job.out.join(HIDDEN).join("work").join(&self.case.name);
        private::create_folder(&drafts).map_err(FolderError::disk(&drafts))?;
        let draft = drafts.join(&file);
        let faulty = |source| DefaceError::Image {
            path: draft.clone(),
            source,
        };
        write_f32(&draft, &volume.values, &volume.source).map_err(faulty)?;
        let made = Made {
            from,
            hash: nifti::hash(&draft).map_err(faulty)?.to_hex().to_string(),
            removed_voxels,
        };
        let report = finished(name, State::Written, &made);
        // First the record: an image that is there without its record could never be replaced.
        self.record.files.insert(file, made);
        write_json(&Record::path(&self.out()), &self.record)?;
        fs::rename(&draft, &target).map_err(FolderError::disk(&target))?;
        Ok(report)
    }

    /// Reads the masks, and finds the face.
    fn read_head(&mut self) -> Result<Head, DefaceError> {
        let brain = read(&self.input(&self.job.brain))?;
        let file = file_of(&self.job.brain);
        let mut keep = two_values(&brain.values).map_err(|source| DefaceError::Mask {
            file: file.clone(),
            source,
        })?;
        let face = Face::by_brain(&keep, &brain.grid, self.job.margin_mm)
            .map_err(|source| DefaceError::Face { file, source })?;
        let mut in_face = 0;
        for name in &self.masks[1..] {
            let lesions = read(&self.input(name))?;
            if !brain.source.same_place(&lesions.source) {
                return Err(DefaceError::Grid {
                    file: file_of(name),
                });
            }
            let [_, height, width] = brain.grid.dims;
            for (place, &value) in lesions.values.iter().enumerate() {
                if value == 0.0 {
                    continue;
                }
                let row = place / width;
                if keep[place] == 0 && face.contains(row / height, row % height) {
                    in_face += 1;
                }
                keep[place] = 1;
            }
        }
        self.record.rises_degrees = face.rises_degrees;
        self.record.lesion_voxels_in_face = in_face;
        Ok(Head { brain, face, keep })
    }

    /// Draws the new image, unless its picture is there, and says where the picture is.
    fn draw(&mut self, image: &str) -> Result<String, DefaceError> {
        let relative = Path::new(HIDDEN)
            .join("pictures")
            .join(format!("{}.png", self.case.name));
        let path = self.job.out.join(&relative);
        if self.head.is_none() && path.exists() {
            return Ok(relative.display().to_string());
        }
        if self.head.is_none() {
            self.head = Some(self.read_head()?);
        }
        if let Some(head) = &self.head {
            let volume = read(&self.out().join(file_of(image)))?;
            let png =
                picture::draw(&volume, &head.keep, &head.face).map_err(DefaceError::Picture)?;
            program::files::replace(&path, |file| std::io::Write::write_all(file, &png))
                .map_err(FolderError::disk(&path))?;
        }
        Ok(relative.display().to_string())
    }
}

fn file_of(name: &str) -> String {
    format!("{name}{ENDING}")
}

fn read(path: &Path) -> Result<Volume, DefaceError> {
    nifti::read(path).map_err(|source| DefaceError::Image {
        path: path.into(),
        source,
    })
}

fn failed(name: &str, error: &DefaceError) -> ImageReport {
    ImageReport {
        image: name.into(),
        state: State::Failed,
        why: Some(error.to_string()),
        removed_voxels: None,
    }
}

fn finished(name: &str, state: State, made: &Made) -> ImageReport {
    ImageReport {
        image: name.into(),
        state,
        why: None,
        removed_voxels: made.removed_voxels,
    }
}
