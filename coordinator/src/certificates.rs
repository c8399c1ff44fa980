//! A certificate authority for one federation, and a folder of certificates for each party.
//!
//! `OUT/ca.pem` and `OUT/ca.key`, then one folder each for the coordinator and every site with
//! `ca.pem`, `certificate.pem` and `key.pem`: all that the party needs. What exists is never
//! touched, so running the command again adds new sites; whoever removes a party's folder gets a
//! new certificate for it.

mod authority;

use authority::{Authority, Party};
use program::{Class, Explain};
use protocol::settings::is_valid_name;
use serde::Serialize;
use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

/// The coordinator's folder; no site may be called so.
const COORDINATOR: &str = "coordinator";

/// What certificates are wanted.
#[derive(Clone, Debug)]
pub struct Request {
    /// The folder to write.
    pub out: PathBuf,
    /// DNS names and IP addresses of the coordinator; may be empty when it has its certificate
    /// already.
    pub coordinator_names: Vec<String>,
    /// The sites' names.
    pub sites: Vec<String>,
    /// Days until the certificates expire.
    pub days: u32,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Issued {
    /// Whether the authority is new.
    pub new_authority: bool,
    /// Folders that were written.
    pub written: Vec<PathBuf>,
    /// Folders that were there already, and were left as they are.
    pub kept: Vec<PathBuf>,
}

/// Why certificates could not be written.
#[derive(Debug, thiserror::Error)]
pub enum CertificatesError {
    /// A site's name cannot be a folder's and a certificate's.
    #[error(
        "{0:?} is no name for a site: letters, digits, '-', '_' and '.', 64 at most, and not \"coordinator\""
    )]
    SiteName(String),
    /// A coordinator's name is neither a DNS name nor an address.
    #[error("{name:?} is neither a DNS name nor an IP address: {reason}")]
    CoordinatorName {
        /// The name.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// A coordinator's certificate is due, and nobody said how sites reach it.
    #[error("the coordinator needs at least one name that sites reach it by")]
    NoCoordinatorName,
    /// An authority is there, and not usable.
    #[error("{path}: {reason}", path = path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file or folder failed.
    #[error("{path}: {reason}", path = path.display())]
    Disk {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
    /// Making a key or a certificate failed.
    #[error("certificates could not be made: {0}")]
    Crypto(String),
}

impl Explain for CertificatesError {
    fn class(&self) -> Class {
        match self {
            Self::SiteName(_)
            | Self::CoordinatorName { .. }
            | Self::NoCoordinatorName
            | Self::Authority { .. } => Class::Configuration,
            Self::Disk { .. } => Class::Disk,
            Self::Crypto(_) => Class::Internal,
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::NoCoordinatorName => Some(
                "give it with --coordinator-name, such as lacuna.example.org or 10.0.0.5".into(),
            ),
            Self::Authority { .. } => {
                Some("give another folder with --out to start a new federation".into())
            }
            _ => None,
        }
    }
}

/// Writes what is missing of an authority, a coordinator's folder and the sites' folders.
pub fn issue(request: &Request) -> Result<Issued, CertificatesError> {
    let unfit = |name: &&String| {
        !is_valid_name(name) || [COORDINATOR, "ca.pem", "ca.key"].contains(&name.as_str())
    };
    if let Some(name) = request.sites.iter().find(unfit) {
        return Err(CertificatesError::SiteName(name.clone()));
    }
    request
        .coordinator_names
        .iter()
        .try_for_each(|name| authority::check_host(name))?;
    let out = &request.out;
    if !out.join(COORDINATOR).exists() && request.coordinator_names.is_empty() {
        return Err(CertificatesError::NoCoordinatorName);
    }
    std::fs::create_dir_all(out).map_err(|reason| CertificatesError::Disk {
        path: out.clone(),
        reason,
    })?;
    let (authority, new_authority) = Authority::open(out, request.days)?;
    let mut issued = Issued {
        new_authority,
        written: Vec::new(),
        kept: Vec::new(),
    };
    let coordinator = Party::Coordinator(&request.coordinator_names);
    let sites = request
        .sites
        .iter()
        .map(|name| (name.as_str(), Party::Site(name)));
    for (name, party) in std::iter::once((COORDINATOR, coordinator)).chain(sites) {
        let folder = out.join(name);
        if folder.exists() {
            issued.kept.push(folder);
        } else {
            authority.write_party(&folder, &party, request.days)?;
            issued.written.push(folder);
        }
    }
    Ok(issued)
}

impl Issued {
    /// What to do with the folders, for a terminal.
    pub(crate) fn advice(&self, out: &Path) -> String {
        let mut text = String::new();
        if self.new_authority {
            let key = out.join("ca.key");
            text += &format!(
                "{}: keep it here, off the network; it makes members of this federation\n",
                key.display()
            );
        }
        for folder in &self.written {
            text += &match folder.file_name().and_then(|name| name.to_str()) {
                Some(COORDINATOR) | None => format!("{}: for the coordinator\n", folder.display()),
                Some(site) => {
                    format!(
                        "{}: for the site {site} alone, over a channel that nobody reads\n",
                        folder.display()
                    )
                }
            };
        }
        for folder in &self.kept {
            text += &format!("{}: was there already, left as it is\n", folder.display());
        }
        text
    }
}

#[cfg(test)]
mod tests;
