//! The `calibrate` subcommand: a site's own thresholds for a model, from its own patients with a
//! reference.

use super::predict::read_model;
use crate::calibration::{self, Calibration, CalibrationError, Intervals};
use crate::case::CachedCase;
use crate::data::{self, Archives, DataError, Patient, SiteFileError};
use crate::device::{self, Device};
use crate::evaluate::{EvaluateError, Scored, score_cases};
use crate::output;
use crate::progress_bar::ProgressBar;
use crate::train::on_own_thread;
use metrics::score::{CaseScore, ScoreHistogram};
use metrics::statistics::{Interval, bootstrap};
use program::visible::visible;
use program::{Class, Failure};
use protocol::message::EvaluationRequest;
use protocol::model_file::Loaded;
use protocol::operating::{OperatingPoints, choose, sweep};
use serde::Deserialize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// What could not be used and should be looked at, kept in the work folder.
const SKIPPED: &str = "calibrate-skipped.json";
/// Draws of the bootstrap over patients.
const DRAWS: usize = 1000;

/// Arguments of `calibrate`.
#[derive(clap::Args)]
pub struct Args {
    /// The model, as the coordinator keeps it (a safetensors file).
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// A TOML file with a `[data]` table, such as the site's own. Of its other keys `device`,
    /// `threads` and `work_folder` are used. Leave out patients that the model was trained on: it
    /// is surer of those (`cases` in `[data]` names the others).
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The file to write, for `predict --calibration`.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Replace the file if it is there already.
    #[arg(long)]
    force: bool,
    /// Print what was found as JSON.
    #[arg(long)]
    json: bool,
}

/// What of a site's file is used here; a federation's addresses and certificates are not.
#[derive(Deserialize)]
struct Settings {
    data: Archives,
    #[serde(default)]
    device: Option<String>,
    #[serde(default)]
    threads: Option<usize>,
    #[serde(default)]
    work_folder: Option<PathBuf>,
}

/// Prepared cases, derived from patients' images: gone when the work ends.
struct Workplace(PathBuf);

impl Drop for Workplace {
    fn drop(&mut self) {
        // What cannot be removed is as confidential as the images, and named by the next line of
        // the documentation.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs it.
///
/// # Errors
/// A model, a file or data that cannot be used, or a file that is there already.
pub fn run(args: &Args) -> Result<(), Failure> {
    output::check(&[&args.out], &[&args.model, &args.config], args.force)?;
    let settings = read_settings(&args.config).map_err(CalibrationError::from)?;
    let model = read_model(&args.model)?;
    if !model.hashed {
        let path = visible(&args.model.display().to_string());
        eprintln!("warning: {path} carries no hash of its weights: damage to it cannot be seen");
    }
    let name = settings.device.as_deref().unwrap_or("cpu").to_owned();
    device::prepare(&name);
    let device = device::open_with(&name, None)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = settings
        .threads
        .filter(|&threads| threads > 0)
        .unwrap_or(cores);
    let next_to_out = args
        .out
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let relative = args.config.parent().unwrap_or(Path::new("."));
    let folder = settings
        .work_folder
        .as_ref()
        .map_or_else(|| next_to_out.to_owned(), |folder| relative.join(folder));
    let workplace = Workplace(folder.join(format!(".calibrate-{}", std::process::id())));
    let lost = |reason: String| {
        Failure::new(
            Class::Internal,
            format!("the work ended without a result: {reason}"),
        )
    };
    let work = on_own_thread(threads, move || {
        calibrate(&settings.data, &model, &device, &workplace.0)
    });
    let work = work.map_err(|error| lost(error.to_string()))?;
    let found = work
        .join()
        .map_err(|_| lost("a thread panicked".into()))??;
    found.write(&args.out)?;
    if args.json {
        let text = serde_json::to_string_pretty(&found).map_err(|error| lost(error.to_string()))?;
        println!("{text}");
    } else {
        println!("{found}\n{}", visible(&args.out.display().to_string()));
    }
    Ok(())
}

fn read_settings(path: &Path) -> Result<Settings, SiteFileError> {
    let mut settings: Settings = data::read_site_file(path)?;
    if let Some(folder) = &mut settings.work_folder {
        let home = data::home(&folder.to_string_lossy(), |name| std::env::var(name).ok());
        *folder = home
            .map_err(|expected| SiteFileError::Key {
                path: path.into(),
                place: format!("work_folder: expected {expected}"),
            })?
            .into();
    }
    Ok(settings)
}

fn calibrate(
    data: &Archives,
    model: &Loaded,
    device: &Device,
    work: &Path,
) -> Result<Calibration, Failure> {
    let disk = |error| DataError::Disk {
        folder: work.into(),
        error,
    };
    std::fs::create_dir_all(work).map_err(disk)?;
    let mut meter: Option<ProgressBar> = None;
    let opened = data::open(data, &model.card.input, work, &mut |done, total| {
        meter
            .get_or_insert_with(|| ProgressBar::new("cases prepared", total))
            .at(done);
    });
    drop(meter);
    // The report of what was skipped must outlive the folder of this work.
    let report = work.with_file_name(SKIPPED);
    let keep = || std::fs::rename(work.join(data::SKIPPED), &report).map_err(disk);
    let cohort = match opened {
        Err(DataError::NothingLeft { count, .. }) => {
            keep()?;
            return Err(DataError::NothingLeft { count, report }.into());
        }
        opened => opened?,
    };
    for skipped in &cohort.skipped {
        eprintln!(
            "warning: {} is left out: {}",
            visible(&skipped.id),
            visible(&skipped.reason.to_string())
        );
    }
    for warned in &cohort.warnings {
        let what = format!(
            "{}: {}; {}",
            warned.id, warned.note.what, warned.note.remedy
        );
        eprintln!("warning: {}", visible(&what));
    }
    if !cohort.skipped.is_empty() || !cohort.warnings.is_empty() {
        keep()?;
        let path = visible(&report.display().to_string());
        eprintln!("these are also in {path}, which names patients' files: it stays at the site");
    }
    let pairs = cohort
        .cases
        .iter()
        .zip(&cohort.patients)
        .filter(|(case, _)| case.has_label());
    let (labelled, patients): (Vec<&CachedCase>, Vec<&Patient>) = pairs.unzip();
    let without = cohort.cases.len() - labelled.len();
    if without > 0 {
        eprintln!("warning: {without} cases have no reference and are left out");
    }
    let scores = count(&labelled, model, device)?;
    let brains: Vec<&ScoreHistogram> = scores.iter().map(|score| &score.brain).collect();
    let chosen = choose(&brains);
    let cases: Vec<&CaseScore> = scores.iter().collect();
    let operating_points = OperatingPoints::of(chosen.dice, chosen.youden, &cases);
    if operating_points.dice.is_none() {
        return Err(CalibrationError::NoLesion { cases: cases.len() }.into());
    }
    let lesions = scores
        .iter()
        .filter_map(|score| score.at.first())
        .map(|at| at.lesions.reference)
        .sum();
    Ok(Calibration {
        version: calibration::VERSION,
        software: env!("CARGO_PKG_VERSION").into(),
        model: model.card.name.clone(),
        round: model.card.round,
        weights: model.parameters.id().hex(),
        cases: operating_points.patients,
        lesions,
        left_out: u32::try_from(cohort.skipped.len() + without).unwrap_or(u32::MAX),
        intervals: intervals(&by_patient(&scores, &patients)),
        operating_points,
    })
}

/// Scores all cases twice: for the thresholds, and at the thresholds.
fn count(
    cases: &[&CachedCase],
    model: &Loaded,
    device: &Device,
) -> Result<Vec<CaseScore>, Failure> {
    let federation = model
        .card
        .federation()
        .map_err(|error| Failure::new(Class::Data, error))?;
    let mut meter = ProgressBar::new("cases scored", 2 * cases.len());
    let mut done = 0;
    let mut pass = |wanted: &EvaluationRequest| -> Result<Vec<CaseScore>, EvaluateError> {
        let mut scores = Vec::new();
        let models = std::slice::from_ref(&model.parameters);
        score_cases(cases, &federation, models, wanted, device, &mut |scored| {
            if let Scored::Case(score) = scored {
                scores.push(score);
            }
            done += 1;
            meter.at(done);
            ControlFlow::Continue(())
        })?;
        Ok(scores)
    };
    let first = pass(&EvaluationRequest::default())?;
    let brains: Vec<&ScoreHistogram> = first.iter().map(|score| &score.brain).collect();
    let wanted = EvaluationRequest {
        thresholds: choose(&brains).all(),
        sweep: sweep(&brains),
        subsets: false,
    };
    Ok(pass(&wanted)?)
}

/// The brains of each patient's cases.
fn by_patient<'a>(scores: &'a [CaseScore], patients: &[&Patient]) -> Vec<Vec<&'a ScoreHistogram>> {
    let mut found: Vec<(&Patient, Vec<&ScoreHistogram>)> = Vec::new();
    for score in scores {
        let Some(&patient) = patients.get(score.case as usize) else {
            continue;
        };
        match found.iter_mut().find(|(known, _)| *known == patient) {
            Some((_, brains)) => brains.push(&score.brain),
            None => found.push((patient, vec![&score.brain])),
        }
    }
    found.into_iter().map(|(_, brains)| brains).collect()
}

/// How far the thresholds would move with other patients like these: the percentile bootstrap over
/// patients, each with all of its cases.
fn intervals(patients: &[Vec<&ScoreHistogram>]) -> Intervals {
    let drawn = |draw: &[f64]| -> Vec<&ScoreHistogram> {
        draw.iter()
            .flat_map(|&place| patients[place as usize].iter().copied())
            .collect()
    };
    let dice = |draw: &[f64]| {
        ScoreHistogram::merged(&drawn(draw))
            .best_dice()
            .map(|(best, _)| f64::from(best))
    };
    let youden = |draw: &[f64]| choose(&drawn(draw)).youden.map(f64::from);
    let ends =
        |interval: Option<Interval>| interval.map(|found| [found.low as f32, found.high as f32]);
    let all: Vec<f64> = (0..patients.len()).map(|place| place as f64).collect();
    let has_youden = |&place: &f64| youden(&[place]).is_some();
    let own: Vec<f64> = all.iter().copied().filter(has_youden).collect();
    Intervals {
        dice: ends(bootstrap(&all, dice, DRAWS, 0)),
        youden: ends(bootstrap(&own, youden, DRAWS, 0)),
    }
}

#[cfg(test)]
mod tests;
