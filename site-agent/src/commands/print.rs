//! A report on standard output.

use program::{Class, Failure};
use serde::Serialize;
use std::fmt::Display;
use std::io::{ErrorKind, Write};

/// Prints a report as lines for people, or as JSON.
///
/// # Errors
/// The output cannot be written. It may be closed early by the program that reads it.
pub(super) fn print<T: Serialize + Display>(report: &T, json: bool) -> Result<(), Failure> {
    let text = if json {
        serde_json::to_string_pretty(report)
            .map_err(|error| Failure::new(Class::Internal, error))?
    } else {
        report.to_string()
    };
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new(Class::Disk, error))
        }
        _ => Ok(()),
    }
}
