//! What `predict` says at its end.

use super::threshold::{Origin, Threshold, Thresholds};
use super::{Outputs, Segmenter};
use crate::case::Prepared;
use crate::evaluate::called;
use imaging::lesions::Lesion;
use metrics::lesion::{Connectivity, components};
use program::visible::visible;
use protocol::case::Grid;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// What came out.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Summary {
    pub(super) model: String,
    pub(super) round: u32,
    /// The hash of the model's weights.
    pub(super) weights: String,
    /// Whether the model's file carried hashes, which then were right.
    pub(super) hashed: bool,
    /// The sequences that were used.
    pub(super) sequences: Vec<String>,
    /// The operating point of the mask.
    pub(super) operating_point: String,
    pub(super) threshold: f32,
    /// `model`, or the calibration file that the thresholds of named points are from.
    pub(super) thresholds_from: String,
    pub(super) lesions: usize,
    pub(super) lesion_voxels: usize,
    pub(super) lesion_mm3: f64,
    /// What each operating point calls lesion, the mask's one among them.
    pub(super) operating_points: Vec<Called>,
    /// The share of the brain's voxels that the network was asked about.
    pub(super) brain_shown: f64,
    /// What a reader of the result should know about the patient's files.
    pub(super) warnings: Vec<String>,
    /// The lesions of the mask, the largest first.
    pub(super) lesion_table: Vec<Lesion>,
    /// The moves of the sequences that were registered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) registered: Vec<RegisteredImage>,
    /// A hash of the files, the model and the options.
    pub(super) made_from: String,
    pub(super) probability: PathBuf,
    pub(super) mask: PathBuf,
    pub(super) table: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) picture: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) segmentation: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) structure_set: Option<PathBuf>,
}

/// A sequence that was moved onto the grid of another one.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct RegisteredImage {
    pub(super) sequence: String,
    pub(super) onto: String,
    /// Whether the network was shown it.
    pub(super) used: bool,
    /// Why its move should not be believed.
    pub(super) doubts: Vec<String>,
    /// How far the points of a head moved: the root of the mean square over a ball of 80 mm.
    pub(super) moved_mm: f64,
    pub(super) turned_degrees: f64,
    pub(super) image: PathBuf,
    /// The mask on the sequence's own grid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mask: Option<PathBuf>,
}

/// What one operating point calls lesion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Called {
    #[serde(flatten)]
    pub(super) threshold: Threshold,
    pub(super) lesions: usize,
    pub(super) lesion_voxels: usize,
    pub(super) lesion_mm3: f64,
    /// Whether the mask that was written is this one.
    pub(super) mask: bool,
}

impl Summary {
    /// What the model and the case say; warnings and files are added by the caller.
    pub(super) fn new(
        segmenter: &Segmenter,
        case: &Prepared,
        operating_points: Vec<Called>,
        lesions: &[Lesion],
    ) -> Self {
        let card = &segmenter.model.card;
        let chosen = &segmenter.thresholds.chosen;
        let mut lesion_voxels = 0;
        for lesion in lesions {
            lesion_voxels += lesion.voxels;
        }
        let mut sequences = Vec::new();
        for index in case.present().iter() {
            sequences.push(card.input.sequences[index].clone());
        }
        Self {
            model: card.name.clone(),
            round: card.round,
            weights: segmenter.model.parameters.id().hex(),
            hashed: segmenter.model.hashed,
            sequences,
            operating_point: chosen.name.clone(),
            threshold: chosen.probability,
            thresholds_from: segmenter.thresholds.origin.words(),
            lesions: lesions.len(),
            lesion_voxels: lesion_voxels as usize,
            lesion_mm3: lesion_voxels as f64 * case.native.grid.voxel_mm3(),
            operating_points,
            brain_shown: case.brain_shown(),
            warnings: Vec::new(),
            lesion_table: lesions.to_vec(),
            registered: Vec::new(),
            made_from: String::new(),
            probability: PathBuf::new(),
            mask: PathBuf::new(),
            table: PathBuf::new(),
            picture: None,
            segmentation: None,
            structure_set: None,
        }
    }

    pub(super) fn name_files(&mut self, outputs: &Outputs, has_picture: bool, has_dicom: bool) {
        self.probability = outputs.probability.clone();
        self.mask = outputs.mask.clone();
        self.table = outputs.lesions.clone();
        if has_picture {
            self.picture = Some(outputs.picture.clone());
        }
        if has_dicom {
            self.segmentation = Some(outputs.segmentation.clone());
            self.structure_set = Some(outputs.structure_set.clone());
        }
    }

    /// How many lesions can be measured by RANO-BM.
    pub(super) fn measurable(&self) -> usize {
        let lesions = self.lesion_table.iter();
        lesions.filter(|lesion| lesion.measurable).count()
    }
}

impl Called {
    /// Counts what the threshold calls lesion.
    pub(super) fn of(
        threshold: &Threshold,
        thresholds: &Thresholds,
        logits: &[f32],
        grid: &Grid,
    ) -> Self {
        let mask = called(logits, threshold.probability);
        let lesion_voxels = mask.iter().filter(|&&voxel| voxel != 0).count();
        Self {
            threshold: threshold.clone(),
            lesions: components(&mask, grid.dims, Connectivity::TwentySix).count(),
            lesion_voxels,
            lesion_mm3: lesion_voxels as f64 * grid.voxel_mm3(),
            mask: *threshold == thresholds.chosen,
        }
    }
}

impl Origin {
    pub(super) fn words(&self) -> String {
        match self {
            Self::Model => "model".into(),
            Self::Calibration(path) => path.display().to_string(),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = self.sequences.join(", ");
        writeln!(
            f,
            "from {} by {}, round {}",
            visible(&from),
            visible(&self.model),
            self.round
        )?;
        if self.thresholds_from != "model" {
            writeln!(f, "thresholds from {}", visible(&self.thresholds_from))?;
        }
        for one in &self.operating_points {
            let Called {
                threshold,
                lesions,
                lesion_mm3,
                mask,
                ..
            } = one;
            let (mark, ml) = (if *mask { "*" } else { " " }, lesion_mm3 / 1000.0);
            writeln!(
                f,
                "{mark} {:<18} probability >= {:<9} {lesions:>4} lesions, {ml:>8.2} ml   {}",
                threshold.name, threshold.probability, threshold.meaning
            )?;
        }
        writeln!(
            f,
            "{:.1} % of the brain was looked at",
            100.0 * self.brain_shown
        )?;
        writeln!(f, "* is what the mask holds; --operating-point chooses")?;
        for image in &self.registered {
            let (name, onto) = (visible(&image.sequence), visible(&image.onto));
            writeln!(
                f,
                "{name} was moved onto {onto} by {:.1} mm and {:.1} degrees",
                image.moved_mm, image.turned_degrees
            )?;
        }
        let measurable = self.measurable();
        writeln!(
            f,
            "{measurable} lesions are measurable by RANO-BM (10 mm or more)"
        )?;
        let mut files = vec![&self.probability, &self.table];
        files.extend(&self.picture);
        files.extend(&self.segmentation);
        files.extend(&self.structure_set);
        for image in &self.registered {
            files.extend(&image.mask);
        }
        for path in files {
            writeln!(f, "{}", visible(&path.display().to_string()))?;
        }
        write!(f, "{}", visible(&self.mask.display().to_string()))
    }
}
