//! Keeps programs that were compiled for a GPU from one start to the next.
//!
//! A GPU's programs are compiled when they are first needed, which takes a second each. They are
//! kept in a folder of the machine's user, for all agents and for `predict`. cubecl keeps those for
//! different kinds of GPUs apart; the name of the file keeps our releases and NVIDIA's drivers
//! apart.

use cubecl::config::cache::CacheConfig;
use cubecl::config::compilation::CompilationLogLevel;
use cubecl::config::{CubeClRuntimeConfig, RuntimeConfig};
use std::path::{Path, PathBuf};

/// Says where the programs are kept. Only the first call of a process counts.
pub(super) fn keep_in(folder: Option<&Path>) {
    let mut config = CubeClRuntimeConfig::default();
    config.compilation.cache = true;
    // Each compilation is a record of the `log` crate: see `crate::logging`.
    config.compilation.logger.level = CompilationLogLevel::Basic;
    config.compilation.logger.log = Some(Default::default());
    config.environment.name = name();
    config.environment.path =
        CacheConfig::Directory(folder.map_or_else(usual_folder, Path::to_path_buf));
    // Only the first call counts, and they all say the same: a process has one configuration.
    CubeClRuntimeConfig::try_set(config);
}

/// The release, and the driver where there is one.
fn name() -> String {
    let driver = std::fs::read_to_string("/sys/module/nvidia/version").unwrap_or_default();
    let name = format!("{} {}", env!("CARGO_PKG_VERSION"), driver.trim());
    name.trim().replace(' ', "-")
}

/// The user's cache folder, or one for temporary files where the user has none.
fn usual_folder() -> PathBuf {
    let mut cache = std::env::temp_dir();
    if let Some(home) = std::env::var_os("HOME") {
        cache = PathBuf::from(home).join(".cache");
    }
    if let Some(named) = std::env::var_os("XDG_CACHE_HOME")
        && Path::new(&named).is_absolute()
    {
        cache = PathBuf::from(named);
    }
    cache.join("lacuna").join("kernels")
}
