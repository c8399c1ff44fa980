//! The `certificates` subcommand.

use crate::failure::Failure;

/// Arguments of `certificates`.
#[derive(clap::Args)]
pub struct Args {}

/// Runs it.
pub fn run(_args: &Args) -> Result<(), Failure> {
    Ok(())
}
