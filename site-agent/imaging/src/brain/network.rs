//! A neural network that makes a brain mask.

use super::error::BrainError;
use super::result::Mask;
use crate::nifti::Volume;
use std::error::Error;
use std::fmt::Debug;

/// A network that finds the brain in the image of a head. This crate has none: the program that
/// computes networks hands it in.
pub trait Network: Debug + Send + Sync {
    /// Which network it is, for reports. Two that give different masks have different names.
    fn name(&self) -> String;

    /// 1 in the brain, else 0, in the order of the image's values.
    ///
    /// # Errors
    /// The image cannot be used, or the device failed.
    fn brain(&self, image: &Volume) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>>;
}

/// Finds the brain, and checks what was found.
///
/// # Errors
/// The network's, or its result is no brain.
pub(super) fn mask(network: &dyn Network, image: &Volume) -> Result<Mask, BrainError> {
    let brain = network.brain(image).map_err(BrainError::Network)?;
    Mask::new(brain, image)
}
