//! The `predict` subcommand.

use crate::failure::Failure;

/// Arguments of `predict`.
#[derive(clap::Args)]
pub struct Args {}

/// Runs it.
pub fn run(_args: &Args) -> Result<(), Failure> {
    Ok(())
}
