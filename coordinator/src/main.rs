//! The `coordinator` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Read here, so that a release that says its commit only compiles this file again.
    coordinator::cli::main(option_env!("LACUNA_COMMIT"))
}
