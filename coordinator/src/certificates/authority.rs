//! The authority itself: its key, its certificate, and what it signs.

use super::CertificatesError;
use protocol::enrol::{KeyHash, PublicKey};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SerialNumber, SignatureAlgorithm,
};
use rustls::crypto::aws_lc_rs::kx_group::SECP256R1;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// How long the authority is valid: far longer than what it signs, because replacing it means
/// new certificates at every site.
const AUTHORITY_DAYS: i64 = 3650;
/// Certificates are valid from this long before now, because clocks of hospitals differ.
const CLOCK_SKEW: Duration = Duration::hours(24);

/// The owner of a certificate, which can only be used on the owner's side of a connection.
pub(super) enum Member<'a> {
    /// With its DNS names and addresses.
    Coordinator(&'a [String]),
    Site(&'a str),
}

/// An authority that can sign.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    expires: OffsetDateTime,
    key_hash: KeyHash,
}

/// A site's key as it came: only the point is taken over into a certificate.
struct SiteKey<'a>(&'a PublicKey);

impl PublicKeyData for SiteKey<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl Authority {
    /// The authority that is in a folder.
    ///
    /// # Errors
    /// There is none, or it cannot sign.
    pub fn of(folder: &Path) -> Result<Self, CertificatesError> {
        let certificate = folder.join("ca.pem");
        let key = folder.join("ca.key");
        for path in [&certificate, &key] {
            if !path.exists() {
                return Err(CertificatesError::NoAuthority { path: path.clone() });
            }
        }
        Self::read(&certificate, &key)
    }

    /// The hash of its public key, by which a site knows it.
    #[must_use]
    pub fn key_hash(&self) -> KeyHash {
        self.key_hash
    }

    /// Signs a certificate for a site's key, with a name, a purpose and days of our own. Returns
    /// it in DER.
    ///
    /// # Errors
    /// The certificate cannot be made.
    pub fn sign_site(
        &self,
        site: &str,
        key: &PublicKey,
        lifetime: std::time::Duration,
        serial: [u8; 16],
    ) -> Result<Vec<u8>, CertificatesError> {
        let lifetime = Duration::try_from(lifetime).unwrap_or(Duration::MAX);
        let mut params = self.params(&Member::Site(site), lifetime)?;
        let mut serial = serial;
        // A number above zero that always has 16 bytes.
        serial[0] = (serial[0] & 0x7f) | 0x40;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        let signed = params.signed_by(&SiteKey(key), &self.issuer);
        Ok(signed.map_err(crypto)?.der().to_vec())
    }

    /// The folder's authority, and whether it is new.
    pub(super) fn open(folder: &Path, days: u32) -> Result<(Self, bool), CertificatesError> {
        let certificate = folder.join("ca.pem");
        let key = folder.join("ca.key");
        match (certificate.exists(), key.exists()) {
            (true, true) => Ok((Self::read(&certificate, &key)?, false)),
            (false, false) => Ok((Self::make(&certificate, &key, days)?, true)),
            (true, false) => Err(unusable(
                &key,
                "the authority's key is missing, so nothing can be signed",
            )),
            (false, true) => Err(unusable(
                &certificate,
                "the certificate of this key is missing",
            )),
        }
    }

    fn make(certificate: &Path, key: &Path, days: u32) -> Result<Self, CertificatesError> {
        let pair = new_key()?;
        let fingerprint = fingerprint(&pair);
        let mut params =
            params_of_authority(&format!("Lacuna certificate authority {fingerprint}"));
        let now = OffsetDateTime::now_utc();
        params.not_before = now - CLOCK_SKEW;
        params.not_after = now + Duration::days(AUTHORITY_DAYS.max(i64::from(days) + 1));
        let expires = params.not_after;
        let key_hash = KeyHash::of(&pair.subject_public_key_info());
        let pem = params.self_signed(&pair).map_err(crypto)?.pem();
        write_new(key, &pair.serialize_pem(), Readers::Owner)?;
        write_new(certificate, &pem, Readers::Everyone)?;
        Ok(Self {
            issuer: Issuer::new(params, pair),
            pem,
            expires,
            key_hash,
        })
    }

    fn read(certificate: &Path, key: &Path) -> Result<Self, CertificatesError> {
        let pem =
            std::fs::read_to_string(certificate).map_err(|reason| disk(certificate, reason))?;
        let key_pem = std::fs::read_to_string(key).map_err(|reason| disk(key, reason))?;
        let pair =
            KeyPair::from_pem(&key_pem).map_err(|error| unusable(key, &error.to_string()))?;
        let der = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| unusable(certificate, &error.to_string()))?;
        let (_, parsed) = X509Certificate::from_der(&der)
            .map_err(|error| unusable(certificate, &error.to_string()))?;
        if parsed.public_key().subject_public_key.data != pair.public_key_raw() {
            return Err(unusable(key, "the key belongs to another authority"));
        }
        let subject = parsed.subject();
        let common_name = match subject.iter_common_name().next() {
            Some(name) if subject.iter_attributes().count() == 1 => name.as_str().ok(),
            _ => None,
        };
        let Some(name) = common_name else {
            return Err(unusable(
                certificate,
                "this authority was not made by `coordinator init`",
            ));
        };
        let expires = parsed.validity().not_after.to_datetime();
        if expires <= OffsetDateTime::now_utc() {
            return Err(unusable(
                certificate,
                "the authority has expired: make a new one in another folder",
            ));
        }
        Ok(Self {
            issuer: Issuer::new(params_of_authority(name), pair),
            expires,
            key_hash: KeyHash::of(parsed.public_key().raw),
            pem: pem.clone(),
        })
    }

    /// Makes a key and a certificate, and the member's folder with them. The folder appears whole
    /// or not at all.
    pub(super) fn write_member(
        &self,
        folder: &Path,
        member: &Member<'_>,
        days: u32,
    ) -> Result<(), CertificatesError> {
        let pair = new_key()?;
        let certificate = self
            .params(member, Duration::days(i64::from(days)))?
            .signed_by(&pair, &self.issuer)
            .map_err(crypto)?;
        let draft = draft_of(folder);
        if let Err(reason) = std::fs::remove_dir_all(&draft)
            && reason.kind() != std::io::ErrorKind::NotFound
        {
            return Err(disk(&draft, reason));
        }
        std::fs::create_dir(&draft).map_err(|reason| disk(&draft, reason))?;
        write_new(
            &draft.join("key.pem"),
            &pair.serialize_pem(),
            Readers::Owner,
        )?;
        write_new(
            &draft.join("certificate.pem"),
            &certificate.pem(),
            Readers::Everyone,
        )?;
        write_new(&draft.join("ca.pem"), &self.pem, Readers::Everyone)?;
        std::fs::rename(&draft, folder).map_err(|reason| disk(folder, reason))
    }

    fn params(
        &self,
        member: &Member<'_>,
        lifetime: Duration,
    ) -> Result<CertificateParams, CertificatesError> {
        let names;
        let common_name;
        let usage;
        match member {
            Member::Coordinator(hosts) => {
                names = hosts.to_vec();
                common_name = "coordinator";
                usage = ExtendedKeyUsagePurpose::ServerAuth;
            }
            Member::Site(name) => {
                names = vec![(*name).to_owned()];
                common_name = *name;
                usage = ExtendedKeyUsagePurpose::ClientAuth;
            }
        }
        let mut params = CertificateParams::new(names).map_err(crypto)?;
        params.distinguished_name.remove(DnType::CommonName);
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.extended_key_usages = vec![usage];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let now = OffsetDateTime::now_utc();
        params.not_before = now - CLOCK_SKEW;
        params.not_after = now.saturating_add(lifetime).min(self.expires);
        Ok(params)
    }
}

fn params_of_authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// A part of the authority's name. With it a foreign certificate is reported as of an unknown
/// authority, and not as wrongly signed.
fn fingerprint(pair: &KeyPair) -> String {
    pair.public_key_raw()
        .iter()
        .rev()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn new_key() -> Result<KeyPair, CertificatesError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(crypto)
}

/// Whether a key is a point of the curve P-256. A certificate for another one would be of no use.
pub(crate) fn is_on_curve(key: &PublicKey) -> bool {
    // To agree on a secret with a key, it is checked completely.
    let agreed = match SECP256R1.start() {
        Ok(exchange) => exchange.complete(key.bytes()),
        Err(error) => Err(error),
    };
    agreed.is_ok()
}

/// Checks that a site could connect to a name.
pub(super) fn check_host(name: &str) -> Result<(), CertificatesError> {
    match rustls::pki_types::ServerName::try_from(name) {
        Ok(_) => Ok(()),
        Err(error) => Err(CertificatesError::CoordinatorName {
            name: name.to_owned(),
            reason: error.to_string(),
        }),
    }
}

/// The names and addresses that a certificate is for, in its order.
pub(super) fn hosts(path: &Path) -> Result<Vec<String>, CertificatesError> {
    let chain =
        transport::certificates::chain(path).map_err(|error| CertificatesError::Authority {
            path: error.path,
            reason: error.reason,
        })?;
    let mut hosts = Vec::new();
    for der in chain.iter().take(1) {
        let (_, parsed) =
            X509Certificate::from_der(der).map_err(|error| unusable(path, &error.to_string()))?;
        let names = parsed
            .subject_alternative_name()
            .map_err(|error| unusable(path, &error.to_string()))?;
        for name in names.iter().flat_map(|names| &names.value.general_names) {
            match name {
                GeneralName::DNSName(name) => hosts.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => hosts.extend(ip_address(bytes)),
                _ => {}
            }
        }
    }
    Ok(hosts)
}

fn ip_address(bytes: &[u8]) -> Option<String> {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::IpAddr::from(bytes).to_string());
    }
    let bytes = <[u8; 16]>::try_from(bytes).ok()?;
    Some(std::net::IpAddr::from(bytes).to_string())
}

/// Where a member's folder is prepared.
fn draft_of(folder: &Path) -> PathBuf {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    folder.with_file_name(format!(".{name}.draft"))
}

/// Who may read a file.
#[derive(Clone, Copy)]
enum Readers {
    /// Its owner alone, from the first byte on.
    Owner,
    Everyone,
}

/// Writes a file that must not exist yet.
fn write_new(path: &Path, text: &str, readers: Readers) -> Result<(), CertificatesError> {
    create_new(path, readers)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .map_err(|reason| disk(path, reason))
}

#[cfg(unix)]
fn create_new(path: &Path, readers: Readers) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let mode = match readers {
        Readers::Owner => 0o600,
        Readers::Everyone => 0o644,
    };
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
}

#[cfg(not(unix))]
fn create_new(path: &Path, _readers: Readers) -> std::io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

fn unusable(path: &Path, reason: &str) -> CertificatesError {
    CertificatesError::Authority {
        path: path.to_path_buf(),
        reason: reason.to_owned(),
    }
}

fn disk(path: &Path, reason: std::io::Error) -> CertificatesError {
    CertificatesError::Disk {
        path: path.to_path_buf(),
        reason,
    }
}

fn crypto(error: rcgen::Error) -> CertificatesError {
    CertificatesError::Crypto(error.to_string())
}
