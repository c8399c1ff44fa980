//! The federation's settings from the coordinator's own file.

use program::{Class, Failure};
use protocol::settings::Federation;
use protocol::text;
use std::path::Path;

/// Reads the coordinator's TOML file.
///
/// # Errors
/// A file that cannot be read, is not TOML, or whose settings cannot work.
pub(super) fn read(path: &Path) -> Result<Federation, Failure> {
    let wrong = |reason: String| {
        Failure::new(
            Class::Configuration,
            format!("{}: {reason}", path.display()),
        )
    };
    let bytes = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let text = text::decode(&bytes).map_err(|error| wrong(error.to_string()))?;
    Federation::from_toml(text).map_err(|error| wrong(error.to_string()))
}
