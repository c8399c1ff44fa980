//! Lesion logits of all slices of a case, for evaluation and prediction.

use crate::case::{Mosaic, Prepared};
use crate::device::{self, Device, DeviceFault};
use crate::model::{self, DeepLabV3, ModelError};
use burn::tensor::{Tensor, TensorData};
use metrics::score::LOGIT_LIMIT;
use metrics::sequence::SequenceSet;
use protocol::dropout;
use protocol::parameters::Parameters;
use protocol::settings::{Input, Model};
use std::ops::Range;

/// The logit of a voxel that the network is not shown, because it is far from the brain: a
/// probability of 1e-14.
pub const NO_LESION: f32 = -2.0 * LOGIT_LIMIT;

/// Why a case has no logits.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PredictorError {
    #[error(transparent)]
    Device(#[from] DeviceFault),
    /// NaN or infinity, which would count as no lesion.
    #[error(
        "the network's output is not a finite number in slice {slice}: its model or this image is \
         broken"
    )]
    NotFinite {
        /// From 0, the lowest.
        slice: usize,
    },
}

/// A trained network, or several whose consensus is the prediction.
#[derive(Debug)]
pub struct Predictor {
    networks: Vec<DeepLabV3>,
    input: Input,
    device: Device,
    /// Views that a network is shown at once.
    batch: usize,
}

impl Predictor {
    /// Loads models for inference. Several give their consensus: the mean of their probabilities.
    ///
    /// # Errors
    /// When parameters belong to another network.
    pub fn new(
        models: &[Parameters],
        (model, input): (&Model, &Input),
        batch: usize,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let device = device.clone().without_autodiff();
        let mut networks = Vec::with_capacity(models.len());
        for parameters in models {
            networks.push(model::init(model, input, &device).load(parameters)?);
        }
        Ok(Self {
            networks,
            input: input.clone(),
            device,
            batch: batch.max(1),
        })
    }

    /// Logits of some slices of a case, from the sequences in `kept` only. They are on the
    /// patient's own grid, `[depth, height, width]`.
    ///
    /// A brain that is larger than the model's plane is shown in overlapping views; where several
    /// views show a pixel, it has a weighted mean of their logits. Views without brain and other
    /// slices are not shown: there the logit is [`NO_LESION`]. `after` is called with the number of
    /// views that are done and the number of all views.
    ///
    /// # Errors
    /// See [`PredictorError`].
    pub fn logits(
        &self,
        case: &Prepared,
        slices: Range<usize>,
        kept: SequenceSet,
        mut after: impl FnMut(usize, usize),
    ) -> Result<Vec<f32>, PredictorError> {
        let pixels = self.input.plane.pow(2);
        let slab = self.input.channels() * pixels;
        let tiles = case.tiles();
        let in_slice = tiles.count();
        let mut wanted = Vec::new();
        for (view, shows_brain) in case.brain_views().into_iter().enumerate() {
            if shows_brain && slices.contains(&(view / in_slice)) {
                wanted.push(view);
            }
        }
        let mut mosaic = Mosaic::new(tiles, case.depth(), NO_LESION);
        let mut done = 0;
        for group in wanted.chunks(self.batch) {
            // On a card the last, smaller group is filled up, because each new shape costs
            // preparations.
            let examples = if device::is_gpu(&self.device) {
                self.batch
            } else {
                group.len()
            };
            let mut images = vec![0.0; examples * slab];
            for (&view, image) in group.iter().zip(images.chunks_exact_mut(slab)) {
                case.fill_slab(view, self.input.slices, image);
                dropout::apply(image, self.input.sequences.len(), kept);
            }
            let shape = [
                examples,
                self.input.channels(),
                self.input.plane,
                self.input.plane,
            ];
            let images = Tensor::from_data(TensorData::new(images, shape), &self.device);
            let mut outputs = Vec::with_capacity(self.networks.len());
            for network in &self.networks {
                let output = device::read(network.forward(images.clone()))?;
                // What fills up a group on a card comes after the views of the case.
                for (&view, plane) in group.iter().zip(output.chunks_exact(pixels)) {
                    if plane.iter().any(|logit| !logit.is_finite()) {
                        return Err(PredictorError::NotFinite {
                            slice: view / in_slice,
                        });
                    }
                }
                outputs.push(output);
            }
            let output = consensus(outputs);
            for (&view, plane) in group.iter().zip(output.chunks_exact(pixels)) {
                mosaic.put(view, plane);
            }
            done += group.len();
            after(done, wanted.len());
        }
        Ok(case.restore(&mosaic.finish(), NO_LESION))
    }
}

/// The logits of the mean of the networks' probabilities. Those of a single network stay unchanged.
fn consensus(mut outputs: Vec<Vec<f32>>) -> Vec<f32> {
    let Some(mut last) = outputs.pop() else {
        return Vec::new();
    };
    if outputs.is_empty() {
        return last;
    }
    for (pixel, logit) in last.iter_mut().enumerate() {
        // The sums of p and of 1 - p, each exact where it is small.
        let mut lesion = 0.0;
        let mut other = 0.0;
        for output in &outputs {
            lesion += probability(output[pixel]);
            other += probability(-output[pixel]);
        }
        lesion += probability(*logit);
        other += probability(-*logit);
        // Beyond the limits a probability is 0 or 1, and the quotient may be infinite or NaN.
        *logit = (lesion / other).ln().clamp(-700.0, 700.0) as f32;
    }
    last
}

fn probability(logit: f32) -> f64 {
    1.0 / (1.0 + (-f64::from(logit)).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consensus_is_the_mean_of_probabilities() {
        let logit = |p: f64| (p / (1.0 - p)).ln() as f32;
        let both = consensus(vec![vec![logit(0.2), -40.0], vec![logit(0.6), -40.0]]);
        assert!((both[0] - logit(0.4)).abs() < 1e-6, "{both:?}");
        assert!((both[1] + 40.0).abs() < 1e-5, "{both:?}");
        assert_eq!(consensus(vec![vec![0.3, -200.0]]), [0.3, -200.0]);
        let sure = consensus(vec![vec![-200.0, 200.0], vec![-200.0, 200.0]]);
        assert!(sure.iter().all(|logit| logit.is_finite()), "{sure:?}");
    }
}
