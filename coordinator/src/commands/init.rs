//! The `init` subcommand: writes the certificates of the coordinator and the sites.

use crate::certificates::{CertificatesError, Request, issue};
use program::Failure;
use std::path::PathBuf;

/// Arguments of `init`.
#[derive(clap::Args)]
pub struct Args {
    /// The folder to write. With an authority in it already, only what is missing is added.
    #[arg(long, value_name = "FOLDER", default_value = "pki")]
    out: PathBuf,
    /// The names and addresses that sites reach the coordinator by, such as
    /// lacuna.example.org,10.0.0.5.
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    coordinator_name: Vec<String>,
    /// The sites' names.
    #[arg(long, value_name = "SITE", value_delimiter = ',')]
    sites: Vec<String>,
    /// Days until the certificates expire.
    #[arg(long, value_name = "DAYS", default_value_t = 730, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
    /// Print what was written as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Result<(), Failure> {
    let request = Request {
        out: args.out.clone(),
        coordinator_names: args.coordinator_name.clone(),
        sites: args.sites.clone(),
        days: args.days,
    };
    let issued = issue(&request)?;
    if args.json {
        let text = serde_json::to_string_pretty(&issued)
            .map_err(|error| CertificatesError::Crypto(error.to_string()))?;
        println!("{text}");
    } else {
        print!("{}", issued.advice(&args.out));
    }
    Ok(())
}
