//! The libraries that NVIDIA's GPUs need: the driver, the compiler for kernels (NVRTC) and its
//! headers.
//!
//! They are searched for before a GPU is opened, because the errors of the bindings do not say
//! what is missing. NVRTC is loaded by name from the paths of the system's loader; the headers are
//! in `CUDA_PATH`. Where they came with Python's packages or conda instead, the program restarts
//! itself with both variables set: a process cannot change them for its own loader.

use super::DeviceError;
use std::path::{Path, PathBuf};

const NVRTC_NAME: &str = "libnvrtc.so";
const HEADER: &str = "cuda_fp16.h";
/// Set for the restarted program.
const FOUND: &str = "LACUNA_NVRTC_FOUND";

const DRIVER: &str = "install NVIDIA's driver, 525 or later (Debian: `apt install \
    nvidia-driver`); in a container, start it with the GPU passed through. device = \"cpu\" works \
    everywhere";
const NVRTC: &str = "it is in Debian's `libnvrtc12` or NVIDIA's `cuda-nvrtc-12-9`, in `pip install \
    nvidia-cuda-nvrtc-cu12`, conda's `cuda-nvrtc` and the CUDA toolkit; the folder of libnvrtc.so \
    must be one that the system's loader knows or in LD_LIBRARY_PATH";
const HEADERS: &str = "they are in NVIDIA's `cuda-cudart-dev-12-9`, in `pip install \
    nvidia-cuda-runtime-cu12`, conda's `cuda-cudart-dev` and the CUDA toolkit; CUDA_PATH must be \
    the folder whose `include` has them";

/// # Errors
/// [`DeviceError::Missing`], with what to install.
pub(super) fn check() -> Result<(), DeviceError> {
    let folders = loader_folders();
    if !holds(&folders, "libcuda.so") {
        return Err(DeviceError::Missing {
            missing: "NVIDIA's driver (libcuda.so.1)",
            remedy: DRIVER,
        });
    }
    if !holds(&folders, NVRTC_NAME) {
        return Err(DeviceError::Missing {
            missing: "NVIDIA's compiler for kernels (libnvrtc.so)",
            remedy: NVRTC,
        });
    }
    if !has_headers() {
        return Err(DeviceError::Missing {
            missing: "the headers for NVIDIA's compiler (cuda_fp16.h)",
            remedy: HEADERS,
        });
    }
    Ok(())
}

/// The search path of the system's loader: `LD_LIBRARY_PATH`, the folders in `ld.so.conf`, and the
/// default ones.
fn loader_folders() -> Vec<PathBuf> {
    let path = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let mut settings = vec![PathBuf::from("/etc/ld.so.conf")];
    settings.extend(files("/etc/ld.so.conf.d"));
    for file in settings {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        folders.extend(
            text.lines()
                .map(str::trim)
                .filter(|line| line.starts_with('/'))
                .map(PathBuf::from),
        );
    }
    let machine = format!("{}-linux-gnu", std::env::consts::ARCH);
    for usual in ["/lib", "/usr/lib", "/usr/local/lib"] {
        folders.push(usual.into());
        folders.push(Path::new(usual).join(&machine));
    }
    folders.extend(["/lib64", "/usr/lib64"].map(PathBuf::from));
    folders
}

/// The only folder in which cubecl searches for headers.
fn header_folder() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("CUDA_PATH") {
        return Some(PathBuf::from(folder).join("include"));
    }
    if let Some(folder) = ["/usr/local/cuda", "/opt/cuda"]
        .map(Path::new)
        .into_iter()
        .find(|folder| folder.exists())
    {
        return Some(folder.join("include"));
    }
    Path::new("/usr/bin/nvcc")
        .exists()
        .then(|| PathBuf::from("/usr/include"))
}

fn has_headers() -> bool {
    header_folder().is_some_and(|folder| folder.join(HEADER).is_file())
}

/// Restarts the program where NVRTC or its headers are not in the usual place, but with Python's
/// packages or conda. Returns where nothing is missing, nothing was found, or this is the restarted
/// program already.
pub(super) fn find() {
    let (library, headers) = (holds(&loader_folders(), NVRTC_NAME), has_headers());
    if (library && headers) || std::env::var_os(FOUND).is_some() {
        return;
    }
    let folders = package_folders();
    let Ok(program) = std::env::current_exe() else {
        return;
    };
    let mut again = std::process::Command::new(program);
    again.args(std::env::args_os().skip(1)).env(FOUND, "yes");
    if !library {
        let Some(folder) = folders
            .iter()
            .find(|folder| holds(std::slice::from_ref(folder), NVRTC_NAME))
        else {
            return;
        };
        let path = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
        let all = std::iter::once(folder.clone())
            .chain(std::env::split_paths(&path).filter(|path| *path != Path::new("")));
        let Ok(all) = std::env::join_paths(all) else {
            return;
        };
        again.env("LD_LIBRARY_PATH", all);
    }
    if !headers {
        let has = |folder: &&PathBuf| folder.join(HEADER).is_file();
        let Some(parent) = folders.iter().find(has).and_then(|folder| folder.parent()) else {
            return;
        };
        again.env("CUDA_PATH", parent);
    }
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;
        // It returns only when it fails; `check` then reports what is missing.
        let error = again.exec();
        tracing::warn!(%error, "the program could not restart itself");
    }
}

/// Folders of libraries or headers that Python's packages and conda may have installed.
fn package_folders() -> Vec<PathBuf> {
    let mut roots = Vec::new();
    if let Some(conda) = std::env::var_os("CONDA_PREFIX").map(PathBuf::from) {
        roots.extend(
            ["lib", "include", "targets/x86_64-linux/include"].map(|folder| conda.join(folder)),
        );
    }
    let mut homes: Vec<PathBuf> = ["VIRTUAL_ENV", "CONDA_PREFIX"]
        .into_iter()
        .filter_map(std::env::var_os)
        .map(PathBuf::from)
        .collect();
    homes.extend(std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local")));
    homes.extend(["/usr/local", "/usr"].map(PathBuf::from));
    for home in homes {
        let pythons = files(home.join("lib"))
            .into_iter()
            .filter(|folder| named_python(folder));
        for packages in pythons
            .flat_map(|python| ["site-packages", "dist-packages"].map(|name| python.join(name)))
        {
            for package in files(packages.join("nvidia")) {
                roots.extend(["lib", "include"].map(|folder| package.join(folder)));
            }
        }
    }
    roots
}

fn named_python(folder: &Path) -> bool {
    folder
        .file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with("python3"))
}

/// Whether some folder has a library of this name, with or without a version behind it.
fn holds(folders: &[PathBuf], library: &str) -> bool {
    folders.iter().flat_map(files).any(|file| {
        let name = file
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        name.strip_prefix(library)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

fn files(folder: impl AsRef<Path>) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_is_found_with_and_without_a_version_and_no_other_is_taken_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let folders = [folder.path().to_path_buf()];
        std::fs::write(folder.path().join("libnvrtc-builtins.so.13.0"), "").unwrap();
        std::fs::write(folder.path().join("libnvrtc.source"), "").unwrap();
        assert!(!holds(&folders, "libnvrtc.so"));
        std::fs::write(folder.path().join("libnvrtc.so.13"), "").unwrap();
        assert!(holds(&folders, "libnvrtc.so"));
    }

    #[test]
    fn every_missing_thing_says_how_to_get_it() {
        for remedy in [DRIVER, NVRTC, HEADERS] {
            assert!(
                remedy.contains("cuda") || remedy.contains("nvidia"),
                "{remedy}"
            );
        }
    }
}
