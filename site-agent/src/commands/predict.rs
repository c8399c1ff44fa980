//! The `predict` subcommand: one patient, one model, a probability map and a mask.

use crate::case::Prepared;
use crate::data::{CaseError, Files, prepare};
use crate::device::{self, DeviceError, DeviceFault};
use crate::evaluate::called;
use crate::infer::{InferError, Reader};
use crate::logging;
use crate::meter::Meter;
use crate::model::ModelError;
use crate::nifti::{NiftiError, Source, write_f32, write_u8};
use crate::train::{on_own_thread, said};
use metrics::lesion::{Connectivity, components};
use metrics::voxel::sigmoid;
use program::{Class, Explain, Failure};
use protocol::federation::Input;
use protocol::model_file::{ModelCard, ModelFileError, decode};
use protocol::parameters::Parameters;
use serde::Serialize;
use std::any::Any;
use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Slices that the network looks at together.
const BATCH: usize = 4;

/// Arguments of `predict`.
#[derive(clap::Args)]
pub struct Args {
    /// The model, as the coordinator keeps it (a safetensors file).
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// The folder for probability.nii.gz and mask.nii.gz; made where it is missing.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// A sequence of the patient, such as t1_post=scan.nii.gz; once for each one there is.
    #[arg(long = "sequence", value_name = "NAME=FILE", value_parser = named)]
    sequences: Vec<(String, PathBuf)>,
    /// A brain mask on the same grid; without it, brain is where any sequence is not zero.
    #[arg(long, value_name = "FILE")]
    brain: Option<PathBuf>,
    /// The probability from which a voxel is lesion, instead of the model's own.
    #[arg(long, value_name = "PROBABILITY")]
    threshold: Option<f32>,
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
        Some((name, path)) if !name.is_empty() && !path.is_empty() => Ok((name.into(), path.into())),
        _ => Err("expected NAME=FILE".into()),
    }
}

/// Why nothing was predicted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PredictError {
    #[error("the model {}: {error}", .path.display())]
    ModelUnreadable { path: PathBuf, error: io::Error },
    #[error("the model {}: {error}", .path.display())]
    ModelFile { path: PathBuf, error: ModelFileError },
    #[error("the model knows no sequence called {name:?}; it knows {}", .known.join(", "))]
    UnknownSequence { name: String, known: Vec<String> },
    #[error("the sequence {name} is given twice")]
    Twice { name: String },
    #[error("no sequence is given; the model takes any of {}", .known.join(", "))]
    NoSequence { known: Vec<String> },
    #[error("the model does not say from which probability a voxel is lesion")]
    NoThreshold,
    #[error("a threshold of {0} is no probability")]
    Threshold(f32),
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Fault(#[from] DeviceFault),
    #[error("{0}")]
    NotFinite(InferError),
    #[error(transparent)]
    Case(#[from] CaseError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error("{}: {error}", .path.display())]
    Write { path: PathBuf, error: NiftiError },
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
            Self::ModelUnreadable { .. } | Self::ModelFile { .. } => Class::Data,
            Self::UnknownSequence { .. }
            | Self::Twice { .. }
            | Self::NoSequence { .. }
            | Self::NoThreshold
            | Self::Threshold(_) => Class::Configuration,
            Self::NotFinite(_) => Class::Data,
            Self::Write { .. } | Self::Folder { .. } => Class::Disk,
            Self::Lost(_) => Class::Internal,
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = match self {
            Self::Case(error) => return error.hint(),
            Self::Device(error) => return error.hint(),
            Self::Fault(fault) => return fault.hint(),
            Self::Model(error) => return error.hint(),
            Self::ModelUnreadable { .. } => "give the path of a model file with --model",
            Self::ModelFile { .. } => "the coordinator keeps models in its run folder",
            Self::UnknownSequence { .. } | Self::Twice { .. } | Self::NoSequence { .. } => {
                "give each sequence the patient has as --sequence NAME=FILE"
            }
            Self::NoThreshold | Self::Threshold(_) => "give one with --threshold, such as 0.5",
            Self::NotFinite(_) => "another model, or another image of the patient, shows which is broken",
            Self::Write { .. } | Self::Folder { .. } => "choose another folder with --out",
            Self::Lost(_) => return None,
        };
        Some(hint.into())
    }
}

/// What is meant: everything that predicting needs, checked.
struct Task {
    card: ModelCard,
    parameters: Parameters,
    files: Files,
    threshold: f32,
    device: device::Device,
    out: PathBuf,
}

/// What came out.
#[derive(Debug, PartialEq, Serialize)]
struct Summary {
    model: String,
    round: u32,
    /// The sequences that were used.
    sequences: Vec<String>,
    threshold: f32,
    lesions: usize,
    lesion_voxels: usize,
    lesion_mm3: f64,
    /// The share of the brain's voxels that the network was asked about.
    brain_shown: f64,
    /// What a reader of the result should know about the patient's files.
    warnings: Vec<String>,
    probability: PathBuf,
    mask: PathBuf,
}

/// Runs it.
pub fn run(args: &Args) -> Result<(), Failure> {
    device::prepare(&args.device);
    let task = Task::resolve(args)?;
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
        let text = serde_json::to_string_pretty(&summary).map_err(|error| lost(error.to_string()))?;
        println!("{text}");
    } else {
        println!("{summary}");
    }
    Ok(())
}

/// Says how many programs were compiled for a card, while nothing else moves, until the work is done.
fn say_compilations<T>(work: &JoinHandle<T>) {
    let mut told = (0, Instant::now());
    while !work.is_finished() {
        std::thread::sleep(Duration::from_millis(50));
        if logging::compiled() > told.0 && told.1.elapsed() > Duration::from_secs(2) {
            told = (logging::compiled(), Instant::now());
            eprintln!("compiling programs for the card, {} so far; they are kept for the next start", told.0);
        }
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { lesions, lesion_mm3, threshold, .. } = self;
        writeln!(f, "{lesions} lesions, {lesion_mm3:.0} mm3 in all, at a probability of {threshold} or more")?;
        writeln!(f, "from {} by {}, round {}", self.sequences.join(", "), self.model, self.round)?;
        writeln!(f, "{:.1} % of the brain was looked at", 100.0 * self.brain_shown)?;
        writeln!(f, "{}", self.probability.display())?;
        write!(f, "{}", self.mask.display())
    }
}

impl Task {
    fn resolve(args: &Args) -> Result<Self, PredictError> {
        let path = || args.model.clone();
        let bytes = std::fs::read(&args.model);
        let bytes = bytes.map_err(|error| PredictError::ModelUnreadable { path: path(), error })?;
        let (card, parameters) = decode(&bytes).map_err(|error| PredictError::ModelFile { path: path(), error })?;
        let threshold = args.threshold.or(card.threshold).ok_or(PredictError::NoThreshold)?;
        if !(0.0..=1.0).contains(&threshold) {
            return Err(PredictError::Threshold(threshold));
        }
        let sequences = by_position(&args.sequences, &card.input)?;
        let files = Files { sequences, label: None, brain: args.brain.clone() };
        let device = device::open_with(&args.device, args.kernel_cache.as_deref())?;
        Ok(Self { card, parameters, files, threshold, device, out: args.out.clone() })
    }

    fn run(&self) -> Result<Summary, PredictError> {
        let (patient, source) = prepare("patient", &self.files, &self.card.input, &[])?;
        let logits = self.logits(&patient)?;
        let probability: Vec<f32> = logits.iter().map(|&logit| sigmoid(logit)).collect();
        let mask = called(&logits, self.threshold);
        let lesions = components(&mask, patient.native.grid.dims, Connectivity::TwentySix).count();
        let (probability, mask_path) = self.write(&probability, &mask, &source)?;
        let lesion_voxels = mask.iter().filter(|&&voxel| voxel != 0).count();
        let input = &self.card.input;
        Ok(Summary {
            model: self.card.name.clone(),
            round: self.card.round,
            sequences: patient.present().iter().map(|index| input.sequences[index].clone()).collect(),
            threshold: self.threshold,
            lesions,
            lesion_voxels,
            lesion_mm3: lesion_voxels as f64 * patient.native.grid.voxel_mm3(),
            brain_shown: patient.brain_shown(),
            warnings: patient.noticed.notes.iter().map(|note| format!("{}: {}", note.what, note.remedy)).collect(),
            probability,
            mask: mask_path,
        })
    }

    /// Logits on the patient's own grid.
    fn logits(&self, patient: &Prepared) -> Result<Vec<f32>, PredictError> {
        let card = &self.card;
        let reader =
            Reader::new(std::slice::from_ref(&self.parameters), (&card.model, &card.input), BATCH, &self.device)?;
        let mut meter = None;
        let after = |done: usize, total: usize| {
            meter.get_or_insert_with(|| Meter::new("slices segmented", total)).at(done);
        };
        let logits = reader.logits(patient, 0..patient.depth(), patient.present(), after);
        logits.map_err(|error| match error {
            InferError::Device(fault) => PredictError::Fault(fault),
            broken => PredictError::NotFinite(broken),
        })
    }

    fn write(&self, probability: &[f32], mask: &[u8], source: &Source) -> Result<(PathBuf, PathBuf), PredictError> {
        let out = &self.out;
        program::private::create_folder(out).map_err(|error| PredictError::Folder { path: out.clone(), error })?;
        let failed = |path: &Path| {
            let path = path.to_path_buf();
            move |error| PredictError::Write { path, error }
        };
        let (first, second) = (out.join("probability.nii.gz"), out.join("mask.nii.gz"));
        write_f32(&first, probability, source).map_err(failed(&first))?;
        write_u8(&second, mask, source).map_err(failed(&second))?;
        Ok((first, second))
    }
}

/// The given files in the model's order of sequences.
fn by_position(given: &[(String, PathBuf)], input: &Input) -> Result<Vec<Option<PathBuf>>, PredictError> {
    let known = || input.sequences.clone();
    let mut files = vec![None; input.sequences.len()];
    for (name, path) in given {
        let unknown = || PredictError::UnknownSequence { name: name.clone(), known: known() };
        let index = input.sequences.iter().position(|known| known == name).ok_or_else(unknown)?;
        if files[index].replace(path.clone()).is_some() {
            return Err(PredictError::Twice { name: name.clone() });
        }
    }
    if given.is_empty() { Err(PredictError::NoSequence { known: known() }) } else { Ok(files) }
}

#[cfg(test)]
mod tests;
