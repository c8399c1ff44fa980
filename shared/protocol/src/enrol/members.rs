//! The coordinator's record of invitations and of the sites that have joined by one: who may get a
//! certificate, and whose certificates are no longer accepted. Times are seconds since 1970, UTC.

use super::conversation::{PublicKey, binding};
use super::token::{InvitationId, Secret};
use crate::case::Role;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Wrong secrets or bindings after which an invitation is closed.
pub const MOST_WRONG: u32 = 5;
/// Certificates of one site that are remembered, the newest: a site could renew again and again.
const MOST_CERTIFICATES: usize = 16;
/// Seconds for which an invitation that was used still answers its user, whose first answer may
/// have been lost.
const ANSWERED: u64 = 3600;
/// How long an invitation that is over is remembered, so that its holder is told why.
const REMEMBERED: u64 = 30 * 86_400;

/// An invitation to one site, without the secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invitation {
    pub id: InvitationId,
    pub site: String,
    pub role: Role,
    /// Hexadecimal.
    secret_hash: String,
    pub expires: u64,
    /// Attempts with a wrong secret or binding.
    pub wrong: u32,
    pub used: Option<Use>,
}

/// By whom an invitation was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Use {
    pub at: u64,
    /// Hash of the public key that was certified, in hexadecimal.
    key: String,
}

/// How an invitation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvitationState {
    Open,
    Used,
    Expired,
    /// After [`MOST_WRONG`] wrong attempts.
    Closed,
}

/// A certificate that was signed for a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// Hexadecimal.
    pub serial: String,
    pub until: u64,
    /// The serial number of the certificate that was shown for it; `None` for a first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renews: Option<String>,
}

/// A site that joined by an invitation, or whose certificates are no longer accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// What it was invited to do; `None` for a site that joined without an invitation.
    pub role: Option<Role>,
    /// Those that were signed since the last revocation and have not expired.
    pub certificates: Vec<Certificate>,
    /// When it was last revoked.
    pub revoked: Option<u64>,
}

/// All invitations and members.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Members {
    pub invitations: Vec<Invitation>,
    pub sites: BTreeMap<String, Member>,
}

/// An invitation that is to be made.
#[derive(Clone, Debug)]
pub struct NewInvitation {
    pub id: InvitationId,
    pub secret: Secret,
    pub site: String,
    pub role: Role,
    pub expires: u64,
}

/// A request to join, as it came.
#[derive(Clone, Copy, Debug)]
pub struct Joining<'a> {
    pub invitation: InvitationId,
    pub secret: &'a Secret,
    pub binding: [u8; 32],
    pub public_key: &'a PublicKey,
    /// The coordinator's own keying material of the session.
    pub exported: &'a [u8; 32],
}

/// For whom a certificate may be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    pub name: String,
    pub role: Option<Role>,
}

/// Why a site may not join. Who does not know the secret learns nothing about the invitation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinRefusal {
    #[error("the token is not of an open invitation: it was withdrawn, or replaced by a newer one")]
    Unknown,
    #[error("the token was used before, and it works once")]
    Used,
    #[error("the token has expired")]
    Expired,
    #[error("the invitation was closed after {MOST_WRONG} wrong attempts")]
    Closed,
    /// The request was made for another session or another key.
    #[error("the request does not belong to this connection")]
    Binding,
}

/// Why a member's certificate is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemberRefusal {
    #[error("the certificate of {0} was revoked")]
    Revoked(String),
}

impl Invitation {
    #[must_use]
    pub fn state(&self, now: u64) -> InvitationState {
        if self.used.is_some() {
            InvitationState::Used
        } else if self.wrong >= MOST_WRONG {
            InvitationState::Closed
        } else if self.expires <= now {
            InvitationState::Expired
        } else {
            InvitationState::Open
        }
    }

    /// Whether a request about it may still be answered with a certificate: an open one, or one
    /// that was just used and whose user may not have received the answer.
    fn is_heard(&self, now: u64) -> bool {
        let is_answered = match &self.used {
            Some(used) => now < used.at.saturating_add(ANSWERED),
            None => true,
        };
        is_answered && self.wrong < MOST_WRONG && now < self.expires
    }
}

impl Members {
    /// Adds an invitation. Open ones of the same site are withdrawn.
    pub fn invite(&mut self, new: NewInvitation, now: u64) {
        let NewInvitation {
            id,
            secret,
            site,
            role,
            expires,
        } = new;
        self.withdraw(&site, now);
        self.invitations
            .retain(|invitation| now < invitation.expires.saturating_add(REMEMBERED));
        self.invitations.push(Invitation {
            id,
            site,
            role,
            secret_hash: secret.hash().to_hex().to_string(),
            expires,
            wrong: 0,
            used: None,
        });
    }

    /// Whether any request to join may be answered with a certificate.
    #[must_use]
    pub fn is_open(&self, now: u64) -> bool {
        self.invitations
            .iter()
            .any(|invitation| invitation.is_heard(now))
    }

    /// Judges a request to join. A wrong one is counted. The same key may ask again for an hour,
    /// because the answer to it may have been lost.
    ///
    /// # Errors
    /// Why no certificate may be signed.
    pub fn judge(&mut self, joining: &Joining<'_>, now: u64) -> Result<Site, JoinRefusal> {
        let Some(invitation) = self
            .invitations
            .iter_mut()
            .find(|invitation| invitation.id == joining.invitation)
        else {
            return Err(JoinRefusal::Unknown);
        };
        if !is_hash(&invitation.secret_hash, joining.secret.hash()) {
            // Who does not know the secret is not told either that it is closed.
            invitation.wrong = invitation.wrong.saturating_add(1).min(MOST_WRONG);
            return Err(JoinRefusal::Unknown);
        }
        if invitation.wrong >= MOST_WRONG {
            return Err(JoinRefusal::Closed);
        }
        let expected = binding(joining.secret, joining.exported, joining.public_key);
        if blake3::Hash::from_bytes(expected) != blake3::Hash::from_bytes(joining.binding) {
            invitation.wrong += 1;
            return Err(JoinRefusal::Binding);
        }
        let key = blake3::hash(joining.public_key.bytes())
            .to_hex()
            .to_string();
        match &invitation.used {
            Some(used) if used.key != key => return Err(JoinRefusal::Used),
            Some(_) | None => {}
        }
        if invitation.expires <= now {
            return Err(JoinRefusal::Expired);
        }
        if !invitation.is_heard(now) {
            return Err(JoinRefusal::Used);
        }
        if invitation.used.is_none() {
            invitation.used = Some(Use { at: now, key });
        }
        Ok(Site {
            name: invitation.site.clone(),
            role: Some(invitation.role),
        })
    }

    /// For whom a certificate may be renewed: for any site whose certificate is accepted.
    ///
    /// # Errors
    /// The certificate was revoked.
    pub fn renewal(&self, name: &str, serial: &str) -> Result<Site, MemberRefusal> {
        self.check(name, serial)?;
        Ok(Site {
            name: name.to_owned(),
            role: self.sites.get(name).and_then(|member| member.role),
        })
    }

    /// Notes a certificate that was signed. The one that it renews is kept: the site may not
    /// receive the new one and go on with that.
    pub fn certified(&mut self, site: &Site, certificate: Certificate, now: u64) {
        let shown = certificate.renews.clone();
        let member = self.sites.entry(site.name.clone()).or_default();
        member.role = site.role;
        member.certificates.retain(|earlier| now < earlier.until);
        member.certificates.push(certificate);
        while member.certificates.len() > MOST_CERTIFICATES {
            let is_shown = shown.as_deref() == Some(member.certificates[0].serial.as_str());
            member.certificates.remove(usize::from(is_shown));
        }
    }

    /// Whether a certificate of the authority is accepted: `site` and `serial` are the
    /// certificate's own.
    ///
    /// # Errors
    /// The site was revoked, and did not get this certificate later.
    pub fn check(&self, site: &str, serial: &str) -> Result<(), MemberRefusal> {
        let Some(member) = self.sites.get(site) else {
            return Ok(());
        };
        let is_later = member
            .certificates
            .iter()
            .any(|certificate| certificate.serial == serial);
        if member.revoked.is_some() && !is_later {
            return Err(MemberRefusal::Revoked(site.to_owned()));
        }
        Ok(())
    }

    /// The serial numbers of certificates of a site that cannot be in use together with this one,
    /// unless a key was copied: those that were made from it or, like it, from the same one. A site
    /// that has received a new certificate never shows the one before again.
    #[must_use]
    pub fn rivals(&self, site: &str, serial: &str) -> Vec<&str> {
        let Some(member) = self.sites.get(site) else {
            return Vec::new();
        };
        let mut made_from = None;
        for certificate in &member.certificates {
            if certificate.serial == serial {
                made_from = certificate.renews.as_deref();
            }
        }
        let mut rivals = Vec::new();
        for other in &member.certificates {
            let renews = other.renews.as_deref();
            let is_rival = renews == Some(serial) || (renews.is_some() && renews == made_from);
            if is_rival && other.serial != serial {
                rivals.push(other.serial.as_str());
            }
        }
        rivals
    }

    /// A known name that differs from this one only in the case of letters. Two such sites would
    /// share a folder on some disks.
    #[must_use]
    pub fn alike(&self, name: &str) -> Option<&str> {
        let invited = self.invitations.iter().map(|invitation| &invitation.site);
        let mut known = self.sites.keys().chain(invited);
        let alike = known.find(|&known| known != name && known.eq_ignore_ascii_case(name))?;
        Some(alike)
    }

    /// Until when the newest accepted certificate of a site is valid, if one is valid now.
    #[must_use]
    pub fn valid_until(&self, site: &str, now: u64) -> Option<u64> {
        let member = self.sites.get(site)?;
        let mut newest = None;
        for certificate in &member.certificates {
            if now < certificate.until {
                newest = newest.max(Some(certificate.until));
            }
        }
        newest
    }

    /// What a site was invited to do, if it was invited.
    #[must_use]
    pub fn role(&self, site: &str) -> Option<Role> {
        self.sites.get(site)?.role
    }

    /// Whether a site was revoked and has not joined again since.
    #[must_use]
    pub fn is_revoked(&self, site: &str) -> bool {
        let member = self.sites.get(site);
        member.is_some_and(|member| member.revoked.is_some() && member.certificates.is_empty())
    }

    /// Whether anything is known of a site.
    #[must_use]
    pub fn knows(&self, site: &str) -> bool {
        let is_invited = |invitation: &Invitation| invitation.site == site;
        self.sites.contains_key(site) || self.invitations.iter().any(is_invited)
    }

    /// Accepts no certificate of a site that was signed so far, and withdraws its invitations. A
    /// later invitation lets the site in again.
    pub fn revoke(&mut self, site: &str, now: u64) {
        // A used invitation would still answer the key that used it.
        self.invitations
            .retain(|invitation| invitation.site != site);
        let member = self.sites.entry(site.to_owned()).or_default();
        member.certificates.clear();
        member.revoked = Some(now);
    }

    /// Removes invitations of a site that were not used.
    fn withdraw(&mut self, site: &str, now: u64) {
        self.invitations.retain(|invitation| {
            invitation.site != site || invitation.state(now) != InvitationState::Open
        });
    }
}

/// Compares in constant time.
fn is_hash(stored: &str, hash: blake3::Hash) -> bool {
    blake3::Hash::from_hex(stored).is_ok_and(|stored| stored == hash)
}

#[cfg(test)]
mod tests;
