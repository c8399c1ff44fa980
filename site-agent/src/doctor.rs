//! The `doctor` subcommand: what a site needs to take part, checked before the first round; one line for each thing, with
//! what to do where it is not as it should be.

use crate::agent::SiteConfig;
use crate::data;
use crate::device;
use crate::failure::{Class, Failure};
use crate::link::{Link, LinkError};
use burn::tensor::Tensor;
use serde::Serialize;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Arguments of `doctor`.
#[derive(clap::Args)]
pub struct Args {
    /// The site's settings, as `run` reads them.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Print one JSON list instead of lines.
    #[arg(long)]
    json: bool,
}

/// Memory below which even the smallest network is cramped.
const LITTLE_MEMORY: u64 = 1 << 30;
/// What is written to try the work folder.
const TRIAL: usize = 1 << 20;

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    good: bool,
    /// What was found.
    words: String,
    /// What to do; nothing where all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
    /// The kind of failure that `run` would end with.
    #[serde(skip)]
    class: Class,
}

impl Finding {
    fn good(check: &'static str, words: impl Into<String>) -> Self {
        Self { check, good: true, words: words.into(), remedy: None, class: Class::Internal }
    }

    fn bad(check: &'static str, failure: Failure) -> Self {
        Self { check, good: false, words: failure.what, remedy: failure.hint, class: failure.class }
    }

    fn line(&self) -> String {
        let state = if self.good { "ok  " } else { "FAIL" };
        let remedy = self.remedy.as_ref().map(|remedy| format!("\n{:19}{remedy}", "")).unwrap_or_default();
        format!("{state}  {:12} {}{remedy}", self.check, self.words)
    }
}

/// Runs it.
///
/// # Errors
/// Something is not as it should be; the exit code is that of the first such thing.
pub fn run(args: &Args) -> Result<(), Failure> {
    let config = SiteConfig::read(&args.config)?;
    let mut findings = vec![Finding::good("settings", args.config.display().to_string())];
    findings.extend(network(&config));
    findings.extend([work_folder(&config.work_folder), memory(), processor(&config)]);
    findings.extend(archives(&config));
    let text = if args.json {
        serde_json::to_string_pretty(&findings).map_err(|error| Failure::new(Class::Internal, error))?
    } else {
        findings.iter().map(Finding::line).collect::<Vec<_>>().join("\n")
    };
    writeln!(std::io::stdout(), "{text}").map_err(|error| Failure::new(Class::Disk, error))?;
    let bad: Vec<&Finding> = findings.iter().filter(|finding| !finding.good).collect();
    let Some(first) = bad.first() else { return Ok(()) };
    let names: Vec<&str> = bad.iter().map(|finding| finding.check).collect();
    Err(Failure::new(first.class, format!("not as it should be: {}", names.join(", "))))
}

/// Certificates, the coordinator's name, UDP on the way, and whether both ends accept each other.
fn network(config: &SiteConfig) -> Vec<Finding> {
    if let Err(error) = Link::check(&config.certificates) {
        return vec![Finding::bad("certificates", error.into())];
    }
    let certificates = Finding::good("certificates", config.certificates.display().to_string());
    let link = config.link();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let answer = match runtime.map(|runtime| runtime.block_on(Link::probe(link))) {
        Ok(Ok(())) => {
            Finding::good("coordinator", format!("{} answers over UDP and trusts this site", config.coordinator))
        }
        Ok(Err(error)) => Finding::bad("coordinator", explained(error)),
        Err(error) => Finding::bad("coordinator", Failure::new(Class::Internal, error)),
    };
    vec![certificates, answer]
}

/// Whoever has no connection yet needs to hear more than who has lost one.
fn explained(error: LinkError) -> Failure {
    let silent = matches!(error, LinkError::Unreachable { .. });
    let failure = Failure::from(error);
    if silent {
        failure.hint(
            "is the coordinator running? May this machine send UDP to that port, and do answers come back through the firewall?",
        )
    } else {
        failure
    }
}

fn work_folder(folder: &Path) -> Finding {
    let trial = folder.join(".doctor");
    let wrote = std::fs::create_dir_all(folder).and_then(|()| {
        let mut file = std::fs::File::create(&trial)?;
        file.write_all(&vec![0; TRIAL])?;
        file.sync_all()
    });
    // Whether it was written is what counts; one that stays is overwritten by the next.
    let _ = std::fs::remove_file(&trial);
    match wrote {
        Ok(()) => Finding::good("work folder", format!("{} can be written", folder.display())),
        Err(error) => Finding::bad(
            "work folder",
            Failure::new(Class::Disk, format!("{}: {error}", folder.display()))
                .hint("work_folder must be a folder that this program may write, on a disk with room"),
        ),
    }
}

/// What Linux says is available; other systems are not asked.
fn memory() -> Finding {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    match available(&text) {
        Some(bytes) if bytes < LITTLE_MEMORY => Finding::bad(
            "memory",
            Failure::new(Class::Configuration, format!("{} MB are available", bytes >> 20))
                .hint("docs/OPERATIONS.md says what each preset needs; close other programs or use another machine"),
        ),
        Some(bytes) => Finding::good("memory", format!("{:.1} GB are available", bytes as f64 / 1e9)),
        None => Finding::good("memory", "unknown on this system"),
    }
}

/// `MemAvailable` of `/proc/meminfo`, in bytes.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}

/// The device computes something.
fn processor(config: &SiteConfig) -> Finding {
    match device::open(&config.device) {
        Ok(device) => {
            let sum = Tensor::<1>::ones([1000], &device).sum().into_scalar::<f32>();
            let words = format!("{}, {} threads", config.device, config.threads);
            if sum == 1000.0 {
                Finding::good("device", words)
            } else {
                Finding::bad("device", Failure::new(Class::Internal, format!("{words}: it computes wrongly")))
            }
        }
        Err(error) => Finding::bad("device", Failure::new(Class::Configuration, error)),
    }
}

/// What is found under the patterns, and whether the first file of each archive can be read.
fn archives(config: &SiteConfig) -> Vec<Finding> {
    match data::survey(&config.data) {
        Ok(surveys) => surveys.into_iter().map(survey).collect(),
        Err(error) => vec![Finding::bad("data", error.into())],
    }
}

fn survey(found: data::Survey) -> Finding {
    let sequences: Vec<String> = found.sequences.iter().map(|(name, cases)| format!("{name} {cases}")).collect();
    let name = found.archive.map(|name| format!("{name}: ")).unwrap_or_default();
    let words = format!(
        "{name}{} cases ({}), {} with a reference, {} that cannot be used",
        found.cases,
        sequences.join(", "),
        found.labelled,
        found.unusable
    );
    match found.first {
        Some(Err(error)) => {
            Finding::bad("data", Failure::new(Class::Data, format!("{words}; the first file: {error}")))
        }
        _ if found.labelled == 0 => Finding::bad(
            "data",
            Failure::new(Class::Data, words).hint(
                "data.label and data.lesion_labels say where lesions are marked; without them no case can be used",
            ),
        ),
        _ => Finding::good("data", words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_as_linux_writes_it() {
        assert_eq!(available("MemTotal:  99 kB\nMemAvailable:   2048 kB\n"), Some(2 << 20));
        assert_eq!(available("MemTotal: 99 kB\n"), None);
        assert_eq!(available(""), None);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_bad_and_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        assert!(work_folder(&folder.path().join("new")).good);
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let finding = work_folder(&file.join("below"));
        assert!(!finding.good && finding.remedy.is_some(), "{finding:?}");
        assert!(finding.line().starts_with("FAIL  work folder"), "{}", finding.line());
        assert_eq!(std::fs::read_dir(folder.path().join("new")).unwrap().count(), 0);
    }
}
