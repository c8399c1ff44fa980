//! A site's key and certificate on its disk.
//!
//! A renewed pair is first written completely, to the folder `.renewed`, and then moved file by
//! file. Who reads the pair finishes a move that was interrupted, and reads again while another
//! program moves it, so key and certificate always fit each other.
//!
//! The key of a site that joins waits in the folder `.joining`, with the invitation that it is for.

use program::{files, private};
use protocol::enrol::{InvitationId, PublicKey};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use std::io::{self, Write};
use std::path::Path;
use transport::certificates::{CertificateError, to_pem};

const KEY: &str = "key.pem";
const CERTIFICATE: &str = "certificate.pem";
const AUTHORITY: &str = "ca.pem";
/// Of a join: its key, until that is at its place, and the invitation that the key is for.
const JOINING: &str = ".joining";
const INVITATION: &str = "invitation";
/// A renewed pair that waits to be moved.
const RENEWED: &str = ".renewed";
/// The same while it is written.
const DRAFT: &str = ".renewed.draft";

/// A key that was made here.
pub(super) struct NewKey {
    pair: KeyPair,
    pub(super) public: PublicKey,
}

/// The attempts to join with one invitation.
pub(super) struct Joining<'a> {
    /// The site's certificate folder.
    pub(super) folder: &'a Path,
    pub(super) invitation: InvitationId,
}

impl NewKey {
    pub(super) fn make() -> Result<Self, CertificateError> {
        let wrong = |error: rcgen::Error| CertificateError::new(Path::new(KEY), error);
        Self::of(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(wrong)?)
    }

    /// The key that this program wrote to a file.
    ///
    /// # Errors
    /// Others could have written or read it, or it is none.
    fn read(path: &Path) -> Result<Self, CertificateError> {
        check_private(path)?;
        let wrong = |error: &dyn std::fmt::Display| CertificateError::new(path, error);
        let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
        Self::of(KeyPair::from_pem(&text).map_err(|error| wrong(&error))?)
    }

    fn of(pair: KeyPair) -> Result<Self, CertificateError> {
        match PublicKey::try_from(pair.public_key_raw().to_vec()) {
            Ok(public) => Ok(Self { pair, public }),
            Err(error) => Err(CertificateError::new(Path::new(KEY), error)),
        }
    }

    /// Puts this key and its certificate in the place of those in a folder.
    pub(super) fn install(
        &self,
        certificate: &[u8],
        folder: &Path,
    ) -> Result<(), CertificateError> {
        let wrong = |error: io::Error| CertificateError::new(folder, error);
        let draft = folder.join(DRAFT);
        remove_folder(&draft).map_err(wrong)?;
        private::create_folder(&draft).map_err(wrong)?;
        write(&draft.join(KEY), &self.pair.serialize_pem()).map_err(wrong)?;
        write(&draft.join(CERTIFICATE), &to_pem(certificate)).map_err(wrong)?;
        finish_renewal(folder)?;
        std::fs::rename(&draft, folder.join(RENEWED)).map_err(wrong)?;
        finish_renewal(folder)
    }
}

impl Joining<'_> {
    /// The key of an earlier attempt with this invitation, or a new one. Any other key that is in
    /// the folder may be known to others.
    ///
    /// # Errors
    /// A key of unknown origin is in the folder, or the disk refuses.
    pub(super) fn key(&self) -> Result<NewKey, CertificateError> {
        let joining = self.folder.join(JOINING);
        let waiting = joining.join(KEY);
        let own = self.folder.join(KEY);
        if self.has_begun(&joining)? {
            if waiting.exists() {
                return NewKey::read(&waiting);
            }
            // This invitation was used here to the end. Its answer may still be asked for again.
            if own.exists() {
                return NewKey::read(&own);
            }
        }
        // A site that has joined before: its key is replaced together with its certificate.
        let is_site =
            self.folder.join(CERTIFICATE).exists() && self.folder.join(AUTHORITY).exists();
        if own.exists() && !is_site {
            let reason = "no unfinished join of this program left this key, so others may know \
                          it: move it away, or join in another folder (--out)";
            return Err(CertificateError::new(&own, reason));
        }
        let key = NewKey::make()?;
        let wrong = |error: io::Error| CertificateError::new(&joining, error);
        remove_folder(&joining).map_err(wrong)?;
        private::create_folder(&joining).map_err(wrong)?;
        write(&waiting, &key.pair.serialize_pem()).map_err(wrong)?;
        // Last: with it, the key is known to be whole.
        write(&joining.join(INVITATION), &self.name()).map_err(wrong)?;
        files::sync_folder(&joining).map_err(wrong)?;
        Ok(key)
    }

    /// Puts the key and what came for it in their places.
    pub(super) fn finish(
        &self,
        key: &NewKey,
        certificate: &[u8],
        authority: &[u8],
    ) -> Result<(), CertificateError> {
        let wrong = |error: io::Error| CertificateError::new(self.folder, error);
        write(&self.folder.join(AUTHORITY), &to_pem(authority)).map_err(wrong)?;
        key.install(certificate, self.folder)?;
        match std::fs::remove_file(self.folder.join(JOINING).join(KEY)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(wrong(error)),
            _ => Ok(()),
        }
    }

    /// Whether an attempt with this invitation was begun here.
    fn has_begun(&self, joining: &Path) -> Result<bool, CertificateError> {
        let invitation = joining.join(INVITATION);
        if !invitation.exists() {
            return Ok(false);
        }
        check_private(joining)?;
        check_private(&invitation)?;
        match std::fs::read_to_string(&invitation) {
            Ok(text) => Ok(text == self.name()),
            Err(error) => Err(CertificateError::new(&invitation, error)),
        }
    }

    fn name(&self) -> String {
        let mut name = String::new();
        for byte in self.invitation.0 {
            name += &format!("{byte:02x}");
        }
        name
    }
}

/// Refuses a file or folder that another user could have made or changed.
fn check_private(path: &Path) -> Result<(), CertificateError> {
    let is_own = private::is_own(path).map_err(|error| CertificateError::new(path, error))?;
    if is_own && private::open_to_others(path).is_none() {
        return Ok(());
    }
    let reason = "other users of this machine own it or may look at it, so it may not be what this \
                  program left there: move it away, or join in another folder (--out)";
    Err(CertificateError::new(path, reason))
}

/// Moves a renewed pair to its place, if one waits.
///
/// # Errors
/// The disk refuses.
pub(in crate::link) fn finish_renewal(folder: &Path) -> Result<(), CertificateError> {
    let renewed = folder.join(RENEWED);
    if !renewed.exists() {
        return Ok(());
    }
    for name in [KEY, CERTIFICATE] {
        match std::fs::rename(renewed.join(name), folder.join(name)) {
            // It was moved before, perhaps by another process.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            moved => moved.map_err(|error| CertificateError::new(&renewed, error))?,
        }
    }
    // The new pair must not be lost together with the folder that it came from.
    files::sync_folder(&folder.join(CERTIFICATE))
        .and_then(|()| remove_folder(&renewed))
        .map_err(|error| CertificateError::new(&renewed, error))
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    files::replace(path, |file| file.write_all(text.as_bytes()))
}

fn remove_folder(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
