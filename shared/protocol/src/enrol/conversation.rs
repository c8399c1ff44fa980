//! The conversation: one request of the site, one answer of the coordinator, each a frame of the
//! codec on the only stream of a connection of its own.
//!
//! The site knows the coordinator by the hash of its authority's key, which the token holds, before
//! it says anything. The coordinator knows the site by the token's secret or, when a certificate is
//! renewed, by the certificate that it shows.

use super::token::{InvitationId, Secret};
use crate::case::Role;
use crate::codec::{CodecError, Frame};
use crate::identity::is_valid_name;
use serde::{Deserialize, Serialize};

/// The TLS application protocol of the conversation.
pub const ALPN: &[u8] = b"lacuna-enrol/1";
/// The label of the keying material that both ends export from the TLS session (RFC 5705).
pub const EXPORTER: &[u8] = b"EXPORTER-lacuna-enrol/1";
/// The longest certificate, in bytes.
const LONGEST_CERTIFICATE: usize = 4096;

/// A public key on the curve P-256, as an uncompressed point. Nothing else of a request goes into a
/// certificate: no name, no purpose and no right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub struct PublicKey(Vec<u8>);

/// Bytes that are not an uncompressed point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a public key is 65 bytes and begins with 4")]
pub struct BadPublicKey;

impl TryFrom<Vec<u8>> for PublicKey {
    type Error = BadPublicKey;

    fn try_from(bytes: Vec<u8>) -> Result<Self, BadPublicKey> {
        if bytes.len() == 65 && bytes[0] == 4 {
            Ok(Self(bytes))
        } else {
            Err(BadPublicKey)
        }
    }
}

impl From<PublicKey> for Vec<u8> {
    fn from(key: PublicKey) -> Self {
        key.0
    }
}

impl PublicKey {
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What a site asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EnrolRequest {
    /// A first certificate, for the holder of a token.
    Join {
        invitation: InvitationId,
        secret: Secret,
        /// [`binding`] of this session.
        binding: [u8; 32],
        public_key: PublicKey,
    },
    /// A new certificate, for the site whose certificate this connection shows.
    Renew { public_key: PublicKey },
}

/// What the coordinator says to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EnrolAnswer {
    Granted(Grant),
    /// One line.
    Refused {
        reason: String,
    },
}

/// A site's certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub site: String,
    /// What the site was invited to do; `None` where its certificate came without an invitation.
    pub role: Option<Role>,
    /// X.509 in DER.
    pub certificate: Vec<u8>,
}

/// Binds a secret to a TLS session and to a public key: a request that was copied is of no use in
/// another session or for another key. `exported` is the session's keying material under
/// [`EXPORTER`], with an empty context.
#[must_use]
pub fn binding(secret: &Secret, exported: &[u8; 32], public_key: &PublicKey) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_keyed(&secret.binding_key());
    hasher.update(exported);
    hasher.update(public_key.bytes());
    *hasher.finalize().as_bytes()
}

impl Frame for EnrolRequest {
    const NAME: &'static str = "request for a certificate";

    fn check(&self) -> Result<(), CodecError> {
        Ok(())
    }
}

impl Frame for EnrolAnswer {
    const NAME: &'static str = "answer about a certificate";

    fn check(&self) -> Result<(), CodecError> {
        let fault = |field, reason| CodecError::Meaningless {
            what: Self::NAME,
            field,
            reason,
        };
        match self {
            Self::Refused { reason } if *reason != crate::codec::sentence(reason) => {
                Err(fault("reason", "not one line"))
            }
            Self::Granted(grant) if !is_valid_name(&grant.site) => {
                Err(fault("site", "not a name that a site can have"))
            }
            Self::Granted(grant)
                if !(1..=LONGEST_CERTIFICATE).contains(&grant.certificate.len()) =>
            {
                Err(fault("certificate", "empty or too long"))
            }
            Self::Refused { .. } | Self::Granted(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{PREFIX, decode, encode};
    use proptest::prelude::*;

    fn key(first: u8) -> PublicKey {
        let mut bytes = vec![first; 65];
        bytes[0] = 4;
        PublicKey::try_from(bytes).unwrap()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn join() -> EnrolRequest {
        let secret = Secret::new([9; 16]);
        EnrolRequest::Join {
            invitation: InvitationId([1; 8]),
            secret,
            binding: binding(&secret, &[3; 32], &key(2)),
            public_key: key(2),
        }
    }

    fn granted() -> EnrolAnswer {
        EnrolAnswer::Granted(Grant {
            site: "north".into(),
            role: Some(Role::Evaluate),
            certificate: vec![0x30, 0x82],
        })
    }

    /// A frame's bytes may only change together with the protocol's name.
    #[test]
    fn requests_and_answers_are_spelt_as_they_always_were() {
        let point = format!("4104{}", "02".repeat(64));
        let binding = "e1a488629eb082147f92e68fb6c5fee27c876077929baa7531a05445b5b51dc9";
        let join_text = format!("00{}{}{binding}{point}", "01".repeat(8), "09".repeat(16));
        let spelt = |frame: Vec<u8>| hex(&frame[PREFIX..]);
        assert_eq!(spelt(encode(&join()).unwrap()), join_text);
        let renew = EnrolRequest::Renew { public_key: key(2) };
        assert_eq!(spelt(encode(&renew).unwrap()), format!("01{point}"));
        assert_eq!(
            spelt(encode(&granted()).unwrap()),
            "00056e6f7274680101023082"
        );
        let refused = EnrolAnswer::Refused {
            reason: "no".into(),
        };
        assert_eq!(spelt(encode(&refused).unwrap()), "01026e6f");
    }

    #[test]
    fn what_means_nothing_does_not_travel() {
        for (site, certificate) in [("", 1), ("a b", 1), ("north", 0), ("north", 4097)] {
            let answer = EnrolAnswer::Granted(Grant {
                site: site.into(),
                role: None,
                certificate: vec![0; certificate],
            });
            assert!(encode(&answer).is_err(), "{site} {certificate}");
        }
        let reason = "two\nlines".into();
        assert!(encode(&EnrolAnswer::Refused { reason }).is_err());
        for bytes in [vec![], vec![4; 64], vec![4; 66], vec![2; 65]] {
            assert_eq!(PublicKey::try_from(bytes), Err(BadPublicKey));
        }
    }

    proptest! {
        #[test]
        fn a_binding_fits_one_secret_one_session_and_one_key(
            secret in any::<[u8; 16]>(), other in any::<[u8; 16]>(),
            session in any::<[u8; 32]>(), elsewhere in any::<[u8; 32]>(),
        ) {
            prop_assume!(secret != other && session != elsewhere);
            let bound = binding(&Secret::new(secret), &session, &key(1));
            prop_assert_ne!(bound, binding(&Secret::new(other), &session, &key(1)));
            prop_assert_ne!(bound, binding(&Secret::new(secret), &elsewhere, &key(1)));
            prop_assert_ne!(bound, binding(&Secret::new(secret), &session, &key(2)));
        }

        #[test]
        fn damaged_frames_are_refused_or_say_something_else(at in 0usize..200, flip in 1u8..) {
            let payload = encode(&join()).unwrap().split_off(PREFIX);
            let mut damaged = payload.clone();
            let at = at % damaged.len();
            damaged[at] ^= flip;
            if let Ok(read) = decode::<EnrolRequest>(&damaged) {
                prop_assert_ne!(read, join());
            }
            prop_assert!(decode::<EnrolRequest>(&payload[..at]).is_err());
        }
    }
}
