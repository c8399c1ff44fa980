//! What is done to a program at one of its steps.

use journeys::binary;
use journeys::program::Program;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The library that intercepts calls of the C library, compiled once.
static LIBRARY: LazyLock<PathBuf> = LazyLock::new(|| {
    let library = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("failpoints-{}.so", std::process::id()));
    journeys::compile_c("failpoints.c", &library);
    library
});

/// How a step ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// The program is killed; in a write, when half of it is written.
    Kill,
    /// The disk is full, from then on.
    Full,
    /// The disk cannot say that it has written.
    Broken,
    /// Nothing can be put in its place, from then on.
    ReadOnly,
    /// Nothing can be changed at all, from then on.
    Sealed,
}

impl How {
    /// The steps it is about (all, if empty), the error's number, and whether all later ones fail
    /// too.
    fn settings(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Kill => ("", "kill", ""),
            Self::Full => ("write", "28", "onward"),
            Self::Broken => ("sync", "5", ""),
            Self::ReadOnly => ("rename", "30", "onward"),
            Self::Sealed => ("", "30", "onward"),
        }
    }

    /// What the system calls it.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Kill => "",
            Self::Full => "No space left on device",
            Self::Broken => "Input/output error",
            Self::ReadOnly | Self::Sealed => "Read-only file system",
        }
    }
}

/// A step, counted from 1 over those of its kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) how: How,
    pub(crate) at: usize,
}

impl Fault {
    /// Starts a program in a folder, to be disturbed at its steps in the folder `under` there.
    pub(crate) fn start(
        self,
        name: &str,
        arguments: &[&str],
        folder: &Path,
        under: &str,
    ) -> Program {
        let (kind, error, onward) = self.how.settings();
        let folder = folder.canonicalize().unwrap();
        let mut command = Command::new(binary(name));
        command
            .args(arguments)
            .env("LD_PRELOAD", &*LIBRARY)
            .env("FAIL_UNDER", folder.join(under))
            .env("FAIL_LOG", folder.join("steps.log"))
            .env("FAIL_AT", self.at.to_string())
            .env("FAIL_KIND", kind)
            .env("FAIL_HOW", error)
            .env("FAIL_ONWARD", onward);
        Program::launch(command, &folder, &format!("{name}-disturbed.log"))
    }

    /// The step, once it was reached.
    pub(crate) fn step(self, folder: &Path) -> Option<String> {
        let steps = std::fs::read_to_string(folder.join("steps.log")).unwrap_or_default();
        let number = format!("{} ", self.at);
        steps
            .lines()
            .find(|line| line.starts_with(&number))
            .map(|line| line.replace(&*folder.to_string_lossy(), ""))
    }
}

/// Disturbs at one step after the other until one is not reached any more; `hit` says whether it
/// was. Gives how many were.
pub(crate) fn at_each_step(how: How, hit: impl Fn(Fault) -> bool + Sync) -> usize {
    let (next, over, hits) = (
        AtomicUsize::new(0),
        AtomicBool::new(false),
        AtomicUsize::new(0),
    );
    // Most of a step's time is waiting for the disk and for goodbyes.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let at = 1 + next.fetch_add(1, Ordering::Relaxed);
                    if hit(Fault { how, at }) {
                        hits.fetch_add(1, Ordering::Relaxed);
                    } else {
                        over.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    hits.into_inner()
}
