//! Server and link over loopback: what arrives, what is refused, and what both ends say about it.

#![allow(clippy::unwrap_used, clippy::panic)]

mod admission;
mod detour;
mod enrolment;
mod hostile;
mod intruder;
mod proxy;
mod stage;
mod traffic;
