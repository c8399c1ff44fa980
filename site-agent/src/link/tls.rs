//! The site's TLS: version 1.3 only, both sides by certificates of the federation's own authority.

use protocol::message::ALPN;
use rustls::ClientConfig;
use std::path::Path;
use std::sync::Arc;
use transport::certificates::{CertificateError, authority, chain, key};

/// Reads `ca.pem`, `certificate.pem` and `key.pem` of the folder that this site was given.
pub(super) fn configuration(folder: &Path) -> Result<ClientConfig, CertificateError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| CertificateError::new(folder, error))?
        .with_root_certificates(authority(&folder.join("ca.pem"))?)
        .with_client_auth_cert(
            chain(&folder.join("certificate.pem"))?,
            key(&folder.join("key.pem"))?,
        )
        .map_err(|error| CertificateError::new(folder, error))?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // Every connection shows its certificate, and nothing can be replayed.
    config.resumption = rustls::client::Resumption::disabled();
    config.enable_early_data = false;
    Ok(config)
}

/// For the tunnel: a server of the federation's authority, or of any that the system trusts, and
/// nothing of our own shown. Reads files.
pub(super) fn tunnel(folder: &Path) -> Result<ClientConfig, CertificateError> {
    let mut roots = authority(&folder.join("ca.pem"))?;
    // A system without certificates of its own leaves the federation's.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        // A proxy that looks into TLS may know 1.2 only.
        .with_safe_default_protocol_versions()
        .map_err(|error| CertificateError::new(folder, error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
