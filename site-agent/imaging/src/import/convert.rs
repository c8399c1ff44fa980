//! dcm2niix converts the chosen series, one at a time; what it gives is looked at before it is used.

use super::error::ImportError;
use super::folder::{Folder, Made, Record};
use super::plan::{Plan, PlannedCase, PlannedSeries};
use super::report::{CaseReport, Geometry, SequenceReport, State};
use super::scan::{Scan, Series};
use crate::nifti::{self, Bare, NiftiError};
use crate::parallel::in_parallel;
use program::private;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The program's usual name.
const PROGRAM: &str = "dcm2niix";
/// How the program names its results here.
const NAME: &str = "image";

/// The program that converts, found and asked for its version.
#[derive(Clone, Debug)]
pub struct Converter {
    program: PathBuf,
    pub(super) version: String,
}

/// Why a series was not converted. Repeats nothing that the converter said, because that can hold
/// names and dates.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("it is there already and was not written by an import")]
    Foreign,
    #[error("it was made from other images of the study")]
    OtherImages,
    #[error("it was changed since it was imported")]
    Changed,
    #[error("dcm2niix made nothing of it ({0})")]
    Nothing(String),
    #[error("dcm2niix made {0} volumes of it")]
    Several(usize),
    #[error("dcm2niix found uneven steps between slices and resampled it: slices may be missing")]
    Uneven,
    #[error("its slices are sheared (a tilted gantry)")]
    Tilted,
    #[error("dcm2niix made a phase image of it")]
    Phase,
    #[error("dcm2niix made {found:?} voxels of {slices} slices of {rows} x {columns}")]
    Size {
        found: [usize; 3],
        slices: usize,
        rows: usize,
        columns: usize,
    },
    #[error("the volume that dcm2niix made cannot be used: {0}")]
    Volume(#[from] NiftiError),
    #[error("{0}")]
    Disk(#[from] io::Error),
    #[error("{0}")]
    Record(#[from] ImportError),
}

impl Trouble {
    fn remedy(&self) -> &'static str {
        match self {
            Self::Foreign | Self::OtherImages | Self::Changed => {
                "--force replaces it; or move it away"
            }
            Self::Uneven => "export the series again, with all of its images",
            Self::Several(_) | Self::Phase | Self::Nothing(_) | Self::Size { .. } => {
                "look at the series; answers.toml can name another one, or \"no\""
            }
            Self::Tilted | Self::Volume(_) => "convert this series by hand",
            Self::Disk(_) | Self::Record(_) => "check the disk and the rights of the folder",
        }
    }
}

impl Converter {
    /// Asks the program for its version: that of the given path, or the one that the system finds.
    ///
    /// # Errors
    /// It cannot be started, or is another program.
    pub fn find(program: Option<&Path>) -> Result<Self, ImportError> {
        let program = program.unwrap_or(Path::new(PROGRAM)).to_path_buf();
        // Its exit code is not 0 here.
        let output = Command::new(&program)
            .arg("--version")
            .stdin(Stdio::null())
            .output();
        let missing = |source| ImportError::NoConverter {
            program: program.clone(),
            source,
        };
        let output = output.map_err(missing)?;
        let said = String::from_utf8_lossy(&output.stdout);
        let version = said.lines().rev().find(|line| line.starts_with("v1."));
        match version {
            Some(version) => Ok(Self {
                version: format!("dcm2niix {}", version.trim()),
                program,
            }),
            None => Err(missing(io::Error::other(
                "it does not answer as dcm2niix does",
            ))),
        }
    }

    /// Converts files in an empty folder; the results go to another one. The exit code, for people.
    fn run(&self, work: &Path, input: &Path, output: &Path) -> io::Result<String> {
        let status = Command::new(&self.program)
            // No sidecar, no compression, no cropping, stored values as they are.
            .args(["-b", "n", "-z", "n", "-x", "n", "-l", "o", "-f", NAME, "-o"])
            .arg(output)
            .arg(input)
            // It reads and writes its own settings there.
            .env("HOME", work)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        Ok(match status.code() {
            Some(code) => format!("exit code {code}"),
            None => "it was killed".to_owned(),
        })
    }
}

/// What converting needs to know.
struct Task<'a> {
    scan: &'a Scan,
    folder: &'a Folder,
    converter: &'a Converter,
    force: bool,
}

/// Converts what is taken of each case, on so many threads. What is there already is left alone,
/// unless `force` is given. `progress` is told how many cases are done.
///
/// Trouble with a series is in the reports, which are in the order of the plan.
#[must_use]
pub fn convert(
    plan: &Plan,
    scan: &Scan,
    folder: &Folder,
    converter: &Converter,
    force: bool,
    threads: usize,
    progress: &mut (dyn FnMut(usize, usize) + Send),
) -> Vec<CaseReport> {
    let task = Task {
        scan,
        folder,
        converter,
        force,
    };
    let reports = in_parallel(&plan.cases, threads, &|case| task.case(case), progress);
    folder.tidy();
    reports
}

impl Task<'_> {
    fn case(&self, case: &PlannedCase) -> CaseReport {
        let mut sequences = Vec::new();
        let mut places = Vec::new();
        let [patient, study] = case.place;
        let all = &self.scan.patients[patient].studies[study].series;
        for (planned, series) in case.series.iter().zip(all) {
            let Some(sequence) = &planned.taken else {
                continue;
            };
            let mut report = SequenceReport::planned(case, planned, sequence);
            match self.sequence(&case.case, sequence, planned, series) {
                Ok(state) => {
                    report.state = state;
                    let path = self.folder.image(&case.case, sequence);
                    match nifti::place(&path) {
                        Ok(place) => {
                            report.geometry = Some(Geometry::of(&place));
                            places.push((sequence.clone(), place));
                        }
                        Err(error) => report.fail(&error.to_string(), "--force converts it again"),
                    }
                }
                Err(trouble) => report.fail(&trouble.to_string(), trouble.remedy()),
            }
            sequences.push(report);
        }
        CaseReport::new(case, sequences, &places)
    }

    /// Makes one image, unless it is there already.
    fn sequence(
        &self,
        case: &str,
        sequence: &str,
        planned: &PlannedSeries,
        series: &Series,
    ) -> Result<State, Trouble> {
        let target = self.folder.image(case, sequence);
        let mut record = self.folder.record(case)?;
        let size = match fs::metadata(&target) {
            Ok(found) => Some(found.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        if let (Some(size), Some(made), false) = (size, record.sequences.get(sequence), self.force)
        {
            if made.content != planned.content {
                return Err(Trouble::OtherImages);
            }
            if made.bytes != size {
                return Err(Trouble::Changed);
            }
            return Ok(State::Kept);
        }
        let packed = self.volume(case, sequence, series)?.packed()?;
        if size.is_some() && !self.force {
            // Written by a run that was killed before it could keep its record, or by another program.
            if fs::read(&target)? != packed {
                return Err(Trouble::Foreign);
            }
        } else {
            if let Some(parent) = target.parent() {
                private::create_folder(parent)?;
            }
            program::files::replace(&target, |file| file.write_all(&packed))?;
        }
        self.keep(case, sequence, planned, packed.len() as u64, &mut record)?;
        Ok(State::Written)
    }

    fn keep(
        &self,
        case: &str,
        sequence: &str,
        planned: &PlannedSeries,
        bytes: u64,
        record: &mut Record,
    ) -> Result<(), ImportError> {
        let made = Made {
            series: planned.series.clone(),
            content: planned.content.clone(),
            bytes,
            converter: self.converter.version.clone(),
        };
        record.sequences.insert(sequence.to_owned(), made);
        self.folder.write_record(case, record)
    }

    /// Has the converter make one volume, and looks at it.
    fn volume(&self, case: &str, sequence: &str, series: &Series) -> Result<Bare, Trouble> {
        let work = self.folder.work(case, sequence);
        let (input, output) = (work.join("in"), work.join("out"));
        for folder in [&input, &output] {
            private::create_folder(folder)?;
        }
        for (number, file) in series.files.iter().enumerate() {
            lend(file, &input.join(format!("{number:06}.dcm")))?;
        }
        let ended = self.converter.run(&work, &input, &output)?;
        let volume = look(&output, &ended, series);
        fs::remove_dir_all(&work)?;
        volume
    }
}

/// Puts a file into a folder, as a link where the system allows it.
fn lend(file: &Path, as_name: &Path) -> io::Result<()> {
    let whole = file.canonicalize()?;
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(whole, as_name)
    }
    #[cfg(not(unix))]
    {
        fs::hard_link(&whole, as_name).or_else(|_| fs::copy(&whole, as_name).map(drop))
    }
}

/// The one volume that a converter left in a folder.
fn look(output: &Path, ended: &str, series: &Series) -> Result<Bare, Trouble> {
    let mut found: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(output)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "nii") {
            found.push(path);
        }
    }
    let mut stems = Vec::new();
    for path in &found {
        stems.push(path.file_stem().unwrap_or_default().to_string_lossy());
    }
    if stems.iter().any(|stem| stem.contains("_Tilt")) {
        return Err(Trouble::Tilted);
    }
    if stems.iter().any(|stem| stem.contains("_Eq")) {
        return Err(Trouble::Uneven);
    }
    let [path] = found.as_slice() else {
        return Err(match found.len() {
            0 => Trouble::Nothing(ended.to_owned()),
            several => Trouble::Several(several),
        });
    };
    let odd = ["_ph", "_real", "_imaginary"];
    if odd.iter().any(|ending| stems[0].ends_with(ending)) {
        return Err(Trouble::Phase);
    }
    let volume = Bare::of(&fs::read(path)?)?;
    let voxels: usize = volume.dims().iter().product();
    if voxels != series.slices * series.rows * series.columns {
        return Err(Trouble::Size {
            found: volume.dims(),
            slices: series.slices,
            rows: series.rows,
            columns: series.columns,
        });
    }
    Ok(volume)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nifti::{Form, Source, write_u8};
    use protocol::case::Grid;

    #[test]
    fn a_program_that_is_missing_or_another_one_is_said() {
        for program in ["/nowhere/dcm2niix", "/bin/true"] {
            let error = Converter::find(Some(Path::new(program))).unwrap_err();
            let hint = program::Explain::hint(&error).unwrap();
            assert!(error.to_string().contains(program), "{error}");
            assert!(hint.contains("apt install dcm2niix"), "{hint}");
        }
    }

    #[test]
    fn only_one_plain_volume_of_the_right_size_is_used() {
        let series = Series {
            uid: String::new(),
            number: 1,
            facts: crate::import::facts::Facts::default(),
            files: Vec::new(),
            frames: 3,
            slices: 3,
            rows: 4,
            columns: 5,
            steps_mm: None,
            damaged: 0,
            mixed: Vec::new(),
            content: blake3::hash(b""),
        };
        for (names, said) in [
            (&[][..], "made nothing of it (exit code 2)"),
            (&["image"], ""),
            (&["image_e2"], ""),
            (&["image", "imagea"], "2 volumes"),
            (&["image", "image_Eq_1"], "uneven"),
            (&["image", "image_Tilt_1"], "sheared"),
            (&["image_ph"], "phase"),
            (&["image", "image.json"], ""),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let grid = Grid {
                dims: [3, 4, 5],
                spacing_mm: [1.0; 3],
            };
            let source = Source::new(&grid, "RPS", Form::Sform).unwrap();
            for name in names {
                let path = folder.path().join(name).with_extension("nii");
                write_u8(&path, &[1; 60], &source).unwrap();
            }
            let found = look(folder.path(), "exit code 2", &series);
            match found {
                Ok(volume) => assert!(said.is_empty() && volume.dims() == [5, 4, 3], "{names:?}"),
                Err(trouble) => {
                    assert!(
                        !said.is_empty() && trouble.to_string().contains(said),
                        "{trouble}"
                    );
                    assert!(!trouble.remedy().is_empty());
                }
            }
            let fewer = Series {
                slices: 2,
                mixed: Vec::new(),
                files: Vec::new(),
                uid: String::new(),
                facts: crate::import::facts::Facts::default(),
                ..series
            };
            if names == ["image"] {
                let wrong = look(folder.path(), "", &fewer).unwrap_err();
                assert!(matches!(wrong, Trouble::Size { .. }), "{wrong}");
            }
        }
    }
}
