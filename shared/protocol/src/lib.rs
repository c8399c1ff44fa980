//! What both ends of a federation agree on, without IO.
//!
//! No socket, file, clock or neural network is used here: time and randomness are arguments. Both
//! ends of the protocol are state machines, [`coordinator`] for the coordinator and [`site`] for a
//! site. They take events and return effects in order, so a federation runs inside a unit test.

pub mod architecture;
pub mod case;
pub mod codec;
pub mod coordinator;
pub mod dropout;
pub mod enrol;
pub mod identity;
pub mod jpeg;
pub mod message;
pub mod model_file;
pub mod notification;
pub mod operating;
pub mod outcome;
pub mod overlay;
pub mod parameters;
pub mod settings;
pub mod site;
pub mod text;
pub mod update_encoding;
