//! The operators on the processor.

use super::atrous::{self, Geometry};
use super::normal::{self, Normal};
use super::operators::{AdamStep, MomentumStep, OperatorGradients, Operators, OptimiserSteps};
use burn::backend::flex::FlexTensor;
use burn::backend::ops::FloatTensorOps;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::{Shape, TensorData};
use rayon::prelude::*;

/// Values that one thread works on at a time: fixed, so that sums do not depend on the threads.
const CHUNK: usize = 1 << 15;

fn dense<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

/// A tensor's values in the order of its indices.
fn values(tensor: FlexTensor) -> Vec<f32> {
    tensor.to_contiguous().storage().to_vec()
}

impl Operators for Flex {
    fn convolution(input: FlexTensor, kernel: FlexTensor, geometry: Geometry) -> FlexTensor {
        let input = input.to_contiguous();
        let kernel = kernel.to_contiguous();
        dense(
            atrous::forward(&geometry, input.storage(), kernel.storage()),
            geometry.output(),
        )
    }

    fn statistics(input: FlexTensor) -> FlexTensor {
        let [.., channels] = input.shape().dims::<4>();
        dense(
            normal::statistics(input.to_contiguous().storage(), channels),
            [2, channels],
        )
    }

    fn normalisation(
        input: FlexTensor,
        statistics: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        epsilon: f32,
        rectified: bool,
    ) -> FlexTensor {
        let [input, statistics, weight, bias] =
            [input, statistics, weight, bias].map(|tensor| tensor.to_contiguous());
        let normal = Normal::new(statistics.storage(), epsilon);
        let values = normal.forward(input.storage(), weight.storage(), bias.storage(), rectified);
        dense(values, input.shape().dims::<4>())
    }

    fn sums(input: FlexTensor) -> FlexTensor {
        let [groups, _, columns] = input.shape().dims::<3>();
        Flex::float_reshape(
            Flex::float_sum_dim(input, 1),
            Shape::from([groups, columns]),
        )
    }

    fn product(input: FlexTensor, matrix: FlexTensor) -> FlexTensor {
        let [outputs, rows] = matrix.shape().dims::<2>();
        let [groups, _, columns] = input.shape().dims::<3>();
        if columns == 1 {
            // One product of two matrices, not many of a matrix and a vector.
            let flat = Flex::float_reshape(input, Shape::from([groups, rows]));
            let product = Flex::float_matmul(flat, Flex::float_transpose(matrix));
            return Flex::float_reshape(product, Shape::from([groups, outputs, 1]));
        }
        Flex::float_matmul(
            Flex::float_reshape(matrix, Shape::from([1, outputs, rows])),
            input,
        )
    }

    fn joined(left: FlexTensor, right: FlexTensor) -> FlexTensor {
        let shape = left.shape();
        let mut sum = values(left);
        let right = right.to_contiguous();
        sum.par_chunks_mut(CHUNK)
            .zip(right.storage::<f32>().par_chunks(CHUNK))
            .for_each(|(sum, right)| {
                for (sum, right) in sum.iter_mut().zip(right) {
                    let value = *sum + right;
                    // Not `max`, which would turn NaN into zero.
                    *sum = if value < 0.0 { 0.0 } else { value };
                }
            });
        FlexTensor::from_data(TensorData::new(sum, shape))
    }

    fn shifted(input: FlexTensor, bias: FlexTensor) -> FlexTensor {
        let [columns] = bias.shape().dims::<1>();
        Flex::float_add(input, Flex::float_reshape(bias, Shape::from([1, columns])))
    }
}

fn sum_of_squares(values: &[f32]) -> f64 {
    values.iter().map(|&value| f64::from(value).powi(2)).sum()
}

impl OptimiserSteps for Flex {
    fn squares(values: FlexTensor) -> FlexTensor {
        let values = values.to_contiguous();
        let parts: Vec<f64> = values
            .storage::<f32>()
            .par_chunks(CHUNK)
            .map(sum_of_squares)
            .collect();
        dense(vec![parts.iter().sum::<f64>() as f32], [1])
    }

    fn adam(
        weights: FlexTensor,
        gradient: FlexTensor,
        first: FlexTensor,
        second: FlexTensor,
        step: AdamStep,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let gradient = gradient.to_contiguous();
        let [mut weights, mut first, mut second] = [weights, first, second].map(values);
        let parts = weights
            .par_chunks_mut(CHUNK)
            .zip(gradient.storage::<f32>().par_chunks(CHUNK));
        let parts = parts.zip(
            first
                .par_chunks_mut(CHUNK)
                .zip(second.par_chunks_mut(CHUNK)),
        );
        let [keep_first, keep_second] = AdamStep::BETAS;
        parts.for_each(|((weights, gradient), (first, second))| {
            let values = weights
                .iter_mut()
                .zip(gradient)
                .zip(first.iter_mut().zip(second));
            for ((weight, gradient), (first, second)) in values {
                let gradient = gradient * step.factor + *weight * step.penalty;
                *first = *first * keep_first + gradient * (1.0 - keep_first);
                *second = *second * keep_second + gradient * gradient * (1.0 - keep_second);
                let size = (*second / step.corrections[1]).sqrt() + AdamStep::EPSILON;
                *weight = *weight * step.shrink - step.rate * (*first / step.corrections[0]) / size;
            }
        });
        let length = [weights.len()];
        (
            dense(weights, length),
            dense(first, length),
            dense(second, length),
        )
    }

    fn momentum(
        weights: FlexTensor,
        gradient: FlexTensor,
        velocity: FlexTensor,
        step: MomentumStep,
    ) -> (FlexTensor, FlexTensor) {
        let gradient = gradient.to_contiguous();
        let [mut weights, mut velocity] = [weights, velocity].map(values);
        let parts = weights
            .par_chunks_mut(CHUNK)
            .zip(gradient.storage::<f32>().par_chunks(CHUNK));
        parts
            .zip(velocity.par_chunks_mut(CHUNK))
            .for_each(|((weights, gradient), velocity)| {
                for ((weight, gradient), velocity) in weights.iter_mut().zip(gradient).zip(velocity)
                {
                    let gradient = gradient * step.factor + *weight * step.penalty;
                    *velocity = *velocity * MomentumStep::MOMENTUM + gradient;
                    *weight -= step.rate * *velocity;
                }
            });
        let length = [weights.len()];
        (dense(weights, length), dense(velocity, length))
    }
}

impl OperatorGradients for Flex {
    fn passed(gradient: FlexTensor, output: FlexTensor) -> FlexTensor {
        let shape = gradient.shape();
        let mut gradient = values(gradient);
        let output = output.to_contiguous();
        gradient
            .par_chunks_mut(CHUNK)
            .zip(output.storage::<f32>().par_chunks(CHUNK))
            .for_each(|(gradient, output)| {
                for (gradient, &output) in gradient.iter_mut().zip(output) {
                    *gradient = if output > 0.0 { *gradient } else { 0.0 };
                }
            });
        FlexTensor::from_data(TensorData::new(gradient, shape))
    }

    fn convolution_to_input(
        gradient: FlexTensor,
        kernel: FlexTensor,
        geometry: Geometry,
    ) -> FlexTensor {
        let gradient = gradient.to_contiguous();
        let kernel = kernel.to_contiguous();
        dense(
            atrous::to_input(&geometry, gradient.storage(), kernel.storage()),
            geometry.input,
        )
    }

    fn convolution_to_kernel(
        gradient: FlexTensor,
        input: FlexTensor,
        geometry: Geometry,
    ) -> FlexTensor {
        let gradient = gradient.to_contiguous();
        let input = input.to_contiguous();
        dense(
            atrous::to_kernel(&geometry, gradient.storage(), input.storage()),
            geometry.kernel,
        )
    }

    fn normalisation_gradients(
        gradient: FlexTensor,
        input: FlexTensor,
        statistics: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        epsilon: f32,
        rectified: bool,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let tensors =
            [gradient, input, statistics, weight, bias].map(|tensor| tensor.to_contiguous());
        let [gradient, input, statistics, weight, bias] = &tensors;
        let normal = Normal::new(statistics.storage(), epsilon);
        let affine = [weight.storage(), bias.storage()];
        let [to_input, to_weight, to_bias] =
            normal.backward(input.storage(), affine, gradient.storage(), rectified);
        let channels = weight.shape().dims::<1>();
        (
            dense(to_input, input.shape().dims::<4>()),
            dense(to_weight, channels),
            dense(to_bias, channels),
        )
    }
}
