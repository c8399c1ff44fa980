//! Names that may be used for federations, sites and sequences.

/// What [`is_valid_name`] accepts, in words.
pub(super) const PLAIN_NAME: &str =
    "1 to 64 letters, digits, '-', '_' and '.', not beginning with '.'";

/// Names that are safe in a file name, a certificate and a log: ASCII letters, digits, `-`, `_` and
/// `.`, 64 at most.
#[must_use]
pub fn is_valid_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && !name.starts_with('.') && name.chars().all(is_allowed)
}

fn is_allowed(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.')
}
