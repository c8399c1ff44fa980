//! What a person at the site has said yes to: for each federation its settings, in a file of the
//! work folder. A federation that waits for a yes is in another one.

use super::{Ask, registry};
use program::sealed_json::checksum;
use program::{Class, Explain, files};
use protocol::settings::Federation;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The files in the work folder.
const APPROVED: &str = "approved.json";
const WAITING: &str = "waits-for-approval.json";

/// Why approvals cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ApprovalError {
    #[error("{path}: {reason}", path = path.display())]
    Disk { path: PathBuf, reason: io::Error },
    #[error("{path} is damaged: {reason}", path = path.display())]
    Damaged {
        path: PathBuf,
        reason: serde_json::Error,
    },
}

impl Explain for ApprovalError {
    fn class(&self) -> Class {
        Class::Disk
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Disk { .. } => None,
            Self::Damaged { .. } => {
                Some("remove it; `site-agent run` and then `site-agent approve` ask again".into())
            }
        }
    }
}

/// A federation's settings, as a person is asked about them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proposal {
    /// The federation's name.
    pub federation: String,
    /// The hash of all its settings.
    pub settings: String,
    /// Every key that is set, as TOML writes it.
    values: BTreeMap<String, String>,
}

/// What was said yes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    pub proposal: Proposal,
    /// Seconds since 1970, UTC.
    pub at: u64,
}

/// The files in a work folder.
#[derive(Clone, Debug)]
pub struct Approvals {
    work_folder: PathBuf,
}

impl Proposal {
    #[must_use]
    pub fn of(federation: &Federation) -> Self {
        let mut values = BTreeMap::new();
        for table in &registry::TABLES {
            for setting in table.settings {
                if let Some(value) = setting.value(federation) {
                    values.insert(setting.key.to_owned(), value);
                }
            }
        }
        Self {
            federation: federation.name.clone(),
            settings: hash(federation),
            values,
        }
    }

    /// One line for each setting or, where there was a yes before, for each that has changed since.
    #[must_use]
    pub fn lines(&self, before: Option<&Self>) -> Vec<String> {
        let mut lines = Vec::new();
        for table in &registry::TABLES {
            for setting in table.settings {
                let now = self.values.get(setting.key);
                let line = match before {
                    None => now.map(|now| format!("{} = {now}", setting.key)),
                    Some(before) => {
                        let earlier = before.values.get(setting.key);
                        let is_changed = earlier != now;
                        is_changed.then(|| {
                            let [earlier, now] = [earlier, now].map(|value| match value {
                                Some(value) => value.as_str(),
                                None => "not set",
                            });
                            format!("{}: {earlier} before, {now} now", setting.key)
                        })
                    }
                };
                if let Some(line) = line {
                    lines.push(format!("{line}\n    {}", setting.meaning));
                }
            }
        }
        lines
    }
}

impl Approvals {
    #[must_use]
    pub fn of_work_folder(work_folder: &Path) -> Self {
        Self {
            work_folder: work_folder.to_path_buf(),
        }
    }

    /// Whether a site may work with these settings without asking.
    ///
    /// # Errors
    /// The record cannot be read.
    pub fn permit(&self, ask: Ask, proposal: &Proposal) -> Result<bool, ApprovalError> {
        let approval = match ask {
            Ask::Never => return Ok(true),
            Ask::Federation | Ask::Settings => self.before(&proposal.federation)?,
        };
        Ok(match approval {
            None => false,
            Some(approval) => {
                ask == Ask::Federation || approval.proposal.settings == proposal.settings
            }
        })
    }

    /// The last yes to a federation of this name.
    ///
    /// # Errors
    /// The record cannot be read.
    pub fn before(&self, federation: &str) -> Result<Option<Approval>, ApprovalError> {
        Ok(self.approved()?.remove(federation))
    }

    /// Notes a federation that waits for a yes.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn wait(&self, proposal: &Proposal) -> Result<(), ApprovalError> {
        self.write(WAITING, proposal)
    }

    /// The federation that waits for a yes.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn waiting(&self) -> Result<Option<Proposal>, ApprovalError> {
        self.read(WAITING)
    }

    /// Notes a yes to the federation that waits.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn approve(&self, proposal: Proposal, at: u64) -> Result<(), ApprovalError> {
        let mut approved = self.approved()?;
        approved.insert(proposal.federation.clone(), Approval { proposal, at });
        self.write(APPROVED, &approved)?;
        let path = self.work_folder.join(WAITING);
        std::fs::remove_file(&path).map_err(|reason| ApprovalError::Disk { path, reason })
    }

    fn approved(&self) -> Result<BTreeMap<String, Approval>, ApprovalError> {
        Ok(self.read(APPROVED)?.unwrap_or_default())
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, ApprovalError> {
        let path = self.work_folder.join(name);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(reason) => return Err(ApprovalError::Disk { path, reason }),
        };
        match serde_json::from_slice(&bytes) {
            Ok(content) => Ok(Some(content)),
            Err(reason) => Err(ApprovalError::Damaged { path, reason }),
        }
    }

    fn write(&self, name: &str, content: &impl Serialize) -> Result<(), ApprovalError> {
        let path = self.work_folder.join(name);
        let written = serde_json::to_vec_pretty(content)
            .map_err(io::Error::other)
            .and_then(|bytes| files::replace(&path, |file| file.write_all(&bytes)));
        written.map_err(|reason| ApprovalError::Disk { path, reason })
    }
}

/// The hash of all settings.
fn hash(federation: &Federation) -> String {
    // The same settings have the same text, as in the journal.
    checksum(
        serde_json::to_string(federation)
            .unwrap_or_default()
            .as_bytes(),
    )
}

/// A setting's value as TOML writes it.
pub(super) fn value(federation: &Federation, key: &str) -> String {
    for table in &registry::TABLES {
        for setting in table.settings {
            if setting.key == key {
                return setting.value(federation).unwrap_or_default();
            }
        }
    }
    String::new()
}
