//! The `simulate` subcommand.

use crate::failure::Failure;

/// Arguments of `simulate`.
#[derive(clap::Args)]
pub struct Args {}

/// Runs it.
pub fn run(_args: &Args) -> Result<(), Failure> {
    Ok(())
}
