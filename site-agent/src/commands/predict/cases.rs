//! Many patients: each into a folder of its own, and one table of all.

use super::error::hint_for;
use super::outputs::MASK;
use super::patient::Patient;
use super::summary::Summary;
use super::{Args, PredictError, Segmenter, as_json, on_worker, read_model, warn_of_missing_hash};
use crate::data::{
    Archives, CasePattern, DataConfig, ListedCase, Listing, list_images, read_site_file,
};
use crate::output;
use crate::predictor::Predictor;
use crate::progress_bar::ProgressBar;
use program::csv;
use program::visible::visible;
use program::{Class, Explain, Failure};
use protocol::settings::Input;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The table of all patients.
const TABLE: &str = "predictions.csv";

/// The brain mask that is looked for where patterns are not given.
const BRAIN: &str = "brain.nii.gz";

/// What became of one patient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Segmented,
    /// By an earlier run, from the same files with the same model and options.
    Kept,
    LeftOut,
}

/// One patient.
#[derive(Debug, Serialize)]
struct Outcome {
    case: String,
    state: State,
    /// Why the patient was left out, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Summary>,
}

/// All patients.
#[derive(Debug, Serialize)]
struct Report {
    table: PathBuf,
    warnings: Vec<String>,
    cases: Vec<Outcome>,
}

/// The work on all patients.
struct Job {
    segmenter: Segmenter,
    cases: Vec<ListedCase>,
    warnings: Vec<String>,
    out: PathBuf,
    /// Files that are read for every patient.
    read: Vec<PathBuf>,
    force: bool,
}

/// What a site's file says about images.
#[derive(Deserialize)]
struct SiteFile {
    data: Archives,
}

/// Runs it.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let job = Job::resolve(args)?;
    warn_of_missing_hash(&job.segmenter.model, &args.model);
    for warning in &job.warnings {
        eprintln!("warning: {}", visible(warning));
    }
    let device = job.segmenter.device.clone();
    let report = on_worker(args, &device, move || job.run())?;
    if args.json {
        println!("{}", as_json(&report)?);
    } else {
        println!("{report}");
    }
    let left_out = report.count(State::LeftOut);
    if left_out > 0 {
        let all = report.cases.len();
        return Err(PredictError::LeftOut { left_out, all }.into());
    }
    Ok(())
}

impl Job {
    fn resolve(args: &Args) -> Result<Self, PredictError> {
        let model = read_model(&args.model)?;
        let input = &model.card.input;
        let archives = match (&args.config, &args.cases) {
            (Some(path), _) => read_site_file::<SiteFile>(path)?.data,
            (None, cases) => {
                let folder = cases.as_deref().unwrap_or(Path::new("."));
                folder_of_cases(folder, &args.sequences, args.brain.as_deref(), input)?
            }
        };
        let Listing {
            cases,
            warnings: of_archives,
            ignored,
        } = list_images(&archives, input)?;
        let mut warnings = Vec::new();
        for warned in of_archives {
            warnings.push(format!(
                "{}: {}: {}",
                warned.id, warned.note.what, warned.note.remedy
            ));
        }
        for name in ignored {
            warnings.push(format!("{name} is ignored: another program's leftover"));
        }
        output::check_folder(&args.out)?;
        let read = [
            Some(&args.model),
            args.calibration.as_ref(),
            args.config.as_ref(),
        ];
        let read: Vec<PathBuf> = read.into_iter().flatten().cloned().collect();
        let segmenter = Segmenter::open(args, model)?;
        Ok(Self {
            segmenter,
            cases,
            warnings,
            out: args.out.clone(),
            read,
            force: args.force,
        })
    }

    fn run(self) -> Result<Report, PredictError> {
        let total = self.cases.len();
        let mut bar = ProgressBar::new("patients done", total);
        // Loaded for the first patient that needs it.
        let mut predictor = None;
        let mut outcomes = Vec::with_capacity(total);
        for (done, case) in self.cases.iter().enumerate() {
            let outcome = match self.segment(case, &mut predictor) {
                Ok((state, summary)) => Outcome {
                    case: case.case.clone(),
                    state,
                    why: None,
                    result: Some(summary),
                },
                Err(error) if concerns_all(&error) => return Err(error),
                Err(error) => Outcome {
                    case: case.case.clone(),
                    state: State::LeftOut,
                    why: Some(self.why(case, &error)),
                    result: None,
                },
            };
            outcomes.push(outcome);
            bar.at(done + 1);
        }
        let report = Report {
            table: self.out.join(TABLE),
            warnings: self.warnings,
            cases: outcomes,
        };
        report.write().map_err(|error| PredictError::Folder {
            path: self.out.clone(),
            error,
        })?;
        Ok(report)
    }

    /// Why a patient was left out, and what to do.
    fn why(&self, case: &ListedCase, error: &PredictError) -> String {
        let mut why = error.to_string();
        if let Some(hint) = error.hint() {
            why += &format!(": {hint}");
        }
        let is_output = matches!(error, PredictError::Output(_));
        if !is_output && self.out.join(&case.case).join(MASK).exists() {
            why += "; the mask in its folder is that of an earlier run";
        }
        why
    }

    fn segment(
        &self,
        case: &ListedCase,
        predictor: &mut Option<Predictor>,
    ) -> Result<(State, Summary), PredictError> {
        let files = match &case.files {
            Ok(files) => files.clone(),
            Err(error) => return Err(PredictError::Unusable(error.to_string(), hint_for(error))),
        };
        let read: Vec<&Path> = self.read.iter().map(PathBuf::as_path).collect();
        let out = self.out.join(&case.case);
        let patient = Patient::new(files, &out, self.segmenter.input(), &read, self.force)?;
        if !self.force
            && let Some(summary) = patient.finished(&self.segmenter)
        {
            return Ok((State::Kept, summary));
        }
        let predictor = match predictor {
            Some(loaded) => loaded,
            None => predictor.insert(self.segmenter.predictor()?),
        };
        let mut summary = patient.segment(&self.segmenter, predictor)?;
        for note in &case.notes {
            summary
                .warnings
                .push(format!("{}: {}", note.what, note.remedy));
        }
        Ok((State::Segmented, summary))
    }
}

/// Whether an error would meet every other patient too.
fn concerns_all(error: &PredictError) -> bool {
    match error {
        PredictError::Output(_) => false,
        other => other.class() != Class::Data,
    }
}

/// The archive that `--cases`, `--sequence` and `--brain` describe.
fn folder_of_cases(
    folder: &Path,
    given: &[(String, PathBuf)],
    brain: Option<&Path>,
    input: &Input,
) -> Result<Archives, PredictError> {
    let mut root = folder.to_owned();
    let mut chosen = Vec::new();
    if let Some(name) = folder.file_name().and_then(|name| name.to_str())
        && name.contains(['*', '?'])
        && !folder.is_dir()
    {
        chosen.push(name.to_owned());
        let parent = folder.parent().unwrap_or(Path::new(""));
        root = if parent.as_os_str().is_empty() {
            PathBuf::from(".")
        } else {
            parent.to_owned()
        };
    }
    let mut sequences = BTreeMap::new();
    for (name, path) in given {
        if !input.sequences.contains(name) {
            return Err(PredictError::UnknownSequence {
                name: name.clone(),
                known: input.sequences.clone(),
            });
        }
        let parsed = pattern(&format!("sequence {name}"), path)?;
        if sequences.insert(name.clone(), vec![parsed]).is_some() {
            return Err(PredictError::Twice { name: name.clone() });
        }
    }
    if given.is_empty() {
        for name in &input.sequences {
            let file = format!("{name}.nii.gz");
            if any_case_has(&root, &file) {
                let path = PathBuf::from(format!("{{case}}/{file}"));
                let parsed = pattern(&format!("sequence {name}"), &path)?;
                sequences.insert(name.clone(), vec![parsed]);
            }
        }
    }
    if sequences.is_empty() {
        return Err(PredictError::NoCases {
            folder: root,
            known: input.sequences.clone(),
        });
    }
    let brain = match brain {
        Some(path) => vec![pattern("brain", path)?],
        // What `site-agent brain` writes.
        None if given.is_empty() && any_case_has(&root, BRAIN) => {
            vec![pattern("brain", &Path::new("{case}").join(BRAIN))?]
        }
        None => Vec::new(),
    };
    Ok(DataConfig::of_images(root, chosen, sequences, brain).into())
}

fn pattern(option: &str, path: &Path) -> Result<CasePattern, PredictError> {
    CasePattern::parse(&path.to_string_lossy()).map_err(|error| PredictError::Pattern {
        option: option.into(),
        found: error.found,
        expected: error.expected,
    })
}

/// Whether a folder in `root` has the file.
fn any_case_has(root: &Path, file: &str) -> bool {
    let Ok(entries) = fs::read_dir(root) else {
        return false;
    };
    for entry in entries.flatten() {
        if entry.path().join(file).exists() {
            return true;
        }
    }
    false
}

impl Report {
    fn count(&self, state: State) -> usize {
        let outcomes = self.cases.iter();
        outcomes.filter(|outcome| outcome.state == state).count()
    }

    /// Writes the table, a line for each patient.
    fn write(&self) -> io::Result<()> {
        let mut text = String::from(
            "case,state,sequences,threshold,lesions,measurable,volume_mm3,brain_shown,warnings,why\n",
        );
        for outcome in &self.cases {
            text += &outcome.line();
            text.push('\n');
        }
        if let Some(folder) = self.table.parent() {
            program::private::create_folder(folder)?;
        }
        program::files::replace(&self.table, |file| file.write_all(text.as_bytes()))
    }
}

impl State {
    fn words(self) -> &'static str {
        match self {
            Self::Segmented => "segmented",
            Self::Kept => "kept",
            Self::LeftOut => "left out",
        }
    }
}

impl Outcome {
    fn line(&self) -> String {
        let case = csv::cell(&self.case);
        let state = self.state.words();
        let why = csv::cell(self.why.as_deref().unwrap_or_default());
        match &self.result {
            None => format!("{case},{state},,,,,,,,{why}"),
            Some(result) => format!(
                "{case},{state},{},{},{},{},{:.2},{:.4},{},{why}",
                result.sequences.join(" "),
                result.threshold,
                result.lesions,
                result.measurable(),
                result.lesion_mm3,
                result.brain_shown,
                csv::cell(&result.warnings.join("; "))
            ),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut widest = 4;
        for outcome in &self.cases {
            widest = widest.max(outcome.case.chars().count());
        }
        writeln!(f, "{:<widest$}  lesions       ml", "case")?;
        for outcome in &self.cases {
            let case = visible(&outcome.case);
            match (&outcome.result, &outcome.why) {
                (Some(result), _) => {
                    let mut line = format!(
                        "{case:<widest$}  {:>7} {:>8.2}",
                        result.lesions,
                        result.lesion_mm3 / 1000.0
                    );
                    if outcome.state == State::Kept {
                        line += "  kept";
                    }
                    if !result.warnings.is_empty() {
                        // Writing to a string cannot fail.
                        let _ = write!(line, "  {} warnings", result.warnings.len());
                    }
                    writeln!(f, "{line}")?;
                }
                (None, Some(why)) => {
                    writeln!(f, "{case:<widest$}  left out: {}", visible(why))?;
                }
                (None, None) => {}
            }
        }
        writeln!(
            f,
            "{} segmented, {} kept from an earlier run, {} left out",
            self.count(State::Segmented),
            self.count(State::Kept),
            self.count(State::LeftOut)
        )?;
        write!(f, "{}", visible(&self.table.display().to_string()))
    }
}
