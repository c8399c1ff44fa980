//! The file `members.json` in the authority's folder: invitations, the sites that have joined, and
//! those that were revoked. Commands and a running coordinator change it, one at a time.

use crate::certificates::{
    Authority, CertificatesError, check_unlike, check_unlike_folders, is_on_curve,
};
use program::{Class, Explain, files, private};
use protocol::case::Role;
use protocol::enrol::{
    Certificate, InvitationId, Joining, KeyHash, Members, NewInvitation, PublicKey, Secret, Site,
};
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use transport::certificates::{CertificateError, chain, identity, key_hash};

/// The file's name.
pub(crate) const FILE: &str = "members.json";
/// Held by the process that changes the file.
const LOCK: &str = ".members.lock";
/// Days until a certificate expires that a site got for itself. The agent renews it long before.
const CERTIFICATE_DAYS: u64 = 90;

/// What is said about a public key that is none.
const NO_POINT: &str = "the public key is not a point of the curve P-256";

/// Why the record of members cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum MembersError {
    #[error("{path}: {reason}", path = path.display())]
    Disk { path: PathBuf, reason: io::Error },
    /// Not what this program wrote. Without the record it is unknown who was revoked.
    #[error("{path} is damaged: {reason}", path = path.display())]
    Damaged {
        path: PathBuf,
        reason: serde_json::Error,
    },
    /// There was a record, because its lock is there.
    #[error("{path} is missing, and sites were invited or revoked", path = path.display())]
    Missing { path: PathBuf },
    #[error(transparent)]
    Certificates(#[from] CertificatesError),
    /// What this user writes, the coordinator could not read.
    #[error("{path} belongs to another user, who alone can read it", path = path.display())]
    OtherUser { path: PathBuf },
    #[error("the system provides no random bytes")]
    Random,
    /// The coordinator's certificate is of another authority than the one in the folder.
    #[error("{}: another authority than that of the coordinator's certificate", .folder.display())]
    OtherAuthority { folder: PathBuf },
}

impl Explain for MembersError {
    fn class(&self) -> Class {
        match self {
            Self::Disk { .. } => Class::Disk,
            Self::Damaged { .. }
            | Self::Missing { .. }
            | Self::OtherUser { .. }
            | Self::OtherAuthority { .. } => Class::Configuration,
            Self::Certificates(error) => error.class(),
            Self::Random => Class::Internal,
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Damaged { .. } => Some(
                "put back a copy of it. Without it, certificates that were revoked would be \
                 accepted again"
                    .into(),
            ),
            Self::Missing { .. } => Some(
                "put back a copy of it. Without it, certificates that were revoked would be \
                 accepted again. If no site was ever revoked, remove .members.lock next to it"
                    .into(),
            ),
            Self::OtherUser { .. } => Some(
                "nothing was changed: run this as the user who runs the coordinator, which would \
                 not notice it otherwise"
                    .into(),
            ),
            Self::Certificates(error) => error.hint(),
            Self::Disk { .. } | Self::Random | Self::OtherAuthority { .. } => None,
        }
    }
}

/// The file in an authority's folder.
#[derive(Clone, Debug)]
pub struct MembersFile {
    folder: PathBuf,
}

/// The record while it is being changed. No other process changes it meanwhile.
pub struct Locked {
    pub members: Members,
    /// As it is in the file.
    before: Members,
    path: PathBuf,
    _lock: File,
}

/// What a token says about an invitation that was made.
pub struct Invited {
    pub invitation: InvitationId,
    pub secret: Secret,
}

/// The answer to a request for a certificate.
pub(crate) enum Decision {
    Signed(Signed),
    /// Why not.
    Refused(String),
}

/// A certificate that was signed for a site, in DER.
pub(crate) struct Signed {
    pub(crate) site: Site,
    pub(crate) certificate: Vec<u8>,
}

impl MembersFile {
    /// The file in an authority's folder, which need not exist yet.
    #[must_use]
    pub fn of_authority(folder: &Path) -> Self {
        Self {
            folder: whole(folder),
        }
    }

    /// The file of the authority that made the coordinator's certificate folder: the authority's
    /// folder is the one above it.
    #[must_use]
    pub fn of_coordinator(certificates: &Path) -> Self {
        // What is above "." or above a link is only known of the whole path.
        match whole(certificates).parent() {
            Some(folder) if !folder.as_os_str().is_empty() => Self::of_authority(folder),
            _ => Self::of_authority(Path::new(".")),
        }
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file itself.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.join(FILE)
    }

    /// The file's bytes; `None` where there is no file.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) fn bytes(&self) -> Result<Option<Vec<u8>>, MembersError> {
        let path = self.path();
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(reason) => Err(MembersError::Disk { path, reason }),
        }
    }

    /// The record. Without a file and its lock, no site was ever invited or revoked.
    ///
    /// # Errors
    /// The file is damaged or lost, or the disk refuses.
    pub fn read(&self) -> Result<Members, MembersError> {
        self.parse(self.bytes()?.as_deref())
    }

    /// The record in the file's bytes.
    ///
    /// # Errors
    /// They are not what was written.
    pub(crate) fn parse(&self, bytes: Option<&[u8]>) -> Result<Members, MembersError> {
        let Some(bytes) = bytes else {
            if self.folder.join(LOCK).exists() {
                let path = self.path();
                return Err(MembersError::Missing { path });
            }
            return Ok(Members::default());
        };
        serde_json::from_slice(bytes).map_err(|reason| MembersError::Damaged {
            path: self.path(),
            reason,
        })
    }

    /// Reads the record to change it, and keeps other processes from changing it meanwhile. Waits
    /// for one that does.
    ///
    /// # Errors
    /// As [`MembersFile::read`].
    pub fn lock(&self) -> Result<Locked, MembersError> {
        self.check_user()?;
        let path = self.folder.join(LOCK);
        let is_first = !path.exists();
        let locked = private::create_file(&path).and_then(|file| {
            file.lock()?;
            Ok(file)
        });
        let lock = locked.map_err(|reason| MembersError::Disk { path, reason })?;
        let members = match self.bytes()? {
            // The lock was made just now.
            None if is_first => Members::default(),
            bytes => self.parse(bytes.as_deref())?,
        };
        Ok(Locked {
            before: members.clone(),
            members,
            path: self.path(),
            _lock: lock,
        })
    }

    /// Refuses to write what the coordinator could not read: root can change a record that another
    /// user made for itself alone, and would take it away from that user.
    fn check_user(&self) -> Result<(), MembersError> {
        for name in [FILE, LOCK, "ca.key"] {
            let path = self.folder.join(name);
            if !path.exists() {
                continue;
            }
            if private::open_to_others(&path).is_some() {
                return Ok(());
            }
            return match private::is_own(&path) {
                Ok(true) => Ok(()),
                Ok(false) => Err(MembersError::OtherUser { path }),
                Err(reason) => Err(MembersError::Disk { path, reason }),
            };
        }
        Ok(())
    }

    /// Makes an invitation. Its secret is stored nowhere.
    ///
    /// # Errors
    /// As [`MembersFile::lock`], or a name that another member has in other letters.
    pub fn invite(
        &self,
        site: &str,
        role: Role,
        now: u64,
        expires: u64,
    ) -> Result<Invited, MembersError> {
        let invitation = InvitationId(random()?);
        let secret = Secret::new(random()?);
        let mut locked = self.lock()?;
        check_unlike_folders(&self.folder, site)?;
        if let Some(known) = locked.members.alike(site) {
            check_unlike(site, known)?;
        }
        let new = NewInvitation {
            id: invitation,
            secret,
            site: site.to_owned(),
            role,
            expires,
        };
        locked.members.invite(new, now);
        locked.save()?;
        Ok(Invited { invitation, secret })
    }

    /// Signs the first certificate of a site, if the request is one that may be answered.
    ///
    /// # Errors
    /// The record or the authority cannot be used.
    pub(crate) fn join(
        &self,
        joining: &Joining<'_>,
        now: u64,
        authority: KeyHash,
    ) -> Result<Decision, MembersError> {
        if !is_on_curve(joining.public_key) {
            return Ok(Decision::Refused(NO_POINT.into()));
        }
        let mut locked = self.lock()?;
        let judged = locked.members.judge(joining, now);
        let decision = match judged {
            Ok(site) => {
                let key = joining.public_key;
                Decision::Signed(self.sign(&mut locked, site, key, None, now, authority)?)
            }
            Err(refusal) => Decision::Refused(refusal.to_string()),
        };
        // A wrong attempt may count too.
        locked.save()?;
        Ok(decision)
    }

    /// Signs a new certificate for a site that has an accepted one.
    ///
    /// # Errors
    /// The record or the authority cannot be used.
    pub(crate) fn renew(
        &self,
        name: &str,
        serial: &str,
        key: &PublicKey,
        now: u64,
        authority: KeyHash,
    ) -> Result<Decision, MembersError> {
        if !is_on_curve(key) {
            return Ok(Decision::Refused(NO_POINT.into()));
        }
        let mut locked = self.lock()?;
        let site = match locked.members.renewal(name, serial) {
            Ok(site) => site,
            Err(refusal) => return Ok(Decision::Refused(refusal.to_string())),
        };
        let signed = self.sign(&mut locked, site, key, Some(serial), now, authority)?;
        locked.save()?;
        Ok(Decision::Signed(signed))
    }

    fn sign(
        &self,
        locked: &mut Locked,
        site: Site,
        key: &PublicKey,
        shown: Option<&str>,
        now: u64,
        expected: KeyHash,
    ) -> Result<Signed, MembersError> {
        let authority = Authority::of(&self.folder)?;
        if authority.key_hash() != expected {
            return Err(MembersError::OtherAuthority {
                folder: self.folder.clone(),
            });
        }
        let lifetime = Duration::from_secs(CERTIFICATE_DAYS * 86_400);
        let certificate = authority.sign_site(&site.name, key, lifetime, random()?)?;
        let Some(identity) = identity(&certificate) else {
            let reason = "the certificate that was made cannot be read";
            return Err(CertificatesError::Crypto(reason.into()).into());
        };
        let issued = Certificate {
            serial: identity.serial,
            until: seconds(identity.validity.until),
            renews: shown.map(str::to_owned),
        };
        locked.members.certified(&site, issued, now);
        Ok(Signed { site, certificate })
    }
}

impl Locked {
    /// Writes the record if it changed, and lets other processes change it.
    ///
    /// # Errors
    /// The disk refuses. The file is then unchanged.
    pub fn save(self) -> Result<(), MembersError> {
        if self.members == self.before && self.path.exists() {
            return Ok(());
        }
        let written = serde_json::to_vec_pretty(&self.members)
            .map_err(io::Error::other)
            .and_then(|bytes| files::replace(&self.path, |file| file.write_all(&bytes)));
        written.map_err(|reason| MembersError::Disk {
            path: self.path,
            reason,
        })
    }
}

/// A path from the root on, without links; as it is where it leads nowhere yet.
fn whole(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf())
}

/// The hash of the key of the authority in a member's folder.
///
/// # Errors
/// The folder has no `ca.pem` that can be read.
pub(crate) fn authority_of(certificates: &Path) -> Result<KeyHash, CertificateError> {
    let path = certificates.join("ca.pem");
    let chain = chain(&path)?;
    match chain.first().and_then(|certificate| key_hash(certificate)) {
        Some(hash) => Ok(hash),
        None => Err(CertificateError::new(&path, "it holds no certificate")),
    }
}

/// Seconds since 1970, UTC.
#[must_use]
pub fn now() -> u64 {
    seconds(std::time::SystemTime::now())
}

pub(crate) fn seconds(time: std::time::SystemTime) -> u64 {
    match time.duration_since(std::time::UNIX_EPOCH) {
        Ok(since) => since.as_secs(),
        Err(_) => 0,
    }
}

fn random<const COUNT: usize>() -> Result<[u8; COUNT], MembersError> {
    let mut bytes = [0; COUNT];
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    match provider.secure_random.fill(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => Err(MembersError::Random),
    }
}

#[cfg(test)]
mod tests;
