//! Launches rounds, averages the sites' updates and reports how the model does at sites that took no part. Links
//! no neural network.

pub mod address;
pub mod certificates;
pub mod cli;
pub mod driver;
#[cfg(test)]
mod examples;
pub mod experiment;
pub mod failure;
pub mod happening;
mod nearest;
pub mod outcome;
mod private;
pub mod report;
pub mod serve;
pub mod server;
pub mod signal;
pub mod simulate;
pub mod status;
pub mod store;
