//! The files in `configs/`, for the tests of the commands that read them. A file that is neither
//! for `serve` nor for `simulate` is a site's, and is read by site-agent's tests, so that every
//! file is read by a test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs")
}

/// The names and texts of the files that have this table.
pub(crate) fn with(table: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let parsed: toml::Table =
            toml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        if parsed.contains_key(table) {
            found.insert(name, text);
        }
    }
    found
}
