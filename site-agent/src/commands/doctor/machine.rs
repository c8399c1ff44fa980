//! The machine: its disk, its memory, its processors.

use super::Finding;
use super::trial;
use crate::agent::SiteConfig;
use crate::device;
use program::private;
use program::{Class, Failure};
use std::io::Write;
use std::path::Path;

/// Memory below which even the smallest network is cramped.
const LITTLE_MEMORY: u64 = 1 << 30;
/// What is written to try the work folder.
const TRIAL: usize = 1 << 20;
/// What a site keeps of the smallest preset: three models of 4 MB.
const NO_ROOM: u64 = 16 << 20;
/// Three models of the largest preset, and as much again for prepared cases.
const LITTLE_ROOM: u64 = 1 << 30;

/// All of it, in the order of the list.
pub(super) fn findings(config: &SiteConfig) -> Vec<Finding> {
    // The work folder first: it may have to be made before its disk can be asked.
    let folder = work_folder(&config.work_folder);
    vec![
        folder,
        disk(fs4::available_space(&config.work_folder)),
        memory(),
    ]
}

/// Room for models and prepared cases. How much these are is known only once the site has joined.
fn disk(available: std::io::Result<u64>) -> Finding {
    match available {
        Ok(bytes) => {
            let words = format!("{:.1} GB are free", bytes as f64 / 1e9);
            let remedy = "three models and the prepared cases must fit: docs/users/OPERATIONS.md \
                          says how much each takes; make room, or set another work_folder";
            match bytes {
                ..NO_ROOM => Finding::bad("disk", Failure::new(Class::Disk, words).hint(remedy)),
                NO_ROOM..LITTLE_ROOM => Finding::warning("disk", words, remedy),
                _ => Finding::good("disk", words),
            }
        }
        Err(error) => Finding::warning(
            "disk",
            format!("the free memory cannot be found out: {error}"),
            "look at it by hand",
        ),
    }
}

fn work_folder(folder: &Path) -> Finding {
    let trial = folder.join(".doctor");
    let wrote = private::create_folder(folder).and_then(|()| {
        let mut file = std::fs::File::create(&trial)?;
        file.write_all(&vec![0; TRIAL])?;
        file.sync_all()
    });
    // Whether it was written is what counts; one that stays is overwritten by the next.
    let _ = std::fs::remove_file(&trial);
    match wrote {
        Ok(()) => match private::open_to_others(folder) {
            Some(mode) => Finding::warning(
                "work folder",
                format!(
                    "{} can be written, and other users may look into it (mode {mode:o})",
                    folder.display()
                ),
                format!(
                    "it holds what is derived from patients' images: chmod 700 {}",
                    folder.display()
                ),
            ),
            None => Finding::good(
                "work folder",
                format!("{} can be written", folder.display()),
            ),
        },
        Err(error) => Finding::bad(
            "work folder",
            Failure::new(Class::Disk, format!("{}: {error}", folder.display())).hint(
                "work_folder must be a folder that this program may write, on a disk with room",
            ),
        ),
    }
}

/// What Linux says is available; other systems are not asked.
fn memory() -> Finding {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    match available(&text) {
        Some(bytes) if bytes < LITTLE_MEMORY => Finding::bad(
            "memory",
            Failure::new(
                Class::Configuration,
                format!("{} MB are available", bytes >> 20),
            )
            .hint(
                "docs/users/OPERATIONS.md says what each preset needs; close other programs or \
                 use another machine",
            ),
        ),
        Some(bytes) => Finding::good(
            "memory",
            format!("{:.1} GB are available", bytes as f64 / 1e9),
        ),
        None => Finding::good("memory", "unknown on this system"),
    }
}

/// `MemAvailable` of `/proc/meminfo`, in bytes.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim()
        .strip_suffix("kB")?
        .trim()
        .parse::<u64>()
        .ok()
        .map(|kilobytes| kilobytes << 10)
}

/// The device computes something; a GPU also runs the publication's network, which compiles what
/// that needs ahead of a federation, and shows how many slices of a batch fit.
pub(super) fn device(name: &str, kernel_cache: Option<&Path>) -> Vec<Finding> {
    let device = match device::open_with(name, kernel_cache) {
        Ok(device) => device,
        Err(error) => return vec![Finding::bad("device", error.into())],
    };
    let mut findings = vec![Finding::good("device", format!("{name} computes"))];
    if device::is_gpu(&device) {
        findings.push(match trial::run(&device) {
            Ok(trial) => Finding::good("gpu", trial.to_string()),
            Err(fault) => Finding::bad("gpu", fault.into()),
        });
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::State;

    #[test]
    fn memory_is_read_as_linux_writes_it() {
        assert_eq!(
            available("MemTotal:  99 kB\nMemAvailable:   2048 kB\n"),
            Some(2 << 20)
        );
        assert_eq!(available("MemTotal: 99 kB\n"), None);
        assert_eq!(available(""), None);
    }

    #[test]
    fn a_disk_without_room_fails_and_one_with_little_warns() {
        let state = |bytes| disk(Ok(bytes)).state;
        assert_eq!(
            [0, 16 << 20, 1 << 30].map(state),
            [State::Failure, State::Warning, State::Ok]
        );
        assert!(
            disk(fs4::available_space(std::env::temp_dir()))
                .words
                .contains("GB are free")
        );
        assert_eq!(disk(Err(std::io::Error::other("no"))).state, State::Warning);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_bad_and_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(work_folder(&folder.path().join("new")).state, State::Ok);
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let finding = work_folder(&file.join("below"));
        assert!(
            finding.state == State::Failure && finding.remedy.is_some(),
            "{finding:?}"
        );
        assert!(
            finding.line().starts_with("FAIL  work folder"),
            "{}",
            finding.line()
        );
        assert_eq!(
            std::fs::read_dir(folder.path().join("new"))
                .unwrap()
                .count(),
            0
        );
    }
}
