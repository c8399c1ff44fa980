//! The `doctor` subcommand: what a site needs to take part, checked before the first round; one
//! line for each thing, with what to do where it is not as it should be.

mod federation;
mod images;
mod machine;
mod network;
mod trial;

use crate::agent::SiteConfig;
use crate::data::Row;
use crate::device;
use program::{Class, Failure};
use serde::Serialize;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Arguments of `doctor`.
#[derive(clap::Args)]
pub struct Args {
    /// The site's settings, as `run` reads them.
    #[arg(long, value_name = "FILE", required_unless_present = "device")]
    config: Option<PathBuf>,
    /// Look at this device instead of the settings' own; without --config, at nothing else.
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// The federation's settings, as the coordinator has them (TOML): also look whether the site's
    /// sequences are the federation's, and whether brains fit its planes.
    #[arg(long, value_name = "FILE", requires = "config")]
    federation: Option<PathBuf>,
    /// Print one JSON list instead of lines.
    #[arg(long)]
    json: bool,
}

/// How a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    /// The site can work so, but it could be better.
    Warning,
    /// The site cannot work so.
    Failure,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    state: State,
    /// Whether the site can work so.
    good: bool,
    /// What was found.
    words: String,
    /// What to do; nothing where all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
    /// Cases that are not as they should be, with what to do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cases: Vec<Row>,
    /// The kind of failure that `run` would end with.
    #[serde(skip)]
    class: Class,
}

impl Finding {
    fn good(check: &'static str, words: impl Into<String>) -> Self {
        let (words, class) = (words.into(), Class::Internal);
        Self {
            check,
            state: State::Ok,
            good: true,
            words,
            remedy: None,
            cases: Vec::new(),
            class,
        }
    }

    fn warning(check: &'static str, words: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            state: State::Warning,
            remedy: Some(remedy.into()),
            ..Self::good(check, words)
        }
    }

    fn bad(check: &'static str, failure: Failure) -> Self {
        let Failure { class, what, hint } = failure;
        Self {
            check,
            state: State::Failure,
            good: false,
            words: what,
            remedy: hint,
            cases: Vec::new(),
            class,
        }
    }

    /// What would keep a site from working does not when there is another way.
    fn bad_unless(check: &'static str, otherwise: bool, failure: Failure) -> Self {
        let finding = Self::bad(check, failure);
        if otherwise {
            Self {
                state: State::Warning,
                good: true,
                ..finding
            }
        } else {
            finding
        }
    }

    fn line(&self) -> String {
        let state = match self.state {
            State::Ok => "ok  ",
            State::Warning => "warn",
            State::Failure => "FAIL",
        };
        let remedy = self
            .remedy
            .as_ref()
            .map(|remedy| format!("\n{:19}{remedy}", ""))
            .unwrap_or_default();
        let table = if self.cases.is_empty() {
            String::new()
        } else {
            images::table(&self.cases)
        };
        format!("{state}  {:12} {}{remedy}{table}", self.check, self.words)
    }
}

/// Checks a site's settings, as without further arguments.
///
/// # Errors
/// As [`run`].
pub(crate) fn check(config: &Path) -> Result<(), Failure> {
    run(&Args {
        config: Some(config.to_path_buf()),
        device: None,
        federation: None,
        json: false,
    })
}

/// Runs it.
///
/// # Errors
/// Something is not as it should be; the exit code is that of the first such thing.
pub fn run(args: &Args) -> Result<(), Failure> {
    let mut findings = Vec::new();
    if let Some(path) = &args.config {
        let mut config = SiteConfig::read(path)?;
        config.device = args.device.clone().unwrap_or(config.device);
        device::prepare(&config.device);
        findings.push(Finding::good("settings", path.display().to_string()));
        findings.extend(network::findings(&config));
        findings.extend(machine::findings(&config));
        findings.extend(machine::device(
            &config.device,
            config.kernel_cache.as_deref(),
        ));
        let federation = match &args.federation {
            Some(path) => Some(federation::read(path)?),
            None => None,
        };
        if let Some(federation) = &federation {
            findings.push(federation::policy(&config.policy, federation));
        }
        findings.extend(images::findings(&config, federation));
    } else if let Some(name) = &args.device {
        device::prepare(name);
        findings.extend(machine::device(name, None));
    }
    let text = if args.json {
        serde_json::to_string_pretty(&findings)
            .map_err(|error| Failure::new(Class::Internal, error))?
    } else {
        findings
            .iter()
            .map(Finding::line)
            .collect::<Vec<_>>()
            .join("\n")
    };
    writeln!(std::io::stdout(), "{text}").map_err(|error| Failure::new(Class::Disk, error))?;
    let bad: Vec<&Finding> = findings.iter().filter(|finding| !finding.good).collect();
    let Some(first) = bad.first() else {
        return Ok(());
    };
    let names: Vec<&str> = bad.iter().map(|finding| finding.check).collect();
    Err(Failure::new(
        first.class,
        format!("not as it should be: {}", names.join(", ")),
    ))
}
