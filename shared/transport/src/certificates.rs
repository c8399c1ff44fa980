//! Certificates and keys in PEM files, as `coordinator init` writes them.

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

/// A certificate or key that is missing or cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}", path = path.display())]
pub struct CertificateError {
    /// The file, or the folder when its files do not match each other.
    pub path: PathBuf,
    pub reason: String,
}

impl CertificateError {
    pub fn new(path: &Path, reason: impl std::fmt::Display) -> Self {
        Self {
            path: path.into(),
            reason: reason.to_string(),
        }
    }
}

/// The certificate authorities in a file.
///
/// # Errors
/// The file cannot be read, or does not hold certificates of authorities.
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
/// The file cannot be read or holds no certificate.
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
/// The file cannot be read or holds no key.
pub fn key(path: &Path) -> Result<PrivateKeyDer<'static>, CertificateError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| CertificateError::new(path, error))
}

/// When a certificate is valid; both ends are included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub from: SystemTime,
    pub until: SystemTime,
}

/// When the first certificate in a file is valid.
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

/// Times before 1970 become 1970.
fn time(time: ASN1Time) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or(0))
}
