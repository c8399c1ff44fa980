//! The subcommands: what each is called with, and its run. They call the engines, which know
//! nothing of them.

pub mod calibrate;
pub mod doctor;
pub mod import;
pub mod inspect;
pub mod join;
pub mod phantom;
pub mod predict;
pub mod register;
pub mod run;
pub mod score;
