//! What every program of ours does alike: how it ends ([`failure`]), logs ([`logging`]), is asked to stop ([`signal`]),
//! starts its network threads ([`threads`]) and replaces files ([`files`]).

pub mod failure;
pub mod files;
pub mod logging;
pub mod private;
pub mod signal;
pub mod threads;

pub use failure::{Class, Explain, Failure};
