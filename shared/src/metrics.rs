//! Every number a prediction is judged by, pure and exact; what cannot be defined is `None`, never zero or NaN.

pub mod components;
pub mod confusion;
pub mod dilate;
pub mod lesion;
pub mod lesionwise;
pub mod matching;
pub mod overlap;
pub mod reliability;
pub mod roc;
pub mod statistics;
pub mod surface;
pub mod voxel;
pub mod window;
