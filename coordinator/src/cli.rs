//! The command line. Each subcommand's arguments and its `run` are in its own file of `commands`.

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
                          configuration, 4 bad or missing data, 5 federation or network, 6 disk, \
                          130 interrupted (Ctrl-C), 143 terminated (SIGTERM)";

/// Launches the rounds of a federation and reports how its model does at sites that took no part.
#[derive(Parser)]
#[command(name = "coordinator", version, about, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write a certificate authority, and certificates for the coordinator and each site.
    Init(commands::init::Args),
    /// Invite a hospital: print the line with which it joins.
    Invite(commands::invite::Args),
    /// List the sites: invited, joined, revoked.
    Sites(commands::sites::Args),
    /// Accept no certificate of a site any more.
    Revoke(commands::revoke::Args),
    /// Explain the settings, or check a settings file and print what it means.
    Config(commands::config::Args),
    /// Serve a federation until its last round, then evaluate it.
    Serve(commands::serve::Args),
    /// Run a whole federation on this machine: phantoms or folders, sites as child processes, one
    /// report.
    Simulate(commands::simulate::Args),
    /// Train the same model in several ways, each with several seeds, and compare them on the same
    /// patients.
    Experiment(commands::experiment::Args),
    /// Write the report of a run folder, or of an experiment's folder, again.
    Report(commands::report::Args),
    /// Show the status of a federation, whether a coordinator runs it or not.
    Status(commands::status::StatusArgs),
    /// Ask a running coordinator to stop: its current work is finished, and the same command
    /// continues later.
    Stop(commands::status::Where),
    /// Ask a running coordinator to hand out no new tasks; running ones continue.
    Pause(commands::status::Where),
    /// Ask a paused coordinator to hand out tasks again.
    Resume(commands::status::Where),
    /// Exclude a site from a running federation, for the rest of this run.
    Drop(commands::steer::DropArgs),
    /// Print completions for a shell.
    Completions { shell: pages::Shell },
    /// Write the manual pages into a folder.
    #[command(hide = true)]
    Man { folder: PathBuf },
}

impl Command {
    /// Whether it runs a federation, so that the log says which build did.
    fn runs_a_federation(&self) -> bool {
        matches!(
            self,
            Self::Serve(_) | Self::Simulate(_) | Self::Experiment(_)
        )
    }
}

/// Parses the command line, runs the command, and turns its outcome into an exit code. `commit` is
/// what the program was built from, where the build knows it.
#[must_use]
pub fn main(commit: Option<&'static str>) -> ExitCode {
    // Warnings, such as a connection refused for its certificate; `RUST_LOG=info` shows more.
    program::logging::start("warn");
    let about = About {
        version: env!("CARGO_PKG_VERSION"),
        commit,
        protocol: PROTOCOL,
        devices: &[],
    };
    // clap keeps texts for as long as the program lives; this happens once.
    let version: &'static str = about.lines().leak();
    let given = Cli::command().long_version(version).get_matches();
    let command = match Cli::from_arg_matches(&given) {
        Ok(cli) => cli.command,
        Err(error) => error.exit(),
    };
    if command.runs_a_federation() {
        eprintln!("coordinator {}", about.line());
    }
    let outcome: Result<(), Failure> = match command {
        Command::Init(args) => commands::init::run(&args),
        Command::Invite(args) => commands::invite::run(&args),
        Command::Sites(args) => commands::sites::run(&args),
        Command::Revoke(args) => commands::revoke::run(&args),
        Command::Config(args) => commands::config::run(&args),
        Command::Serve(args) => commands::serve::run(&args),
        Command::Simulate(args) => commands::simulate::run(&args),
        Command::Experiment(args) => commands::experiment::run(&args),
        Command::Report(args) => commands::report::run(&args),
        Command::Status(args) => commands::status::run(&args),
        Command::Stop(place) => commands::steer::stop(&place),
        Command::Pause(place) => commands::steer::pause(&place),
        Command::Resume(place) => commands::steer::resume(&place),
        Command::Drop(args) => commands::steer::drop_site(&args),
        Command::Completions { shell } => pages::print_completions(shell, Cli::command())
            .map_err(|error| Failure::new(Class::Disk, error)),
        Command::Man { folder } => pages::write_manual(Cli::command(), &folder)
            .map_err(|error| Failure::new(Class::Disk, error)),
    };
    report(outcome)
}
