//! The subcommands: the arguments of each, and its `run`. They call the other modules, which do not
//! depend on them.

pub mod config;
pub mod experiment;
pub mod init;
pub mod report;
pub mod serve;
pub mod simulate;
pub mod status;
pub mod steer;
