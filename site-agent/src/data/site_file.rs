//! Tables of a site's TOML file, for commands that need only some of its keys.

use program::{Class, Explain};
use protocol::text;
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

/// Why a site's file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SiteFileError {
    #[error("{}: {error}", .path.display())]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("{}: {error}", .path.display())]
    NotText {
        path: PathBuf,
        error: text::TextError,
    },
    /// A key that is missing or wrong; `place` is where in the file.
    #[error("{}: {place}", .path.display())]
    Key { path: PathBuf, place: String },
}

impl Explain for SiteFileError {
    fn class(&self) -> Class {
        Class::Configuration
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        Some("docs/users/DATA.md explains the [data] table of a site's file".into())
    }
}

/// Reads the keys that `T` has from a site's file; others are ignored unless `T` refuses them.
///
/// # Errors
/// See [`SiteFileError`].
pub fn read_site_file<T: DeserializeOwned>(path: &Path) -> Result<T, SiteFileError> {
    let bytes = std::fs::read(path).map_err(|error| SiteFileError::Unreadable {
        path: path.into(),
        error,
    })?;
    let text = text::decode(&bytes).map_err(|error| SiteFileError::NotText {
        path: path.into(),
        error,
    })?;
    toml::from_str(text).map_err(|error| SiteFileError::Key {
        path: path.into(),
        place: text::explain(&error, text),
    })
}
