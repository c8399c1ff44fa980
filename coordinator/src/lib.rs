//! Launches rounds, averages the sites' updates and reports how the model does at sites that took
//! no part in training. Links no neural network.

pub mod address;
pub mod certificates;
pub mod cli;
pub mod commands;
pub mod driver;
#[cfg(test)]
mod examples;
mod experiment;
mod format;
pub mod members;
mod nearest;
mod progress;
pub mod report;
pub mod serve;
pub mod server;
mod simulate;
pub mod status;
pub mod store;
