//! The commands that look at a federation and steer it: `status`, `stop`, `pause`, `resume`, `drop`.

use super::beacon::Beacon;
use super::client::{ClientError, Request, ask};
use super::picture::{Phase, Status};
use super::token::Token;
use super::{StatusError, history, text};
use crate::serve;
use crate::store;
use program::{Class, Failure};
use std::path::{Path, PathBuf};

/// Which federation.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
pub struct Where {
    /// The federation's settings, with serve.run_folder.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The run folder, such as a simulation's.
    #[arg(long, value_name = "DIR")]
    run_folder: Option<PathBuf>,
}

/// Arguments of `status`.
#[derive(clap::Args)]
pub struct StatusArgs {
    #[command(flatten)]
    place: Where,
    /// Print status.json, as the page reads it.
    #[arg(long)]
    json: bool,
}

/// Arguments of `drop`.
#[derive(clap::Args)]
pub struct DropArgs {
    /// The site's name, as in its certificate.
    site: String,
    #[command(flatten)]
    place: Where,
}

impl Where {
    fn folder(&self) -> Result<PathBuf, Failure> {
        match (&self.run_folder, &self.config) {
            (Some(folder), _) => Ok(folder.clone()),
            (None, Some(config)) => serve::run_folder(config),
            (None, None) => Err(Failure::new(Class::Configuration, "neither --config nor --run-folder is given")),
        }
    }
}

/// Shows how a federation is: what its coordinator says or, when none runs, what its run folder says.
///
/// # Errors
/// No run folder, or a coordinator that does not answer.
pub fn show(args: &StatusArgs) -> Result<(), Failure> {
    let folder = args.place.folder()?;
    let (status, address) = match live(&folder)? {
        Some(beacon) => (ask_status(&beacon)?, Some(beacon.address)),
        None => (stored(&folder)?, None),
    };
    if args.json {
        let text = serde_json::to_string(&status).map_err(|error| Failure::new(Class::Internal, error))?;
        println!("{text}");
    } else {
        print!("{}", text::write(&status, address));
    }
    Ok(())
}

/// Asks the coordinator to stop as SIGTERM does.
///
/// # Errors
/// No coordinator, or one that refuses.
pub fn stop(place: &Where) -> Result<(), Failure> {
    steer(place, "/control/stop")
}

/// Asks the coordinator to hand out no new task.
///
/// # Errors
/// As [`stop`].
pub fn pause(place: &Where) -> Result<(), Failure> {
    steer(place, "/control/pause")
}

/// Asks the coordinator to hand out tasks again.
///
/// # Errors
/// As [`stop`].
pub fn resume(place: &Where) -> Result<(), Failure> {
    steer(place, "/control/resume")
}

/// Asks the coordinator to shut a site out.
///
/// # Errors
/// As [`stop`].
pub fn drop_site(args: &DropArgs) -> Result<(), Failure> {
    if !protocol::federation::plain(&args.site) {
        return Err(Failure::new(Class::Configuration, format!("{:?} is no site's name", args.site)));
    }
    steer(&args.place, &format!("/control/drop/{}", args.site))
}

fn steer(place: &Where, path: &str) -> Result<(), Failure> {
    let folder = place.folder()?;
    let nobody = || Failure::new(Class::Federation, format!("no coordinator works in {}", folder.display()));
    let beacon = live(&folder)?.ok_or_else(nobody)?;
    let token = Token::read(&beacon.token_file).map_err(StatusError::from)?;
    println!("{}", ask(beacon.door(), Request { method: "POST", path, token: Some(token.text()) })?);
    Ok(())
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
    status.phase = if folder.join(crate::report::OUTCOME).exists() { Phase::Finished } else { Phase::Away };
    Ok(history::whole(status, folder))
}
