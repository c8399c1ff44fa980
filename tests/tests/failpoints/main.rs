//! Programs that die, or whose disk fails, at each single step in which they change a file.
//!
//! The steps are counted and disturbed from outside, below the C library (`fixtures/failpoints.c`);
//! the programs know nothing of it.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a journey that cannot go on has failed"
)]

mod coordinator;
mod damage;
mod fault;
mod site;
