//! What is accepted as a brain mask.

use super::error::BrainError;
use crate::mask::{NoMask, fill_holes, two_values};
use crate::nifti::Volume;

/// Brains outside of this range of volumes, in millilitres, are hardly a patient's.
const BRAIN_ML: std::ops::RangeInclusive<f64> = 50.0..=5000.0;
/// The share of the volume, in percent, that no brain fills.
const MOST_PERCENT: f64 = 95.0;
/// What a program may change a value of the brain by, as a share of the image's greatest.
const ROUNDING: f32 = 0.01;
/// The share of voxels that may be changed by more.
const MOST_CHANGED: f64 = 0.01;

/// A brain mask on an image's grid.
#[derive(Clone, Debug, PartialEq)]
pub struct Mask {
    /// 1 in the brain, 0 elsewhere, in canonical order.
    pub brain: Vec<u8>,
    pub ml: f64,
    /// Voxels of holes that were filled: ventricles or lesions had been left out.
    pub filled: usize,
}

impl Mask {
    /// Fills holes, and refuses what is too small or too large for a brain.
    pub(super) fn new(mut brain: Vec<u8>, image: &Volume) -> Result<Self, BrainError> {
        let filled = fill_holes(&mut brain, image.grid.dims);
        let mut voxels = 0;
        for &voxel in &brain {
            voxels += usize::from(voxel);
        }
        let ml = voxels as f64 * image.grid.voxel_mm3() / 1000.0;
        let percent = 100.0 * voxels as f64 / brain.len().max(1) as f64;
        if !BRAIN_ML.contains(&ml) || percent > MOST_PERCENT {
            return Err(BrainError::NoBrain { ml, percent });
        }
        Ok(Self { brain, ml, filled })
    }

    /// Takes what a program made of an image: a mask of two values, or the image with zeros outside
    /// of the brain.
    pub(super) fn of_result(result: &Volume, image: &Volume) -> Result<Self, BrainError> {
        if !image.source.same_place(&result.source) {
            return Err(BrainError::OtherGrid);
        }
        let brain = match two_values(&result.values) {
            Ok(brain) => brain,
            Err(no_mask) => stripped(&result.values, &image.values, no_mask)?,
        };
        Self::new(brain, image)
    }

    /// The voxels that are not zero in at least one of the images, which have one grid.
    pub(super) fn of_zeros(images: &[Volume]) -> Result<Self, BrainError> {
        let Some(first) = images.first() else {
            return Err(BrainError::NoBrain {
                ml: 0.0,
                percent: 0.0,
            });
        };
        let mut brain = vec![0; first.values.len()];
        for image in images {
            for (voxel, &value) in brain.iter_mut().zip(&image.values) {
                *voxel |= u8::from(value != 0.0);
            }
        }
        Self::new(brain, first)
    }
}

/// 1 where a skull-stripped image is not zero, if its other values are those of the image.
fn stripped(result: &[f32], image: &[f32], no_mask: NoMask) -> Result<Vec<u8>, BrainError> {
    let mut greatest: f32 = 0.0;
    for value in image {
        greatest = greatest.max(value.abs());
    }
    let mut brain = Vec::with_capacity(result.len());
    let (mut inside, mut changed) = (0, 0);
    for (&value, &original) in result.iter().zip(image) {
        brain.push(u8::from(value != 0.0));
        if value != 0.0 {
            inside += 1;
            let is_same = (value - original).abs() <= ROUNDING * greatest;
            changed += usize::from(!is_same);
        }
    }
    let is_full = inside == result.len();
    if inside == 0 || is_full || changed as f64 > MOST_CHANGED * inside as f64 {
        return Err(BrainError::NoMask(no_mask));
    }
    Ok(brain)
}
