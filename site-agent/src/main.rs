//! The `site-agent` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    site_agent::cli::main()
}
