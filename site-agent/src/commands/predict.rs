//! The `predict` subcommand: one model; of one patient or many a probability map, a mask, a table
//! and a picture of the lesions, and where it is asked for the result as DICOM objects.

mod cases;
mod earlier;
mod error;
mod outputs;
mod patient;
mod registered;
mod summary;
mod threshold;

use crate::calibration::Calibration;
use crate::data::Files;
use crate::device::{self, Device, DeviceFault};
use crate::logging;
use crate::model::ModelError;
use crate::predictor::Predictor;
use crate::train::{on_own_thread, panic_message};
pub(crate) use error::PredictError;
use imaging::dicom::Series;
use outputs::Outputs;
use patient::{OnSeries, Patient};
use program::Failure;
use program::visible::visible;
use protocol::model_file::{Loaded, decode};
use protocol::operating::OperatingPoint;
use protocol::settings::Input;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use summary::Summary;
use threshold::{Thresholds, Wish};

/// Slices that the network looks at together.
const BATCH: usize = 4;

/// Arguments of `predict`.
#[derive(clap::Args)]
pub struct Args {
    /// The model, as the coordinator keeps it (a safetensors file).
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// The folder for probability.nii.gz, mask.nii.gz, lesions.csv and lesions.png; made where it is
    /// missing. With --cases or --config it holds a folder for each patient, and predictions.csv.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// A sequence of the patient, such as t1_post=scan.nii.gz; once for each one there is. With
    /// --cases, a pattern below that folder, such as t1_post={case}/scan.nii.gz.
    #[arg(long = "sequence", value_name = "NAME=FILE", value_parser = named)]
    sequences: Vec<(String, PathBuf)>,
    /// A brain mask on the same grid; without it, brain is where any sequence is not zero.
    #[arg(long, value_name = "FILE")]
    brain: Option<PathBuf>,
    /// Segment every patient of a folder. Without --sequence, their images are
    /// {case}/SEQUENCE.nii.gz for each sequence that the model knows, as `import` and `register`
    /// write them, and {case}/brain.nii.gz is the brain mask where there is one. A last part with * or ? chooses patients: registered/mets-0*. What an earlier
    /// run has finished is kept.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["dicom", "series"])]
    cases: Option<PathBuf>,
    /// Segment every patient that the [data] table of a site's file describes.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["cases", "sequences", "brain", "dicom", "series"]
    )]
    config: Option<PathBuf>,
    /// First bring the patient's sequences onto the grid of one of them, as `site-agent register`
    /// does. The mask is also written on each sequence's own grid. A sequence whose registration
    /// is doubtful is left out, with a warning.
    #[arg(long)]
    register: bool,
    /// The sequence onto which the others are registered.
    #[arg(long, value_name = "NAME", requires = "register")]
    reference: Option<String>,
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
    /// With --register: which of the sequences the series is.
    #[arg(long, value_name = "NAME", requires = "dicom")]
    dicom_sequence: Option<String>,
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

/// A model, and how it is used.
struct Segmenter {
    model: Loaded,
    thresholds: Thresholds,
    device: Device,
    /// How the sequences of a patient are brought onto one grid, where that is asked for.
    registration: Option<Registration>,
    threads: usize,
}

/// How sequences are brought onto one grid.
#[derive(Debug)]
struct Registration {
    /// The sequence that the others are moved onto, where one was named.
    reference: Option<String>,
}

/// One patient, and the model.
struct Task {
    segmenter: Segmenter,
    patient: Patient,
}

/// Runs it.
///
/// # Errors
/// A model, files or a folder that cannot be used; and exit code 4 where one of many patients has
/// no result.
pub fn run(args: &Args) -> Result<(), Failure> {
    device::prepare(&args.device);
    if args.cases.is_some() || args.config.is_some() {
        return cases::run(args);
    }
    let task = Task::resolve(args)?;
    warn_of_missing_hash(&task.segmenter.model, &args.model);
    let device = task.segmenter.device.clone();
    let summary = on_worker(args, &device, move || task.run())?;
    for warning in &summary.warnings {
        eprintln!("warning: {warning}");
    }
    if args.json {
        println!("{}", as_json(&summary)?);
    } else {
        println!("{summary}");
    }
    Ok(())
}

fn warn_of_missing_hash(model: &Loaded, path: &Path) {
    if !model.hashed {
        let path = visible(&path.display().to_string());
        eprintln!("warning: {path} carries no hash of its weights: damage to it cannot be seen");
    }
}

fn as_json(value: &impl serde::Serialize) -> Result<String, PredictError> {
    serde_json::to_string_pretty(value).map_err(|error| PredictError::Lost(error.to_string()))
}

/// Does the work on a thread of its own, and says what is compiled for a card meanwhile.
fn on_worker<T: Send + 'static>(
    args: &Args,
    device: &Device,
    work: impl FnOnce() -> Result<T, PredictError> + Send + 'static,
) -> Result<T, Failure> {
    let lost = |reason: String| Failure::from(PredictError::Lost(reason));
    let worker = on_own_thread(threads(args), work).map_err(|error| lost(error.to_string()))?;
    say_compilations(&worker);
    match worker.join() {
        Ok(result) => Ok(result?),
        Err(panic) => match panic_message(&*panic) {
            words if device::is_gpu(device) => {
                Err(PredictError::Fault(DeviceFault::new(words)).into())
            }
            _ => Err(lost("a thread panicked".into())),
        },
    }
}

fn threads(args: &Args) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    args.threads.unwrap_or(cores)
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

impl Segmenter {
    /// Reads the model and chooses thresholds. The device is opened last: it can take long.
    fn open(args: &Args, model: Loaded) -> Result<Self, PredictError> {
        let calibration = match &args.calibration {
            Some(path) => {
                let weights = model.parameters.id();
                Some((path.clone(), Calibration::read(path, weights)?))
            }
            None => None,
        };
        let wish = Wish {
            point: args.operating_point,
            number: args.threshold,
        };
        let thresholds = threshold::choose(&wish, &model.card.operating_points, calibration)?;
        let device = device::open_with(&args.device, args.kernel_cache.as_deref())?;
        let registration = args.register.then(|| Registration {
            reference: args.reference.clone(),
        });
        Ok(Self {
            model,
            thresholds,
            device,
            registration,
            threads: threads(args),
        })
    }

    fn input(&self) -> &Input {
        &self.model.card.input
    }

    /// The network with the model's weights on the device.
    fn predictor(&self) -> Result<Predictor, ModelError> {
        let models = std::slice::from_ref(&self.model.parameters);
        let card = &self.model.card;
        Predictor::new(models, (&card.model, &card.input), BATCH, &self.device)
    }
}

impl Task {
    fn resolve(args: &Args) -> Result<Self, PredictError> {
        let model = read_model(&args.model)?;
        let sequences = by_position(&args.sequences, &model.card.input)?;
        let files = Files {
            sequences,
            label: None,
            brain: args.brain.clone(),
        };
        let others = [Some(&args.model), args.calibration.as_ref()];
        let others: Vec<&Path> = others.into_iter().flatten().map(PathBuf::as_path).collect();
        let mut patient = Patient::new(files, &args.out, &model.card.input, &others, args.force)?;
        patient.shows_progress = true;
        patient.on_series = match &args.dicom {
            Some(folder) => {
                if args.register && args.dicom_sequence.is_none() {
                    return Err(PredictError::WhichSequence);
                }
                Some(OnSeries {
                    series: Series::read(folder, args.series.as_deref())?,
                    sequence: args.dicom_sequence.clone(),
                })
            }
            None => None,
        };
        let segmenter = Segmenter::open(args, model)?;
        Ok(Self { segmenter, patient })
    }

    fn run(&self) -> Result<Summary, PredictError> {
        let predictor = self.segmenter.predictor()?;
        self.patient.segment(&self.segmenter, &predictor)
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
