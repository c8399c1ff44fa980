//! Lesion logits of a whole case: what evaluation and prediction share.

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

/// The logit of a voxel that the network is not asked about, because no brain is near: a
/// probability of 1e-14.
pub(crate) const NO_LESION: f32 = -2.0 * LOGIT_LIMIT;

/// Why a case got no logits.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum PredictorError {
    #[error(transparent)]
    Device(#[from] DeviceFault),
    /// NaN or infinity, which would read as no lesion.
    #[error(
        "the network's output is not a finite number in slice {slice}: its model or this image is broken"
    )]
    NotFinite {
        /// Counted from 0 at the lowest.
        slice: usize,
    },
}

/// A trained network, or several whose consensus counts, ready to look at cases.
pub(crate) struct Predictor {
    networks: Vec<DeepLabV3>,
    input: Input,
    device: Device,
    batch: usize,
}

impl Predictor {
    /// Loads one model or more for inference, `batch` slices at a time.
    pub(crate) fn new(
        models: &[Parameters],
        (model, input): (&Model, &Input),
        batch: usize,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let device = device.clone().without_autodiff();
        let networks = models
            .iter()
            .map(|parameters| model::init(model, input, &device).load(parameters));
        let networks = networks.collect::<Result<_, _>>()?;
        Ok(Self {
            networks,
            input: input.clone(),
            device,
            batch: batch.max(1),
        })
    }

    /// Logits of some slices of a case on the patient's own grid, from the sequences in `kept`
    /// alone.
    ///
    /// A brain that is larger than the model's plane is looked at in overlapping views, put
    /// together as [`Mosaic`] has it. The network is not asked about views without brain, nor about
    /// other slices: there the logit is [`NO_LESION`]. `after` hears how many views are done and
    /// how many there are.
    ///
    /// # Errors
    /// See [`PredictorError`].
    pub(crate) fn logits(
        &self,
        case: &Prepared,
        slices: Range<usize>,
        kept: SequenceSet,
        mut after: impl FnMut(usize, usize),
    ) -> Result<Vec<f32>, PredictorError> {
        let pixels = self.input.plane.pow(2);
        let slab = self.input.channels() * pixels;
        let (tiles, views) = (case.tiles(), case.brain_views());
        let in_slice = tiles.count();
        let wanted: Vec<usize> = (0..views.len())
            .filter(|view| views[*view] && slices.contains(&(view / in_slice)))
            .collect();
        let mut mosaic = Mosaic::new(tiles, case.depth(), NO_LESION);
        let mut done = 0;
        for group in wanted.chunks(self.batch) {
            // On a card the last, smaller group is filled up: each new shape costs preparations
            // there.
            let examples = if device::is_card(&self.device) {
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
            let mut opinions = Vec::with_capacity(self.networks.len());
            for network in &self.networks {
                opinions.push(device::read(network.forward(images.clone()))?);
            }
            // What fills up a group on a card is no part of the case.
            for (&view, at) in group.iter().zip(0..) {
                let broken = |opinion: &Vec<f32>| {
                    opinion[at * pixels..][..pixels]
                        .iter()
                        .any(|it| !it.is_finite())
                };
                if opinions.iter().any(broken) {
                    return Err(PredictorError::NotFinite {
                        slice: view / in_slice,
                    });
                }
            }
            let out = consensus(opinions);
            for (&view, plane) in group.iter().zip(out.chunks_exact(pixels)) {
                mosaic.put(view, plane);
            }
            done += group.len();
            after(done, wanted.len());
        }
        Ok(case.restore(&mosaic.finish(), NO_LESION))
    }
}

/// The logits of the mean of the networks' probabilities; those of a lone network as they are.
fn consensus(mut opinions: Vec<Vec<f32>>) -> Vec<f32> {
    let Some(mut first) = opinions.pop().filter(|first| !first.is_empty()) else {
        return Vec::new();
    };
    if opinions.is_empty() {
        return first;
    }
    let sigmoid = |logit: f32| 1.0 / (1.0 + (-f64::from(logit)).exp());
    for (voxel, logit) in first.iter_mut().enumerate() {
        let all = opinions
            .iter()
            .map(|opinion| opinion[voxel])
            .chain([*logit]);
        // The means of p and of 1 - p, each exact where it is small.
        let (yes, no) = all.fold((0.0, 0.0), |(yes, no), logit| {
            (yes + sigmoid(logit), no + sigmoid(-logit))
        });
        // Beyond these a probability is 0 or 1, and the quotient may be no number.
        *logit = (yes / no).ln().clamp(-700.0, 700.0) as f32;
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
        assert!(
            (both[0] - logit(0.4)).abs() < 1e-6 && (both[1] + 40.0).abs() < 1e-5,
            "{both:?}"
        );
        assert_eq!(consensus(vec![vec![0.3, -200.0]]), [0.3, -200.0]);
        let sure = consensus(vec![vec![-200.0, 200.0], vec![-200.0, 200.0]]);
        assert!(sure.iter().all(|logit| logit.is_finite()), "{sure:?}");
    }
}
