//! The `brain-network` subcommand: HD-BET's weights as a file for `brain --network`.

use crate::brain_network::{LoadError, convert};
use crate::output;
use program::visible::visible;
use program::{Class, Failure, files};
use std::io::Write;
use std::path::PathBuf;

/// Arguments of `brain-network`.
#[derive(clap::Args)]
pub struct Args {
    /// One of the files 0.model to 4.model that HD-BET's authors published.
    #[arg(value_name = "FILE")]
    input: PathBuf,
    /// Where the weights go, as a safetensors file.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Replace a file that is there.
    #[arg(long)]
    force: bool,
}

/// Runs it.
///
/// # Errors
/// The file cannot be read, or is not one of the five; the output is there or cannot be written.
pub fn run(args: &Args) -> Result<(), Failure> {
    output::check(&[&args.out], &[&args.input], args.force)?;
    let bytes = std::fs::read(&args.input).map_err(|source| LoadError::Unreadable {
        path: args.input.clone(),
        source,
    })?;
    let converted = convert(&bytes).map_err(|source| LoadError::Weights {
        path: args.input.clone(),
        source,
    })?;
    files::replace(&args.out, |file| file.write_all(&converted.safetensors))
        .map_err(|error| Failure::new(Class::Disk, format!("{}: {error}", args.out.display())))?;
    println!(
        "{} holds the network {}",
        visible(&args.out.display().to_string()),
        converted.name
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_other_weights_is_refused_and_nothing_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("0.model");
        let out = folder.path().join("hd-bet-0.safetensors");
        let other: &[u8] = include_bytes!("../../../tests/fixtures/brain_network.model");
        let cases = [
            (
                b"PK\x03\x04 a wheel".as_slice(),
                "as HD-BET's authors published",
            ),
            (&other[..200], "cut short"),
            (other, "none of the five networks"),
        ];
        for (bytes, says) in cases {
            std::fs::write(&input, bytes).unwrap();
            let args = Args {
                input: input.clone(),
                out: out.clone(),
                force: false,
            };
            let failure = run(&args).unwrap_err();
            assert_eq!(failure.class, Class::Data);
            assert!(failure.what.contains(says), "{}", failure.what);
            assert!(failure.what.contains("0.model"), "{}", failure.what);
            assert!(failure.hint.is_some());
            assert!(!out.exists());
        }
    }

    #[test]
    fn the_weights_themselves_are_never_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("0.model");
        std::fs::write(&input, b"weights").unwrap();
        let args = Args {
            input: input.clone(),
            out: input.clone(),
            force: true,
        };
        assert_eq!(run(&args).unwrap_err().class, Class::Configuration);
        assert_eq!(std::fs::read(&input).unwrap(), b"weights");
    }
}
