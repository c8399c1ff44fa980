//! Who may get a certificate, and whose certificate is accepted: the record of members as this
//! server knows it, which commands may change at any moment.

mod rates;
#[cfg(test)]
mod tests;

use crate::members::{self, Decision, MembersError, MembersFile};
use program::Class;
use program::Explain;
use protocol::case::Role;
use protocol::codec::sentence;
use protocol::enrol::{EnrolAnswer, EnrolRequest, Grant, Joining, KeyHash, Members};
use protocol::identity::SiteName;
use rates::Rates;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::Instant;
use transport::certificates::CertificateError;

/// What the server knows about members.
#[derive(Debug)]
pub(super) struct Enrolment {
    file: MembersFile,
    /// The authority of the coordinator's own certificate.
    authority: KeyHash,
    known: RwLock<Known>,
    rates: Mutex<Rates>,
}

/// The record as it was read last.
#[derive(Debug)]
struct Known {
    bytes: Option<Vec<u8>>,
    members: Members,
}

/// A request for a certificate, with all that is known about who asks.
pub(super) struct Asked<'a> {
    pub(super) request: &'a EnrolRequest,
    /// The session's keying material.
    pub(super) exported: [u8; 32],
    /// Whose certificate the connection shows.
    pub(super) shown: Option<Shown>,
    pub(super) from: IpAddr,
}

/// The certificate that a connection shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) site: SiteName,
    pub(super) serial: String,
}

impl Enrolment {
    /// Reads the record of the authority that made the coordinator's certificates.
    ///
    /// # Errors
    /// The record or the authority's certificate cannot be read.
    pub(super) fn open(certificates: &Path) -> Result<Self, CertificateError> {
        let file = MembersFile::of_coordinator(certificates);
        let broken = |error: MembersError| CertificateError::new(file.folder(), error);
        let bytes = file.bytes().map_err(broken)?;
        let members = file.parse(bytes.as_deref()).map_err(broken)?;
        Ok(Self {
            authority: members::authority_of(certificates)?,
            known: RwLock::new(Known { bytes, members }),
            rates: Mutex::default(),
            file,
        })
    }

    /// Reads the record again. Where it cannot be read, what was known stays.
    pub(super) fn refresh(&self) {
        let bytes = match self.file.bytes() {
            Ok(bytes) if bytes == self.known().bytes => return,
            Ok(None) => return tracing::error!("the record of members is gone: put it back"),
            Ok(bytes) => bytes,
            Err(error) => return tracing::error!(%error, "the record of members was not read"),
        };
        match self.file.parse(bytes.as_deref()) {
            Ok(members) => {
                // As in `known`.
                let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
                *known = Known { bytes, members };
            }
            Err(error) => tracing::error!(%error, "the record of members was not read"),
        }
    }

    /// Whether a connection without a certificate may ask for one.
    pub(super) fn is_open(&self) -> bool {
        self.known().members.is_open(members::now())
    }

    /// Why a certificate of the authority is not accepted.
    pub(super) fn refusal(&self, shown: &Shown) -> Option<String> {
        let checked = self
            .known()
            .members
            .check(shown.site.as_str(), &shown.serial);
        checked.err().map(|refusal| refusal.to_string())
    }

    /// What a site was invited to do.
    pub(super) fn role(&self, site: &str) -> Option<Role> {
        self.known().members.role(site)
    }

    /// Answers a request. Reads and writes files.
    pub(super) fn answer(&self, asked: &Asked<'_>) -> EnrolAnswer {
        let is_allowed = {
            // A panic cannot have left the counts half changed: every change is a single step.
            let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
            rates.allow(asked.from, Instant::now())
        };
        if !is_allowed {
            return refused("too many requests came from this address: try again in a minute");
        }
        let now = members::now();
        let signed = match (asked.request, &asked.shown) {
            (
                EnrolRequest::Join {
                    invitation,
                    secret,
                    binding,
                    public_key,
                },
                _,
            ) => {
                let joining = Joining {
                    invitation: *invitation,
                    secret,
                    binding: *binding,
                    public_key,
                    exported: &asked.exported,
                };
                self.file.join(&joining, now, self.authority)
            }
            (EnrolRequest::Renew { public_key }, Some(shown)) => {
                let (site, serial) = (shown.site.as_str(), &shown.serial);
                self.file
                    .renew(site, serial, public_key, now, self.authority)
            }
            (EnrolRequest::Renew { .. }, None) => {
                return refused("no certificate was shown that could be renewed");
            }
        };
        // A connection with the new certificate may come before the record is looked at again.
        self.refresh();
        match signed {
            Ok(Decision::Signed(signed)) => EnrolAnswer::Granted(Grant {
                site: signed.site.name,
                role: signed.site.role,
                certificate: signed.certificate,
            }),
            Ok(Decision::Refused(reason)) => refused(&reason),
            Err(error) => {
                let hint = error.hint().unwrap_or_default();
                tracing::error!(%error, %hint, "no certificate could be signed");
                refused(match error.class() {
                    Class::Configuration => {
                        "the coordinator cannot sign certificates: its log says why"
                    }
                    _ => "the coordinator has a fault: its log says which",
                })
            }
        }
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        // A panic cannot have left the record half changed: it is replaced in a single step.
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refused(reason: &str) -> EnrolAnswer {
    EnrolAnswer::Refused {
        reason: sentence(reason),
    }
}
