//! What a site counts of a case ([`score`]), and every number that a prediction is judged by, from
//! these counts or from the volumes themselves: pure and exact. What cannot be defined is `None`,
//! never zero or NaN.

pub mod case_metrics;
pub mod components;
pub mod confusion;
pub mod dilate;
pub mod lesion;
pub mod lesionwise;
pub mod matching;
pub mod overlap;
pub mod reliability;
pub mod roc;
pub mod score;
pub mod sequence;
pub mod statistics;
pub mod surface;
pub mod voxel;
pub mod window;
