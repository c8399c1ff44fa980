//! Programs that are told to stop, with the real binaries: Ctrl-C and SIGTERM.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a journey that cannot go on has failed")]

mod kills;
mod service;
mod simulation;
mod stage;
