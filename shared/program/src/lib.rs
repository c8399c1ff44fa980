//! What every program of ours does alike: how it ends ([`failure`]), logs ([`logging`]), is asked
//! to stop ([`signal`]), starts its network threads ([`threads`]), replaces files ([`files`]) and
//! prints names of others ([`visible`]).

pub mod failure;
pub mod files;
pub mod logging;
pub mod private;
pub mod signal;
pub mod threads;
pub mod visible;

pub use failure::{Class, Explain, Failure};
