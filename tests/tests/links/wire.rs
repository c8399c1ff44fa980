//! Two network namespaces and the line between them.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// What begins the name of every namespace of ours; the process follows.
const PREFIX: &str = "lacuna-";

/// The line. Dropped, it is gone with its namespaces.
pub(crate) struct Wire {
    /// The coordinator's namespace, and the sites'.
    names: [String; 2],
    emulator: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

fn ip(words: &[&str]) -> bool {
    let output = Command::new("ip").args(words).output();
    output.is_ok_and(|output| output.status.success())
}

/// Removes what killed tests left behind.
fn sweep() {
    let names = std::fs::read_dir("/run/netns").into_iter().flatten().flatten().map(|entry| entry.file_name());
    for name in names.filter_map(|name| name.into_string().ok()) {
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            ip(&["netns", "del", &name]);
        }
    }
}

fn skipped(names: &[String; 2]) -> Option<Wire> {
    names.iter().for_each(|name| {
        ip(&["netns", "del", name]);
    });
    eprintln!("SKIPPED, NOTHING WAS CHECKED: lines need root, ip, /dev/net/tun and python3");
    None
}

impl Wire {
    /// Opens a line; `None` where there can be none, which is said.
    pub(crate) fn open(name: &str, seed: u32) -> Option<Self> {
        sweep();
        let names = ["a", "b"].map(|end| format!("{PREFIX}{}-{name}-{end}", std::process::id()));
        let python = Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success());
        if !python || !Path::new("/dev/net/tun").exists() || !names.iter().all(|name| ip(&["netns", "add", name])) {
            return skipped(&names);
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/links/wire.py");
        let mut emulator = Command::new("python3");
        emulator.arg(script).args([&names[0], "10.9.0.1/24", &names[1], "10.9.0.2/24", &seed.to_string()]);
        let mut emulator = emulator.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (commands, answers) = (emulator.stdin.take().unwrap(), BufReader::new(emulator.stdout.take().unwrap()));
        let mut wire = Self { names, emulator, commands, answers };
        let mut ready = String::new();
        wire.answers.read_line(&mut ready).unwrap();
        // Namespaces may be allowed where devices in them are not.
        if ready.is_empty() { skipped(&wire.names) } else { Some(wire) }
    }

    /// Gives the emulator a command, and waits until it holds.
    pub(crate) fn tell(&mut self, command: &str) {
        writeln!(self.commands, "{command}").unwrap();
        self.answered("ok");
    }

    fn answered(&mut self, expected: &str) {
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        assert_eq!(answer.trim(), expected);
    }

    /// A command that runs a program at the coordinator's end (0) or the sites' (1).
    pub(crate) fn command(&self, end: usize, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.names[end]]).arg(program);
        command
    }

    /// The sites' end gets another address in place of the one it has.
    pub(crate) fn readdress(&self, old: &str, new: &str) {
        for (word, address) in [("del", old), ("add", new)] {
            assert!(ip(&["-n", &self.names[1], "addr", word, address, "dev", "wire"]));
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.emulator.kill();
        let _ = self.emulator.wait();
        self.names.iter().for_each(|name| {
            ip(&["netns", "del", name]);
        });
    }
}
