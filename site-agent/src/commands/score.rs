//! The `score` subcommand: predictions against references, for anybody with masks.

mod error;
mod files;
mod folder;
mod measure;
mod pairing;
mod read;

use error::ScoreError;
use measure::{Measured, Wanted, measure};
use program::{Class, Failure};
use read::{Labels, Pair};
use std::io::Write;
use std::path::PathBuf;

/// Arguments of `score`.
#[derive(clap::Args)]
pub struct Args {
    /// The reference mask (NIfTI), or a folder of them.
    #[arg(long)]
    reference: PathBuf,
    /// The predicted mask, or a folder of them.
    #[arg(long)]
    prediction: PathBuf,
    /// The reference's labels that are lesion, as in `1,4`. Needed unless the mask holds only 0 and
    /// one other value.
    #[arg(long, value_delimiter = ',')]
    labels: Vec<u16>,
    /// The prediction's labels that are lesion, where they differ from the reference's.
    #[arg(long, value_delimiter = ',')]
    prediction_labels: Vec<u16>,
    /// A map in which lesion scores higher (a probability, or any image): adds AUC and Youden's
    /// threshold.
    #[arg(long)]
    score: Option<PathBuf>,
    /// Volumes whose nonzero voxels are brain, together: a mask, or the patient's skull-stripped
    /// images.
    #[arg(long, num_args = 1.., requires = "score")]
    brain: Vec<PathBuf>,
    /// Leave out HD95 and surface Dice, which take the most time.
    #[arg(long)]
    no_distances: bool,
    /// Print JSON instead of a table. Undefined values are null, in the panoptica block "nan" as
    /// panoptica has them.
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Folders: write the table of all cases here instead of printing it.
    #[arg(long)]
    csv: Option<PathBuf>,
    /// Replace the table if it is there already.
    #[arg(long, requires = "csv")]
    force: bool,
    /// Folders: which file of a case is the reference and which the prediction, `{case}` standing
    /// for its name, as in `--pair '{case}/{case}_seg.nii.gz' '{case}/mask.nii.gz'`. When nothing
    /// is said, files are paired by their names or by those of their folders, whichever pairs most;
    /// how is printed.
    #[arg(long, num_args = 2, value_names = ["REFERENCE", "PREDICTION"],
        conflicts_with_all = ["reference_suffix", "prediction_suffix"])]
    pair: Option<Vec<String>>,
    /// Folders: what follows the case's name in a reference's file name, as in `_seg` of
    /// `case7_seg.nii.gz`.
    #[arg(long, default_value = "")]
    reference_suffix: String,
    /// Folders: the same for predictions.
    #[arg(long, default_value = "")]
    prediction_suffix: String,
}

impl Args {
    fn wanted(&self) -> Wanted {
        Wanted {
            distances: !self.no_distances,
        }
    }

    fn labels(&self) -> Labels {
        let prediction = if self.prediction_labels.is_empty() {
            &self.labels
        } else {
            &self.prediction_labels
        };
        Labels {
            reference: self.labels.clone(),
            prediction: prediction.clone(),
        }
    }
}

/// Runs it.
pub fn run(args: &Args) -> Result<(), Failure> {
    if args.reference.is_dir() || args.prediction.is_dir() {
        return folder::run(args);
    }
    if args.csv.is_some() {
        return Err(Failure::new(
            Class::Configuration,
            "--csv is for folders; a single pair is printed",
        ));
    }
    let measured = score_pair(args)?;
    let text = if args.json {
        measured.json().map_err(ScoreError::from)?
    } else {
        measured.table()
    };
    print(&text).map_err(|error| Failure::new(Class::Disk, error))
}

fn score_pair(args: &Args) -> Result<Measured, ScoreError> {
    let mut pair = Pair::read(&args.reference, &args.prediction, &args.labels())?;
    let map = args
        .score
        .as_ref()
        .map(|map| read::ScoreMap::read(map, &args.brain, &mut pair))
        .transpose()?;
    warn(&pair);
    Ok(measure(&pair, map.as_ref(), &args.wanted()))
}

/// Says what is odd about a pair's files.
fn warn(pair: &Pair) {
    for warning in &pair.warnings {
        eprintln!("warning: {warning}");
    }
}

/// Prints, unless the reader has closed the pipe.
fn print(text: &str) -> std::io::Result<()> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests;
