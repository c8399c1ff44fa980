//! The token of an invitation, as the coordinator prints it and a hospital pastes it.
//!
//! ```text
//! lacuna1 base32(content, checksum)
//! content: hash of the authority's key (32 bytes), invitation (8), secret (16),
//!          port of the fallback (2, big-endian; 0 for none), address of the coordinator (the rest)
//! checksum: the first 4 bytes of the content's BLAKE3 hash
//! ```

use super::base32;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What every token begins with: the 1 is its version, and no letter of base 32.
const PREFIX: &str = "lacuna1";
/// What tokens of every version begin with.
const ANY_VERSION: &str = "lacuna";
const CHECKSUM: usize = 4;
/// The longest address: a DNS name has at most 253 characters.
const LONGEST_ADDRESS: usize = 260;

/// Which invitation is meant. Not a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InvitationId(pub [u8; 8]);

/// The BLAKE3 hash of an authority's public key (SubjectPublicKeyInfo in DER).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyHash(pub [u8; 32]);

/// What only the coordinator and the invited hospital know. Never shown in a log.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Secret([u8; 16]);

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// `host:port` over UDP.
    pub coordinator: String,
    /// The port of the TLS fallback at the same host; `None` where the coordinator has none.
    pub fallback: Option<u16>,
    /// The authority that must have signed the coordinator's certificate.
    pub authority: KeyHash,
    pub invitation: InvitationId,
    pub secret: Secret,
}

/// Why a text is not a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("it does not begin with {PREFIX}")]
    Beginning,
    #[error("it is of another version of Lacuna")]
    Version,
    #[error("a token has no {0:?}")]
    Character(char),
    #[error("a character is wrong or missing: its checksum does not fit")]
    Checksum,
    /// The checksum fits, so it was made so.
    #[error("the coordinator's address in it is none")]
    Address,
}

impl KeyHash {
    /// The hash of a SubjectPublicKeyInfo in DER.
    #[must_use]
    pub fn of(public_key_info: &[u8]) -> Self {
        Self(*blake3::hash(public_key_info).as_bytes())
    }
}

impl Secret {
    #[must_use]
    pub fn new(random: [u8; 16]) -> Self {
        Self(random)
    }

    /// What is stored of it. Nothing that was stored lets anyone join.
    pub(super) fn hash(&self) -> blake3::Hash {
        blake3::Hash::from_bytes(blake3::derive_key(
            "lacuna 2026 stored hash of an invitation's secret",
            &self.0,
        ))
    }

    /// The key of the hash that binds it to a TLS session.
    pub(super) fn binding_key(&self) -> [u8; 32] {
        blake3::derive_key(
            "lacuna 2026 binding of an invitation's secret to a session",
            &self.0,
        )
    }
}

impl PartialEq for Secret {
    /// In constant time.
    fn eq(&self, other: &Self) -> bool {
        self.hash() == other.hash()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret")
    }
}

impl Token {
    /// The token on one line.
    #[must_use]
    pub fn text(&self) -> String {
        let mut content = Vec::new();
        content.extend(self.authority.0);
        content.extend(self.invitation.0);
        content.extend(self.secret.0);
        content.extend(self.fallback.unwrap_or(0).to_be_bytes());
        content.extend(self.coordinator.as_bytes());
        content.extend(checksum(&content));
        format!("{PREFIX}{}", base32::encode(&content))
    }

    /// Reads a token. White space and the case of letters do not matter.
    ///
    /// # Errors
    /// The text is not exactly a token.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let mut plain = String::new();
        for character in text.chars() {
            if !character.is_whitespace() {
                plain.push(character.to_ascii_lowercase());
            }
        }
        let Some(letters) = plain.strip_prefix(PREFIX) else {
            return Err(match plain.strip_prefix(ANY_VERSION) {
                Some(rest) if rest.starts_with(|first: char| first.is_ascii_digit()) => {
                    TokenError::Version
                }
                _ => TokenError::Beginning,
            });
        };
        let bytes = base32::decode(letters).map_err(TokenError::Character)?;
        let Some((content, sum)) = bytes.split_last_chunk::<CHECKSUM>() else {
            return Err(TokenError::Checksum);
        };
        if *sum != checksum(content) || base32::encode(&bytes) != letters {
            return Err(TokenError::Checksum);
        }
        Self::of_content(content)
    }

    fn of_content(content: &[u8]) -> Result<Self, TokenError> {
        let (authority, rest) = content.split_first_chunk().ok_or(TokenError::Checksum)?;
        let (invitation, rest) = rest.split_first_chunk().ok_or(TokenError::Checksum)?;
        let (secret, rest) = rest.split_first_chunk().ok_or(TokenError::Checksum)?;
        let (fallback, address) = rest.split_first_chunk().ok_or(TokenError::Checksum)?;
        let fallback = match u16::from_be_bytes(*fallback) {
            0 => None,
            port => Some(port),
        };
        let coordinator = match std::str::from_utf8(address) {
            Ok(address) if is_address(address) => address.to_owned(),
            _ => return Err(TokenError::Address),
        };
        Ok(Self {
            coordinator,
            fallback,
            authority: KeyHash(*authority),
            invitation: InvitationId(*invitation),
            secret: Secret(*secret),
        })
    }

    /// `host:port` of the TLS fallback, where the token names one.
    #[must_use]
    pub fn fallback_address(&self) -> Option<String> {
        let port = self.fallback?;
        let (host, _) = self.coordinator.rsplit_once(':')?;
        Some(format!("{host}:{port}"))
    }
}

/// Whether a text is `host:port`, without anything that a settings file would have to escape.
#[must_use]
pub fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let is_allowed = |letter: char| letter.is_ascii_alphanumeric() || "-.:[]_".contains(letter);
    let has_port = port.parse::<u16>().is_ok_and(|port| port > 0);
    text.len() <= LONGEST_ADDRESS && !host.is_empty() && host.chars().all(is_allowed) && has_port
}

fn checksum(content: &[u8]) -> [u8; CHECKSUM] {
    let hash = blake3::hash(content);
    let mut sum = [0; CHECKSUM];
    sum.copy_from_slice(&hash.as_bytes()[..CHECKSUM]);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn token() -> Token {
        Token {
            coordinator: "lacuna.example.org:4433".into(),
            fallback: Some(443),
            authority: KeyHash([7; 32]),
            invitation: InvitationId([1, 2, 3, 4, 5, 6, 7, 8]),
            secret: Secret([9; 16]),
        }
    }

    /// A token that was printed once must be read by every later release.
    const GOLDEN: &str = concat!(
        "lacuna1a4dqobyha4dqobyha4dqobyha4dqobyha4dqobyha4dqobyha4dqcaqdaqcqmbyibeeqsci",
        "jbeeqscijbeeqscijbea3w3dbmn2w4yjomv4gc3lqnrss433sm45dinbtgmzfdjqd"
    );

    #[test]
    fn a_token_is_spelt_as_it_always_was() {
        assert_eq!(token().text(), GOLDEN);
        assert_eq!(Token::parse(GOLDEN), Ok(token()));
        let wrapped = format!(" {}\n {}\n", &GOLDEN[..60].to_uppercase(), &GOLDEN[60..]);
        assert_eq!(Token::parse(&wrapped), Ok(token()));
        assert_eq!(
            token().fallback_address().as_deref(),
            Some("lacuna.example.org:443")
        );
        assert!(
            !format!("{:?}", token()).contains('9'),
            "a log shows the secret"
        );
    }

    #[test]
    fn what_is_no_token_is_told_why() {
        let version = GOLDEN.replace("lacuna1", "lacuna2");
        for (text, error) in [
            ("", TokenError::Beginning),
            ("lacunae", TokenError::Beginning),
            (&version, TokenError::Version),
            ("lacuna1", TokenError::Checksum),
            (&GOLDEN[..GOLDEN.len() - 1], TokenError::Checksum),
            ("lacuna1ab!", TokenError::Character('!')),
        ] {
            assert_eq!(Token::parse(text), Err(error), "{text}");
        }
        for address in [
            "",
            "host",
            ":1",
            "host:0",
            "host:66000",
            "a b:1",
            "host\":1",
            "höst:1",
        ] {
            let wrong = Token {
                coordinator: address.into(),
                ..token()
            };
            assert_eq!(
                Token::parse(&wrong.text()),
                Err(TokenError::Address),
                "{address}"
            );
        }
    }

    proptest! {
        #[test]
        fn every_token_comes_back(
            authority in any::<[u8; 32]>(),
            invitation in any::<[u8; 8]>(),
            secret in any::<[u8; 16]>(),
            fallback in prop::option::of(1u16..),
            coordinator in "[a-z0-9.-]{1,60}:[1-9][0-9]{0,3}",
        ) {
            let token = Token {
                coordinator,
                fallback,
                authority: KeyHash(authority),
                invitation: InvitationId(invitation),
                secret: Secret(secret),
            };
            prop_assert_eq!(Token::parse(&token.text()), Ok(token));
        }

        #[test]
        fn a_token_with_one_wrong_letter_is_refused(
            at in PREFIX.len()..GOLDEN.len(),
            letter in "[a-z2-7]",
        ) {
            let mut text = GOLDEN.to_owned();
            text.replace_range(at..=at, &letter);
            prop_assume!(text != GOLDEN);
            prop_assert_eq!(Token::parse(&text), Err(TokenError::Checksum));
        }

        #[test]
        fn no_text_makes_the_reader_fail(text in "(lacuna[0-9])?.{0,200}") {
            let _ = Token::parse(&text);
        }
    }
}
