//! The `predict` subcommand: one patient, one model; a probability map, a mask, a table of lesions,
//! and where it is asked for the result as DICOM objects.

mod earlier;
mod outputs;
mod summary;
mod threshold;

use crate::calibration::{Calibration, CalibrationError};
use crate::case::Prepared;
use crate::data::{CaseError, Files, prepare};
use crate::device::{self, DeviceError, DeviceFault};
use crate::evaluate::called;
use crate::logging;
use crate::model::ModelError;
use crate::output::{self, OutputError};
use crate::predictor::{Predictor, PredictorError};
use crate::progress_bar::ProgressBar;
use crate::train::{on_own_thread, said};
use earlier::{Earlier, Inputs, numbered};
use imaging::dicom::{ObjectError, PlaceError, PlacedMask, Series, SeriesError};
use imaging::lesions::{self, Lesion};
use imaging::nifti::{NiftiError, Source, write_f32, write_u8};
use metrics::lesion::{Connectivity, components};
use metrics::voxel::sigmoid;
use outputs::Outputs;
use program::visible::visible;
use program::{Class, Explain, Failure};
use protocol::model_file::{Loaded, ModelFileError, decode};
use protocol::operating::{OperatingError, OperatingPoint};
use protocol::settings::Input;
use std::any::Any;
use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use summary::{Called, Summary};
use threshold::{Thresholds, Wish};

/// Slices that the network looks at together.
const BATCH: usize = 4;

/// Arguments of `predict`.
#[derive(clap::Args)]
pub struct Args {
    /// The model, as the coordinator keeps it (a safetensors file).
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// The folder for probability.nii.gz, mask.nii.gz and lesions.csv; made where it is missing.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// A sequence of the patient, such as t1_post=scan.nii.gz; once for each one there is.
    #[arg(long = "sequence", value_name = "NAME=FILE", value_parser = named)]
    sequences: Vec<(String, PathBuf)>,
    /// A brain mask on the same grid; without it, brain is where any sequence is not zero.
    #[arg(long, value_name = "FILE")]
    brain: Option<PathBuf>,
    /// From which probability a voxel of the mask is lesion, by name: `dice`, the threshold of the
    /// best Dice on validation patients, for outlines and volumes (used when nothing is said);
    /// `youden`, the publication's, which finds the most and marks far more than the lesions;
    /// `fp-per-patient=N`, the lowest measured threshold at which validation patients had N false
    /// findings each or fewer.
    #[arg(long, value_name = "NAME", conflicts_with = "threshold")]
    operating_point: Option<OperatingPoint>,
    /// The same as a number between 0 and 1.
    #[arg(long, value_name = "PROBABILITY", conflicts_with = "calibration")]
    threshold: Option<f32>,
    /// Thresholds that this site found on its own patients (`site-agent calibrate`), instead of the
    /// model's.
    #[arg(long, value_name = "FILE")]
    calibration: Option<PathBuf>,
    /// A folder with the DICOM series that the patient's images were converted from: the result is
    /// also written for it, as mask.seg.dcm (a segmentation) and lesions.rtstruct.dcm (contours).
    /// Both hold the patient's name and number, as the series does.
    #[arg(long, value_name = "DIR")]
    dicom: Option<PathBuf>,
    /// The series' SeriesInstanceUID, where the folder holds several.
    #[arg(long, value_name = "UID", requires = "dicom")]
    series: Option<String>,
    /// Replace results that are in the folder already.
    #[arg(long)]
    force: bool,
    /// Where the network runs: cpu, cuda, cuda:N, vulkan or vulkan:N.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Where programs compiled for a card are kept, instead of the user's own cache folder.
    #[arg(long, value_name = "DIR")]
    kernel_cache: Option<PathBuf>,
    /// Threads to compute with; all cores when left out.
    #[arg(long, value_name = "COUNT")]
    threads: Option<usize>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

fn named(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => {
            Ok((name.into(), path.into()))
        }
        _ => Err("expected NAME=FILE".into()),
    }
}

/// Why nothing was predicted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PredictError {
    #[error("the model {}: {error}", .path.display())]
    ModelUnreadable { path: PathBuf, error: io::Error },
    #[error("the model {}: {error}", .path.display())]
    ModelFile {
        path: PathBuf,
        error: ModelFileError,
    },
    #[error("the model knows no sequence called {name:?}; it knows {}", .known.join(", "))]
    UnknownSequence { name: String, known: Vec<String> },
    #[error("the sequence {name} is given twice")]
    Twice { name: String },
    #[error("no sequence is given; the model takes any of {}", .known.join(", "))]
    NoSequence { known: Vec<String> },
    #[error("the model does not say from which probability a voxel is lesion")]
    NoThreshold,
    #[error(transparent)]
    OperatingPoint(#[from] OperatingError),
    #[error(transparent)]
    Calibration(#[from] CalibrationError),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error("a threshold of {0} is no probability")]
    Threshold(f32),
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Fault(#[from] DeviceFault),
    #[error("{0}")]
    NotFinite(PredictorError),
    #[error(transparent)]
    Case(#[from] CaseError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error("{}: {error}", .path.display())]
    Write { path: PathBuf, error: NiftiError },
    #[error(transparent)]
    Series(#[from] SeriesError),
    #[error("the result cannot be given back on the DICOM series: {0}")]
    Place(#[from] PlaceError),
    #[error("{}: {error}", .path.display())]
    Object { path: PathBuf, error: ObjectError },
    #[error("the folder {}: {error}", .path.display())]
    Folder { path: PathBuf, error: io::Error },
    #[error("the work ended without a result: {0}")]
    Lost(String),
}

impl Explain for PredictError {
    fn class(&self) -> Class {
        match self {
            Self::Case(error) => error.class(),
            Self::Device(error) => error.class(),
            Self::Fault(fault) => fault.class(),
            Self::Model(error) => error.class(),
            Self::Calibration(error) => error.class(),
            Self::Output(error) => error.class(),
            Self::ModelUnreadable { .. } | Self::ModelFile { .. } => Class::Data,
            Self::UnknownSequence { .. }
            | Self::Twice { .. }
            | Self::NoSequence { .. }
            | Self::NoThreshold
            | Self::OperatingPoint(_)
            | Self::Threshold(_) => Class::Configuration,
            Self::NotFinite(_) | Self::Series(_) | Self::Place(_) => Class::Data,
            Self::Write { .. } | Self::Folder { .. } | Self::Object { .. } => Class::Disk,
            Self::Lost(_) => Class::Internal,
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = match self {
            Self::Case(error) => return error.hint(),
            Self::Device(error) => return error.hint(),
            Self::Fault(fault) => return fault.hint(),
            Self::Model(error) => return error.hint(),
            Self::Calibration(error) => return error.hint(),
            Self::Output(error) => return error.hint(),
            Self::ModelUnreadable { .. } => "give the path of a model file with --model",
            Self::ModelFile { .. } => {
                "copy the file again; the coordinator keeps its models in models/ of the run folder"
            }
            Self::UnknownSequence { .. } | Self::Twice { .. } | Self::NoSequence { .. } => {
                "give each sequence the patient has as --sequence NAME=FILE"
            }
            Self::OperatingPoint(_) => {
                "name another one with --operating-point, give a probability with --threshold, or find this site's own \
                 with `site-agent calibrate`"
            }
            Self::NoThreshold | Self::Threshold(_) => "give one with --threshold, such as 0.5",
            Self::NotFinite(_) => {
                "another model, or another image of the patient, shows which is broken"
            }
            Self::Series(_) | Self::Place(_) => {
                "--dicom is the folder of the series that the images were converted from; --series names one of several"
            }
            Self::Write { .. } | Self::Folder { .. } | Self::Object { .. } => {
                "choose another folder with --out"
            }
            Self::Lost(_) => return None,
        };
        Some(hint.into())
    }
}

/// What is meant: everything that predicting needs, checked.
struct Task {
    model: Loaded,
    files: Files,
    thresholds: Thresholds,
    device: device::Device,
    outputs: Outputs,
    /// The series that the result is given back on.
    series: Option<Series>,
    inputs: Inputs,
    earlier: Earlier,
}

/// Runs it.
pub fn run(args: &Args) -> Result<(), Failure> {
    device::prepare(&args.device);
    let task = Task::resolve(args)?;
    if !task.model.hashed {
        let path = visible(&args.model.display().to_string());
        eprintln!("warning: {path} carries no hash of its weights: damage to it cannot be seen");
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let lost = |reason: String| Failure::from(PredictError::Lost(reason));
    let on_card = device::is_card(&task.device);
    let work = on_own_thread(args.threads.unwrap_or(cores), move || task.run());
    let work = work.map_err(|error| lost(error.to_string()))?;
    say_compilations(&work);
    let summary = work.join();
    let broken = |panic: Box<dyn Any + Send>| match said(&*panic) {
        words if on_card => PredictError::Fault(DeviceFault::new(words)).into(),
        _ => lost("a thread panicked".into()),
    };
    let summary = summary.map_err(broken)??;
    for warning in &summary.warnings {
        eprintln!("warning: {warning}");
    }
    if args.json {
        let text =
            serde_json::to_string_pretty(&summary).map_err(|error| lost(error.to_string()))?;
        println!("{text}");
    } else {
        println!("{summary}");
    }
    Ok(())
}

/// Says how many programs were compiled for a card, while nothing else moves, until the work is
/// done.
fn say_compilations<T>(work: &JoinHandle<T>) {
    let mut told = (0, Instant::now());
    while !work.is_finished() {
        std::thread::sleep(Duration::from_millis(50));
        if logging::compiled() > told.0 && told.1.elapsed() > Duration::from_secs(2) {
            told = (logging::compiled(), Instant::now());
            eprintln!(
                "compiling programs for the card, {} so far; they are kept for the next start",
                told.0
            );
        }
    }
}

impl Task {
    fn resolve(args: &Args) -> Result<Self, PredictError> {
        let outputs = Outputs::in_folder(&args.out);
        let inputs = args
            .sequences
            .iter()
            .map(|(_, path)| path)
            .chain(&args.brain)
            .chain(&args.calibration);
        let inputs: Vec<&Path> = inputs.chain([&args.model]).map(PathBuf::as_path).collect();
        output::check_folder(&args.out)?;
        // Never over an input; over an earlier result only where it is this patient's.
        output::check(&outputs.all(), &inputs, true)?;
        let inputs = Inputs::of(
            args.sequences
                .iter()
                .map(|(_, path)| path)
                .chain(&args.brain),
        );
        let earlier = inputs.meet(&outputs.all(), args.force)?;
        let model = read_model(&args.model)?;
        let weights = model.parameters.id();
        let read = |path: &PathBuf| {
            Calibration::read(path, weights).map(|calibration| (path.clone(), calibration))
        };
        let calibration = args.calibration.as_ref().map(read).transpose()?;
        let wish = Wish {
            point: args.operating_point,
            number: args.threshold,
        };
        let thresholds = threshold::choose(&wish, &model.card.operating_points, calibration)?;
        let sequences = by_position(&args.sequences, &model.card.input)?;
        let files = Files {
            sequences,
            label: None,
            brain: args.brain.clone(),
        };
        let series = match &args.dicom {
            Some(folder) => Some(Series::read(folder, args.series.as_deref())?),
            None => None,
        };
        let device = device::open_with(&args.device, args.kernel_cache.as_deref())?;
        Ok(Self {
            model,
            files,
            thresholds,
            device,
            outputs,
            series,
            inputs,
            earlier,
        })
    }

    fn run(&self) -> Result<Summary, PredictError> {
        let card = &self.model.card;
        let (patient, source) = prepare("patient", &self.files, &card.input, &[])?;
        let logits = self.logits(&patient)?;
        let count = |one| Called::of(one, &self.thresholds, &logits, &patient.native.grid);
        let operating_points: Vec<Called> = self.thresholds.shown.iter().map(count).collect();
        let lesions = self.write(&logits, &source)?;
        let counted = operating_points.iter().find(|one| one.mask).cloned();
        let chosen = counted.unwrap_or_else(|| count(&self.thresholds.chosen));
        let mut warnings = Vec::new();
        for note in &patient.noticed.notes {
            warnings.push(format!("{}: {}", note.what, note.remedy));
        }
        if let Earlier::Kept(number) = self.earlier {
            let kept = numbered(&self.outputs.mask, number);
            warnings.push(format!(
                "the folder held the result of other files: it is kept as {}; one folder for each patient is safer",
                kept.display()
            ));
        }
        let present = patient.present().iter();
        Ok(Summary {
            model: card.name.clone(),
            round: card.round,
            weights: self.model.parameters.id().hex(),
            hashed: self.model.hashed,
            sequences: present
                .map(|index| card.input.sequences[index].clone())
                .collect(),
            operating_point: chosen.threshold.name,
            threshold: chosen.threshold.probability,
            thresholds_from: self.thresholds.origin.words(),
            lesions: chosen.lesions,
            lesion_voxels: chosen.lesion_voxels,
            lesion_mm3: chosen.lesion_mm3,
            operating_points,
            brain_shown: patient.brain_shown(),
            warnings,
            lesion_table: lesions,
            probability: self.outputs.probability.clone(),
            mask: self.outputs.mask.clone(),
            table: self.outputs.lesions.clone(),
            segmentation: self
                .series
                .as_ref()
                .map(|_| self.outputs.segmentation.clone()),
            structure_set: self
                .series
                .as_ref()
                .map(|_| self.outputs.structure_set.clone()),
        })
    }

    /// Logits on the patient's own grid.
    fn logits(&self, patient: &Prepared) -> Result<Vec<f32>, PredictError> {
        let card = &self.model.card;
        let models = std::slice::from_ref(&self.model.parameters);
        let reader = Predictor::new(models, (&card.model, &card.input), BATCH, &self.device)?;
        let mut meter = None;
        let after = |done: usize, total: usize| {
            meter
                .get_or_insert_with(|| ProgressBar::new("slices segmented", total))
                .at(done);
        };
        let logits = reader.logits(patient, 0..patient.depth(), patient.present(), after);
        logits.map_err(|error| match error {
            PredictorError::Device(fault) => PredictError::Fault(fault),
            broken => PredictError::NotFinite(broken),
        })
    }

    /// Writes everything. What may be refused comes first. Then an earlier result is removed, its
    /// mask before all else, so that a break never leaves one patient's mask with another's
    /// probabilities.
    fn write(&self, logits: &[f32], source: &Source) -> Result<Vec<Lesion>, PredictError> {
        let outputs = &self.outputs;
        let out = outputs.mask.parent().unwrap_or(Path::new("."));
        let folder = |error| PredictError::Folder {
            path: out.into(),
            error,
        };
        let volume = |path: &Path, error| PredictError::Write {
            path: path.into(),
            error,
        };
        let probability: Vec<f32> = logits.iter().map(|&logit| sigmoid(logit)).collect();
        let mask = called(logits, self.thresholds.chosen.probability);
        let dims = source.grid().dims;
        let affine = source.canonical_affine();
        let regions = components(&mask, dims, Connectivity::TwentySix);
        let lesions = lesions::table(&regions, &probability, dims, &affine);
        let placed = PlacedMask {
            labels: &regions.labels,
            dims,
            affine,
        };
        let on_series = match &self.series {
            Some(series) => Some((series, placed.on(series)?)),
            None => None,
        };
        program::private::create_folder(out).map_err(folder)?;
        self.inputs.record(&outputs.all(), &self.earlier)?;
        for path in outputs.all() {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(folder(error)),
                _ => {}
            }
        }
        write_f32(&outputs.probability, &probability, source)
            .map_err(|error| volume(&outputs.probability, error))?;
        outputs.write_table(&lesions).map_err(folder)?;
        if let Some((series, slices)) = &on_series {
            outputs.write_dicom(series, slices, &lesions, &self.made_by())?;
        }
        // Last: with the mask the result is whole.
        write_u8(&outputs.mask, &mask, source).map_err(|error| volume(&outputs.mask, error))?;
        Ok(lesions)
    }

    /// The model and the threshold, as a DICOM object names what made it.
    fn made_by(&self) -> String {
        let card = &self.model.card;
        let weights = self.model.parameters.id().hex();
        format!(
            "{}, round {}, {}, from {}",
            card.name,
            card.round,
            &weights[..8],
            self.thresholds.chosen.probability
        )
    }
}

/// Reads a model file and checks its hashes, if it has any.
pub(crate) fn read_model(path: &Path) -> Result<Loaded, PredictError> {
    let bytes = std::fs::read(path).map_err(|error| PredictError::ModelUnreadable {
        path: path.into(),
        error,
    })?;
    decode(&bytes).map_err(|error| PredictError::ModelFile {
        path: path.into(),
        error,
    })
}

/// The given files in the model's order of sequences.
fn by_position(
    given: &[(String, PathBuf)],
    input: &Input,
) -> Result<Vec<Option<PathBuf>>, PredictError> {
    let known = || input.sequences.clone();
    let mut files = vec![None; input.sequences.len()];
    for (name, path) in given {
        let unknown = || PredictError::UnknownSequence {
            name: name.clone(),
            known: known(),
        };
        let index = input
            .sequences
            .iter()
            .position(|known| known == name)
            .ok_or_else(unknown)?;
        if files[index].replace(path.clone()).is_some() {
            return Err(PredictError::Twice { name: name.clone() });
        }
    }
    if given.is_empty() {
        Err(PredictError::NoSequence { known: known() })
    } else {
        Ok(files)
    }
}

#[cfg(test)]
mod tests;
