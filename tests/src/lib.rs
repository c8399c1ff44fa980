//! What the journeys in `tests/` and the benchmarks in `benches/` share: settings, programs that
//! are started and watched, and sites that answer without training.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a journey that cannot go on has failed"
)]

pub mod dicom_file;
mod pool;
pub mod program;
pub mod settings;
pub mod simulated;
pub mod trained;

use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiles a C file of `tests/fixtures` into a shared library.
///
/// # Panics
/// Without a C compiler, or where the file does not compile.
pub fn compile_c(fixture: &str, library: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(fixture);
    let compiled = Command::new("cc")
        .args(["-O1", "-w", "-shared", "-fPIC", "-o"])
        .args([library, &source])
        .arg("-ldl")
        .output()
        .expect("a C compiler is needed");
    let said = String::from_utf8_lossy(&compiled.stderr);
    assert!(compiled.status.success(), "{said}");
}

/// A binary that was built next to the running test.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap_or_default();
    let path = test
        .parent()
        .and_then(Path::parent)
        .unwrap_or(Path::new(""))
        .join(name);
    assert!(
        path.exists(),
        "{} is missing: run `cargo build --release` first",
        path.display()
    );
    path
}
