//! Server and link over loopback: what arrives, what is refused, and what both ends say about it.

mod admission;
mod hostile;
mod intruder;
mod stage;
mod traffic;
