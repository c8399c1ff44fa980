//! Whether a certificate that the coordinator sent is what it should be. A wrong one in the place of
//! a good one would shut the site out, perhaps days later.

use protocol::identity::SiteName;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use std::sync::Arc;
use transport::certificates::{identity, site_name};
use transport::clock;

/// Why a certificate is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotTaken {
    #[error("it is for another key")]
    Key,
    #[error("it is not of this federation's authority, or not for a site now: {0}")]
    Signer(String),
    #[error("it is for {found}, and this site is {expected}")]
    Name { found: String, expected: String },
    #[error("it is not valid for longer than the one before")]
    NoLonger,
}

/// Checks the certificate with which a site joins: of the authority, and for the name that was
/// said.
pub(super) fn first(certificate: &[u8], authority: &[u8], site: &str) -> Result<(), NotTaken> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from(authority.to_vec()))
        .map_err(|error| NotTaken::Signer(error.to_string()))?;
    signed_by(certificate, roots)?;
    named(certificate, site)
}

/// Checks a renewed certificate: of the authority, for the same name, and valid for longer.
pub(super) fn renewed(
    certificate: &[u8],
    authority: RootCertStore,
    before: &[CertificateDer<'_>],
) -> Result<(), NotTaken> {
    signed_by(certificate, authority)?;
    let Some(before) = before.first() else {
        return Ok(());
    };
    let site = site_name(before);
    named(certificate, site.as_ref().map_or("", SiteName::as_str))?;
    let until = |certificate: &[u8]| identity(certificate).map(|found| found.validity.until);
    if until(certificate) <= until(before) {
        return Err(NotTaken::NoLonger);
    }
    Ok(())
}

/// As the coordinator will check it when the site shows it.
fn signed_by(certificate: &[u8], authority: RootCertStore) -> Result<(), NotTaken> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authority), provider)
        .build()
        .map_err(|error| NotTaken::Signer(error.to_string()))?;
    let certificate = CertificateDer::from(certificate);
    match verifier.verify_client_cert(&certificate, &[], UnixTime::now()) {
        Ok(_) => Ok(()),
        Err(error) => Err(NotTaken::Signer(clock::in_words(&error.to_string()))),
    }
}

fn named(certificate: &[u8], expected: &str) -> Result<(), NotTaken> {
    match site_name(certificate) {
        Some(found) if found.as_str() == expected => Ok(()),
        found => Err(NotTaken::Name {
            found: found.map_or("no site".into(), |name| name.to_string()),
            expected: expected.to_owned(),
        }),
    }
}
