//! A federation as the commands find it by its run folder: running, with a page that answers, or
//! not running.

use super::client::{ClientError, Request, ask};
use super::page_file::PageFile;
use super::state::{Phase, Status};
use super::token::Token;
use super::{StatusError, history};
use crate::store;
use program::{Class, Failure};
use std::net::SocketAddr;
use std::path::Path;

/// The status of a federation, from its coordinator, with the address of its page; or, when no
/// coordinator runs, from its run folder.
///
/// # Errors
/// No run folder, or a coordinator that does not answer.
pub(crate) fn look(folder: &Path) -> Result<(Status, Option<SocketAddr>), Failure> {
    match live(folder)? {
        Some(page) => Ok((ask_status(&page)?, Some(page.address))),
        None => Ok((stored(folder)?, None)),
    }
}

/// Sends a command to the coordinator that works in a folder, and returns its answer.
///
/// # Errors
/// No coordinator, or one that refuses.
pub(crate) fn steer(folder: &Path, path: &str) -> Result<String, Failure> {
    let Some(page) = live(folder)? else {
        return Err(absent(folder)?);
    };
    let token = Token::read(&page.token_file).map_err(StatusError::from)?;
    Ok(ask(
        page.reachable_address(),
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
    let done = match status.runs.first() {
        Some(run) => run.finished,
        None => 0,
    };
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
        .hint("`coordinator serve` starts the run"),
        _ => Failure::new(
            Class::Federation,
            format!(
                "no coordinator works in {folder}: it ended after round {done} of {}",
                status.rounds
            ),
        )
        .hint("the command that started the run continues it; then it can be steered"),
    })
}

/// The page of the coordinator that works in a folder; `None` when no coordinator works there.
fn live(folder: &Path) -> Result<Option<PageFile>, Failure> {
    if !folder.is_dir() || !store::is_held(folder)? {
        return Ok(None);
    }
    if let Some(page) = PageFile::read(folder) {
        return Ok(Some(page));
    }
    let what = format!(
        "the coordinator in {} starts, or has no status page",
        folder.display()
    );
    Err(Failure::new(Class::Configuration, what)
        .hint("serve.status says where its page is, unless it says \"off\""))
}

fn ask_status(page: &PageFile) -> Result<Status, Failure> {
    // A page that only this machine can reach needs no token, and works also for users who cannot
    // read the token's file.
    let is_local = page.address.ip().to_canonical().is_loopback();
    let token = if is_local {
        None
    } else {
        Token::read(&page.token_file).ok()
    };
    let text = ask(
        page.reachable_address(),
        Request {
            method: "GET",
            path: "/status.json",
            token: token.as_ref().map(Token::text),
        },
    )?;
    match serde_json::from_str(&text) {
        Ok(status) => Ok(status),
        Err(_) => Err(ClientError::Strange(page.address).into()),
    }
}

/// A folder that should be a run folder: what it is instead.
pub(crate) fn no_run_folder(folder: &Path) -> Failure {
    let path = folder.display();
    let what;
    let hint;
    if !folder.exists() {
        what = format!("there is no folder {path}");
        hint = "is it spelled right, and was the run ever started? `coordinator serve` makes the \
                folder";
    } else if !folder.is_dir() {
        what = format!("{path} is a file, not a run folder");
        hint = "name the folder that the coordinator writes to";
    } else if folder.join(crate::experiment::FILE).exists() {
        what = format!("{path} is an experiment's folder, not a run folder");
        hint = "its runs are in arms/ARM/seed-N";
    } else {
        what = format!("{path} is not a run folder: there is no settings.json in it");
        hint = "the coordinator says at its start which folder it writes to: serve.run_folder, \
                --run-folder or --out";
    }
    Failure::new(Class::Configuration, what).hint(hint)
}

/// The status of a folder in which no coordinator works.
fn stored(folder: &Path) -> Result<Status, Failure> {
    if !folder.join("settings.json").exists() {
        return Err(no_run_folder(folder));
    }
    let (federation, checkpoint) = store::peek(folder)?;
    let mut status = Status::new(&federation, super::now());
    status.apply_checkpoint(&checkpoint.unwrap_or_default());
    status.phase = if folder.join(store::OUTCOME).exists() {
        Phase::Finished
    } else {
        Phase::Away
    };
    Ok(history::with_all_rounds(status, folder))
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
