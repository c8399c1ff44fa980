//! A program that writes what it says into a file, and what can be done to it.

use crate::binary;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Longer than any step of a journey takes on a busy machine.
const LONG: Duration = Duration::from_secs(120);

/// Runs a binary in a folder to its good end.
///
/// # Panics
/// With what the binary said, when it ends badly.
pub fn done(name: &str, arguments: &[&str], folder: &Path) {
    let output = Command::new(binary(name))
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A running binary of ours. Dropped, it is killed.
#[derive(Debug)]
pub struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts a binary in a folder; what it says goes into the new file `log` there.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(name: &str, arguments: &[&str], folder: &Path, log: &str) -> Self {
        let mut command = Command::new(binary(name));
        command.args(arguments);
        Self::launch(command, folder, log)
    }

    /// Starts any command in a folder; what it says goes into the new file `log` there.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn launch(mut command: Command, folder: &Path, log: &str) -> Self {
        let log = folder.join(log);
        let file = std::fs::File::create(&log).unwrap();
        command
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file);
        Self {
            child: command.spawn().unwrap(),
            log,
        }
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// A size in bytes from `/proc/PID/status`, such as `VmRSS` or `VmHWM`; `None` when it has
    /// ended.
    #[must_use]
    pub fn memory(&self, key: &str) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
    }

    /// What it said so far.
    #[must_use]
    pub fn words(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until something happened.
    ///
    /// # Panics
    /// With what the program said, when it does not happen within two minutes.
    pub fn until(&self, what: &str, mut happened: impl FnMut(&str) -> bool) {
        let began = Instant::now();
        while !happened(&self.words()) {
            assert!(
                began.elapsed() < LONG,
                "{what} did not come\n{}",
                self.words()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends a signal, such as `INT`.
    ///
    /// # Panics
    /// When it has ended.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("sh")
            .arg("-c")
            .arg(format!("kill -{name} {}", self.child.id()))
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When there is nothing to wait for.
    pub fn end(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// How it ended, if it has.
    ///
    /// # Panics
    /// When the system does not say.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Ended already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Processes whose command line names the folder.
///
/// # Panics
/// Without `/proc`.
#[must_use]
pub fn processes(folder: &Path) -> Vec<String> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = all.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines
        .filter(|line| line.contains(&*folder.to_string_lossy()))
        .collect()
}
