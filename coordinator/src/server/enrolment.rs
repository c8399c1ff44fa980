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
use rates::{AddressRates, Rates};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Instant;
use transport::certificates::CertificateError;

/// What the server knows about members.
#[derive(Debug)]
pub(super) struct Enrolment {
    file: MembersFile,
    /// The authority of the coordinator's own certificate.
    authority: KeyHash,
    /// The sites that may connect; empty for every site.
    expected: Vec<SiteName>,
    known: RwLock<Known>,
    /// Requests of those who show no certificate.
    strangers: Mutex<AddressRates>,
    /// Requests of sites: those of one hospital may come from the address of another.
    sites: Mutex<Rates<SiteName>>,
    /// Why the record could not be read, as it was said last.
    said: Mutex<Option<String>>,
    in_use: Mutex<InUse>,
}

/// The certificates that sites have shown since this program was started.
#[derive(Debug, Default)]
struct InUse {
    serials: BTreeSet<String>,
    /// Sites of which it was said that their key may have been copied.
    suspected: BTreeSet<SiteName>,
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
    pub(super) fn open(
        certificates: &Path,
        expected: Vec<SiteName>,
    ) -> Result<Self, CertificateError> {
        let file = MembersFile::of_coordinator(certificates);
        let broken = |error: MembersError| CertificateError::new(file.folder(), error);
        let bytes = file.bytes().map_err(broken)?;
        let members = file.parse(bytes.as_deref()).map_err(broken)?;
        Ok(Self {
            authority: members::authority_of(certificates)?,
            known: RwLock::new(Known { bytes, members }),
            expected,
            strangers: Mutex::default(),
            sites: Mutex::default(),
            said: Mutex::default(),
            in_use: Mutex::default(),
            file,
        })
    }

    /// Reads the record again. Where it cannot be read, what was known stays, and it is said once.
    pub(super) fn refresh(&self) {
        let problem = self.read_again();
        if !self.is_news(problem.as_ref()) {
            return;
        }
        match problem {
            Some(problem) => tracing::error!(
                "revocations and invitations are not noticed until this is mended: {problem}"
            ),
            None => tracing::info!("the record of members is read again"),
        }
    }

    /// Whether a problem with the record, or its end, was not said before.
    fn is_news(&self, problem: Option<&String>) -> bool {
        let mut said = lock(&self.said);
        if said.as_ref() == problem {
            return false;
        }
        *said = problem.cloned();
        true
    }

    /// Reads the record, if it has changed. Says why it could not be read.
    fn read_again(&self) -> Option<String> {
        let bytes = match self.file.bytes() {
            Ok(bytes) if bytes == self.known().bytes => return None,
            Ok(None) => {
                let path = self.file.path();
                return Some(format!("{} is gone: put it back", path.display()));
            }
            Ok(bytes) => bytes,
            Err(error) => return Some(error.to_string()),
        };
        match self.file.parse(bytes.as_deref()) {
            Ok(members) => {
                // As in `known`.
                let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
                *known = Known { bytes, members };
                None
            }
            Err(error) => Some(error.to_string()),
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

    /// Why a site may not connect, whatever its certificate.
    pub(super) fn unexpected(&self, site: &SiteName) -> Option<String> {
        if self.expected.is_empty() || self.expected.contains(site) {
            return None;
        }
        Some(format!("{site} is not one of this federation's sites"))
    }

    /// Notes that a site has shown a certificate. Says so if only a copied key explains it: a site
    /// that has received a new certificate never shows the one before again, so of those that were
    /// made from one certificate only one can be in use.
    pub(super) fn note_use(&self, shown: &Shown) {
        let known = self.known();
        let mut in_use = lock(&self.in_use);
        in_use.serials.insert(shown.serial.clone());
        let rivals = known.members.rivals(shown.site.as_str(), &shown.serial);
        let is_suspect = rivals.iter().any(|serial| in_use.serials.contains(*serial));
        if is_suspect && in_use.suspected.insert(shown.site.clone()) {
            tracing::error!(
                "two keys of {site} are in use that were made from the same one: it may have been \
                 copied. Unless its folder was put back from a backup, `coordinator revoke {site}` \
                 and invite it again",
                site = shown.site
            );
        }
    }

    /// Whether it was said of a site that its key may have been copied.
    #[cfg(test)]
    fn suspects(&self, site: &str) -> bool {
        let in_use = lock(&self.in_use);
        in_use.suspected.iter().any(|suspected| *suspected == *site)
    }

    /// What a site was invited to do.
    pub(super) fn role(&self, site: &str) -> Option<Role> {
        self.known().members.role(site)
    }

    /// Answers a request. Reads and writes files.
    pub(super) fn answer(&self, asked: &Asked<'_>) -> EnrolAnswer {
        let is_allowed = match &asked.shown {
            Some(shown) => lock(&self.sites).allow(shown.site.clone(), Instant::now()),
            None => lock(&self.strangers).allow(asked.from, Instant::now()),
        };
        if !is_allowed {
            let whose = match &asked.shown {
                Some(_) => "this site",
                None => "this address",
            };
            return refused(&format!(
                "too many requests came from {whose}: try again in a minute"
            ));
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
                if let Some(reason) = self.unexpected(&shown.site) {
                    return refused(&reason);
                }
                self.note_use(shown);
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic cannot have left half a change: every one is a single step, or only a count.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn refused(reason: &str) -> EnrolAnswer {
    EnrolAnswer::Refused {
        reason: sentence(reason),
    }
}
