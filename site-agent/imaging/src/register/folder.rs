//! A folder of cases: all sequences of a case onto the grid of one of them.

use super::elastix::Elastix;
use super::error::RegisterError;
use super::judge::{Judgement, Verdict};
use super::picture::checkerboard;
use super::report::{CaseReport, ImageReport, Report, State};
use super::resample::{resample, resample_mask};
use super::rigid::Rigid;
use super::search::{judged, register};
use crate::folder::{self, ENDING, FolderError, SEQUENCES, write_json};
use crate::nifti::{self, Volume, write_f32};
use crate::parallel::in_parallel;
use program::{files, private};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// What is remembered between runs, and the doubtful images.
const HIDDEN: &str = ".register";

/// A part of every record. To be raised where the same images would be registered otherwise.
const METHOD: &str = "1";

/// An image on the reference's own grid that moves less than this is not interpolated, millimetres.
pub(super) const NO_MOVE: f64 = 0.1;

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Job {
    /// The folder with `CASE/SEQUENCE.nii.gz`.
    pub input: PathBuf,
    /// The new folder, or that of an earlier run.
    pub out: PathBuf,
    pub masks: Vec<Mask>,
    /// Replaces what is there.
    pub force: bool,
    pub threads: usize,
    /// Finds the moves in place of the search here.
    pub elastix: Option<Elastix>,
}

/// `CASE/NAME.nii.gz` was drawn on a sequence, and moves with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    name: String,
    sequence: String,
}

impl std::str::FromStr for Mask {
    type Err = RegisterError;

    fn from_str(text: &str) -> Result<Self, RegisterError> {
        let wrong = || RegisterError::Mask(text.into());
        let (name, sequence) = text.split_once('=').ok_or_else(wrong)?;
        let is_plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\']);
        if !is_plain || SEQUENCES.contains(&name) || !SEQUENCES.contains(&sequence) {
            return Err(wrong());
        }
        Ok(Self {
            name: name.into(),
            sequence: sequence.into(),
        })
    }
}

/// A case of the input folder.
struct Case {
    name: String,
    /// In the order of [`SEQUENCES`].
    sequences: Vec<&'static str>,
    masks: Vec<Mask>,
    left_alone: Vec<String>,
}

/// What the images of a case were made from.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    images: BTreeMap<String, Made>,
}

/// What one image was made from, and how.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Made {
    /// Hashes of the files that it depends on.
    from: String,
    /// Size of the file that was written.
    bytes: u64,
    lookup: Rigid,
    judgement: Option<Judgement>,
}

/// The work on one case.
struct Work<'a> {
    job: &'a Job,
    case: &'a Case,
    threads: usize,
    /// Read when first needed.
    reference: Option<Volume>,
    record: Record,
}

/// What one image is made of.
struct Task<'a> {
    name: &'a str,
    from: String,
    /// For a mask, the move of its sequence.
    known: Option<&'a Made>,
    is_mask: bool,
}

impl Job {
    /// Registers all cases, and writes `register.json`.
    ///
    /// # Errors
    /// Folders that cannot be used. Trouble with one case is in the report.
    pub fn run(
        &self,
        progress: &mut (dyn FnMut(usize, usize) + Send),
    ) -> Result<Report, RegisterError> {
        let cases = self.cases()?;
        self.open()?;
        let threads = self.threads.max(1);
        let at_once = threads.min(cases.len());
        let each = (threads / at_once.max(1)).max(1);
        let reports = in_parallel(
            &cases,
            at_once,
            &|case| {
                let mut work = Work {
                    job: self,
                    case,
                    threads: each,
                    reference: None,
                    record: Record::default(),
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

    /// The folders of the input that hold a sequence.
    fn cases(&self) -> Result<Vec<Case>, FolderError> {
        let mut cases = Vec::new();
        for found in folder::cases(&self.input)? {
            let mut masks = Vec::new();
            let mut names = Vec::new();
            for mask in &self.masks {
                if found.has(&mask.name) {
                    masks.push(mask.clone());
                    names.push(mask.name.as_str());
                }
            }
            cases.push(Case {
                left_alone: found.others(&names),
                name: found.name,
                sequences: found.sequences,
                masks,
            });
        }
        Ok(cases)
    }

    /// Makes the new folder, unless it is that of an earlier run.
    fn open(&self) -> Result<(), FolderError> {
        folder::open(&self.input, &self.out, HIDDEN)?;
        let records = self.out.join(HIDDEN).join("cases");
        private::create_folder(&records).map_err(FolderError::disk(&records))
    }
}

impl Work<'_> {
    fn run(&mut self) -> CaseReport {
        let case = self.case;
        let reference = case.sequences[0];
        let mut report = CaseReport {
            case: case.name.clone(),
            reference: reference.into(),
            images: Vec::new(),
            left_alone: case.left_alone.clone(),
        };
        let opened = self.open();
        if let Err(error) = &opened {
            for name in &case.sequences {
                report.images.push(failed(name, error));
            }
            return report;
        }
        let centre = Rigid::new([0.0; 3], [0.0; 3], [0.0; 3]);
        for name in &case.sequences {
            let mut made_by_reference = None;
            if *name == reference {
                made_by_reference = Some(Made {
                    from: String::new(),
                    bytes: 0,
                    lookup: centre,
                    judgement: None,
                });
            }
            let from = self.hashes(&[reference, name]);
            report
                .images
                .push(self.image(name, from, made_by_reference.as_ref(), false));
        }
        for mask in &case.masks {
            let sequence = mask.sequence.as_str();
            let is_there = report
                .images
                .iter()
                .any(|image| image.image == sequence && image.state != State::Failed);
            let known = self.record.images.get(sequence).cloned();
            let (true, Some(known)) = (is_there, known) else {
                let mut image = nothing(&mask.name, State::Failed);
                image.why = Some(format!("{sequence} is not there or failed"));
                report.images.push(image);
                continue;
            };
            let from = self.hashes(&[reference, sequence, &mask.name]);
            report
                .images
                .push(self.image(&mask.name, from, Some(&known), true));
        }
        report
    }

    /// Reads the record, and makes the case's folder.
    fn open(&mut self) -> Result<(), RegisterError> {
        let path = self.record_file();
        match fs::read(&path) {
            // A record that cannot be read is none: what is there is then not replaced without
            // force.
            Ok(bytes) => self.record = serde_json::from_slice(&bytes).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(FolderError::disk(&path)(error).into()),
        }
        let folder = self.job.out.join(&self.case.name);
        private::create_folder(&folder).map_err(FolderError::disk(&folder))?;
        Ok(())
    }

    fn record_file(&self) -> PathBuf {
        let folder = self.job.out.join(HIDDEN).join("cases");
        folder.join(format!("{}.json", self.case.name))
    }

    fn input(&self, name: &str) -> PathBuf {
        let folder = self.job.input.join(&self.case.name);
        folder.join(format!("{name}{ENDING}"))
    }

    /// By which it is known whether an image would be made again as it is.
    fn hashes(&self, names: &[&str]) -> Result<String, RegisterError> {
        let mut text = String::from(METHOD);
        if let Some(elastix) = &self.job.elastix {
            text += &format!(" {}", elastix.version());
        }
        for name in names {
            let path = self.input(name);
            let hash =
                nifti::hash(&path).map_err(|source| RegisterError::Image { path, source })?;
            text += &format!(" {}", hash.to_hex());
        }
        Ok(text)
    }

    fn image(
        &mut self,
        name: &str,
        from: Result<String, RegisterError>,
        known: Option<&Made>,
        is_mask: bool,
    ) -> ImageReport {
        let done = from.and_then(|from| {
            self.make(&Task {
                name,
                from,
                known,
                is_mask,
            })
        });
        done.unwrap_or_else(|error| failed(name, &error))
    }

    /// Makes an image, unless it is there.
    fn make(&mut self, task: &Task<'_>) -> Result<ImageReport, RegisterError> {
        let file = format!("{}{ENDING}", task.name);
        let relative = Path::new(&self.case.name).join(&file);
        let aside = Path::new(HIDDEN).join("doubtful").join(&relative);
        if let Some(made) = self.record.images.get(task.name)
            && made.from == task.from
            && !self.job.force
        {
            let bytes = Some(made.bytes);
            // What was doubtful, and was looked at and moved to the others by hand, stays there.
            if size(&self.job.out.join(&relative)) == bytes {
                return Ok(finished(task, made, State::Kept, &relative));
            }
            if size(&self.job.out.join(&aside)) == bytes {
                return Ok(finished(task, made, State::Doubtful, &aside));
            }
        }
        let target = self.job.out.join(&relative);
        if target.exists() && !self.job.force {
            return Err(RegisterError::Exists(target));
        }
        let path = self.input(task.name);
        let moving = nifti::read(&path).map_err(|source| RegisterError::Image { path, source })?;
        if self.reference.is_none() {
            let path = self.input(self.case.sequences[0]);
            let read = nifti::read(&path);
            self.reference = Some(read.map_err(|source| RegisterError::Image { path, source })?);
        }
        let Some(reference) = &self.reference else {
            return Err(RegisterError::Constant);
        };
        let (lookup, judgement) = match task.known {
            Some(made) => (made.lookup, made.judgement.clone()),
            None => {
                let found = match &self.job.elastix {
                    Some(elastix) => {
                        let folder = self.job.out.join(HIDDEN).join("work").join(&self.case.name);
                        let folder = folder.join("elastix");
                        let lookup = elastix.lookup(reference, &moving, &folder, self.threads)?;
                        judged(reference, &moving, lookup, self.threads)?
                    }
                    None => register(reference, &moving, self.threads)?,
                };
                (found.lookup, Some(found.judgement))
            }
        };
        let stays = lookup.size_mm() < NO_MOVE && reference.source.same_place(&moving.source);
        let values = if stays {
            Some(moving.values.clone())
        } else if task.is_mask {
            resample_mask(reference, &moving, &lookup)
        } else {
            resample(reference, &moving, &lookup)
        };
        let values = values.ok_or(RegisterError::Constant)?;
        let is_doubtful = judgement
            .as_ref()
            .is_some_and(|judgement| judgement.verdict == Verdict::Doubtful);
        let (state, place) = if is_doubtful {
            (State::Doubtful, &aside)
        } else {
            (State::Written, &relative)
        };
        let path = self.job.out.join(place);
        let draft = self.job.out.join(HIDDEN).join("work").join(&relative);
        for file in [&path, &draft] {
            if let Some(folder) = file.parent() {
                private::create_folder(folder).map_err(FolderError::disk(folder))?;
            }
        }
        write_f32(&draft, &values, &reference.source).map_err(|source| RegisterError::Image {
            path: draft.clone(),
            source,
        })?;
        let made = Made {
            from: task.from.clone(),
            bytes: size(&draft).unwrap_or_default(),
            lookup,
            judgement,
        };
        // The record comes between what was there and the new image: whenever the program is
        // killed, the next run knows each image or makes it again.
        let picture = self
            .job
            .out
            .join(&aside)
            .with_file_name(format!("{}.png", task.name));
        for old in [&target, &self.job.out.join(&aside), &picture] {
            if old.exists() {
                fs::remove_file(old).map_err(FolderError::disk(old))?;
            }
        }
        if is_doubtful && !task.is_mask {
            let png = checkerboard(reference, &values).map_err(RegisterError::Picture)?;
            files::replace(&picture, |file| file.write_all(&png))
                .map_err(FolderError::disk(&picture))?;
        }
        let report = finished(task, &made, state, place);
        self.record.images.insert(task.name.into(), made);
        write_json(&self.record_file(), &self.record)?;
        fs::rename(&draft, &path).map_err(FolderError::disk(&path))?;
        Ok(report)
    }
}

fn nothing(name: &str, state: State) -> ImageReport {
    ImageReport {
        image: name.into(),
        state,
        file: None,
        why: None,
        matrix: None,
        judgement: None,
    }
}

fn failed(name: &str, error: &RegisterError) -> ImageReport {
    let mut report = nothing(name, State::Failed);
    report.why = Some(error.to_string());
    report
}

fn finished(task: &Task<'_>, made: &Made, state: State, place: &Path) -> ImageReport {
    let mut report = nothing(task.name, state);
    report.file = Some(place.display().to_string());
    report.matrix = Some(made.lookup.inverse().matrix());
    report.judgement = made.judgement.clone();
    report
}

/// The size of a file, `None` where there is none.
fn size(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|found| found.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::register::tests::phantom::{Contrast, Head};
    use protocol::case::Grid;

    const GRID: Grid = Grid {
        dims: [36, 44, 40],
        spacing_mm: [4.5, 4.5, 4.5],
    };

    fn write(folder: &Path, file: &str, volume: &Volume) {
        let path = folder.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        write_f32(&path, &volume.values, &volume.source).unwrap();
    }

    fn job(folder: &Path, force: bool) -> Job {
        Job {
            input: folder.join("in"),
            out: folder.join("out"),
            masks: vec!["lesions=flair".parse().unwrap()],
            force,
            threads: 2,
            elastix: None,
        }
    }

    fn states(report: &Report) -> Vec<State> {
        let mut states = Vec::new();
        for case in &report.cases {
            for image in &case.images {
                states.push(image.state);
            }
        }
        states
    }

    #[test]
    fn a_folder_is_brought_onto_its_references_and_run_again() {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("in");
        let still = Rigid::new([0.0; 3], [0.0; 3], [0.0; 3]);
        let moved = Rigid::new([0.05, -0.03, 0.04], [5.0, 4.0, -3.0], [0.0; 3]);
        let head = Head::default();
        let t1 = head.volume(&GRID, &still, Contrast::T1);
        let flair = head.volume(&GRID, &moved, Contrast::Flair);
        write(&input, "a_1/t1_post.nii.gz", &t1);
        write(&input, "a_1/flair.nii.gz", &flair);
        let mut lesions = flair.clone();
        for value in &mut lesions.values {
            *value = f32::from(*value > 180.0);
        }
        write(&input, "a_1/lesions.nii.gz", &lesions);
        write(&input, "a_1/other.nii.gz", &lesions);
        let mut noise = flair.clone();
        let mut state = 1u32;
        for value in &mut noise.values {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *value = (state >> 8) as f32;
        }
        write(&input, "b_1/bravo.nii.gz", &t1);
        write(&input, "b_1/flair.nii.gz", &noise);
        fs::write(input.join("b_1/t1_pre.nii.gz"), "no image").unwrap();

        let report = job(folder.path(), false).run(&mut |_, _| ()).unwrap();
        let written = [
            State::Written,
            State::Written,
            State::Written,
            State::Written,
            State::Failed,
            State::Doubtful,
        ];
        assert_eq!(states(&report), written, "{report}");
        assert_eq!(report.cases[0].reference, "t1_post");
        assert_eq!(report.cases[1].reference, "bravo");
        assert_eq!(report.cases[0].left_alone, ["other.nii.gz"]);
        assert!(report.left_out().is_some());
        let out = folder.path().join("out");
        assert!(!out.join("b_1/flair.nii.gz").exists());
        assert!(out.join(".register/doubtful/b_1/flair.nii.gz").exists());
        assert!(out.join(".register/doubtful/b_1/flair.png").exists());
        let read = |file: &str| nifti::read(&out.join(file)).unwrap();
        let (reference, brought) = (read("a_1/t1_post.nii.gz"), read("a_1/flair.nii.gz"));
        assert_eq!(reference.values, t1.values);
        assert!(brought.source.same_place(&reference.source));
        let mask = read("a_1/lesions.nii.gz");
        let expected = head.volume(&GRID, &still, Contrast::Flair);
        let (mut both, mut all) = (0.0, 0.0);
        for (value, truth) in mask.values.iter().zip(&expected.values) {
            assert!(*value == 0.0 || *value == 1.0);
            let truth = f32::from(*truth > 180.0);
            both += 2.0 * value * truth;
            all += value + truth;
        }
        assert!(both / all > 0.6, "Dice {}", both / all);

        let again = job(folder.path(), false).run(&mut |_, _| ()).unwrap();
        let kept = [
            State::Kept,
            State::Kept,
            State::Kept,
            State::Kept,
            State::Failed,
            State::Doubtful,
        ];
        assert_eq!(states(&again), kept, "{again}");
        // What was looked at and moved by hand is taken.
        fs::rename(
            out.join(".register/doubtful/b_1/flair.nii.gz"),
            out.join("b_1/flair.nii.gz"),
        )
        .unwrap();
        let again = job(folder.path(), false).run(&mut |_, _| ()).unwrap();
        assert_eq!(states(&again)[5], State::Kept);
        // An image that changed is not replaced by itself.
        write(&input, "a_1/flair.nii.gz", &t1);
        let changed = job(folder.path(), false).run(&mut |_, _| ()).unwrap();
        assert_eq!(states(&changed)[1], State::Failed, "{changed}");
        let forced = job(folder.path(), true).run(&mut |_, _| ()).unwrap();
        assert_eq!(states(&forced), written, "{forced}");
        assert!(!out.join("b_1/flair.nii.gz").exists());
        let brought = read("a_1/flair.nii.gz");
        assert_eq!(brought.values, t1.values);
    }

    #[test]
    fn folders_that_cannot_be_used_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let run = || job(folder.path(), false).run(&mut |_, _| ());
        assert!(matches!(
            run(),
            Err(RegisterError::Folder(FolderError::Unlisted { .. }))
        ));
        fs::create_dir_all(folder.path().join("in/a_1")).unwrap();
        assert!(matches!(
            run(),
            Err(RegisterError::Folder(FolderError::NoImages(_)))
        ));
        fs::write(folder.path().join("in/a_1/flair.nii.gz"), "").unwrap();
        let mut nested = job(folder.path(), false);
        nested.out = folder.path().join("in/new/out");
        let refused = nested.run(&mut |_, _| ());
        assert!(matches!(
            refused,
            Err(RegisterError::Folder(FolderError::Nested { .. }))
        ));
        fs::create_dir_all(folder.path().join("out/something")).unwrap();
        assert!(matches!(
            run(),
            Err(RegisterError::Folder(FolderError::Occupied(_)))
        ));
        for wrong in [
            "lesions",
            "=flair",
            "a/b=flair",
            "lesions=t9",
            "flair=flair",
            ".x=flair",
        ] {
            assert!(wrong.parse::<Mask>().is_err(), "{wrong}");
        }
    }
}
