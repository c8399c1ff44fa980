//! The `report` subcommand.

use crate::failure::Failure;

/// Arguments of `report`.
#[derive(clap::Args)]
pub struct Args {}

/// Runs it.
pub fn run(_args: &Args) -> Result<(), Failure> {
    Ok(())
}
