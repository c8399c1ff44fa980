//! A federation as the commands find it by its run folder: at work, with a page that answers, or
//! not.

use super::beacon::Beacon;
use super::client::{ClientError, Request, ask};
use super::state::{Phase, Status};
use super::token::Token;
use super::{StatusError, history};
use crate::store;
use program::{Class, Failure};
use std::net::SocketAddr;
use std::path::Path;

/// What a federation's coordinator says it is at, and where its page is; or, when none runs, what
/// its run folder says.
///
/// # Errors
/// No run folder, or a coordinator that does not answer.
pub(crate) fn look(folder: &Path) -> Result<(Status, Option<SocketAddr>), Failure> {
    match live(folder)? {
        Some(beacon) => Ok((ask_status(&beacon)?, Some(beacon.address))),
        None => Ok((stored(folder)?, None)),
    }
}

/// Asks the coordinator that works in a folder for something, and gives its answer.
///
/// # Errors
/// No coordinator, or one that refuses.
pub(crate) fn steer(folder: &Path, path: &str) -> Result<String, Failure> {
    let Some(beacon) = live(folder)? else {
        return Err(absent(folder)?);
    };
    let token = Token::read(&beacon.token_file).map_err(StatusError::from)?;
    Ok(ask(
        beacon.door(),
        Request {
            method: "POST",
            path,
            token: Some(token.text()),
        },
    )?)
}

/// Why there is no coordinator to ask in a folder.
fn absent(folder: &Path) -> Result<Failure, Failure> {
    let status = stored(folder)?;
    let done = status.runs.first().map_or(0, |run| run.finished);
    let folder = folder.display();
    Ok(match status.phase {
        Phase::Finished => Failure::new(
            Class::Federation,
            format!("the run in {folder} is finished: nothing is left to do"),
        )
        .hint(format!(
            "coordinator report {folder} writes its report again"
        )),
        _ if done == 0 => Failure::new(
            Class::Federation,
            format!("no coordinator works in {folder}, and no round is finished there"),
        )
        .hint("`coordinator serve` begins the run"),
        _ => Failure::new(
            Class::Federation,
            format!(
                "no coordinator works in {folder}: it ended after round {done} of {}",
                status.rounds
            ),
        )
        .hint("the command that began the run goes on with it; then it can be asked"),
    })
}

/// Where the coordinator that works in a folder can be asked; `None` when nobody works there.
fn live(folder: &Path) -> Result<Option<Beacon>, Failure> {
    if !folder.is_dir() || !store::is_held(folder)? {
        return Ok(None);
    }
    let hidden = || {
        let what = format!(
            "the coordinator in {} starts, or has no status page",
            folder.display()
        );
        Failure::new(Class::Configuration, what)
            .hint("serve.status says where its page is, unless it says \"off\"")
    };
    Beacon::read(folder).ok_or_else(hidden).map(Some)
}

fn ask_status(beacon: &Beacon) -> Result<Status, Failure> {
    // A page of this machine asks nobody for a token, and whoever may not read it may look all the
    // same.
    let token = Token::read(&beacon.token_file).ok();
    let token = token
        .as_ref()
        .filter(|_| !beacon.address.ip().to_canonical().is_loopback())
        .map(Token::text);
    let text = ask(
        beacon.door(),
        Request {
            method: "GET",
            path: "/status.json",
            token,
        },
    )?;
    Ok(serde_json::from_str(&text).map_err(|_| ClientError::Strange(beacon.address))?)
}

/// What was looked for, and what is there instead.
pub(crate) fn no_run_folder(folder: &Path) -> Failure {
    let path = folder.display();
    let (what, hint) = if !folder.exists() {
        (
            format!("there is no folder {path}"),
            "is it spelled right, and was the run ever begun? `coordinator serve` makes the folder",
        )
    } else if !folder.is_dir() {
        (
            format!("{path} is a file, not a run folder"),
            "name the folder that the coordinator writes to",
        )
    } else if folder.join(crate::experiment::FILE).exists() {
        (
            format!("{path} is an experiment's folder, not a run folder"),
            "its runs lie in arms/ARM/seed-N",
        )
    } else {
        (
            format!("{path} is no run folder: there is no settings.json in it"),
            "the coordinator says at its start which folder it writes to: serve.run_folder, --run-folder or --out",
        )
    };
    Failure::new(Class::Configuration, what).hint(hint)
}

/// What a folder says in which nobody works.
fn stored(folder: &Path) -> Result<Status, Failure> {
    if !folder.join("settings.json").exists() {
        return Err(no_run_folder(folder));
    }
    let (federation, checkpoint) = store::peek(folder)?;
    let mut status = Status::new(&federation, super::now());
    status.keep(&checkpoint.unwrap_or_default());
    status.phase = if folder.join(store::OUTCOME).exists() {
        Phase::Finished
    } else {
        Phase::Away
    };
    Ok(history::whole(status, folder))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use protocol::coordinator::Checkpoint;

    #[test]
    fn a_folder_that_is_no_run_folder_says_what_was_looked_for() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let experiment = folder.path().join("experiment");
        std::fs::create_dir(&experiment).unwrap();
        std::fs::write(experiment.join(crate::experiment::FILE), "").unwrap();
        for (path, words) in [
            (folder.path().join("nothing"), "there is no folder"),
            (file, "is a file, not a run folder"),
            (experiment, "an experiment's folder"),
            (
                folder.path().to_path_buf(),
                "there is no settings.json in it",
            ),
        ] {
            let shown = look(&path).unwrap_err();
            let paused = steer(&path, "/control/pause").unwrap_err();
            for failure in [shown, paused] {
                assert_eq!(failure.class, Class::Configuration);
                assert!(
                    failure.what.contains(words) && failure.hint.is_some(),
                    "{failure:?}"
                );
            }
        }
    }

    #[test]
    fn a_command_for_a_run_that_is_not_running_says_how_far_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let text = "name = 'x'\nrounds = 6\n[input]\nsequences = ['a']\n[model]\npreset = 'tiny'\n";
        let federation = protocol::settings::Federation::from_toml(text).unwrap();
        let (store, _) = Store::open(folder.path(), &federation, false).unwrap();
        let failure = |folder: &Path| steer(folder, "/control/resume").unwrap_err();
        let held = failure(folder.path());
        assert!(
            held.what.contains("starts, or has no status page"),
            "{held:?}"
        );
        drop(store);
        let begun = failure(folder.path());
        assert!(
            begun.what.contains("no round is finished") && begun.class == Class::Federation,
            "{begun:?}"
        );
        let (store, _) = Store::open(folder.path(), &federation, false).unwrap();
        let checkpoint = r#"{"sites":[],"runs":[{"outcome":{"name":"federation","members":[],"rounds":[],"best_round":0,
            "threshold":null,"threshold_pooled":null,"threshold_dice":null,"scores":[]},"finished":2,
            "before":{"seconds":0,"bytes":0,"validation":null},"speeds":{},"model":null,"validated":false,"best":null,
            "done":false}]}"#;
        let checkpoint: Checkpoint = serde_json::from_str(checkpoint).unwrap();
        store.persist(&checkpoint).unwrap();
        drop(store);
        let stopped = failure(folder.path());
        assert!(
            stopped.what.contains("it ended after round 2 of 6"),
            "{stopped:?}"
        );
        std::fs::write(folder.path().join(store::OUTCOME), "{}").unwrap();
        let finished = failure(folder.path());
        assert!(
            finished.what.contains("is finished: nothing is left to do"),
            "{finished:?}"
        );
    }
}
