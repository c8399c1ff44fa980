//! What `predict` says at its end.

use super::threshold::{Origin, Threshold, Thresholds};
use crate::evaluate::called;
use imaging::lesions::Lesion;
use metrics::lesion::{Connectivity, components};
use program::visible::visible;
use protocol::case::Grid;
use serde::Serialize;
use std::fmt;
use std::path::PathBuf;

/// What came out.
#[derive(Debug, PartialEq, Serialize)]
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
    pub(super) probability: PathBuf,
    pub(super) mask: PathBuf,
    pub(super) table: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) segmentation: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) structure_set: Option<PathBuf>,
}

/// What one operating point calls lesion.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Called {
    #[serde(flatten)]
    pub(super) threshold: Threshold,
    pub(super) lesions: usize,
    pub(super) lesion_voxels: usize,
    pub(super) lesion_mm3: f64,
    /// Whether the mask that was written is this one.
    pub(super) mask: bool,
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
        let measurable = self
            .lesion_table
            .iter()
            .filter(|lesion| lesion.measurable)
            .count();
        writeln!(
            f,
            "{measurable} lesions are measurable by RANO-BM (10 mm or more)"
        )?;
        let dicom = self.segmentation.iter().chain(&self.structure_set);
        for path in [&self.probability, &self.table].into_iter().chain(dicom) {
            writeln!(f, "{}", visible(&path.display().to_string()))?;
        }
        write!(f, "{}", visible(&self.mask.display().to_string()))
    }
}
