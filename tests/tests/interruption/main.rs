//! Programs that are told to stop, with the real binaries: Ctrl-C, SIGTERM and the operator's
//! commands; and sites that are not waited for.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a journey that cannot go on has failed"
)]

mod control;
mod kills;
mod service;
mod simulation;
mod stragglers;
