//! A settings file's bytes as text, and what to say where they are none.

/// Why a file is no text that settings can be read from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Two bytes a letter, as Windows' Notepad and PowerShell may save.
    #[error("the file is saved as UTF-16: save it as UTF-8")]
    Utf16,
    /// Another encoding, Latin-1 or Windows-1252 mostly.
    #[error(
        "line {line} holds the byte 0x{byte:02x}, which is not UTF-8 (Latin-1 or Windows-1252?): save the file as UTF-8"
    )]
    NotUtf8 {
        /// The line, from 1.
        line: usize,
        /// The first byte that is wrong.
        byte: u8,
    },
}

/// Reads a settings file's bytes: UTF-8, with or without a byte order mark.
///
/// # Errors
/// Another encoding, by its name.
pub fn decode(bytes: &[u8]) -> Result<String, TextError> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) || has_zeros(bytes) {
        return Err(TextError::Utf16);
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(error) => {
            let (sound, rest) = bytes.split_at(error.valid_up_to());
            let line = 1 + sound.iter().filter(|&&byte| byte == b'\n').count();
            Err(TextError::NotUtf8 { line, byte: rest.first().copied().unwrap_or_default() })
        }
    }
}

/// Without a mark, text in UTF-16 shows by a zero in every other byte.
fn has_zeros(bytes: &[u8]) -> bool {
    let start = &bytes[..bytes.len().min(64)];
    start.len() >= 4 && start.iter().filter(|&&byte| byte == 0).count() * 3 > start.len()
}

/// Adds to what TOML's reader says about a line what a Windows path may be missing.
#[must_use]
pub fn explain(error: &toml::de::Error, text: &str) -> String {
    let line = error.span().and_then(|span| {
        let start = text.get(..span.start)?.rfind('\n').map_or(0, |at| at + 1);
        text.get(start..)?.lines().next()
    });
    if line.is_some_and(|line| line.contains('\\')) {
        let hint = "a backslash in double quotes begins an escape: write a Windows path in single quotes, or with /";
        return format!("{}\n{hint}", error.to_string().trim_end());
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utf_8_is_read_and_other_encodings_are_named() {
        assert_eq!(decode("a = 'Köln'\n".as_bytes()).unwrap(), "a = 'Köln'\n");
        assert_eq!(decode(b"\xef\xbb\xbfa = 1\r\n").unwrap(), "a = 1\r\n");
        assert_eq!(decode(b"").unwrap(), "");
        let little: Vec<u8> = "a = 'x'\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = "a = 'x'\n".encode_utf16().flat_map(u16::to_be_bytes).collect();
        for utf16 in
            [&[b"\xff\xfe", little.as_slice()].concat(), &[b"\xfe\xff", big.as_slice()].concat(), &little, &big]
        {
            assert_eq!(decode(utf16), Err(TextError::Utf16));
        }
        assert_eq!(decode(b"a = 1\n# K\xf6ln\n"), Err(TextError::NotUtf8 { line: 2, byte: 0xf6 }));
    }

    #[test]
    fn a_windows_path_in_double_quotes_is_explained() {
        let said = |text: &str| explain(&toml::from_str::<toml::Table>(text).unwrap_err(), text);
        for path in
            ["a = 1\nroot = \"C:\\data\\mets\"\n", "root = \"C:\\users\\x\"\n", "root = \"\\\\server\\share\"\n"]
        {
            assert!(said(path).contains("single quotes"), "{path}: {}", said(path));
        }
        assert!(!said("root = \"C:/data\nb = 'x\\y'\n").contains("single quotes"));
    }
}
