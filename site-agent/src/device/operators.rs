//! The operators that the network uses in addition to burn's, with their gradients, for all
//! devices.
//!
//! The order of sums in an operator depends on shapes only, so one device always gives the same
//! bits. Sums over all values of a tensor are operators for this reason: burn tries several ways to
//! sum and takes the fastest.

use super::atrous::Geometry;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, Backend, TensorMetadata, backend_extension};
use burn::tensor::Shape;

#[backend_extension(Flex, Cube: cfg(feature = "gpu"), Autodiff)]
pub(super) trait Operators: Backend {
    /// A convolution of `[batch, height, width, inputs]` with a kernel `[outputs, inputs, side,
    /// side]`.
    fn convolution(
        input: FloatTensor<Self>,
        kernel: FloatTensor<Self>,
        geometry: Geometry,
    ) -> FloatTensor<Self>;

    /// Mean and biased variance, `[2, channels]` in 32 bits, of each channel of `[batch, height,
    /// width, channels]`. Without gradient.
    fn statistics(input: FloatTensor<Self>) -> FloatTensor<Self>;

    /// `[batch, height, width, channels]` with each channel shifted and scaled to mean 0 and
    /// variance 1 by `statistics`, times `weight`, plus `bias`, and no less than zero if
    /// `rectified`. The gradient takes `statistics` to be those of the input.
    fn normalisation(
        input: FloatTensor<Self>,
        statistics: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f32,
        rectified: bool,
    ) -> FloatTensor<Self>;

    /// Sums over the rows of each group: `[groups, rows, columns]` becomes `[groups, columns]`.
    fn sums(input: FloatTensor<Self>) -> FloatTensor<Self>;

    /// `matrix` times each group: `[groups, rows, columns]` becomes `[groups, outputs, columns]`,
    /// the matrix being `[outputs, rows]`. Without gradient for the matrix.
    fn product(input: FloatTensor<Self>, matrix: FloatTensor<Self>) -> FloatTensor<Self>;

    /// The sum of two tensors of one shape, and no less than zero.
    fn joined(left: FloatTensor<Self>, right: FloatTensor<Self>) -> FloatTensor<Self>;

    /// `[rows, columns]` with `bias`, `[columns]`, added to each row.
    fn shifted(input: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// One step of Adam (Kingma & Ba 2015, arXiv 1412.6980) or AdamW, as numbers for all of a tensor's
/// values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AdamStep {
    /// The learning rate.
    pub(crate) rate: f32,
    /// The factor of gradients that clips their norm.
    pub(crate) factor: f32,
    /// Weight decay as an L2 penalty: this times the weight is added to its gradient.
    pub(crate) penalty: f32,
    /// Decoupled weight decay (AdamW): the factor of the weights.
    pub(crate) shrink: f32,
    /// `1 - beta^t` of the first and the second moment.
    pub(crate) corrections: [f32; 2],
}

impl AdamStep {
    /// The decay rates of the two moments: PyTorch's defaults.
    pub(crate) const BETAS: [f32; 2] = [0.9, 0.999];
    /// PyTorch's default; burn's is a thousand times larger.
    pub(crate) const EPSILON: f32 = 1e-8;
}

/// One step of gradient descent with momentum, without dampening, as PyTorch's default.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MomentumStep {
    /// The learning rate.
    pub(crate) rate: f32,
    /// The factor of gradients that clips their norm.
    pub(crate) factor: f32,
    /// Weight decay as an L2 penalty: this times the weight is added to its gradient.
    pub(crate) penalty: f32,
}

impl MomentumStep {
    /// The factor of the velocity in each step.
    pub(crate) const MOMENTUM: f32 = 0.9;
}

/// The steps of the optimisers on one tensor, `[values]`.
#[backend_extension(Flex, Cube: cfg(feature = "gpu"))]
pub(super) trait OptimiserSteps: Backend {
    /// The sum of all squares, `[1]`.
    fn squares(values: FloatTensor<Self>) -> FloatTensor<Self>;

    /// New weights, first and second moments.
    fn adam(
        weights: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        step: AdamStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// New weights and velocity.
    fn momentum(
        weights: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        velocity: FloatTensor<Self>,
        step: MomentumStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

/// The gradients of the operators on a device.
#[backend_extension(Flex, Cube: cfg(feature = "gpu"))]
pub(super) trait OperatorGradients: Backend {
    /// The gradient of `joined` with respect to either side: 0 where `output` is 0.
    fn passed(gradient: FloatTensor<Self>, output: FloatTensor<Self>) -> FloatTensor<Self>;

    /// A convolution's gradient with respect to its input.
    fn convolution_to_input(
        gradient: FloatTensor<Self>,
        kernel: FloatTensor<Self>,
        geometry: Geometry,
    ) -> FloatTensor<Self>;

    /// A convolution's gradient with respect to its kernel.
    fn convolution_to_kernel(
        gradient: FloatTensor<Self>,
        input: FloatTensor<Self>,
        geometry: Geometry,
    ) -> FloatTensor<Self>;

    /// A normalisation's gradients with respect to input, weight and bias.
    fn normalisation_gradients(
        gradient: FloatTensor<Self>,
        input: FloatTensor<Self>,
        statistics: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f32,
        rectified: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

impl<B: Operators + OperatorGradients, C: CheckpointStrategy> Operators for Autodiff<B, C> {
    fn convolution(
        input: FloatTensor<Self>,
        kernel: FloatTensor<Self>,
        geometry: Geometry,
    ) -> FloatTensor<Self> {
        match Convolution
            .prepare::<C>([input.node(), kernel.node()])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(mut prep) => {
                let state = (prep.checkpoint(&input), prep.checkpoint(&kernel), geometry);
                prep.finish(
                    state,
                    B::convolution(input.into_primitive(), kernel.into_primitive(), geometry),
                )
            }
            OpsKind::UnTracked(prep) => prep.finish(B::convolution(
                input.into_primitive(),
                kernel.into_primitive(),
                geometry,
            )),
        }
    }

    fn statistics(input: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::from_inner(B::statistics(input.into_primitive()))
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
        let nodes = [input.node(), weight.node(), bias.node()];
        match Normalisation.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let state = Normalised {
                    input: prep.checkpoint(&input),
                    weight: prep.checkpoint(&weight),
                    bias: prep.checkpoint(&bias),
                    statistics: statistics.clone(),
                    epsilon,
                    rectified,
                };
                let output = B::normalisation(
                    input.into_primitive(),
                    statistics,
                    weight.into_primitive(),
                    bias.into_primitive(),
                    epsilon,
                    rectified,
                );
                prep.finish(state, output)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::normalisation(
                input.into_primitive(),
                statistics,
                weight.into_primitive(),
                bias.into_primitive(),
                epsilon,
                rectified,
            )),
        }
    }

    fn sums(input: FloatTensor<Self>) -> FloatTensor<Self> {
        let shape = input.shape();
        match Sums.prepare::<C>([input.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(shape, B::sums(input.into_primitive())),
            OpsKind::UnTracked(prep) => prep.finish(B::sums(input.into_primitive())),
        }
    }

    fn product(input: FloatTensor<Self>, matrix: FloatTensor<Self>) -> FloatTensor<Self> {
        let matrix = matrix.into_primitive();
        match Product
            .prepare::<C>([input.node()])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => {
                prep.finish(matrix.clone(), B::product(input.into_primitive(), matrix))
            }
            OpsKind::UnTracked(prep) => prep.finish(B::product(input.into_primitive(), matrix)),
        }
    }

    fn joined(left: FloatTensor<Self>, right: FloatTensor<Self>) -> FloatTensor<Self> {
        match Joined
            .prepare::<C>([left.node(), right.node()])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => {
                let output = B::joined(left.into_primitive(), right.into_primitive());
                prep.finish(output.clone(), output)
            }
            OpsKind::UnTracked(prep) => {
                prep.finish(B::joined(left.into_primitive(), right.into_primitive()))
            }
        }
    }

    fn shifted(input: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self> {
        match Shifted
            .prepare::<C>([input.node(), bias.node()])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish(
                (),
                B::shifted(input.into_primitive(), bias.into_primitive()),
            ),
            OpsKind::UnTracked(prep) => {
                prep.finish(B::shifted(input.into_primitive(), bias.into_primitive()))
            }
        }
    }
}

/// The backward pass of a convolution.
#[derive(Debug)]
struct Convolution;

impl<B: OperatorGradients> Backward<B, 2> for Convolution {
    type State = (NodeId, NodeId, Geometry);

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        gradients: &mut Gradients,
        checkpoints: &mut Checkpointer,
    ) {
        let [to_input, to_kernel] = ops.parents;
        let gradient = gradients.consume::<B>(&ops.node);
        let (input, kernel, geometry) = ops.state;
        if let Some(node) = to_kernel {
            let input = checkpoints.retrieve_node_output(input);
            gradients.register::<B>(
                node.id,
                B::convolution_to_kernel(gradient.clone(), input, geometry),
            );
        }
        if let Some(node) = to_input {
            let kernel = checkpoints.retrieve_node_output(kernel);
            gradients.register::<B>(node.id, B::convolution_to_input(gradient, kernel, geometry));
        }
    }
}

/// The backward pass of a normalisation.
#[derive(Debug)]
struct Normalisation;

/// What it keeps from the forward pass.
#[derive(Clone, Debug)]
struct Normalised<T> {
    input: NodeId,
    weight: NodeId,
    bias: NodeId,
    statistics: T,
    epsilon: f32,
    rectified: bool,
}

impl<B: OperatorGradients> Backward<B, 3> for Normalisation {
    type State = Normalised<FloatTensor<B>>;

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        gradients: &mut Gradients,
        checkpoints: &mut Checkpointer,
    ) {
        let gradient = gradients.consume::<B>(&ops.node);
        let Normalised {
            input,
            weight,
            bias,
            statistics,
            epsilon,
            rectified,
        } = ops.state;
        let input = checkpoints.retrieve_node_output(input);
        let weight = checkpoints.retrieve_node_output(weight);
        let bias = checkpoints.retrieve_node_output(bias);
        let (to_input, to_weight, to_bias) = B::normalisation_gradients(
            gradient, input, statistics, weight, bias, epsilon, rectified,
        );
        for (node, result) in ops.parents.into_iter().zip([to_input, to_weight, to_bias]) {
            if let Some(node) = node {
                gradients.register::<B>(node.id, result);
            }
        }
    }
}

/// The backward pass of sums: every row gets its column's gradient.
#[derive(Debug)]
struct Sums;

impl<B: Backend> Backward<B, 1> for Sums {
    type State = Shape;

    fn backward(self, ops: Ops<Shape, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let [parent] = ops.parents;
        let gradient = gradients.consume::<B>(&ops.node);
        if let Some(node) = parent {
            let row = B::float_reshape(gradient, Shape::from([ops.state[0], 1, ops.state[2]]));
            gradients.register::<B>(node.id, B::float_expand(row, ops.state));
        }
    }
}

/// The backward pass of a product with a fixed matrix: the product with its transpose.
#[derive(Debug)]
struct Product;

impl<B: Operators> Backward<B, 1> for Product {
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let [parent] = ops.parents;
        let gradient = gradients.consume::<B>(&ops.node);
        if let Some(node) = parent {
            gradients.register::<B>(node.id, B::product(gradient, B::float_transpose(ops.state)));
        }
    }
}

/// The backward pass of `joined`.
#[derive(Debug)]
struct Joined;

impl<B: OperatorGradients> Backward<B, 2> for Joined {
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<Self::State, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let passed = B::passed(gradient, ops.state);
        for node in ops.parents.into_iter().flatten() {
            gradients.register::<B>(node.id, passed.clone());
        }
    }
}

/// The backward pass of `shifted`.
#[derive(Debug)]
struct Shifted;

impl<B: Operators> Backward<B, 2> for Shifted {
    type State = ();

    fn backward(self, ops: Ops<(), 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let [to_input, to_bias] = ops.parents;
        let gradient = gradients.consume::<B>(&ops.node);
        if let Some(node) = to_bias {
            let [rows, columns] = gradient.shape().dims();
            let one_group = B::float_reshape(gradient.clone(), Shape::from([1, rows, columns]));
            gradients.register::<B>(
                node.id,
                B::float_reshape(B::sums(one_group), Shape::from([columns])),
            );
        }
        if let Some(node) = to_input {
            gradients.register::<B>(node.id, gradient);
        }
    }
}
