//! The subcommands: what each is called with, and its run. They call the engines, which know
//! nothing of them.

pub mod approve;
pub mod brain;
pub mod brain_network;
pub mod calibrate;
pub mod deface;
pub mod doctor;
pub mod import;
pub mod inspect;
pub mod join;
pub mod phantom;
pub mod predict;
mod print;
pub mod register;
pub mod run;
pub mod score;
