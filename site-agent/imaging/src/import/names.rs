//! Names that no one can trace back without the salt.

/// Bytes of a salt.
pub(super) const SALT: usize = 32;

/// Makes names from identifiers and a salt: the same ones each time, and others with another salt.
#[derive(Clone)]
pub(super) struct Names {
    salt: [u8; SALT],
}

impl std::fmt::Debug for Names {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Names")
    }
}

impl Names {
    pub(super) fn new(salt: [u8; SALT]) -> Self {
        Self { salt }
    }

    /// The name of a patient, such as `p3f9a1c07b24e`. A case's name adds `_` and its number.
    pub(super) fn patient(&self, id: &str) -> String {
        format!("p{}", self.short("patient", id, 12))
    }

    /// The name of a series, such as `s8c1f02aa93`.
    pub(super) fn series(&self, uid: &str) -> String {
        format!("s{}", self.short("series", uid, 10))
    }

    /// By which a study is known again.
    pub(super) fn study(&self, uid: &str) -> String {
        self.short("study", uid, 32)
    }

    /// By which a series' images are known again.
    pub(super) fn content(&self, hash: &blake3::Hash) -> String {
        self.short("content", &hash.to_hex(), 32)
    }

    fn short(&self, purpose: &str, text: &str, letters: usize) -> String {
        let mut hash = blake3::Hasher::new_keyed(&self.salt);
        hash.update(purpose.as_bytes());
        hash.update(&[0]);
        hash.update(text.as_bytes());
        hash.finalize().to_hex().chars().take(letters).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_follows_from_the_salt_and_the_identifier_alone() {
        let names = Names::new([7; SALT]);
        assert_eq!(names.patient("17"), Names::new([7; SALT]).patient("17"));
        assert_ne!(names.patient("17"), Names::new([8; SALT]).patient("17"));
        assert_ne!(names.patient("17"), names.patient("18"));
        assert_ne!(names.patient("17")[1..11], names.series("17")[1..]);
        assert_eq!(
            (names.patient("17").len(), names.series("17").len()),
            (13, 11)
        );
    }
}
