//! How a site gets its certificate: the first one with the token of an invitation, later ones with
//! the certificate before. Keys are made here and never leave. See docs/developers/PROTOCOL.md.

mod check;
mod credentials;
#[cfg(test)]
mod tests;

use super::quic::{self, Target, Trust};
use super::{Fallback, LinkConfig, LinkError, Proxies, tls};
use check::NotTaken;
pub(super) use credentials::finish_renewal;
use credentials::{Joining, NewKey};
use program::private;
use protocol::case::Role;
use protocol::enrol::{EnrolAnswer, EnrolRequest, Grant, Token, binding};
use std::path::Path;
use transport::certificates::{CertificateError, authority, chain, key_hash, public_key};

/// The port of HTTPS, where the fallback is unless the token says another.
const HTTPS: u16 = 443;

/// What a site learns when it joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    pub site: String,
    pub role: Option<Role>,
    /// `host:port` of the coordinator's TLS fallback, where the token names one.
    pub fallback: Option<String>,
}

/// Joins with a token: makes a key in the folder `certificates`, gets a certificate for it, and
/// writes both there with the authority's certificate. Repeated with the same token after a broken
/// connection, it uses the same key, for which the token still works. Another key that is in the
/// folder is never used: others may know it.
///
/// # Errors
/// No way to the coordinator, one of another authority, a token that is refused, or a disk that
/// fails.
pub async fn join(token: &Token, certificates: &Path) -> Result<Joined, LinkError> {
    private::create_folder(certificates)
        .map_err(|error| CertificateError::new(certificates, error))?;
    // A renewed pair that waits must not replace what comes now.
    finish_renewal(certificates)?;
    let joining = Joining {
        folder: certificates,
        invitation: token.invitation,
    };
    let key = joining.key()?;
    let (host, _) = token.coordinator.rsplit_once(':').unwrap_or_default();
    let address = match token.fallback_address() {
        Some(address) => address,
        None => format!("{host}:{HTTPS}"),
    };
    let target = Target {
        coordinator: token.coordinator.clone(),
        fallback: Some(Fallback {
            address,
            proxies: Proxies::read(|name| std::env::var(name).ok()),
        }),
        trust: Trust::Authority(token.authority),
    };
    let answered = quic::ask_for_certificate(&target, tls::joining(token.authority)?, |exported| {
        EnrolRequest::Join {
            invitation: token.invitation,
            secret: token.secret,
            binding: binding(&token.secret, &exported, &key.public),
            public_key: key.public.clone(),
        }
    })
    .await
    .map_err(no_invitation)?;
    let grant = granted(answered.answer, &key)?;
    let authority = answered
        .chain
        .into_iter()
        .find(|certificate| key_hash(certificate) == Some(token.authority));
    let Some(authority) = authority else {
        return Err(LinkError::Protocol {
            reason: "it did not show its authority's certificate".into(),
        });
    };
    check::first(&grant.certificate, &authority, &grant.site).map_err(not_taken)?;
    joining.finish(&key, &grant.certificate, &authority)?;
    Ok(Joined {
        site: grant.site,
        role: grant.role,
        fallback: token.fallback_address(),
    })
}

/// Whether a folder holds certificates of the token's authority; `None` where it holds none.
///
/// # Errors
/// The authority's file cannot be read.
pub fn is_of_same_authority(token: &Token, certificates: &Path) -> Result<Option<bool>, LinkError> {
    let path = certificates.join("ca.pem");
    if !path.exists() {
        return Ok(None);
    }
    let authorities = chain(&path)?;
    Ok(Some(
        authorities
            .iter()
            .any(|one| key_hash(one) == Some(token.authority)),
    ))
}

/// Gets a new certificate for a new key, while the one before is still accepted, and puts both in
/// the place of the old ones. Open connections go on with the old one.
///
/// # Errors
/// No way to the coordinator, a refusal, or a disk that fails.
pub async fn renew(config: &LinkConfig) -> Result<(), LinkError> {
    let key = NewKey::make()?;
    let target = Target::of(config);
    let tls = tls::renewing(&config.certificates)?;
    let before = chain(&config.certificates.join("certificate.pem"))?;
    let authority = authority(&config.certificates.join("ca.pem"))?;
    let answered = quic::ask_for_certificate(&target, tls, |_| EnrolRequest::Renew {
        public_key: key.public.clone(),
    })
    .await?;
    let grant = granted(answered.answer, &key)?;
    check::renewed(&grant.certificate, authority, &before).map_err(not_taken)?;
    key.install(&grant.certificate, &config.certificates)?;
    Ok(())
}

fn not_taken(reason: NotTaken) -> LinkError {
    LinkError::NewCertificate {
        reason: reason.to_string(),
    }
}

/// A coordinator without an open invitation wants a certificate of everyone.
fn no_invitation(error: LinkError) -> LinkError {
    match error {
        LinkError::OurCertificate { .. } => LinkError::Refused {
            reason: "no invitation is open there: this token was used before, has expired or was \
                     withdrawn"
                .into(),
        },
        error => error,
    }
}

/// The certificate in an answer, which must be for our key.
fn granted(answer: EnrolAnswer, key: &NewKey) -> Result<Grant, LinkError> {
    match answer {
        EnrolAnswer::Refused { reason } => Err(LinkError::Refused { reason }),
        EnrolAnswer::Granted(grant)
            if public_key(&grant.certificate).as_deref() != Some(key.public.bytes()) =>
        {
            Err(not_taken(NotTaken::Key))
        }
        EnrolAnswer::Granted(grant) => Ok(grant),
    }
}
