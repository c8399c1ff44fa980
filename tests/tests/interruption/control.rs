//! A coordinator that is looked at, paused, rid of a site and stopped by its operator's commands.

use super::service::prepare;
use journeys::binary;
use journeys::program::Program;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

fn coordinator(folder: &Path, arguments: &[&str]) -> Output {
    let place = ["--config", "coordinator.toml"];
    Command::new(binary("coordinator"))
        .args(arguments)
        .args(place)
        .current_dir(folder)
        .output()
        .unwrap()
}

/// Does as told; gives what it printed.
fn done(folder: &Path, arguments: &[&str]) -> String {
    let output = coordinator(folder, arguments);
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn status(folder: &Path) -> serde_json::Value {
    serde_json::from_str(&done(folder, &["status", "--json"])).unwrap()
}

fn rounds(folder: &Path) -> usize {
    status(folder)["runs"][0]["rounds"]
        .as_array()
        .map_or(0, Vec::len)
}

/// Waits until the status is so.
fn until(folder: &Path, what: &str, so: impl Fn(&serde_json::Value) -> bool) {
    let began = Instant::now();
    loop {
        let status = status(folder);
        if so(&status) {
            return;
        }
        assert!(
            began.elapsed() < Duration::from_secs(120),
            "{what} did not come: {status}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn serve(folder: &Path, address: &str) -> Program {
    let arguments = [
        "serve",
        "--config",
        "coordinator.toml",
        "--listen",
        address,
        "--status",
        "127.0.0.1:0",
    ];
    Program::start("coordinator", &arguments, folder, "coordinator.log")
}

#[test]
fn an_operator_looks_drops_pauses_stops_and_nothing_accepted_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, address) = (folder.path(), prepare(folder.path()));
    let mut serving = serve(folder, &address);
    let _site = Program::start(
        "site-agent",
        &["run", "--config", "site.toml"],
        folder,
        "site.log",
    );
    serving.until("the site", |words| words.contains("north is ready"));
    let here = status(folder);
    assert_eq!(
        (&here["phase"], &here["sites"]["harbour"]["state"]),
        (&"gathering".into(), &"expected".into())
    );
    let sequences: Vec<&str> = here["sites"]["north"]["sequences"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|name| name.as_str())
        .collect();
    assert_eq!(sequences, ["t1_pre", "t1_post", "flair"]);
    let wrong = coordinator(folder, &["drop", "mallory"]);
    assert_eq!(wrong.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("there is no site mallory"));

    // Before the first round, so that no site can be asked while the others are still waited for.
    done(folder, &["pause"]);
    assert!(done(folder, &["drop", "harbour"]).contains("harbour is dropped"));
    let paused = status(folder);
    assert_eq!(
        (&paused["paused"], &paused["sites"]["harbour"]["state"]),
        (&true.into(), &"dropped".into())
    );
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(
        status(folder)["runs"][0]["task"],
        serde_json::Value::Null,
        "nothing begins in a pause"
    );
    done(folder, &["resume"]);
    until(folder, "a round", |status| {
        status["runs"][0]["rounds"]
            .as_array()
            .is_some_and(|rounds| !rounds.is_empty())
    });
    let words = done(folder, &["status"]);
    assert!(
        words.contains("page: http://127.0.0.1:") && words.contains("north    train"),
        "{words}"
    );

    let accepted = |words: &str| words.matches("update accepted").count();
    let before = accepted(&serving.words());
    serving.until("an update", |words| accepted(words) > before);
    done(folder, &["stop"]);
    assert_eq!(serving.end().code(), Some(143), "{}", serving.words());
    assert!(
        serving.words().contains("stopping")
            && serving.words().contains("goes on where it stopped")
    );
    assert_eq!(
        rounds(folder),
        accepted(&serving.words()),
        "{}",
        serving.words()
    );
    assert!(done(folder, &["status"]).contains("no coordinator runs it"));
    let pause = coordinator(folder, &["pause"]);
    assert_eq!(
        pause.status.code(),
        Some(5),
        "{}",
        String::from_utf8_lossy(&pause.stderr)
    );

    // The next one goes on without the dropped site, and SIGTERM is as kind as `stop`.
    let (kept, mut serving) = (rounds(folder), serve(folder, &address));
    serving.until("an update", |words| accepted(words) > 0);
    serving.signal("TERM");
    assert_eq!(serving.end().code(), Some(143), "{}", serving.words());
    assert_eq!(
        rounds(folder),
        kept + accepted(&serving.words()),
        "{}",
        serving.words()
    );
    assert_eq!(status(folder)["sites"]["harbour"]["state"], "dropped");
}

#[test]
fn a_second_signal_ends_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, address) = (folder.path(), prepare(folder.path()));
    let mut serving = serve(folder, &address);
    let _site = Program::start(
        "site-agent",
        &["run", "--config", "site.toml"],
        folder,
        "site.log",
    );
    serving.until("the site", |words| words.contains("north is ready"));
    serving.signal("TERM");
    serving.until("its last words", |words| words.contains("stopping"));
    serving.signal("INT");
    // Whichever came through first, it has ended.
    assert!(
        matches!(serving.end().code(), Some(130 | 143)),
        "{}",
        serving.words()
    );
}
