//! One patient: from the files to the result in its folder.

use super::earlier::{Earlier, Inputs, numbered};
use super::registered::Registered;
use super::summary::{Called, Summary};
use super::{Outputs, PredictError, Segmenter};
use crate::case::Prepared;
use crate::data::{Files, prepare};
use crate::evaluate::called;
use crate::output::{self, OutputError};
use crate::overlay;
use crate::predictor::{Predictor, PredictorError};
use crate::progress_bar::ProgressBar;
use imaging::dicom::{PlacedMask, Series, SliceMasks};
use imaging::lesions::{self, Lesion};
use imaging::nifti::{Source, write_f32, write_u8};
use metrics::lesion::{Components, Connectivity, components};
use metrics::voxel::sigmoid;
use protocol::settings::Input;
use std::io::Write;
use std::path::Path;

/// A patient's files, and where the result goes.
pub(super) struct Patient {
    files: Files,
    outputs: Outputs,
    inputs: Inputs,
    earlier: Earlier,
    /// The series that the result is given back on.
    pub(super) on_series: Option<OnSeries>,
    /// Whether the slices are counted while they are segmented.
    pub(super) shows_progress: bool,
}

/// A DICOM series of the patient.
pub(super) struct OnSeries {
    pub(super) series: Series,
    /// The sequence that it is; `None` where all sequences are in one place.
    pub(super) sequence: Option<String>,
}

/// What the network found, on the patient's grid.
struct Found {
    probability: Vec<f32>,
    mask: Vec<u8>,
    regions: Components,
    lesions: Vec<Lesion>,
}

impl Patient {
    /// Checks where the result goes: never over a file that is read, `others` among them, and over
    /// an earlier result only where it is this patient's or `force` is said.
    pub(super) fn new(
        files: Files,
        out: &Path,
        input: &Input,
        others: &[&Path],
        force: bool,
    ) -> Result<Self, OutputError> {
        let outputs = Outputs::in_folder(out, &input.sequences);
        let mut read: Vec<&Path> = others.to_vec();
        for path in files.images_and_brain() {
            read.push(path);
        }
        output::check_folder(out)?;
        output::check(&outputs.files(), &read, true)?;
        output::check_not_within(&outputs.registered, &read)?;
        let inputs = Inputs::of(files.images_and_brain());
        let earlier = inputs.meet(&outputs.all(), force)?;
        Ok(Self {
            files,
            outputs,
            inputs,
            earlier,
            on_series: None,
            shows_progress: false,
        })
    }

    /// Does it all.
    ///
    /// # Errors
    /// Files that cannot be used, a device that fails, a folder that cannot be written. What was in
    /// the folder before is then still there, unless writing failed.
    pub(super) fn segment(
        &self,
        segmenter: &Segmenter,
        predictor: &Predictor,
    ) -> Result<Summary, PredictError> {
        let input = segmenter.input();
        // First, because it names the file where one cannot be read.
        let made_from = self.made_from(segmenter)?;
        let registered = match &segmenter.registration {
            Some(registration) => Some(Registered::of(
                &self.files,
                &self.outputs,
                input,
                registration,
                segmenter.threads,
            )?),
            None => None,
        };
        let files = registered.as_ref().map_or(&self.files, |them| &them.files);
        let (case, source) = prepare("patient", files, input, &[])?;
        let logits = self.logits(&case, predictor)?;
        let threshold = segmenter.thresholds.chosen.probability;
        let found = Found::of(&logits, threshold, &source);

        let mut points = Vec::new();
        for one in &segmenter.thresholds.shown {
            points.push(Called::of(
                one,
                &segmenter.thresholds,
                &logits,
                &case.native.grid,
            ));
        }
        let mut warnings = Vec::new();
        for note in &case.noticed.notes {
            warnings.push(format!("{}: {}", note.what, note.remedy));
        }
        if let Earlier::Kept(number) = self.earlier {
            let kept = numbered(&self.outputs.mask, number);
            warnings.push(format!(
                "the folder held the result of other files: it is kept as {}; one folder for each \
                 patient is safer",
                kept.display()
            ));
        }
        let on_inputs = match &registered {
            Some(registered) => registered.bring_back(&found.regions.labels)?,
            None => Vec::new(),
        };
        let mut images = Vec::new();
        if let Some(registered) = &registered {
            warnings.extend(registered.warnings(&on_inputs));
            images = registered.summaries(&self.outputs, &on_inputs);
        }
        let mut summary = Summary::new(segmenter, &case, points, &found.lesions);
        summary.warnings = warnings;
        summary.registered = images;
        summary.made_from = made_from;
        let grid = Grid {
            source: &source,
            dims: source.grid().dims,
        };
        let on_series = self.on_series(&found.regions.labels, &grid, registered.as_ref())?;
        let picture = overlay::picture_of_lesions(case, &logits, threshold, &found.regions)
            .map_err(PredictError::Picture)?;
        summary.name_files(&self.outputs, picture.is_some(), on_series.is_some());

        // What may be refused is done. An earlier result is removed before anything is written, so
        // that a break never leaves one patient's mask with another's probabilities.
        let outputs = &self.outputs;
        let folder = |error| PredictError::Folder {
            path: outputs.folder.clone(),
            error,
        };
        program::private::create_folder(&outputs.folder).map_err(folder)?;
        self.inputs.record(&outputs.all(), &self.earlier)?;
        outputs.remove_earlier().map_err(folder)?;
        if let Some(registered) = &registered {
            registered.keep(&outputs.registered).map_err(folder)?;
            for image in &on_inputs {
                let path = outputs.mask_on(&image.name);
                let mask: Vec<u8> = image.labels.iter().map(|l| u8::from(*l != 0)).collect();
                write_u8(&path, &mask, &image.source)
                    .map_err(|error| PredictError::Write { path, error })?;
            }
        }
        let volume = |path: &Path, error| PredictError::Write {
            path: path.into(),
            error,
        };
        write_f32(&outputs.probability, &found.probability, &source)
            .map_err(|error| volume(&outputs.probability, error))?;
        outputs.write_table(&found.lesions).map_err(folder)?;
        if let Some(picture) = &picture {
            program::files::replace(&outputs.picture, |file| file.write_all(picture))
                .map_err(folder)?;
        }
        if let (Some(on), Some(slices)) = (&self.on_series, &on_series) {
            outputs.write_dicom(&on.series, slices, &found.lesions, &made_by(segmenter))?;
        }
        write_u8(&outputs.mask, &found.mask, &source)
            .map_err(|error| volume(&outputs.mask, error))?;
        // Last: with the summary the result is complete.
        outputs.write_summary(&summary).map_err(folder)?;
        Ok(summary)
    }

    /// The summary of an earlier run that would be made again as it is.
    pub(super) fn finished(&self, segmenter: &Segmenter) -> Option<Summary> {
        let summary = self.outputs.read_summary()?;
        let is_same = self.made_from(segmenter).ok()? == summary.made_from;
        let is_there = self.outputs.mask.is_file() && self.outputs.probability.is_file();
        (is_same && is_there).then_some(summary)
    }

    /// A hash of all that decides about the result.
    fn made_from(&self, segmenter: &Segmenter) -> Result<String, PredictError> {
        let mut text = format!(
            "1 {} {:?} {:?}",
            segmenter.model.parameters.id().hex(),
            segmenter.thresholds.chosen,
            segmenter.registration
        );
        for path in self.files.images_and_brain() {
            let hash = imaging::nifti::hash(path).map_err(|error| PredictError::Read {
                path: path.clone(),
                error,
            })?;
            text += &format!(" {} {}", path.display(), hash.to_hex());
        }
        Ok(blake3::hash(text.as_bytes()).to_hex().to_string())
    }

    /// Logits on the patient's own grid.
    fn logits(&self, case: &Prepared, predictor: &Predictor) -> Result<Vec<f32>, PredictError> {
        let mut bar = None;
        let after = |done: usize, total: usize| {
            if self.shows_progress {
                bar.get_or_insert_with(|| ProgressBar::new("slices segmented", total))
                    .at(done);
            }
        };
        let logits = predictor.logits(case, 0..case.depth(), case.present(), after);
        logits.map_err(|error| match error {
            PredictorError::Device(fault) => PredictError::Fault(fault),
            broken => PredictError::NotFinite(broken),
        })
    }

    /// The lesions on the pixels of the series.
    fn on_series(
        &self,
        labels: &[u32],
        grid: &Grid<'_>,
        registered: Option<&Registered>,
    ) -> Result<Option<SliceMasks>, PredictError> {
        let Some(on) = &self.on_series else {
            return Ok(None);
        };
        let moved = match (&on.sequence, registered) {
            (Some(name), Some(registered)) => registered.labels_on(name, labels)?,
            _ => None,
        };
        let placed = match &moved {
            Some(moved) => PlacedMask {
                labels: &moved.labels,
                dims: moved.source.grid().dims,
                affine: moved.source.canonical_affine(),
            },
            None => PlacedMask {
                labels,
                dims: grid.dims,
                affine: grid.source.canonical_affine(),
            },
        };
        Ok(Some(placed.on(&on.series)?))
    }
}

/// Where voxels are.
struct Grid<'a> {
    source: &'a Source,
    dims: [usize; 3],
}

impl Found {
    fn of(logits: &[f32], threshold: f32, source: &Source) -> Self {
        let probability: Vec<f32> = logits.iter().map(|&logit| sigmoid(logit)).collect();
        let mask = called(logits, threshold);
        let dims = source.grid().dims;
        let regions = components(&mask, dims, Connectivity::TwentySix);
        let affine = source.canonical_affine();
        let lesions = lesions::table(&regions, &probability, dims, &affine);
        Self {
            probability,
            mask,
            regions,
            lesions,
        }
    }
}

/// The model and the threshold, as a DICOM object names what made it.
fn made_by(segmenter: &Segmenter) -> String {
    let card = &segmenter.model.card;
    let weights = segmenter.model.parameters.id().hex();
    format!(
        "{}, round {}, {}, from {}",
        card.name,
        card.round,
        &weights[..8],
        segmenter.thresholds.chosen.probability
    )
}
