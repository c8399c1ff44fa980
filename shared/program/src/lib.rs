//! What both programs need: ending with an exit code and a hint ([`failure`]), logs ([`logging`]),
//! stop signals ([`signal`]), network threads ([`threads`]), replacing files ([`files`]), files for
//! their owner alone ([`private`]), JSON files with a checksum ([`sealed_json`]), printing foreign
//! names ([`visible`]), cells of tables ([`csv`]), which build they are ([`about`]), and their
//! command line for shells and as manual pages ([`pages`]).

pub mod about;
pub mod csv;
pub mod failure;
pub mod files;
pub mod logging;
pub mod pages;
pub mod private;
pub mod sealed_json;
pub mod signal;
pub mod threads;
pub mod visible;

pub use failure::{Class, Explain, Failure};
