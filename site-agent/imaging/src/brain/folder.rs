//! A folder of cases: a brain mask next to the images of each.

use super::error::BrainError;
use super::network::{self, Network};
use super::program::Program;
use super::report::{CaseReport, Report, State};
use super::result::Mask;
use crate::folder::{self, CaseFolder, ENDING, FolderError, write_json};
use crate::nifti::{self, Volume, write_u8};
use ::program::private;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The name of the mask that is written.
pub const NAME: &str = "brain";

/// What is remembered between runs.
const HIDDEN: &str = ".brain";

/// A part of every record. To be raised where the same images would give another mask.
const METHOD: &str = "1";

/// How a mask is made.
#[derive(Clone, Debug)]
pub enum Way {
    /// The voxels that are not zero in at least one sequence.
    Zeros,
    /// By a program, from the first of [`folder::SEQUENCES`] that the case has.
    Program(Program),
    /// By a network, from the same image.
    Network(Arc<dyn Network>),
}

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Job {
    /// The folder with `CASE/SEQUENCE.nii.gz`, which receives `CASE/brain.nii.gz`.
    pub folder: PathBuf,
    pub way: Way,
    /// Replaces masks that are there.
    pub force: bool,
}

/// What a mask was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    /// The way, and the hashes of the images.
    from: String,
    /// Hash of the mask's file.
    hash: String,
}

impl Job {
    /// Makes the masks of all cases, one after the other, and writes `brain.json`. Programs and
    /// networks use all cores by themselves.
    ///
    /// # Errors
    /// The folder cannot be used. Trouble with one case is in the report.
    pub fn run(&self, progress: &mut dyn FnMut(usize, usize)) -> Result<Report, BrainError> {
        let cases = folder::cases(&self.folder)?;
        let hidden = self.folder.join(HIDDEN);
        for folder in [&hidden, &hidden.join("cases")] {
            private::create_folder(folder).map_err(FolderError::disk(folder))?;
        }
        let mut report = Report { cases: Vec::new() };
        for case in &cases {
            let mut done = CaseReport {
                case: case.name.clone(),
                state: State::Failed,
                images: self.images(case),
                network: None,
                ml: None,
                filled_voxels: None,
                why: None,
            };
            if let Err(error) = self.case(case, &mut done) {
                done.why = Some(error.to_string());
            }
            report.cases.push(done);
            progress(report.cases.len(), cases.len());
        }
        report.write(&self.folder)?;
        Ok(report)
    }

    /// The sequences that the mask of a case is made from.
    fn images(&self, case: &CaseFolder) -> Vec<String> {
        let count = match self.way {
            Way::Zeros => case.sequences.len(),
            Way::Program(_) | Way::Network(_) => 1,
        };
        let names = case.sequences.iter().take(count);
        names.map(|name| (*name).to_owned()).collect()
    }

    /// Makes the mask of a case, unless it is there.
    fn case(&self, case: &CaseFolder, done: &mut CaseReport) -> Result<(), BrainError> {
        let target = self.path(case, NAME);
        let path = self.folder.join(HIDDEN).join("cases");
        let path = path.join(format!("{}.json", case.name));
        let record: Option<Record> = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).ok(),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(FolderError::disk(&path)(error).into()),
        };
        let from = self.from(case, &done.images)?;
        if target.exists() && !self.force {
            let Some(record) = record else {
                // A mask of the site's own.
                done.state = State::Kept;
                return Ok(());
            };
            let hash = nifti::hash(&target).map(|hash| hash.to_hex().to_string());
            if record.from != from || !hash.is_ok_and(|hash| hash == record.hash) {
                return Err(BrainError::Exists(target));
            }
            done.state = State::Kept;
            return Ok(());
        }
        let mut images = Vec::new();
        for name in &done.images {
            images.push(self.read(case, name)?);
        }
        let mask = self.mask(&images, &done.images)?;
        let draft = self
            .folder
            .join(HIDDEN)
            .join(format!("{}{ENDING}", case.name));
        let faulty = |source| BrainError::Image {
            path: draft.clone(),
            source,
        };
        write_u8(&draft, &mask.brain, &images[0].source).map_err(faulty)?;
        let record = Record {
            from,
            hash: nifti::hash(&draft).map_err(faulty)?.to_hex().to_string(),
        };
        // First the record: a mask that is there without it would be taken for the site's own.
        write_json(&path, &record)?;
        fs::rename(&draft, &target).map_err(FolderError::disk(&target))?;
        done.state = State::Written;
        done.ml = Some(mask.ml);
        done.filled_voxels = Some(mask.filled);
        if let Way::Network(network) = &self.way {
            done.network = Some(network.name());
        }
        Ok(())
    }

    fn mask(&self, images: &[Volume], names: &[String]) -> Result<Mask, BrainError> {
        match &self.way {
            Way::Zeros => {
                for (image, name) in images.iter().zip(names) {
                    if !images[0].source.same_place(&image.source) {
                        return Err(BrainError::Grid {
                            file: format!("{name}{ENDING}"),
                            reference: format!("{}{ENDING}", names[0]),
                        });
                    }
                }
                Mask::of_zeros(images)
            }
            Way::Program(program) => program.mask(&images[0], &self.folder.join(HIDDEN)),
            Way::Network(network) => network::mask(&**network, &images[0]),
        }
    }

    fn from(&self, case: &CaseFolder, names: &[String]) -> Result<String, BrainError> {
        let mut text = match &self.way {
            Way::Zeros => format!("{METHOD} zeros"),
            Way::Program(program) => format!("{METHOD} {:?}", program.words()),
            Way::Network(network) => format!("{METHOD} network {}", network.name()),
        };
        for name in names {
            let path = self.path(case, name);
            let hash = nifti::hash(&path).map_err(|source| BrainError::Image { path, source })?;
            text += &format!(" {}", hash.to_hex());
        }
        Ok(text)
    }

    fn path(&self, case: &CaseFolder, name: &str) -> PathBuf {
        self.folder.join(&case.name).join(format!("{name}{ENDING}"))
    }

    fn read(&self, case: &CaseFolder, name: &str) -> Result<Volume, BrainError> {
        read(&self.path(case, name))
    }
}

fn read(path: &Path) -> Result<Volume, BrainError> {
    nifti::read(path).map_err(|source| BrainError::Image {
        path: path.into(),
        source,
    })
}
