//! A federation as the commands find it by its run folder: at work, with a page that answers, or not.

use super::beacon::Beacon;
use super::client::{ClientError, Request, ask};
use super::picture::{Phase, Status};
use super::token::Token;
use super::{StatusError, history};
use crate::store;
use program::{Class, Failure};
use std::net::SocketAddr;
use std::path::Path;

/// What a federation's coordinator says it is at, and where its page is; or, when none runs, what its run folder says.
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
    let nobody = || Failure::new(Class::Federation, format!("no coordinator works in {}", folder.display()));
    let beacon = live(folder)?.ok_or_else(nobody)?;
    let token = Token::read(&beacon.token_file).map_err(StatusError::from)?;
    Ok(ask(beacon.door(), Request { method: "POST", path, token: Some(token.text()) })?)
}

/// Where the coordinator that works in a folder can be asked; `None` when nobody works there.
fn live(folder: &Path) -> Result<Option<Beacon>, Failure> {
    if !store::is_held(folder)? {
        return Ok(None);
    }
    let hidden = || {
        let what = format!("the coordinator in {} starts, or has no status page", folder.display());
        Failure::new(Class::Configuration, what).hint("serve.status says where its page is, unless it says \"off\"")
    };
    Beacon::read(folder).ok_or_else(hidden).map(Some)
}

fn ask_status(beacon: &Beacon) -> Result<Status, Failure> {
    // A page of this machine asks nobody for a token, and whoever may not read it may look all the same.
    let token = Token::read(&beacon.token_file).ok();
    let token = token.as_ref().filter(|_| !beacon.address.ip().to_canonical().is_loopback()).map(Token::text);
    let text = ask(beacon.door(), Request { method: "GET", path: "/status.json", token })?;
    Ok(serde_json::from_str(&text).map_err(|_| ClientError::Strange(beacon.address))?)
}

/// What a folder says in which nobody works.
fn stored(folder: &Path) -> Result<Status, Failure> {
    if !folder.join("settings.json").exists() {
        return Err(Failure::new(Class::Configuration, format!("{} is no run folder", folder.display())));
    }
    let (federation, facts) = store::peek(folder)?;
    let mut status = Status::new(&federation, super::now());
    status.keep(&facts.unwrap_or_default());
    status.phase = if folder.join(store::OUTCOME).exists() { Phase::Finished } else { Phase::Away };
    Ok(history::whole(status, folder))
}
