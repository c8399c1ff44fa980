//! The subcommands: the arguments of each, and its `run`. They call the other modules, which do not
//! depend on them.

mod authority;
pub mod config;
pub mod experiment;
pub mod init;
pub mod invite;
pub mod report;
pub mod revoke;
pub mod serve;
pub mod simulate;
pub mod sites;
pub mod status;
pub mod steer;
