//! The hashes in a model file: of its weights, and of everything before them.
//!
//! `weights_blake3` is the model's [`ParametersId`]. `header_blake3` is the BLAKE3 of the header's
//! own text with these 64 digits as zeros, so the card, the tensors' names and the first hash are
//! covered too.

use super::ModelFileError;
use crate::parameters::ParametersId;
use std::collections::HashMap;
use std::ops::Range;

/// The entry for the weights.
pub(super) const WEIGHTS: &str = "weights_blake3";
/// The entry for the header.
const HEADER: &str = "header_blake3";
/// The digits of a hash.
const DIGITS: usize = 64;

/// The two entries, the second one still empty, as they are among a header's metadata.
pub(super) fn blank(weights: ParametersId) -> String {
    format!(
        r#""{WEIGHTS}":"{}","{HEADER}":"{}""#,
        weights.hex(),
        "0".repeat(DIGITS)
    )
}

/// Fills in the header's hash.
pub(super) fn fill(header: &mut String) {
    if let Some(place) = place(header.as_bytes()) {
        let hash = blake3::hash(header.as_bytes()).to_hex();
        header.replace_range(place, &hash);
    }
}

/// Where the header's hash is. The card is a string in the same text, where quotes bear a
/// backslash.
fn place(header: &[u8]) -> Option<Range<usize>> {
    let key = format!(r#""{HEADER}":""#);
    let start = header
        .windows(key.len())
        .position(|window| window == key.as_bytes())?
        + key.len();
    (start + DIGITS <= header.len()).then_some(start..start + DIGITS)
}

/// The hash of the weights that a file announces, its header being as it was written; `None` for a
/// file that never had one. A file that has a part of what belongs together is damaged.
pub(super) fn announced(
    header: &[u8],
    entries: Option<&HashMap<String, String>>,
    expected: bool,
) -> Result<Option<String>, ModelFileError> {
    let entry = |key: &str| entries.and_then(|entries| entries.get(key));
    let (weights, seal) = (entry(WEIGHTS), entry(HEADER));
    if !expected && weights.is_none() && seal.is_none() {
        return Ok(None);
    }
    let (Some(weights), Some(seal), Some(place)) = (weights, seal, place(header)) else {
        return Err(ModelFileError::Header);
    };
    let mut blank = header.to_vec();
    blank[place].fill(b'0');
    if blake3::hash(&blank).to_hex().as_str() == seal {
        Ok(Some(weights.clone()))
    } else {
        Err(ModelFileError::Header)
    }
}
