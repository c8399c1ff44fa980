//! A federation's settings: the coordinator's file is the one truth, sites receive it when they
//! join.
//!
//! Each TOML table has a file here with its struct, its defaults, and its part of the [`registry`]:
//! type, default, meaning and rule of every key. docs/developers/adding-a-setting.md shows how to
//! add one.

mod aggregation;
mod buffered;
mod evaluation;
mod general;
mod input;
mod model;
pub mod registry;
mod schedule;
mod sites;
mod toml_file;
mod training;

use crate::dropout::DropOut;
pub use aggregation::{Aggregation, ServerOptimiser};
pub use buffered::Buffered;
pub use evaluation::Evaluation;
pub use general::Precision;
pub use input::Input;
pub use model::{Layout, Model, Norm};
pub use schedule::Schedule;
use serde::{Deserialize, Serialize};
pub use sites::Sites;
pub use toml_file::SettingsError;
pub use training::{Augmentation, Compute, LocalWork, Optimiser, Training};

/// The checked settings of one federation. Built by [`Federation::from_toml`]; a site that receives
/// one over the network checks it again with [`Federation::check`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Federation {
    /// For people: run folders and reports carry it.
    pub name: String,
    /// Every random draw of the federation derives from it.
    pub seed: u64,
    pub rounds: u32,
    pub input: Input,
    pub model: Model,
    /// Input-level dropout of sequences while training.
    pub dropout: DropOut,
    pub training: Training,
    pub aggregation: Aggregation,
    /// What the server does with what [`Federation::aggregation`] makes; `None` where that is the
    /// next model.
    #[serde(default)]
    pub server_optimiser: Option<ServerOptimiser>,
    /// How updates travel.
    #[serde(default)]
    pub updates: Precision,
    /// An update that went more than this many times as far from its model as the median update of
    /// its round is refused.
    #[serde(default = "general::default_outlier_factor")]
    pub outlier_factor: f64,
    pub evaluation: Evaluation,
    pub sites: Sites,
    /// Rounds that wait for no site; `None` for rounds that wait for their sites.
    #[serde(default)]
    pub buffered: Option<Buffered>,
}
