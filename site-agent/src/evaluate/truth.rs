//! A case's reference, and how predictions are counted against it.

use super::called;
use crate::case::Native;
use metrics::lesion::{Components, Connectivity, compare, components};
use metrics::score::{AtThreshold, Compared, ScoreHistogram, SweepPoint};
use metrics::voxel::HistogramBuilder;

/// A case's masks. Its lesions are found once, for all predictions.
pub(super) struct Truth<'a> {
    native: &'a Native,
    lesion: &'a [u8],
    lesions: Components,
}

/// Voxels by logit.
pub(super) struct Histograms {
    pub(super) brain: ScoreHistogram,
    /// Outside the brain.
    pub(super) outside: ScoreHistogram,
}

impl<'a> Truth<'a> {
    /// `None` without a reference.
    pub(super) fn of(native: &'a Native) -> Option<Self> {
        let lesion = native.lesion.as_deref()?;
        Some(Self {
            native,
            lesion,
            lesions: components(lesion, native.grid.dims, Connectivity::TwentySix),
        })
    }

    /// The volume of one voxel, mm³.
    pub(super) fn voxel_mm3(&self) -> f64 {
        self.native.grid.voxel_mm3()
    }

    fn components(&self, called: &[u8]) -> Components {
        components(called, self.native.grid.dims, Connectivity::TwentySix)
    }

    pub(super) fn histograms(&self, logits: &[f32]) -> Histograms {
        let mut inside = HistogramBuilder::new();
        let mut outside = HistogramBuilder::new();
        for ((&logit, &brain), &lesion) in logits.iter().zip(&self.native.brain).zip(self.lesion) {
            let histogram = if brain != 0 {
                &mut inside
            } else {
                &mut outside
            };
            histogram.add(logit, lesion != 0);
        }
        Histograms {
            brain: inside.finish(),
            outside: outside.finish(),
        }
    }

    /// Counts voxels and lesions at each threshold.
    pub(super) fn at(&self, logits: &[f32], thresholds: &[f32]) -> Vec<AtThreshold> {
        let mut counts = Vec::with_capacity(thresholds.len());
        for &threshold in thresholds {
            let called = called(logits, threshold);
            let compared = Compared {
                reference: self.lesion,
                lesions: &self.lesions,
                prediction: &called,
                predicted: &self.components(&called),
                voxel_mm3: self.voxel_mm3(),
            };
            counts.push(AtThreshold::of(&compared, threshold));
        }
        counts
    }

    /// Counts lesions only, at each threshold.
    pub(super) fn sweep(&self, logits: &[f32], thresholds: &[f32]) -> Vec<SweepPoint> {
        let mut points = Vec::with_capacity(thresholds.len());
        for &threshold in thresholds {
            let called = called(logits, threshold);
            let lesions = compare(
                &self.lesions,
                self.lesion,
                &self.components(&called),
                &called,
                self.voxel_mm3(),
            );
            points.push(SweepPoint { threshold, lesions });
        }
        points
    }
}
