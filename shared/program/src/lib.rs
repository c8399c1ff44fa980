//! What both programs need: ending with an exit code and a hint ([`failure`]), logs ([`logging`]),
//! stop signals ([`signal`]), network threads ([`threads`]), replacing files ([`files`]), files for
//! their owner alone ([`private`]), JSON files with a checksum ([`sealed_json`]) and printing
//! foreign names ([`visible`]).

pub mod failure;
pub mod files;
pub mod logging;
pub mod private;
pub mod sealed_json;
pub mod signal;
pub mod threads;
pub mod visible;

pub use failure::{Class, Explain, Failure};
