//! From a settings file's bytes to its text. Editors save in several encodings, and TOML is UTF-8.

/// Why bytes are not a text that can be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Two or four bytes a letter.
    #[error("the file is in {0}, which some editors call Unicode: save it as UTF-8")]
    Wide(&'static str),
    /// One byte a letter, and letters beyond ASCII among them.
    #[error(
        "the byte {byte:#04x} in line {line}, column {column} is not UTF-8: the file seems to be \
         in Latin-1 or Windows-1252 (ANSI); save it as UTF-8"
    )]
    Narrow {
        /// The line, from 1.
        line: usize,
        /// The letter in the line, from 1.
        column: usize,
        /// The byte.
        byte: u8,
    },
    /// Not a text at all.
    #[error("there is a zero byte in line {line}: this is not a text file")]
    Binary {
        /// The line, from 1.
        line: usize,
    },
}

/// The marks that files in wide encodings begin with; the longer ones first, because a shorter one
/// begins like a longer.
const WIDE: [(&[u8], &str); 4] = [
    (&[0xff, 0xfe, 0, 0], "UTF-32"),
    (&[0, 0, 0xfe, 0xff], "UTF-32"),
    (&[0xff, 0xfe], "UTF-16"),
    (&[0xfe, 0xff], "UTF-16"),
];
/// The mark that some editors put before UTF-8.
const MARK: &str = "\u{feff}";
/// How many bytes are looked at for a wide encoding without a mark.
const LOOK: usize = 64;

/// The text of these bytes, without the mark that it may begin with.
///
/// # Errors
/// [`TextError`] names the encoding that the bytes seem to be in, and what to do.
pub fn decode(bytes: &[u8]) -> Result<&str, TextError> {
    for (mark, name) in WIDE {
        if bytes.starts_with(mark) {
            return Err(TextError::Wide(name));
        }
    }
    if looks_wide(bytes) {
        return Err(TextError::Wide("UTF-16"));
    }
    if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
        return Err(TextError::Binary {
            line: line(&bytes[..at]),
        });
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.strip_prefix(MARK).unwrap_or(text)),
        Err(error) => {
            let (sound, rest) = bytes.split_at(error.valid_up_to());
            let begun = sound
                .rsplit(|byte| *byte == b'\n')
                .next()
                .unwrap_or_default();
            let column = String::from_utf8_lossy(begun).chars().count() + 1;
            Err(TextError::Narrow {
                line: line(sound),
                column,
                byte: rest.first().copied().unwrap_or_default(),
            })
        }
    }
}

/// Whether every second byte at the beginning is zero, as in ASCII letters of two bytes each.
fn looks_wide(bytes: &[u8]) -> bool {
    let pairs = bytes[..bytes.len().min(LOOK)].as_chunks::<2>().0;
    let first_zero = |pair: &[u8; 2]| pair[0] == 0 && pair[1] != 0;
    let second_zero = |pair: &[u8; 2]| pair[0] != 0 && pair[1] == 0;
    !pairs.is_empty() && (pairs.iter().all(first_zero) || pairs.iter().all(second_zero))
}

fn line(before: &[u8]) -> usize {
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

/// Adds to what TOML's reader says about a line what a Windows path may be missing.
#[must_use]
pub fn explain(error: &toml::de::Error, text: &str) -> String {
    let line = error.span().and_then(|span| {
        let start = text.get(..span.start)?.rfind('\n').map_or(0, |at| at + 1);
        text.get(start..)?.lines().next()
    });
    if line.is_some_and(|line| line.contains('\\')) {
        let hint = "a backslash in double quotes begins an escape: write a Windows path in \
                    single quotes, or with /";
        return format!("{}\n{hint}", error.to_string().trim_end());
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "name = 'Köln'\n[input]\n";

    fn wide(text: &str, spell: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(spell).collect()
    }

    #[test]
    fn utf_8_is_read_with_and_without_its_mark() {
        assert_eq!(decode(TEXT.as_bytes()), Ok(TEXT));
        assert_eq!(decode(format!("{MARK}{TEXT}").as_bytes()), Ok(TEXT));
        assert_eq!(decode(b""), Ok(""));
        assert_eq!(decode(MARK.as_bytes()), Ok(""));
    }

    #[test]
    fn wide_encodings_are_named_with_and_without_their_mark() {
        for mark in [MARK, ""] {
            let text = format!("{mark}name = 'north'\n");
            for bytes in [wide(&text, u16::to_le_bytes), wide(&text, u16::to_be_bytes)] {
                assert_eq!(decode(&bytes), Err(TextError::Wide("UTF-16")));
            }
        }
        let utf_32: Vec<u8> = format!("{MARK}a")
            .chars()
            .flat_map(|letter| u32::from(letter).to_le_bytes())
            .collect();
        assert_eq!(decode(&utf_32), Err(TextError::Wide("UTF-32")));
        assert!(
            decode(&utf_32)
                .unwrap_err()
                .to_string()
                .contains("save it as UTF-8")
        );
    }

    #[test]
    fn latin_1_is_named_with_the_place_of_its_first_letter() {
        let bytes: Vec<u8> = format!("# one\n{TEXT}")
            .chars()
            .map(|letter| u8::try_from(letter).unwrap())
            .collect();
        let error = decode(&bytes).unwrap_err();
        assert_eq!(
            error,
            TextError::Narrow {
                line: 2,
                column: 10,
                byte: 0xf6
            }
        );
        assert!(
            error.to_string().contains("0xf6 in line 2, column 10")
                && error.to_string().contains("Latin-1")
        );
        // Columns count letters, not bytes.
        assert_eq!(
            decode(b"\xc3\xb6\xf6"),
            Err(TextError::Narrow {
                line: 1,
                column: 2,
                byte: 0xf6
            })
        );
    }

    #[test]
    fn what_is_no_text_is_named_as_such() {
        assert_eq!(
            decode(b"name = 'x'\n\0\0"),
            Err(TextError::Binary { line: 2 })
        );
        assert_eq!(decode(&[0; 8]), Err(TextError::Binary { line: 1 }));
    }

    #[test]
    fn a_windows_path_in_double_quotes_is_explained() {
        let said = |text: &str| explain(&toml::from_str::<toml::Table>(text).unwrap_err(), text);
        for path in [
            "a = 1\nroot = \"C:\\data\\mets\"\n",
            "root = \"C:\\users\\x\"\n",
            "root = \"\\\\server\\share\"\n",
        ] {
            assert!(
                said(path).contains("single quotes"),
                "{path}: {}",
                said(path)
            );
        }
        assert!(!said("root = \"C:/data\nb = 'x\\y'\n").contains("single quotes"));
    }
}
