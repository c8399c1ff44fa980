//! The coordinator's TLS: version 1.3 only, both sides by certificates of the federation's own
//! authority.

use super::enrolment::{Enrolment, Shown};
use protocol::enrol;
use protocol::message::ALPN;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;
use transport::certificates::{
    CertificateError, Validity, authority, chain, identity, key, site_name, validity,
};

/// Judges sites' certificates: of the federation's authority, and not revoked. While an invitation
/// is open, a site may come without one, to ask for it.
#[derive(Debug)]
struct SiteVerifier {
    authority: Arc<dyn ClientCertVerifier>,
    enrolment: Arc<Enrolment>,
}

impl ClientCertVerifier for SiteVerifier {
    fn client_auth_mandatory(&self) -> bool {
        !self.enrolment.is_open()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.authority.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self
            .authority
            .verify_client_cert(end_entity, intermediates, now)?;
        // A certificate that names no site is refused later, with a reason.
        match shown(end_entity) {
            Some(shown) if self.enrolment.refusal(&shown).is_some() => {
                Err(rustls::CertificateError::Revoked.into())
            }
            Some(_) | None => Ok(verified),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authority
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authority
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authority.supported_verify_schemes()
    }
}

/// The coordinator's certificate with the authority's after it: a site that joins knows only the
/// hash of the authority's key.
fn own_chain(folder: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let mut certificates = chain(&folder.join("certificate.pem"))?;
    certificates.extend(chain(&folder.join("ca.pem"))?);
    Ok(certificates)
}

/// Reads `ca.pem`, `certificate.pem` and `key.pem` of a folder that `coordinator init` wrote.
pub(super) fn configuration(
    folder: &Path,
    enrolment: Arc<Enrolment>,
) -> Result<ServerConfig, CertificateError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let roots = Arc::new(authority(&folder.join("ca.pem"))?);
    let authority = WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
        .build()
        .map_err(|error| CertificateError::new(folder, error))?;
    let verifier = Arc::new(SiteVerifier {
        authority,
        enrolment,
    });
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| CertificateError::new(folder, error))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(own_chain(folder)?, key(&folder.join("key.pem"))?)
        .map_err(|error| CertificateError::new(folder, error))?;
    config.alpn_protocols = vec![ALPN.to_vec(), enrol::ALPN.to_vec()];
    // Every connection must show its certificate, and nothing can be replayed.
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

/// Checks that the coordinator's own certificate is valid by this machine's clock. Otherwise every
/// site would refuse it, or every site's certificate would be refused here.
pub(super) fn check_clock(folder: &Path, now: SystemTime) -> Result<(), CertificateError> {
    let path = folder.join("certificate.pem");
    let Validity { from, until } = validity(&path)?;
    if (from..=until).contains(&now) {
        return Ok(());
    }
    let [from, until, now] = [from, until, now].map(httpdate::fmt_http_date);
    let reason = format!(
        "it is valid from {from} until {until}, and it is {now} by this machine's clock: renew \
         the certificate if its time is over, set the clock if that is wrong"
    );
    Err(CertificateError::new(&path, reason))
}

/// For the tunnel: the same certificate, and no certificate is asked of the other end. It has to
/// show its own to QUIC inside the tunnel.
pub(super) fn tunnel(folder: &Path) -> Result<ServerConfig, CertificateError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        // A proxy that inspects TLS may support only 1.2.
        .with_safe_default_protocol_versions()
        .map_err(|error| CertificateError::new(folder, error))?
        .with_no_client_auth()
        .with_single_cert(own_chain(folder)?, key(&folder.join("key.pem"))?)
        .map_err(|error| CertificateError::new(folder, error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// The site and the serial number of a certificate; `None` where it does not name one site.
pub(super) fn shown(certificate: &[u8]) -> Option<Shown> {
    Some(Shown {
        site: site_name(certificate)?,
        serial: identity(certificate)?.serial,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::{Request, issue};
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn a_clock_outside_the_certificates_days_is_named_with_both() {
        let folder = tempfile::tempdir().unwrap();
        let (out, coordinator_names) = (folder.path().to_path_buf(), vec!["localhost".to_string()]);
        issue(&Request {
            out,
            coordinator_names,
            sites: Vec::new(),
            days: 30,
        })
        .unwrap();
        let own = folder.path().join("coordinator");
        let now = SystemTime::now();
        check_clock(&own, now).unwrap();
        let days = |days: u64| Duration::from_secs(days * 86_400);
        for wrong in [now - days(3), now + days(31), UNIX_EPOCH] {
            let words = check_clock(&own, wrong).unwrap_err().to_string();
            let here = httpdate::fmt_http_date(wrong);
            assert!(
                words.contains("certificate.pem: it is valid from") && words.contains(&here),
                "{words}"
            );
        }
    }
}
