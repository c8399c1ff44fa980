//! Matrices on the processor.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::backend::ops::FloatTensorOps;
use burn::tensor::TensorData;
use std::ops::Range;

/// A matrix on the processor. Its rows or columns need not be contiguous.
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
