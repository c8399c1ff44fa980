//! The names of sites, and the versions of models.

use serde::{Deserialize, Serialize, Serializer};
use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Which names are valid, in words. The text ends a sentence that begins with "expected".
pub const VALID_NAME: &str = "1 to 64 letters, digits, '-', '_' and '.', not beginning with '.'";

/// Names of federations, sites and sequences that are safe in a file name, a certificate and a log:
/// ASCII letters, digits, `-`, `_` and `.`, 64 at most.
#[must_use]
pub fn is_valid_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && !name.starts_with('.') && name.chars().all(is_allowed)
}

fn is_allowed(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.')
}

/// A text that cannot be the name of a site.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} cannot be the name of a site; expected {VALID_NAME}")]
pub struct InvalidSiteName {
    pub found: String,
}

/// The name of a site: its identity in a federation. It is checked once, where it is read from a
/// certificate, a settings file or a message, and written as a plain text. Clones share the text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct SiteName(Arc<str>);

impl SiteName {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SiteName {
    type Err = InvalidSiteName;

    fn from_str(name: &str) -> Result<Self, InvalidSiteName> {
        if is_valid_name(name) {
            Ok(Self(name.into()))
        } else {
            Err(InvalidSiteName { found: name.into() })
        }
    }
}

impl TryFrom<String> for SiteName {
    type Error = InvalidSiteName;

    fn try_from(name: String) -> Result<Self, InvalidSiteName> {
        name.parse()
    }
}

impl Serialize for SiteName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl fmt::Display for SiteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Maps and sets of sites can be searched for a text. Order and hash are those of the text.
impl Borrow<str> for SiteName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for SiteName {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other
    }
}

impl PartialEq<&str> for SiteName {
    fn eq(&self, other: &&str) -> bool {
        *self.0 == **other
    }
}

/// One model of a run, in the order in which they are made: round `r` makes version `r`, and the
/// initial model is version 0.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Version(pub u32);

impl Version {
    /// The model that every run of a federation starts from.
    pub const INITIAL: Self = Self(0);

    #[must_use]
    pub fn is_initial(self) -> bool {
        self == Self::INITIAL
    }

    /// The version that is made of trainings from this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// How many versions after `base` this one was made; 0 where it was not made after it.
    #[must_use]
    pub fn since(self, base: Self) -> u32 {
        self.0.saturating_sub(base.0)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::collections::BTreeMap;

    pub(crate) fn site_name(name: &str) -> SiteName {
        name.parse().unwrap()
    }

    #[test]
    fn a_site_name_is_written_as_its_text_and_checked_when_it_is_read() {
        let north = site_name("north-1.example_A");
        let text = "\"north-1.example_A\"";
        assert_eq!(serde_json::to_string(&north).unwrap(), text);
        assert_eq!(serde_json::from_str::<SiteName>(text).unwrap(), north);
        for invalid in ["", ".hidden", "n/rth", "a b", "höhe", &"x".repeat(65)] {
            let error = invalid.parse::<SiteName>().unwrap_err();
            assert!(
                error
                    .to_string()
                    .starts_with(&format!("{invalid:?} cannot"))
            );
            let text = serde_json::to_string(invalid).unwrap();
            assert!(serde_json::from_str::<SiteName>(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_version_is_written_as_a_number_also_as_the_key_of_a_map() {
        let models = BTreeMap::from([(Version(3), Version(4))]);
        let text = serde_json::to_string(&models).unwrap();
        assert_eq!(text, r#"{"3":4}"#);
        let read: BTreeMap<Version, Version> = serde_json::from_str(&text).unwrap();
        assert_eq!(read, models);
    }
}
