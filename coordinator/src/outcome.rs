//! What a finished federation leaves for its report: `outcome.json` in the run folder.

pub use shared::outcome::*;
