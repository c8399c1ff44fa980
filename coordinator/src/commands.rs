//! The subcommands: what each is called with, and its run. They call the engines, which know
//! nothing of them.

pub mod config;
pub mod experiment;
pub mod init;
pub mod report;
pub mod serve;
pub mod simulate;
pub mod status;
pub mod steer;
