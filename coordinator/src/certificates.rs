//! A certificate authority for one federation, and a folder of certificates for each member.
//!
//! `OUT/ca.pem` and `OUT/ca.key`, then one folder each for the coordinator and every site with
//! `ca.pem`, `certificate.pem` and `key.pem`: all that the member needs. Existing folders are never
//! changed, so running the command again adds new sites. To renew a member's certificate, remove
//! its folder first.

mod authority;

pub use authority::Authority;
use authority::Member;
pub(crate) use authority::is_on_curve;
use program::{Class, Explain};
use protocol::identity::is_valid_name;
use serde::Serialize;
use std::borrow::Cow;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// The coordinator's folder; no site may have this name.
pub(crate) const COORDINATOR: &str = "coordinator";

#[derive(Clone, Debug)]
pub struct Request {
    /// The folder to write.
    pub out: PathBuf,
    /// DNS names and IP addresses of the coordinator; may be empty when its certificate exists.
    pub coordinator_names: Vec<String>,
    pub sites: Vec<String>,
    /// Days until the certificates expire.
    pub days: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Issued {
    /// Whether the authority is new.
    pub new_authority: bool,
    pub written: Vec<PathBuf>,
    /// Folders that existed before and were not changed.
    pub kept: Vec<PathBuf>,
}

/// Why certificates could not be written.
#[derive(Debug, thiserror::Error)]
pub enum CertificatesError {
    #[error(
        "{0:?} is not a name that a site can have: letters, digits, '-', '_' and '.', 64 at \
         most, and not \"coordinator\""
    )]
    SiteName(String),
    /// As an address, it would be none of the names in a certificate.
    #[error("{0} is an IP address, and a site needs a name")]
    SiteAddress(String),
    /// On some disks both would have the same folder.
    #[error("{name} differs from {known}, which is known here, only in the case of letters")]
    Alike { name: String, known: String },
    #[error("{name:?} is neither a DNS name nor an IP address: {reason}")]
    CoordinatorName { name: String, reason: String },
    /// The coordinator's certificate is to be made, and no name for it was given.
    #[error("the coordinator needs at least one name that sites reach it by")]
    NoCoordinatorName,
    /// The authority in the folder cannot be used.
    #[error("{path}: {reason}", path = path.display())]
    Authority { path: PathBuf, reason: String },
    /// Nothing can be signed or revoked in this folder.
    #[error("{path} is missing: there is no authority that can sign", path = path.display())]
    NoAuthority { path: PathBuf },
    #[error("{path}: {reason}", path = path.display())]
    Disk { path: PathBuf, reason: io::Error },
    #[error("certificates could not be made: {0}")]
    Crypto(String),
}

impl Explain for CertificatesError {
    fn class(&self) -> Class {
        match self {
            Self::SiteName(_)
            | Self::SiteAddress(_)
            | Self::Alike { .. }
            | Self::CoordinatorName { .. }
            | Self::NoCoordinatorName
            | Self::Authority { .. }
            | Self::NoAuthority { .. } => Class::Configuration,
            Self::Disk { .. } => Class::Disk,
            Self::Crypto(_) => Class::Internal,
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::NoCoordinatorName => Some(
                "give it with --coordinator-name, such as lacuna.example.org or 10.0.0.5".into(),
            ),
            Self::SiteAddress(_) | Self::Alike { .. } => Some("give the site another name".into()),
            Self::NoAuthority { .. } => Some(
                "`coordinator init` makes an authority; --config or --authority says where it is"
                    .into(),
            ),
            Self::Authority { .. } => {
                Some("give another folder with --out to start a new federation".into())
            }
            _ => None,
        }
    }
}

/// Writes the authority, the coordinator's folder and the sites' folders, as far as they are
/// missing.
///
/// # Errors
/// A name that cannot be used, an authority that cannot sign, or a disk that fails.
pub fn issue(request: &Request) -> Result<Issued, CertificatesError> {
    for (place, name) in request.sites.iter().enumerate() {
        check_site_name(name)?;
        check_unlike_folders(&request.out, name)?;
        for earlier in &request.sites[..place] {
            check_unlike(name, earlier)?;
        }
    }
    for name in &request.coordinator_names {
        authority::check_host(name)?;
    }
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
    let mut members = vec![Member::Coordinator(&request.coordinator_names)];
    for name in &request.sites {
        members.push(Member::Site(name));
    }
    for member in members {
        let folder = match member {
            Member::Coordinator(_) => out.join(COORDINATOR),
            Member::Site(name) => out.join(name),
        };
        if folder.exists() {
            issued.kept.push(folder);
        } else {
            authority.write_member(&folder, &member, request.days)?;
            issued.written.push(folder);
        }
    }
    Ok(issued)
}

/// Checks a name that a site is to have.
///
/// # Errors
/// It is no name of a site, or that of another file in the authority's folder.
pub(crate) fn check_site_name(name: &str) -> Result<(), CertificatesError> {
    let taken = [COORDINATOR, "ca.pem", "ca.key", crate::members::FILE];
    let is_taken = taken.iter().any(|taken| taken.eq_ignore_ascii_case(name));
    if is_taken || !is_valid_name(name) {
        return Err(CertificatesError::SiteName(name.to_owned()));
    }
    if name.parse::<IpAddr>().is_ok() {
        return Err(CertificatesError::SiteAddress(name.to_owned()));
    }
    Ok(())
}

/// Checks that no folder of another member has the same name in other letters.
///
/// # Errors
/// One has.
pub(crate) fn check_unlike_folders(out: &Path, name: &str) -> Result<(), CertificatesError> {
    // Without a folder there are no other members.
    for entry in std::fs::read_dir(out).into_iter().flatten().flatten() {
        if let Ok(known) = entry.file_name().into_string() {
            check_unlike(name, &known)?;
        }
    }
    Ok(())
}

/// Checks that a name is not a known one in other letters.
///
/// # Errors
/// It is.
pub(crate) fn check_unlike(name: &str, known: &str) -> Result<(), CertificatesError> {
    if name != known && name.eq_ignore_ascii_case(known) {
        return Err(CertificatesError::Alike {
            name: name.to_owned(),
            known: known.to_owned(),
        });
    }
    Ok(())
}

/// The DNS names and addresses in the coordinator's certificate, in its order.
///
/// # Errors
/// The certificate cannot be read.
pub(crate) fn hosts(coordinator: &Path) -> Result<Vec<String>, CertificatesError> {
    authority::hosts(&coordinator.join("certificate.pem"))
}

impl Issued {
    /// What to do with the folders, in words for a terminal.
    pub(crate) fn advice(&self, out: &Path) -> String {
        let mut text = String::new();
        if self.new_authority {
            let key = out.join("ca.key");
            text += &format!(
                "{}: for the coordinator's operator alone; it can make members of this \
                 federation\n",
                key.display()
            );
        }
        for folder in &self.written {
            text += &match folder.file_name().and_then(|name| name.to_str()) {
                Some(COORDINATOR) | None => format!("{}: for the coordinator\n", folder.display()),
                Some(site) => {
                    format!(
                        "{}: send it to the site {site} alone, over a channel that no one else \
                         can read\n",
                        folder.display()
                    )
                }
            };
        }
        if self.new_authority && self.written.len() == 1 {
            text += "`coordinator invite SITE` prints the token with which a hospital joins\n";
        }
        for folder in &self.kept {
            text += &format!("{}: exists already and was not changed\n", folder.display());
        }
        text
    }
}

#[cfg(test)]
mod tests;
