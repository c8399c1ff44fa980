//! The settings of `serve` from the command line and the settings file, checked once.

use super::Args;
use crate::address::OptionalAddress;
use crate::serve::ServeConfig;
use crate::status;
use program::{Class, Failure};
use protocol::identity::SiteName;
use protocol::settings::Federation;
use protocol::text::explain;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The UDP port of a coordinator, unless its settings say another.
pub(crate) const DEFAULT_PORT: u16 = 4433;

/// What a hospital has to know to reach a coordinator, and who may.
pub(crate) struct Listening {
    pub(crate) port: u16,
    /// The port of the TLS fallback, if there is one.
    pub(crate) fallback: Option<u16>,
    pub(crate) certificates: PathBuf,
    /// Empty: every site of the authority.
    pub(crate) expected: Vec<SiteName>,
}

/// The part of the settings file that is about serving.
#[derive(Deserialize)]
struct File {
    serve: Option<Table>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Table {
    listen: Option<SocketAddr>,
    fallback: Option<OptionalAddress>,
    certificates: Option<PathBuf>,
    run_folder: Option<PathBuf>,
    #[serde(default)]
    keep_updates: bool,
    status: Option<OptionalAddress>,
    status_token_file: Option<PathBuf>,
}

/// A settings file, kept for error messages about it.
struct Read<'a> {
    path: &'a Path,
    text: String,
    table: Table,
}

impl<'a> Read<'a> {
    fn new(path: &'a Path) -> Result<Self, Failure> {
        let mut read = Self {
            path,
            text: read_text(path)?,
            table: Table::default(),
        };
        let file: File =
            toml::from_str(&read.text).map_err(|error| read.wrong(explain(&error, &read.text)))?;
        read.table = file.serve.unwrap_or_default();
        Ok(read)
    }

    fn wrong(&self, error: impl std::fmt::Display) -> Failure {
        Failure::new(
            Class::Configuration,
            format!("{}: {error}", self.path.display()),
        )
    }

    fn missing(&self, key: &str) -> Failure {
        self.wrong(format!("serve.{key} is missing"))
    }
}

/// A settings file's text.
///
/// # Errors
/// The disk refuses, or the file is in another encoding than UTF-8.
pub(crate) fn read_text(path: &Path) -> Result<String, Failure> {
    let shown = path.display();
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            let what = format!("cannot read {shown}: {error}");
            return Err(Failure::new(Class::Configuration, what));
        }
    };
    match protocol::text::decode(&bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(error) => {
            let what = format!("{shown}: {error}");
            Err(Failure::new(Class::Configuration, what))
        }
    }
}

pub(super) fn configure(args: &Args) -> Result<ServeConfig, Failure> {
    let read = Read::new(&args.config)?;
    let federation = Federation::from_toml(&read.text).map_err(|error| read.wrong(error))?;
    let table = &read.table;
    let run_folder = args.run_folder.clone().or_else(|| table.run_folder.clone());
    Ok(ServeConfig {
        federation,
        listen: args
            .listen
            .or(table.listen)
            .unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], DEFAULT_PORT))),
        // Off unless it is set: its usual port, 443, needs a privilege.
        fallback: match args.fallback.or(table.fallback) {
            Some(OptionalAddress::At(address)) => Some(address),
            Some(OptionalAddress::Off) | None => None,
        },
        certificates: table
            .certificates
            .clone()
            .ok_or_else(|| read.missing("certificates"))?,
        run_folder: run_folder.ok_or_else(|| read.missing("run_folder"))?,
        with_local: args.with_local,
        start: args.start.clone(),
        keep_updates: table.keep_updates,
        // Last, so that no socket is opened when something else is wrong.
        status: status::bind(
            args.status.or(table.status),
            table.status_token_file.clone(),
        )?,
    })
}

/// Checks a file's `[serve]` table. The run folder may be missing: it can be given on the command
/// line.
pub(crate) fn check_table(config: &Path) -> Result<(), Failure> {
    let read = Read::new(config)?;
    match read.table.certificates {
        Some(_) => Ok(()),
        None => Err(read.missing("certificates")),
    }
}

/// Where the coordinator of a settings file listens, and for whom.
///
/// # Errors
/// The file cannot be read, or names no certificates.
pub(crate) fn listening(config: &Path) -> Result<Listening, Failure> {
    let read = Read::new(config)?;
    let federation = Federation::from_toml(&read.text).map_err(|error| read.wrong(error))?;
    let port = match read.table.listen {
        Some(address) => address.port(),
        None => DEFAULT_PORT,
    };
    let fallback = match read.table.fallback {
        Some(OptionalAddress::At(address)) => Some(address.port()),
        Some(OptionalAddress::Off) | None => None,
    };
    let certificates = read.table.certificates.clone();
    Ok(Listening {
        port,
        fallback,
        certificates: certificates.ok_or_else(|| read.missing("certificates"))?,
        expected: federation.sites.expected,
    })
}

/// The run folder that a coordinator's file names.
pub(crate) fn run_folder(config: &Path) -> Result<PathBuf, Failure> {
    let read = Read::new(config)?;
    match &read.table.run_folder {
        Some(folder) => Ok(folder.clone()),
        None => Err(read
            .missing("run_folder")
            .hint("name the folder with --run-folder")),
    }
}
