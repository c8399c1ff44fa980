//! Brain masks by HD-BET's network (Isensee et al. 2019, arXiv 1901.11341), with the weights that
//! its authors published.
//!
//! An image is brought to voxels of 1.5 mm, its values to mean 0 and variance 1, and the network
//! sees all of it at once. Several networks give the mean of their probabilities. Those go back to
//! the image's own grid, and brain is the largest region of more than one half.

mod checkpoint;
mod resample;
mod unet;
mod weights;

use crate::device::{self, Device, DeviceFault};
use burn::tensor::{Tensor, TensorData};
use imaging::brain::Network;
use imaging::nifti::Volume;
use metrics::components::{Connectivity, components};
use program::{Class, Explain};
use std::borrow::Cow;
use std::error::Error;
use std::path::PathBuf;
use unet::UNet;
use weights::Weights;
pub use weights::WeightsError;

/// The spacing that the network was trained with.
const SPACING_MM: f64 = 1.5;
/// The least voxels along each side that the network is shown; an image is continued by zeros.
const LEAST_SIDE: usize = 128;
/// The most voxels that the network is shown: about 380 mm in each direction.
const MOST_VOXELS: usize = 1 << 24;

/// Why an image has no mask.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BrainNetworkError {
    #[error("the image holds voxels that are not finite numbers")]
    Values,
    #[error("all voxels of the image have the same value")]
    Flat,
    #[error("the image covers {0:?} mm, which is more than a head")]
    TooLarge([usize; 3]),
    #[error("the network's output is not a finite number")]
    NotFinite,
    #[error(transparent)]
    Device(#[from] DeviceFault),
}

/// Why networks cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("{}: {source}", .path.display())]
    Unreadable {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{}: {source}", .path.display())]
    Weights { path: PathBuf, source: WeightsError },
    #[error("{} holds {name}, as another file does", .path.display())]
    Twice { path: PathBuf, name: &'static str },
}

impl Explain for LoadError {
    fn class(&self) -> Class {
        match self {
            Self::Unreadable { .. } | Self::Twice { .. } => Class::Configuration,
            Self::Weights { source, .. } => source.class(),
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Unreadable { .. } => None,
            Self::Weights { source, .. } => source.hint(),
            Self::Twice { .. } => Some("name each network once".into()),
        }
    }
}

/// One network, or several whose mean counts.
#[derive(Debug)]
pub struct BrainNetwork {
    names: Vec<&'static str>,
    networks: Vec<UNet>,
    device: Device,
}

/// HD-BET's own file of weights as a safetensors file.
#[derive(Debug)]
pub struct Converted {
    /// Which network it is.
    pub name: &'static str,
    pub safetensors: Vec<u8>,
}

/// Converts a file of weights that HD-BET's authors published.
///
/// # Errors
/// Another file.
pub fn convert(bytes: &[u8]) -> Result<Converted, WeightsError> {
    let weights = Weights::from_checkpoint(bytes)?;
    Ok(Converted {
        name: weights.published()?,
        safetensors: weights.to_safetensors()?,
    })
}

impl BrainNetwork {
    /// Reads the safetensors files that [`convert`] made.
    ///
    /// # Errors
    /// A file that cannot be read or holds other weights, or the same ones twice.
    pub fn open(paths: &[PathBuf], device: &Device) -> Result<Self, LoadError> {
        let device = device.clone().without_autodiff();
        let mut names = Vec::new();
        let mut networks = Vec::new();
        for path in paths {
            let bytes = std::fs::read(path).map_err(|source| LoadError::Unreadable {
                path: path.into(),
                source,
            })?;
            let (name, network) = load(&bytes, &device).map_err(|source| LoadError::Weights {
                path: path.into(),
                source,
            })?;
            if names.contains(&name) {
                let path = path.into();
                return Err(LoadError::Twice { path, name });
            }
            names.push(name);
            networks.push(network);
        }
        Ok(Self {
            names,
            networks,
            device,
        })
    }

    /// 1 in the brain, else 0, on the image's own grid.
    fn mask(&self, image: &Volume) -> Result<Vec<u8>, BrainNetworkError> {
        let dims = image.grid.dims;
        let coarse = coarse_dims(dims, image.grid.spacing_mm)?;
        if image.values.iter().any(|value| !value.is_finite()) {
            return Err(BrainNetworkError::Values);
        }
        let mut values = resample::cubic(&image.values, dims, coarse);
        standardise(&mut values)?;
        let probabilities = self.probabilities(&values, coarse)?;
        let fine = resample::linear(&probabilities, coarse, dims);
        let mut mask = Vec::with_capacity(fine.len());
        for probability in fine {
            mask.push(u8::from(probability > 0.5));
        }
        keep_largest(&mut mask, dims);
        Ok(mask)
    }

    /// The mean of the networks' probabilities for brain.
    fn probabilities(
        &self,
        values: &[f32],
        dims: [usize; 3],
    ) -> Result<Vec<f32>, BrainNetworkError> {
        let padded = padded_dims(dims);
        let [depth, height, width] = padded;
        let data = TensorData::new(pad(values, dims, padded), [1, 1, depth, height, width]);
        let input = Tensor::<5>::from_data(data, &self.device);
        let mut sums = vec![0.0; values.len()];
        for network in &self.networks {
            let logits = device::read(network.forward(input.clone()))?;
            let (outside, brain) = logits.split_at(logits.len() / 2);
            let outside = unpad(outside, dims, padded);
            let brain = unpad(brain, dims, padded);
            for ((sum, outside), brain) in sums.iter_mut().zip(outside).zip(brain) {
                let logit = brain - outside;
                if !logit.is_finite() {
                    return Err(BrainNetworkError::NotFinite);
                }
                *sum += 1.0 / (1.0 + (-logit).exp());
            }
        }
        for sum in &mut sums {
            *sum /= self.networks.len() as f32;
        }
        Ok(sums)
    }
}

fn load(bytes: &[u8], device: &Device) -> Result<(&'static str, UNet), WeightsError> {
    let weights = Weights::from_safetensors(bytes)?;
    let network = UNet::new(&weights, device)?;
    Ok((weights.published()?, network))
}

impl Network for BrainNetwork {
    fn name(&self) -> String {
        self.names.join(", ")
    }

    fn brain(&self, image: &Volume) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
        Ok(self.mask(image)?)
    }
}

/// The sides of an image at the network's spacing.
fn coarse_dims(dims: [usize; 3], spacing_mm: [f32; 3]) -> Result<[usize; 3], BrainNetworkError> {
    let mut coarse = [0; 3];
    let mut covered_mm = [0; 3];
    for axis in [0, 1, 2] {
        let mm = dims[axis] as f64 * f64::from(spacing_mm[axis]);
        covered_mm[axis] = mm.round() as usize;
        coarse[axis] = ((mm / SPACING_MM).round_ties_even() as usize).max(1);
    }
    let mut voxels: usize = 1;
    for side in padded_dims(coarse) {
        voxels = voxels.saturating_mul(side);
    }
    if voxels > MOST_VOXELS {
        return Err(BrainNetworkError::TooLarge(covered_mm));
    }
    Ok(coarse)
}

/// Sides that the network can halve as often as it does.
fn padded_dims(dims: [usize; 3]) -> [usize; 3] {
    dims.map(|side| side.next_multiple_of(unet::MULTIPLE).max(LEAST_SIDE))
}

/// Shifts and scales values to mean 0 and variance 1.
fn standardise(values: &mut [f32]) -> Result<(), BrainNetworkError> {
    let count = values.len() as f64;
    let mut sum = 0.0;
    for &value in values.iter() {
        sum += f64::from(value);
    }
    let mean = sum / count;
    let mut squares = 0.0;
    for &value in values.iter() {
        squares += (f64::from(value) - mean).powi(2);
    }
    let deviation = (squares / count).sqrt();
    if deviation == 0.0 {
        return Err(BrainNetworkError::Flat);
    }
    for value in values.iter_mut() {
        *value = ((f64::from(*value) - mean) / deviation) as f32;
    }
    Ok(())
}

/// Continues an image by zeros behind its last voxels.
fn pad(values: &[f32], dims: [usize; 3], padded: [usize; 3]) -> Vec<f32> {
    let mut result = vec![0.0; padded.iter().product()];
    for (row, values) in values.chunks_exact(dims[2]).enumerate() {
        let start = row_start(row, dims, padded);
        result[start..start + dims[2]].copy_from_slice(values);
    }
    result
}

/// Takes away what [`pad`] added.
fn unpad(values: &[f32], dims: [usize; 3], padded: [usize; 3]) -> Vec<f32> {
    let mut result = Vec::with_capacity(dims.iter().product());
    for row in 0..dims[0] * dims[1] {
        let start = row_start(row, dims, padded);
        result.extend_from_slice(&values[start..start + dims[2]]);
    }
    result
}

/// Where a row of an image begins in the padded one.
fn row_start(row: usize, dims: [usize; 3], padded: [usize; 3]) -> usize {
    let (slice, row) = (row / dims[1], row % dims[1]);
    (slice * padded[1] + row) * padded[2]
}

/// Leaves only the largest connected region of a mask, the first of several.
fn keep_largest(mask: &mut [u8], dims: [usize; 3]) {
    let regions = components(mask, dims, Connectivity::TwentySix);
    let mut largest = 0;
    for label in 1..=regions.count() as u32 {
        if regions.size(label) > regions.size(largest) {
            largest = label;
        }
    }
    for (voxel, &label) in mask.iter_mut().zip(&regions.labels) {
        if label != largest {
            *voxel = 0;
        }
    }
}

#[cfg(test)]
mod tests;
