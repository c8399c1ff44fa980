//! The coordinator's TLS: version 1.3 only, both sides by certificates of the federation's own
//! authority.

use protocol::identity::SiteName;
use protocol::message::ALPN;
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;
use transport::certificates::{CertificateError, Validity, authority, chain, key, validity};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Reads `ca.pem`, `certificate.pem` and `key.pem` of a folder that `coordinator init` wrote.
pub(super) fn configuration(folder: &Path) -> Result<ServerConfig, CertificateError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let roots = Arc::new(authority(&folder.join("ca.pem"))?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
        .build()
        .map_err(|error| CertificateError::new(folder, error))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| CertificateError::new(folder, error))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            chain(&folder.join("certificate.pem"))?,
            key(&folder.join("key.pem"))?,
        )
        .map_err(|error| CertificateError::new(folder, error))?;
    config.alpn_protocols = vec![ALPN.to_vec()];
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
        "it is valid from {from} until {until}, and it is {now} by this machine's clock: renew the certificate if its time is \
         over, set the clock if that is wrong"
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
        .with_single_cert(
            chain(&folder.join("certificate.pem"))?,
            key(&folder.join("key.pem"))?,
        )
        .map_err(|error| CertificateError::new(folder, error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// The site that a verified certificate was made for: its only DNS name, or its common name if it
/// has none. `None` when it has several names, or one that is not valid for a site.
pub(super) fn site_name(certificate: &[u8]) -> Option<SiteName> {
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
