//! The files in `configs/`, for the tests of the commands that read them. Whatever is neither for
//! `serve` nor for `simulate` must be a site's: site-agent's own tests read those, so that no file
//! stands there unread.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The folder.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs")
}

/// Names and texts of the files that have this table.
pub(crate) fn with(table: &str) -> BTreeMap<String, String> {
    let files = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let parsed: toml::Table =
            toml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        parsed.contains_key(table).then_some((name, text))
    };
    files.filter_map(read).collect()
}
