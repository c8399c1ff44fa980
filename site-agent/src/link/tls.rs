//! The site's TLS: version 1.3 only, both sides by certificates of the federation's own authority.

use super::enrol::finish_renewal;
use super::quic::Trust;
use protocol::enrol::{self, KeyHash};
use protocol::message::ALPN;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use transport::certificates::{CertificateError, authority, chain, key, key_hash};

/// Reads `ca.pem`, `certificate.pem` and `key.pem` of a site's certificate folder.
pub(super) fn configuration(folder: &Path) -> Result<ClientConfig, CertificateError> {
    for _ in 1..MOST_READS {
        match read(folder) {
            Err(Unusable::Pair(_)) => std::thread::sleep(MOVE),
            Err(Unusable::Other(error)) => return Err(error),
            Ok(config) => return Ok(config),
        }
    }
    match read(folder) {
        Err(Unusable::Pair(error) | Unusable::Other(error)) => Err(error),
        Ok(config) => Ok(config),
    }
}

/// How often a pair is read, and how long to wait in between: key and certificate do not fit each
/// other for the moment in which another program puts a renewed pair in its place.
const MOST_READS: u32 = 10;
const MOVE: Duration = Duration::from_millis(20);

/// Why the files of a folder cannot be used.
enum Unusable {
    /// Key and certificate do not fit each other.
    Pair(CertificateError),
    Other(CertificateError),
}

impl From<CertificateError> for Unusable {
    fn from(error: CertificateError) -> Self {
        Self::Other(error)
    }
}

fn read(folder: &Path) -> Result<ClientConfig, Unusable> {
    finish_renewal(folder)?;
    let built = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| CertificateError::new(folder, error))?
        .with_root_certificates(authority(&folder.join("ca.pem"))?)
        .with_client_auth_cert(
            chain(&folder.join("certificate.pem"))?,
            key(&folder.join("key.pem"))?,
        );
    let mut config = match built {
        Ok(config) => config,
        Err(error @ Error::InconsistentKeys(_)) => {
            return Err(Unusable::Pair(CertificateError::new(folder, error)));
        }
        Err(error) => return Err(CertificateError::new(folder, error).into()),
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    // Every connection shows its certificate, and nothing can be replayed.
    config.resumption = rustls::client::Resumption::disabled();
    config.enable_early_data = false;
    Ok(config)
}

/// For a site that joins: it shows no certificate, and the coordinator's must be of the authority
/// that the token names.
pub(super) fn joining(authority: KeyHash) -> Result<ClientConfig, CertificateError> {
    let provider = provider();
    let verifier = PinnedAuthority {
        authority,
        others: RootCertStore::empty(),
        provider: provider.clone(),
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| CertificateError::new(Path::new("TLS"), error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![enrol::ALPN.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    config.enable_early_data = false;
    Ok(config)
}

/// For a site that renews its certificate: both ends show one, as always.
pub(super) fn renewing(folder: &Path) -> Result<ClientConfig, CertificateError> {
    let mut config = configuration(folder)?;
    config.alpn_protocols = vec![enrol::ALPN.to_vec()];
    Ok(config)
}

/// For the tunnel: a server of the federation's authority, or of any that the system trusts, and
/// nothing of our own shown. Reads files.
pub(super) fn tunnel(trust: &Trust) -> Result<ClientConfig, CertificateError> {
    let (folder, mut roots) = match trust {
        Trust::Folder(folder) => (folder.as_path(), authority(&folder.join("ca.pem"))?),
        Trust::Authority(_) => (Path::new("TLS"), RootCertStore::empty()),
    };
    // A system without certificates of its own leaves the federation's.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(provider.clone())
        // A proxy that looks into TLS may know 1.2 only.
        .with_safe_default_protocol_versions()
        .map_err(|error| CertificateError::new(folder, error))?;
    let builder = match trust {
        Trust::Folder(_) => builder.with_root_certificates(roots),
        Trust::Authority(authority) => {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(PinnedAuthority {
                    authority: *authority,
                    others: roots,
                    provider,
                }))
        }
    };
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Accepts a server whose certificate is of the authority with this key, or of one of the others.
/// The server shows the authority's certificate after its own. Name and days are checked as always.
#[derive(Debug)]
struct PinnedAuthority {
    authority: KeyHash,
    others: RootCertStore,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedAuthority {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut roots = self.others.clone();
        for certificate in intermediates {
            if key_hash(certificate) == Some(self.authority) {
                roots.add(certificate.clone().into_owned())?;
            }
        }
        if roots.is_empty() {
            return Err(rustls::CertificateError::UnknownIssuer.into());
        }
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone())
                .build()
                .map_err(|error| Error::General(error.to_string()))?;
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
