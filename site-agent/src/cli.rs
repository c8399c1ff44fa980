//! What was typed. Each subcommand's arguments and its `run` live in the module that does the work.

use crate::failure::{Failure, report};
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// A hospital's part in a federation. Images never leave the site.
#[derive(Parser)]
#[command(name = "site-agent", version, about, after_help = crate::failure::EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Join a federation and work for it until it is finished.
    Run(crate::agent::Args),
    /// Check what this site needs before it joins: certificates, the way to the coordinator, disk, device, data.
    Doctor(crate::doctor::Args),
    /// Segment one patient with a trained model.
    Predict(crate::predict::Args),
    /// Find this site's own thresholds for a trained model, on its own patients with a reference.
    Calibrate(crate::calibrate::Args),
    /// Score predictions against references, without any federation.
    Score(Box<crate::score::Args>),
    /// Write a synthetic multi-centre cohort as NIfTI files.
    Phantom(Box<crate::phantom::Args>),
}

/// Parses the command line, runs the command, and turns its outcome into an exit code.
#[must_use]
pub fn main() -> ExitCode {
    let command = Cli::parse().command;
    match &command {
        Command::Run(args) => crate::logging::start("info", args.json),
        _ => crate::logging::start("warn", false),
    }
    let outcome: Result<(), Failure> = match command {
        Command::Run(args) => crate::agent::run(&args),
        Command::Doctor(args) => crate::doctor::run(&args),
        Command::Predict(args) => crate::predict::run(&args),
        Command::Calibrate(args) => crate::calibrate::run(&args),
        Command::Score(args) => crate::score::run(&args),
        Command::Phantom(args) => crate::phantom::run(&args),
    };
    report(outcome)
}
