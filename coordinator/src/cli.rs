//! What was typed. Each subcommand's arguments and its `run` live in the module that does the work.

use crate::failure::{Failure, report};
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Launches the rounds of a federation and reports how its model does at sites that took no part.
#[derive(Parser)]
#[command(name = "coordinator", version, about, after_help = crate::failure::EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write a certificate authority, and certificates for the coordinator and each site.
    Init(crate::certificates::Args),
    /// Serve a federation until its last round, then evaluate it.
    Serve(crate::serve::Args),
    /// Run a whole federation on this machine: phantoms or folders, sites as child processes, one report.
    Simulate(crate::simulate::Args),
    /// Write the report of a run folder again.
    Report(crate::report::Args),
}

/// Parses the command line, runs the command, and turns its outcome into an exit code.
#[must_use]
pub fn main() -> ExitCode {
    let outcome: Result<(), Failure> = match Cli::parse().command {
        Command::Init(args) => crate::certificates::run(&args),
        Command::Serve(args) => crate::serve::run(&args),
        Command::Simulate(args) => crate::simulate::run(&args),
        Command::Report(args) => crate::report::run(&args),
    };
    report(outcome)
}
