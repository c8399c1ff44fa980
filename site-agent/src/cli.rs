//! What was typed. Each subcommand's arguments and its `run` are in its own file of `commands`.

use crate::commands;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use program::about::About;
use program::failure::{Failure, report};
use program::{Class, pages};
use protocol::message::PROTOCOL;
use std::path::PathBuf;
use std::process::ExitCode;

/// Shown under `--help`.
const EXIT_CODES: &str = "Exit codes: 0 done, 1 internal error, 2 wrong usage, 3 bad \
                          configuration, 4 bad or missing data, 5 federation, network or device, \
                          6 disk, 130 interrupted (Ctrl-C), 143 terminated (SIGTERM)";

/// A hospital's part in a federation. Images never leave the site.
#[derive(Parser)]
#[command(name = "site-agent", version, about, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Join a federation with the token that its operator sent.
    Join(commands::join::Args),
    /// Take part in a federation and work for it until it is finished.
    Run(commands::run::Args),
    /// Say yes to a federation, or to its changed settings, where the site's policy asks for that.
    Approve(commands::approve::Args),
    /// Check what this site needs before it joins: certificates, the way to the coordinator, disk,
    /// device, data.
    Doctor(commands::doctor::Args),
    /// Bring a DICOM export into a folder of NIfTI files that this site can train on.
    Import(commands::import::Args),
    /// Bring all sequences of each case onto one grid.
    Register(commands::register::Args),
    /// Make a brain mask for each case: by HD-BET's network, by a program, or from images without a
    /// skull.
    Brain(commands::brain::Args),
    /// Convert HD-BET's published weights into a file for `brain --network`.
    BrainNetwork(commands::brain_network::Args),
    /// Remove the face from all images of each case, by its brain mask.
    Deface(commands::deface::Args),
    /// Say what a folder of images holds, and print the [data] table for it.
    Inspect(commands::inspect::Args),
    /// Segment one patient with a trained model, or many.
    Predict(Box<commands::predict::Args>),
    /// Find this site's own thresholds for a trained model, on its own patients with a reference.
    Calibrate(commands::calibrate::Args),
    /// Score predictions against references, without any federation.
    Score(Box<commands::score::Args>),
    /// Write a synthetic multi-centre cohort as NIfTI files.
    Phantom(Box<commands::phantom::Args>),
    /// Print completions for a shell.
    Completions { shell: pages::Shell },
    /// Write the manual pages into a folder.
    #[command(hide = true)]
    Man { folder: PathBuf },
}

/// Parses the command line, runs the command, and turns its outcome into an exit code. `commit` is
/// what the program was built from, where the build knows it.
#[must_use]
pub fn main(commit: Option<&'static str>) -> ExitCode {
    let about = About {
        version: env!("CARGO_PKG_VERSION"),
        commit,
        protocol: PROTOCOL,
        devices: crate::device::BUILT_IN,
    };
    // clap keeps texts for as long as the program lives; this happens once.
    let version: &'static str = about.lines().leak();
    let given = Cli::command().long_version(version).get_matches();
    let command = match Cli::from_arg_matches(&given) {
        Ok(cli) => cli.command,
        Err(error) => error.exit(),
    };
    match &command {
        Command::Run(args) => {
            crate::logging::start("info", args.json);
            tracing::info!("site-agent {}", about.line());
        }
        _ => crate::logging::start("warn", false),
    }
    let outcome: Result<(), Failure> = match command {
        Command::Join(args) => commands::join::run(&args),
        Command::Run(args) => commands::run::run(&args),
        Command::Approve(args) => commands::approve::run(&args),
        Command::Doctor(args) => commands::doctor::run(&args),
        Command::Import(args) => commands::import::run(&args),
        Command::Register(args) => commands::register::run(&args),
        Command::Brain(args) => commands::brain::run(&args),
        Command::BrainNetwork(args) => commands::brain_network::run(&args),
        Command::Deface(args) => commands::deface::run(&args),
        Command::Inspect(args) => commands::inspect::run(&args),
        Command::Predict(args) => commands::predict::run(&args),
        Command::Calibrate(args) => commands::calibrate::run(&args),
        Command::Score(args) => commands::score::run(&args),
        Command::Phantom(args) => commands::phantom::run(&args),
        Command::Completions { shell } => pages::print_completions(shell, Cli::command())
            .map_err(|error| Failure::new(Class::Disk, error)),
        Command::Man { folder } => pages::write_manual(Cli::command(), &folder)
            .map_err(|error| Failure::new(Class::Disk, error)),
    };
    report(outcome)
}
