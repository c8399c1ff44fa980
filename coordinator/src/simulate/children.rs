//! The site-agents as child processes: their output goes into log files, and they end with this
//! process.

use program::{Class, Explain};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

/// How many of a failed child's last lines are shown.
const LAST_LINES: usize = 12;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ChildError {
    #[error("there is no site-agent next to the coordinator: {} does not exist", .0.display())]
    NoBinary(PathBuf),
    /// A child could not be started, or its log could not be written.
    #[error("cannot start {what}: {source}")]
    Start {
        what: String,
        source: std::io::Error,
    },
    #[error("{what} ended with {status}; the end of its log ({}):\n{last}", .log.display())]
    Ended {
        what: String,
        status: ExitStatus,
        last: String,
        log: PathBuf,
    },
}

impl Explain for ChildError {
    fn class(&self) -> Class {
        match self {
            Self::NoBinary(_) => Class::Configuration,
            Self::Start { .. } => Class::Disk,
            Self::Ended { status, .. } => Class::of_exit(status.code()),
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::NoBinary(_) => Some(
                "build it: cargo build --release (it builds both binaries into one folder)".into(),
            ),
            Self::Start { .. } | Self::Ended { .. } => None,
        }
    }
}

impl ChildError {
    /// Whether one of these children ended.
    pub(super) fn is_of(&self, children: &[String]) -> bool {
        matches!(self, Self::Ended { what, .. } if children.contains(what))
    }
}

/// The site-agent's binary, which is in the coordinator's own folder.
///
/// # Errors
/// [`ChildError::NoBinary`].
pub(crate) fn binary() -> Result<PathBuf, ChildError> {
    let own = std::env::current_exe().map_err(|source| ChildError::Start {
        what: "site-agent".into(),
        source,
    })?;
    let path = site_agent_next_to(&own);
    if path.is_file() {
        Ok(path)
    } else {
        Err(ChildError::NoBinary(path))
    }
}

/// Packages give both programs the same prefix: next to `lacuna-coordinator` is
/// `lacuna-site-agent`.
fn site_agent_next_to(coordinator: &Path) -> PathBuf {
    let suffix = std::env::consts::EXE_SUFFIX;
    let own = coordinator
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    let prefix = own
        .strip_suffix(&format!("coordinator{suffix}"))
        .unwrap_or_default();
    coordinator.with_file_name(format!("{prefix}site-agent{suffix}"))
}

/// Child processes. Dropping this kills them.
#[derive(Default)]
pub(super) struct Children {
    tasks: JoinSet<Result<(), ChildError>>,
}

impl Children {
    /// Starts `program` with these arguments; its output is appended to the file `log`.
    ///
    /// # Errors
    /// [`ChildError::Start`].
    pub(super) fn start(
        &mut self,
        what: &str,
        program: &Path,
        arguments: &[&OsStr],
        log: &Path,
    ) -> Result<(), ChildError> {
        let child = spawn(program, arguments, log).map_err(|source| ChildError::Start {
            what: what.into(),
            source,
        })?;
        self.tasks.spawn(watch(what.into(), log.to_owned(), child));
        Ok(())
    }

    /// Waits until one child ends. `None` when none is left.
    ///
    /// # Errors
    /// [`ChildError::Ended`] with the end of the child's log, when it failed.
    pub(super) async fn next(&mut self) -> Option<Result<(), ChildError>> {
        match self.tasks.join_next().await {
            Some(Ok(ended)) => Some(ended),
            // The task that watches a child neither panics nor is aborted.
            Some(Err(_)) => Some(Ok(())),
            None => None,
        }
    }

    /// Waits for the first child that fails, for ever if none does.
    pub(super) async fn failure(&mut self) -> ChildError {
        loop {
            match self.next().await {
                Some(Ok(())) => {}
                Some(Err(error)) => return error,
                None => std::future::pending().await,
            }
        }
    }

    /// Gives the children this long to end by themselves, and then kills them.
    pub(super) async fn settle(mut self, grace: Duration) {
        let all = async { while self.next().await.is_some() {} };
        let _ = tokio::time::timeout(grace, all).await;
    }
}

fn spawn(program: &Path, arguments: &[&OsStr], log: &Path) -> std::io::Result<Child> {
    if let Some(folder) = log.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let out = File::options().create(true).append(true).open(log)?;
    let err = out.try_clone()?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .kill_on_drop(true)
        .spawn()
}

async fn watch(what: String, log: PathBuf, mut child: Child) -> Result<(), ChildError> {
    let status = child.wait().await.map_err(|source| ChildError::Start {
        what: what.clone(),
        source,
    })?;
    if status.success() {
        Ok(())
    } else {
        Err(ChildError::Ended {
            what,
            status,
            last: last_lines(&log),
            log,
        })
    }
}

/// The end of a log; empty when there is none.
fn last_lines(log: &Path) -> String {
    let Ok(file) = File::open(log) else {
        return String::new();
    };
    let mut last = VecDeque::with_capacity(LAST_LINES);
    for line in BufReader::new(file).split(b'\n').map_while(Result::ok) {
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        last.push_back(format!("  {}", String::from_utf8_lossy(&line)));
    }
    Vec::from(last).join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(children: &mut Children, script: &str, log: &Path) {
        let arguments = [OsStr::new("-c"), OsStr::new(script)];
        children
            .start("the agent of north", Path::new("/bin/sh"), &arguments, log)
            .unwrap();
    }

    #[test]
    fn both_programs_have_the_same_prefix() {
        let next_to = |own: &str| site_agent_next_to(Path::new(own)).display().to_string();
        let suffix = std::env::consts::EXE_SUFFIX;
        assert_eq!(
            next_to(&format!("/opt/coordinator{suffix}")),
            format!("/opt/site-agent{suffix}")
        );
        assert_eq!(
            next_to(&format!("/usr/bin/lacuna-coordinator{suffix}")),
            format!("/usr/bin/lacuna-site-agent{suffix}")
        );
        assert_eq!(
            next_to(&format!("/opt/renamed{suffix}")),
            format!("/opt/site-agent{suffix}")
        );
    }

    #[tokio::test]
    async fn a_child_that_fails_is_named_with_its_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("sites/north/agent.log");
        let mut children = Children::default();
        shell(
            &mut children,
            "seq 100; echo no such folder >&2; exit 4",
            &log,
        );
        let error = children.failure().await.to_string();
        assert!(
            error.contains("the agent of north") && error.contains("no such folder"),
            "{error}"
        );
        assert!(
            error.contains("  100\n") && !error.contains("  50\n"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn children_that_go_on_are_ended_with_us() {
        let folder = tempfile::tempdir().unwrap();
        let (log, alive) = (folder.path().join("log"), folder.path().join("alive"));
        let mut children = Children::default();
        shell(
            &mut children,
            &format!("exec sleep 600 3>{}", alive.display()),
            &log,
        );
        while !alive.exists() {
            tokio::task::yield_now().await;
        }
        children.settle(Duration::ZERO).await;
        // No process holds the file open once the child is gone.
        let held = || {
            let holders =
                std::fs::read_dir("/proc")
                    .unwrap()
                    .flatten()
                    .filter_map(|process| {
                        let opened = std::fs::read_dir(process.path().join("fd")).ok()?;
                        Some(opened.flatten().any(|fd| {
                            std::fs::read_link(fd.path()).is_ok_and(|file| file == alive)
                        }))
                    });
            holders.into_iter().any(|held| held)
        };
        while held() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
