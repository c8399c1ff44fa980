//! A site's key and certificate on its disk.
//!
//! A renewed pair is first written completely, to the folder `.renewed`, and then moved file by
//! file. Who reads the pair finishes a move that was interrupted, so key and certificate always fit
//! each other.

use program::{files, private};
use protocol::enrol::PublicKey;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use transport::certificates::{CertificateError, to_pem};

const KEY: &str = "key.pem";
const CERTIFICATE: &str = "certificate.pem";
/// A renewed pair that waits to be moved.
const RENEWED: &str = ".renewed";
/// The same while it is written.
const DRAFT: &str = ".renewed.draft";

/// A key that was made here.
pub(super) struct NewKey {
    pair: KeyPair,
    pub(super) public: PublicKey,
}

/// What a site that joins receives, in DER.
pub(super) struct Received {
    pub(super) certificate: Vec<u8>,
    pub(super) authority: Vec<u8>,
}

impl NewKey {
    pub(super) fn make() -> Result<Self, CertificateError> {
        let wrong = |error: rcgen::Error| CertificateError::new(Path::new(KEY), error);
        Self::of(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(wrong)?)
    }

    /// The key in a file, or a new one that is written there for its owner alone.
    pub(super) fn keep(path: &Path) -> Result<Self, CertificateError> {
        let wrong = |error: &dyn std::fmt::Display| CertificateError::new(path, error);
        if path.exists() {
            let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
            return Self::of(KeyPair::from_pem(&text).map_err(|error| wrong(&error))?);
        }
        let key = Self::make()?;
        let text = key.pair.serialize_pem();
        create_new(path)
            .and_then(|mut file| {
                file.write_all(text.as_bytes())?;
                file.sync_all()
            })
            .map_err(|error| wrong(&error))?;
        Ok(key)
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

impl Received {
    /// Writes both. The certificate comes last: with it, the folder is complete.
    pub(super) fn write(&self, folder: &Path) -> Result<(), CertificateError> {
        let wrong = |error: io::Error| CertificateError::new(folder, error);
        write(&folder.join("ca.pem"), &to_pem(&self.authority)).map_err(wrong)?;
        write(&folder.join(CERTIFICATE), &to_pem(&self.certificate)).map_err(wrong)
    }
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
    remove_folder(&renewed).map_err(|error| CertificateError::new(&renewed, error))
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

/// A new file for its owner alone, from the first byte on.
fn create_new(path: &Path) -> io::Result<std::fs::File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
