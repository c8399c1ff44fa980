//! Lesion logits of a whole case: what evaluation and prediction share.

use crate::device::{self, Device, DeviceFault};
use crate::model::{self, DeepLabV3, ModelError};
use burn::tensor::{Tensor, TensorData};
use metrics::score::LOGIT_LIMIT;
use metrics::sequence::SequenceSet;
use protocol::dropout;
use protocol::federation::{Input, Model};
use protocol::parameters::Parameters;

/// The logit of a voxel that the network is not asked about, because no brain is near: a probability of 1e-14.
pub(crate) const NO_LESION: f32 = -2.0 * LOGIT_LIMIT;

/// A trained network, or several whose consensus counts, ready to look at cases.
pub(crate) struct Reader {
    networks: Vec<DeepLabV3>,
    input: Input,
    device: Device,
    batch: usize,
}

impl Reader {
    /// Loads one model or more for inference, `batch` slices at a time.
    pub(crate) fn new(
        models: &[Parameters],
        (model, input): (&Model, &Input),
        batch: usize,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let device = device.clone().without_autodiff();
        let networks = models.iter().map(|parameters| model::init(model, input, &device).load(parameters));
        let networks = networks.collect::<Result<_, _>>()?;
        Ok(Self { networks, input: input.clone(), device, batch: batch.max(1) })
    }

    /// Logits on the model's planes, `[depth, plane, plane]`, from the sequences in `kept` alone.
    ///
    /// `slices` says of each slice whether it shows brain; where it does not, the network is not asked and the logit
    /// is [`NO_LESION`]. `read` fills the slab around a slice; `after` hears how many slices are done.
    ///
    /// # Errors
    /// The device failed.
    pub(crate) fn logits(
        &self,
        slices: &[bool],
        kept: SequenceSet,
        mut read: impl FnMut(usize, &mut [f32]),
        mut after: impl FnMut(usize),
    ) -> Result<Vec<f32>, DeviceFault> {
        let pixels = self.input.plane.pow(2);
        let slab = self.input.channels() * pixels;
        let mut logits = vec![NO_LESION; slices.len() * pixels];
        let wanted: Vec<usize> = (0..slices.len()).filter(|&slice| slices[slice]).collect();
        let mut done = 0;
        for group in wanted.chunks(self.batch) {
            // On a card the last, smaller group is filled up: each new shape costs preparations there.
            let examples = if device::is_card(&self.device) { self.batch } else { group.len() };
            let mut images = vec![0.0; examples * slab];
            for (&slice, image) in group.iter().zip(images.chunks_exact_mut(slab)) {
                read(slice, image);
                dropout::apply(image, self.input.sequences.len(), kept);
            }
            let shape = [examples, self.input.channels(), self.input.plane, self.input.plane];
            let images = Tensor::from_data(TensorData::new(images, shape), &self.device);
            let mut opinions = Vec::with_capacity(self.networks.len());
            for network in &self.networks {
                opinions.push(device::read(network.forward(images.clone()))?);
            }
            let out = consensus(opinions);
            for (&slice, plane) in group.iter().zip(out.chunks_exact(pixels)) {
                logits[slice * pixels..][..pixels].copy_from_slice(plane);
            }
            done += group.len();
            after(done);
        }
        Ok(logits)
    }
}

/// The logits of the mean of the networks' probabilities; those of a lone network as they are.
fn consensus(mut opinions: Vec<Vec<f32>>) -> Vec<f32> {
    let Some(mut first) = opinions.pop().filter(|first| !first.is_empty()) else { return Vec::new() };
    if opinions.is_empty() {
        return first;
    }
    let sigmoid = |logit: f32| 1.0 / (1.0 + (-f64::from(logit)).exp());
    for (voxel, logit) in first.iter_mut().enumerate() {
        let all = opinions.iter().map(|opinion| opinion[voxel]).chain([*logit]);
        // The means of p and of 1 - p, each exact where it is small.
        let (yes, no) = all.fold((0.0, 0.0), |(yes, no), logit| (yes + sigmoid(logit), no + sigmoid(-logit)));
        *logit = (yes / no).ln() as f32;
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consensus_is_the_mean_of_probabilities() {
        let logit = |p: f64| (p / (1.0 - p)).ln() as f32;
        let both = consensus(vec![vec![logit(0.2), -40.0], vec![logit(0.6), -40.0]]);
        assert!((both[0] - logit(0.4)).abs() < 1e-6 && (both[1] + 40.0).abs() < 1e-5, "{both:?}");
        assert_eq!(consensus(vec![vec![0.3, -200.0]]), [0.3, -200.0]);
        let sure = consensus(vec![vec![-200.0, 200.0], vec![-200.0, 200.0]]);
        assert!(sure.iter().all(|logit| logit.is_finite()), "{sure:?}");
    }
}
