//! A program that writes what it says into a file, and what can be done to it.

use journeys::binary;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Longer than any step of a journey takes on a busy machine.
const LONG: Duration = Duration::from_secs(120);

/// Runs a binary in a folder to its good end.
pub(crate) fn done(name: &str, arguments: &[&str], folder: &Path) {
    let output = Command::new(binary(name)).args(arguments).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A running binary of ours. Dropped, it is killed.
pub(crate) struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts a binary in a folder; what it says goes into the new file `log` there.
    pub(crate) fn start(name: &str, arguments: &[&str], folder: &Path, log: &str) -> Self {
        let log = folder.join(log);
        let file = std::fs::File::create(&log).unwrap();
        let mut command = Command::new(binary(name));
        command.args(arguments).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        Self { child: command.spawn().unwrap(), log }
    }

    /// What it said so far.
    pub(crate) fn words(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until something happened.
    pub(crate) fn until(&self, what: &str, mut happened: impl FnMut(&str) -> bool) {
        let began = Instant::now();
        while !happened(&self.words()) {
            assert!(began.elapsed() < LONG, "{what} did not come\n{}", self.words());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends a signal, such as `INT`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.child.id())).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end.
    pub(crate) fn end(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
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
pub(crate) fn processes(folder: &Path) -> Vec<String> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = all.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(&*folder.to_string_lossy())).collect()
}
