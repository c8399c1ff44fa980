//! Certificates and keys in PEM files, as `coordinator init` writes them.

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

/// A certificate or key is missing or does not work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}", path = path.display())]
pub struct CertificateError {
    /// The file, or the folder when the files do not fit together.
    pub path: PathBuf,
    /// What is wrong.
    pub reason: String,
}

impl CertificateError {
    /// What is wrong with a file, or with a folder.
    pub fn new(path: &Path, reason: impl std::fmt::Display) -> Self {
        Self {
            path: path.into(),
            reason: reason.to_string(),
        }
    }
}

/// The authorities in a file.
///
/// # Errors
/// The file cannot be read, holds none, or one that is no authority.
pub fn authority(path: &Path) -> Result<RootCertStore, CertificateError> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(path)? {
        roots
            .add(certificate)
            .map_err(|error| CertificateError::new(path, error))?;
    }
    Ok(roots)
}

/// The certificates in a file, the owner's first.
///
/// # Errors
/// The file cannot be read or holds none.
pub fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let found =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match found {
        Ok(certificates) if certificates.is_empty() => {
            Err(CertificateError::new(path, "no certificate in it"))
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(CertificateError::new(path, error)),
    }
}

/// The private key in a file.
///
/// # Errors
/// The file cannot be read or holds none.
pub fn key(path: &Path) -> Result<PrivateKeyDer<'static>, CertificateError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| CertificateError::new(path, error))
}

/// When a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Not before this.
    pub from: SystemTime,
    /// Not after this.
    pub until: SystemTime,
}

/// How long the first certificate in a file is valid.
///
/// # Errors
/// The file cannot be read, or holds no certificate.
pub fn validity(path: &Path) -> Result<Validity, CertificateError> {
    let chain = chain(path)?;
    let own = chain
        .first()
        .ok_or_else(|| CertificateError::new(path, "no certificate in it"))?;
    let (_, parsed) =
        X509Certificate::from_der(own).map_err(|error| CertificateError::new(path, error))?;
    let times = parsed.validity();
    Ok(Validity {
        from: time(times.not_before),
        until: time(times.not_after),
    })
}

/// Times before 1970 are as good as 1970.
fn time(time: ASN1Time) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or(0))
}
