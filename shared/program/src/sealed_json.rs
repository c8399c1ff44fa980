//! JSON files with a checksum (BLAKE3) of their content, so that a damaged file is noticed.
//!
//! ```text
//! {"blake3":"HEX","snapshot":CONTENT}
//! {"settings":"LABEL","blake3":"HEX","finished":"CONTENT"}
//! ```

/// How a kind of file is laid out.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// The key of a label before the checksum, which says what the content belongs to. The checksum
    /// does not cover it.
    pub label: Option<&'static str>,
    /// The key of the content.
    pub content: &'static str,
    pub form: Form,
}

/// How the content is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As a JSON value.
    Value,
    /// As a JSON string that contains JSON.
    Text,
}

/// A file that was read, with the right checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Empty in a layout without a label.
    pub label: String,
    pub content: Vec<u8>,
}

/// Why a file is not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    #[error("it does not begin as it should")]
    Beginning,
    #[error("it is cut off")]
    CutOff,
    #[error("its checksum does not fit its content")]
    Checksum,
}

/// Hexadecimal digits of a checksum.
const DIGITS: usize = 64;

/// The checksum that files contain, in hexadecimal.
#[must_use]
pub fn checksum(content: &[u8]) -> String {
    blake3::hash(content).to_hex().to_string()
}

impl Layout {
    /// The file with this content, which must be JSON. The label is left out in a layout without
    /// one; it must need no escapes in JSON.
    #[must_use]
    pub fn seal(&self, label: &str, content: &str) -> String {
        let sum = checksum(content.as_bytes());
        let before = self.before_label();
        let after = self.after_label();
        let written = match self.form {
            Form::Value => content.to_owned(),
            Form::Text => serde_json::Value::from(content).to_string(),
        };
        let label = match self.label {
            Some(_) => label,
            None => "",
        };
        format!("{before}{label}{after}{sum}{}{written}}}", self.after_sum())
    }

    /// Reads what [`Layout::seal`] wrote.
    ///
    /// # Errors
    /// The bytes are damaged.
    pub fn open(&self, file: &[u8]) -> Result<Opened, Damage> {
        let rest = file
            .strip_prefix(self.before_label().as_bytes())
            .ok_or(Damage::Beginning)?;
        let mut length = 0;
        if self.label.is_some() {
            length = rest
                .iter()
                .position(|byte| *byte == b'"')
                .ok_or(Damage::CutOff)?;
        }
        let (label, rest) = rest.split_at(length);
        let rest = rest
            .strip_prefix(self.after_label().as_bytes())
            .ok_or(Damage::Beginning)?;
        let (sum, rest) = rest.split_at_checked(DIGITS).ok_or(Damage::CutOff)?;
        let written = rest
            .strip_prefix(self.after_sum().as_bytes())
            .and_then(|rest| rest.strip_suffix(b"}"))
            .ok_or(Damage::Checksum)?;
        let content = match self.form {
            Form::Value => written.to_vec(),
            Form::Text => match serde_json::from_slice::<String>(written) {
                Ok(text) => text.into_bytes(),
                Err(_) => return Err(Damage::Checksum),
            },
        };
        if checksum(&content).as_bytes() != sum {
            return Err(Damage::Checksum);
        }
        Ok(Opened {
            label: String::from_utf8_lossy(label).into_owned(),
            content,
        })
    }

    fn before_label(&self) -> String {
        match self.label {
            Some(key) => format!("{{\"{key}\":\""),
            None => "{".into(),
        }
    }

    fn after_label(&self) -> &'static str {
        match self.label {
            Some(_) => "\",\"blake3\":\"",
            None => "\"blake3\":\"",
        }
    }

    fn after_sum(&self) -> String {
        format!("\",\"{}\":", self.content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: Layout = Layout {
        label: None,
        content: "snapshot",
        form: Form::Value,
    };
    const TEXT: Layout = Layout {
        label: Some("settings"),
        content: "finished",
        form: Form::Text,
    };
    const CONTENT: &str = r#"{"round":3,"site":"north \"n\"","loss":0.25}"#;
    /// As files have been since the first release.
    const GOLDEN_VALUE: &str = include_str!("../tests/golden/sealed_value.json");
    const GOLDEN_TEXT: &str = include_str!("../tests/golden/sealed_text.json");

    #[test]
    fn files_are_byte_for_byte_as_they_always_were() {
        assert_eq!(VALUE.seal("", CONTENT), GOLDEN_VALUE);
        assert_eq!(TEXT.seal("abc123", CONTENT), GOLDEN_TEXT);
    }

    #[test]
    fn a_file_is_read_back_and_never_when_its_content_is_damaged() {
        for (layout, golden, label) in [(VALUE, GOLDEN_VALUE, ""), (TEXT, GOLDEN_TEXT, "abc123")] {
            let whole = Opened {
                label: label.into(),
                content: CONTENT.into(),
            };
            assert_eq!(layout.open(golden.as_bytes()).as_ref(), Ok(&whole));
            for at in 0..golden.len() {
                let mut damaged = golden.as_bytes().to_vec();
                damaged[at] ^= 1;
                if let Ok(opened) = layout.open(&damaged) {
                    // Only the label is not covered.
                    assert_eq!(opened.content, whole.content, "byte {at}");
                    assert_ne!(opened.label, whole.label, "byte {at}");
                }
                assert!(
                    layout.open(&golden.as_bytes()[..at]).is_err(),
                    "cut at {at}"
                );
            }
        }
    }
}
