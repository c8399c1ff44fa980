//! Base 32 with small letters and without padding (RFC 4648): a double click selects all of it, and
//! it survives a mail program that changes the case of letters.

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// Bits in a letter.
const BITS: u32 = 5;

pub(super) fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    let mut waiting = 0u32;
    let mut count = 0;
    for byte in bytes {
        waiting = (waiting << 8) | u32::from(*byte);
        count += 8;
        while count >= BITS {
            count -= BITS;
            text.push(letter(waiting >> count));
        }
    }
    if count > 0 {
        text.push(letter(waiting << (BITS - count)));
    }
    text
}

/// The bytes, or the first character that is no letter of base 32. Bits that are left over are
/// ignored; the checksum of a token covers what was meant.
pub(super) fn decode(text: &str) -> Result<Vec<u8>, char> {
    let mut bytes = Vec::new();
    let mut waiting = 0u32;
    let mut count = 0;
    for character in text.chars() {
        waiting = (waiting << BITS) | value(character).ok_or(character)?;
        count += BITS;
        if count >= 8 {
            count -= 8;
            bytes.push(((waiting >> count) & 0xff) as u8);
        }
    }
    Ok(bytes)
}

fn letter(bits: u32) -> char {
    char::from(ALPHABET[(bits & 31) as usize])
}

fn value(character: char) -> Option<u32> {
    match character {
        'a'..='z' => Some(u32::from(character) - u32::from('a')),
        '2'..='7' => Some(u32::from(character) - u32::from('2') + 26),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The test vectors of RFC 4648, section 10, in small letters and without padding.
    #[test]
    fn letters_are_those_of_the_standard() {
        for (bytes, text) in [
            ("", ""),
            ("f", "my"),
            ("fo", "mzxq"),
            ("foo", "mzxw6"),
            ("foob", "mzxw6yq"),
            ("fooba", "mzxw6ytb"),
            ("foobar", "mzxw6ytboi"),
        ] {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode(text), Ok(bytes.as_bytes().to_vec()));
        }
        assert_eq!(decode("mz1"), Err('1'));
    }

    proptest! {
        #[test]
        fn all_bytes_come_back(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(decode(&encode(&bytes)), Ok(bytes));
        }
    }
}
