//! Lesion logits of a whole case: what evaluation and prediction share.

use crate::device::Device;
use crate::model::{self, DeepLabV3, ModelError};
use burn::tensor::{Tensor, TensorData};
use shared::dropout;
use shared::federation::{Input, Model};
use shared::parameters::Parameters;
use shared::score::LOGIT_LIMIT;
use shared::sequence::SequenceSet;

/// The logit of a voxel that the network is not asked about, because no brain is near: a probability of 1e-14.
pub(crate) const NO_LESION: f32 = -2.0 * LOGIT_LIMIT;

/// A trained network, ready to look at cases.
pub(crate) struct Reader {
    network: DeepLabV3,
    input: Input,
    device: Device,
    batch: usize,
}

impl Reader {
    /// Loads parameters for inference, `batch` slices at a time.
    pub(crate) fn new(
        parameters: &Parameters,
        (model, input): (&Model, &Input),
        batch: usize,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let device = device.clone().without_autodiff();
        let network = model::init(model, input, &device).load(parameters)?;
        Ok(Self { network, input: input.clone(), device, batch: batch.max(1) })
    }

    /// Logits on the model's planes, `[depth, plane, plane]`, from the sequences in `kept` alone.
    ///
    /// `slices` says of each slice whether it shows brain; where it does not, the network is not asked and the logit
    /// is [`NO_LESION`]. `read` fills the slab around a slice; `after` hears how many slices are done.
    pub(crate) fn logits<E>(
        &self,
        slices: &[bool],
        kept: SequenceSet,
        mut read: impl FnMut(usize, &mut [f32]) -> Result<(), E>,
        mut after: impl FnMut(usize),
    ) -> Result<Vec<f32>, E> {
        let pixels = self.input.plane.pow(2);
        let slab = self.input.channels() * pixels;
        let mut logits = vec![NO_LESION; slices.len() * pixels];
        let wanted: Vec<usize> = (0..slices.len()).filter(|&slice| slices[slice]).collect();
        let mut done = 0;
        for group in wanted.chunks(self.batch) {
            let mut images = vec![0.0; group.len() * slab];
            for (&slice, image) in group.iter().zip(images.chunks_exact_mut(slab)) {
                read(slice, image)?;
                dropout::apply(image, self.input.sequences.len(), kept);
            }
            let shape = [group.len(), self.input.channels(), self.input.plane, self.input.plane];
            let out = self.network.forward(Tensor::from_data(TensorData::new(images, shape), &self.device)).into_data();
            let out: Vec<f32> = out.iter::<f32>().collect();
            for (&slice, plane) in group.iter().zip(out.chunks_exact(pixels)) {
                logits[slice * pixels..][..pixels].copy_from_slice(plane);
            }
            done += group.len();
            after(done);
        }
        Ok(logits)
    }
}
