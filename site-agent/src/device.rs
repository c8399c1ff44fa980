//! Where the network runs: the only file that names burn's backends, and so the one that gives the processor
//! operators of our own (`model::atrous`, `model::normal`).

use crate::model::atrous::{self, Geometry};
use crate::model::normal::{self, Normal};
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, Backend, Dispatch, Flex, TensorMetadata, backend_extension};
pub use burn::tensor::Device;
use burn::tensor::{Tensor, TensorData};
use std::ops::Range;

/// Why a device cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// A name that means no device.
    #[error("there is no device called \"{0}\"; known are cpu, cuda and cuda:N")]
    Unknown(String),
    /// The program was built without the device's backend.
    #[error(
        "this program was built without NVIDIA support; build it with `cargo build --release --features site-agent/cuda`"
    )]
    NotBuilt,
    /// The machine has no such device, or its driver does not answer.
    #[error("device {index} asked for, but {found} NVIDIA devices answer")]
    Absent {
        /// The index asked for.
        index: usize,
        /// How many there are.
        found: usize,
    },
}

/// Opens a device by its name in a site's settings: `cpu`, `cuda` (the first one) or `cuda:N`.
///
/// Tensors and modules made on it run inference; training happens on `device.autodiff()`.
///
/// # Errors
/// A name that means nothing, a backend that was not built in, a device that is not there.
pub fn open(name: &str) -> Result<Device, DeviceError> {
    let index = match name {
        "cpu" => return Ok(Device::flex()),
        "cuda" => 0,
        _ => name
            .strip_prefix("cuda:")
            .and_then(|index| index.parse().ok())
            .ok_or_else(|| DeviceError::Unknown(name.into()))?,
    };
    cuda(index)
}

#[cfg(feature = "cuda")]
fn cuda(index: usize) -> Result<Device, DeviceError> {
    let devices = Device::enumerate(burn::tensor::DeviceType::Cuda).into_vec();
    let found = devices.len();
    devices.into_iter().nth(index).ok_or(DeviceError::Absent { index, found })
}

#[cfg(not(feature = "cuda"))]
fn cuda(_index: usize) -> Result<Device, DeviceError> {
    Err(DeviceError::NotBuilt)
}

/// A matrix of the processor's, whose rows or columns may lie apart.
pub(crate) struct Matrix(FlexTensor);

impl Matrix {
    /// `values` hold `shape[0]` rows of `shape[1]`.
    pub(crate) fn new(values: Vec<f32>, shape: [usize; 2]) -> Self {
        Self(FlexTensor::from_data(TensorData::new(values, shape)))
    }

    /// The same values seen the other way.
    pub(crate) fn transposed(&self) -> Self {
        Self(self.0.transpose(0, 1))
    }

    /// Some of the columns.
    pub(crate) fn columns(&self, columns: Range<usize>) -> Self {
        Self(self.0.narrow(1, columns.start, columns.len()))
    }

    /// The product of two matrices.
    pub(crate) fn times(&self, other: &Self) -> Self {
        Self(Flex::float_matmul(self.0.clone(), other.0.clone()))
    }

    /// The memory again, for another matrix.
    pub(crate) fn into_buffer(self) -> Vec<f32> {
        // Matrices hold 32-bit reals; were it otherwise, an empty buffer would serve as well.
        self.0.into_data().try_into_vec().unwrap_or_default()
    }

    /// A product's values, row by row.
    pub(crate) fn values(&self) -> &[f32] {
        self.0.storage()
    }
}

/// Whether this device has operators of our own: the processor has.
pub(crate) fn has_operators(device: &Device) -> bool {
    device.clone().without_autodiff() == Device::flex()
}

/// The convolution of an input `[batch, height, width, inputs]` with a kernel `[outputs, inputs, side, side]`, on a
/// device that [has operators](has_operators).
pub(crate) fn convolve(input: Tensor<4>, kernel: Tensor<4>, [stride, padding, dilation]: [usize; 3]) -> Tensor<4> {
    let (input, kernel) = (input.into_dispatch(), kernel.into_dispatch());
    Tensor::from_dispatch(<Dispatch as Operators>::convolution(input, kernel, stride, padding, dilation))
}

/// Mean and biased variance, `[2, channels]`, of each channel of `[batch, height, width, channels]`; without gradient.
pub(crate) fn statistics(input: Tensor<4>) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as Operators>::statistics(input.into_dispatch()))
}

/// Batch normalisation of `[batch, height, width, channels]` by statistics as [`statistics`] gives them, perhaps
/// rectified. The gradient takes the statistics for the input's own.
pub(crate) fn normalise(
    input: Tensor<4>,
    statistics: Tensor<2>,
    [weight, bias]: [Tensor<1>; 2],
    epsilon: f32,
    rectified: bool,
) -> Tensor<4> {
    let (input, statistics) = (input.into_dispatch(), statistics.into_dispatch());
    let (weight, bias) = (weight.into_dispatch(), bias.into_dispatch());
    let out = <Dispatch as Operators>::normalisation(input, statistics, weight, bias, epsilon, rectified);
    Tensor::from_dispatch(out)
}

/// What a backend needs for the functions above.
#[backend_extension(Flex, Autodiff)]
trait Operators: Backend {
    fn convolution(
        input: FloatTensor<Self>,
        kernel: FloatTensor<Self>,
        stride: usize,
        padding: usize,
        dilation: usize,
    ) -> FloatTensor<Self>;
    fn statistics(input: FloatTensor<Self>) -> FloatTensor<Self>;
    fn normalisation(
        input: FloatTensor<Self>,
        statistics: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f32,
        rectified: bool,
    ) -> FloatTensor<Self>;
}

impl Operators for Flex {
    fn convolution(
        input: FlexTensor,
        kernel: FlexTensor,
        stride: usize,
        padding: usize,
        dilation: usize,
    ) -> FlexTensor {
        let geometry =
            Geometry { input: input.shape().dims(), kernel: kernel.shape().dims(), stride, padding, dilation };
        let (input, kernel) = (input.to_contiguous(), kernel.to_contiguous());
        dense(atrous::forward(&geometry, input.storage(), kernel.storage()), geometry.output())
    }

    fn statistics(input: FlexTensor) -> FlexTensor {
        let [.., channels] = input.shape().dims::<4>();
        dense(normal::statistics(input.to_contiguous().storage(), channels), [2, channels])
    }

    fn normalisation(
        input: FlexTensor,
        statistics: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        epsilon: f32,
        rectified: bool,
    ) -> FlexTensor {
        let [input, statistics, weight, bias] = [input, statistics, weight, bias].map(|tensor| tensor.to_contiguous());
        let normal = Normal::new(statistics.storage(), epsilon);
        let values = normal.forward(input.storage(), weight.storage(), bias.storage(), rectified);
        dense(values, input.shape().dims::<4>())
    }
}

fn dense<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

impl<C: CheckpointStrategy> Operators for Autodiff<Flex, C> {
    fn convolution(
        input: FloatTensor<Self>,
        kernel: FloatTensor<Self>,
        stride: usize,
        padding: usize,
        dilation: usize,
    ) -> FloatTensor<Self> {
        let (shape, sides) = (input.shape().dims(), kernel.shape().dims());
        let geometry = Geometry { input: shape, kernel: sides, stride, padding, dilation };
        let run = |input, kernel| Flex::convolution(input, kernel, stride, padding, dilation);
        match Convolved.prepare::<C>([input.node(), kernel.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let state = (prep.checkpoint(&input), prep.checkpoint(&kernel), geometry);
                prep.finish(state, run(input.into_primitive(), kernel.into_primitive()))
            }
            OpsKind::UnTracked(prep) => prep.finish(run(input.into_primitive(), kernel.into_primitive())),
        }
    }

    fn statistics(input: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::from_inner(Flex::statistics(input.into_primitive()))
    }

    fn normalisation(
        input: FloatTensor<Self>,
        statistics: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f32,
        rectified: bool,
    ) -> FloatTensor<Self> {
        let statistics = statistics.into_primitive();
        let normal = Normal::new(statistics.to_contiguous().storage(), epsilon);
        let nodes = [input.node(), weight.node(), bias.node()];
        let run = |input: FloatTensor<Self>, weight: FloatTensor<Self>| {
            let (input, weight, bias) = (input.into_primitive(), weight.into_primitive(), bias.into_primitive());
            Flex::normalisation(input, statistics, weight, bias, epsilon, rectified)
        };
        match Normalised.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let (seen, scale) = (prep.checkpoint(&input), prep.checkpoint(&weight));
                let output = run(input, weight);
                prep.finish((seen, scale, normal, rectified.then(|| output.clone())), output)
            }
            OpsKind::UnTracked(prep) => prep.finish(run(input, weight)),
        }
    }
}

/// The way back through a convolution.
#[derive(Debug)]
struct Convolved;

impl Backward<Flex, 2> for Convolved {
    type State = (NodeId, NodeId, Geometry);

    fn backward(self, ops: Ops<Self::State, 2>, gradients: &mut Gradients, checkpoints: &mut Checkpointer) {
        let [to_input, to_kernel] = ops.parents;
        let gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let (input, kernel, geometry) = ops.state;
        let [input, kernel] = [input, kernel].map(|node| retrieve(checkpoints, node));
        let wanted = [to_input.is_some(), to_kernel.is_some()];
        let (by_input, by_kernel) =
            atrous::backward(&geometry, (input.storage(), kernel.storage()), gradient.storage(), wanted);
        if let Some((node, values)) = to_input.zip(by_input) {
            gradients.register::<Flex>(node.id, dense(values, geometry.input));
        }
        if let Some((node, values)) = to_kernel.zip(by_kernel) {
            gradients.register::<Flex>(node.id, dense(values, geometry.kernel));
        }
    }
}

/// The way back through a batch normalisation.
#[derive(Debug)]
struct Normalised;

impl Backward<Flex, 3> for Normalised {
    type State = (NodeId, NodeId, Normal, Option<FlexTensor>);

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, checkpoints: &mut Checkpointer) {
        let gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let (input, weight, normal, output) = ops.state;
        let [input, weight] = [input, weight].map(|node| retrieve(checkpoints, node));
        let (shape, channels) = (input.shape().dims::<4>(), weight.shape().dims::<1>());
        let output = output.as_ref().map(FlexTensor::storage);
        let parts = normal.backward((input.storage(), weight.storage()), output, gradient.storage());
        let [by_input, by_weight, by_bias] = parts;
        let results = [dense(by_input, shape), dense(by_weight, channels), dense(by_bias, channels)];
        for (node, result) in ops.parents.into_iter().zip(results) {
            if let Some(node) = node {
                gradients.register::<Flex>(node.id, result);
            }
        }
    }
}

fn retrieve(checkpoints: &mut Checkpointer, node: NodeId) -> FlexTensor {
    checkpoints.retrieve_node_output::<FlexTensor>(node).to_contiguous()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_always_there_and_a_typo_is_not() {
        assert!(open("cpu").is_ok());
        for name in ["gpu", "", "cuda:", "cuda:one", "cuda:-1", "CPU"] {
            assert_eq!(open(name).err(), Some(DeviceError::Unknown(name.into())));
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_build_without_cuda_says_how_to_get_one() {
        assert!(open("cuda:1").unwrap_err().to_string().contains("--features"));
    }
}
