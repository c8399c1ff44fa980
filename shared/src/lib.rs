//! What every party of a federation agrees on, without IO.
//!
//! No socket, file, clock or neural network lives here: time and randomness are arguments, both ends of the
//! protocol are state machines that take events and return effects in order. `coordinator` and `site-agent`
//! depend on this crate and never on each other.

pub mod aggregate;
pub mod architecture;
pub mod case;
pub mod codec;
pub mod delta;
pub mod dropout;
pub mod federation;
pub mod happening;
pub mod message;
pub mod metrics;
pub mod model_file;
pub mod operating;
pub mod outcome;
pub mod overlay;
pub mod parameters;
pub mod picture;
pub mod random;
pub mod round;
pub mod score;
pub mod sequence;
pub mod site;
pub mod visible;
