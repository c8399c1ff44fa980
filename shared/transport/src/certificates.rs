//! Certificates and keys in PEM files, as `coordinator init` writes them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use protocol::enrol::KeyHash;
use protocol::identity::SiteName;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use x509_parser::prelude::{ASN1Time, FromDer, GeneralName, X509Certificate};

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

/// What tells one certificate from the others of an authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Hexadecimal.
    pub serial: String,
    pub validity: Validity,
}

/// The serial number and the days of a certificate in DER; `None` where it is none.
#[must_use]
pub fn identity(certificate: &[u8]) -> Option<Identity> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let mut serial = String::new();
    for byte in parsed.raw_serial() {
        serial += &format!("{byte:02x}");
    }
    Some(Identity {
        serial,
        validity: Validity {
            from: time(parsed.validity().not_before),
            until: time(parsed.validity().not_after),
        },
    })
}

/// The hash of a certificate's public key; `None` where it is no certificate.
#[must_use]
pub fn key_hash(certificate: &[u8]) -> Option<KeyHash> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(KeyHash::of(parsed.public_key().raw))
}

/// A certificate's public key, without its algorithm.
#[must_use]
pub fn public_key(certificate: &[u8]) -> Option<Vec<u8>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(parsed.public_key().subject_public_key.data.to_vec())
}

/// The site that a verified certificate was made for: its only DNS name, or its common name if it
/// has none. `None` when it has several names, or one that is not valid for a site.
#[must_use]
pub fn site_name(certificate: &[u8]) -> Option<SiteName> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let alternatives = parsed.subject_alternative_name().ok()?;
    let names: Vec<&str> = match alternatives {
        Some(extension) => extension
            .value
            .general_names
            .iter()
            .filter_map(dns_name)
            .collect(),
        None => parsed
            .subject()
            .iter_common_name()
            .filter_map(|name| name.as_str().ok())
            .collect(),
    };
    match names[..] {
        [name] => name.parse().ok(),
        _ => None,
    }
}

fn dns_name<'a>(name: &GeneralName<'a>) -> Option<&'a str> {
    if let GeneralName::DNSName(name) = name {
        Some(name)
    } else {
        None
    }
}

/// A certificate in DER as PEM.
#[must_use]
pub fn to_pem(certificate: &[u8]) -> String {
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for (place, letter) in STANDARD.encode(certificate).chars().enumerate() {
        if place > 0 && place % 64 == 0 {
            text.push('\n');
        }
        text.push(letter);
    }
    text + "\n-----END CERTIFICATE-----\n"
}

/// Times before 1970 become 1970.
fn time(time: ASN1Time) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or(0))
}
