//! Every number a prediction is judged by, pure and exact; what cannot be defined is `None`, never zero or NaN.

pub mod components;
pub mod confusion;
pub mod lesion;
pub mod roc;
pub mod voxel;
