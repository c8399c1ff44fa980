//! A hospital's part in the federation: reads MRI, trains and scores the DropOut DeepLabV3, and
//! sends nothing but parameters and counts, and pictures of a few cases where the site permits it.

pub mod agent;
pub mod brain_network;
pub mod calibration;
pub mod case;
pub mod cli;
pub mod commands;
pub mod data;
pub mod device;
pub mod evaluate;
pub mod inspect;
pub mod link;
mod logging;
pub mod model;
pub mod output;
pub mod overlay;
pub mod phantom;
pub mod policy;
pub mod predictor;
pub(crate) mod progress_bar;
pub mod train;
