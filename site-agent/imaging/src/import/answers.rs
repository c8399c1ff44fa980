//! What people said of series that the rules left in doubt, kept in the folder of the images.

use super::error::ImportError;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// The word for a series that is none of the sequences.
const NONE: &str = "no";

const HEAD: &str = "\
# What the series are that the rules left in doubt: a sequence, or \"no\". import.json has the series' names.
# `site-agent import` reads this file and adds what is answered on a terminal. A line wins over the rules.
[series]
";

/// Answers by the names of series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// The sequence; `None` for none of them.
    series: BTreeMap<String, Option<String>>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(default)]
    series: BTreeMap<String, String>,
}

impl Answers {
    /// Reads a folder's answers; none where there is no file.
    ///
    /// # Errors
    /// The file cannot be read, or says something else.
    pub fn read(folder: &Path) -> Result<Self, ImportError> {
        let path = file(folder);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(ImportError::disk(&path)(error)),
        };
        let table: Table = toml::from_str(&text).map_err(|error| ImportError::Answers {
            path,
            what: error.to_string(),
        })?;
        let mut answers = Self::default();
        for (series, answer) in table.series {
            answers.set(&series, Some(answer).filter(|answer| answer != NONE));
        }
        Ok(answers)
    }

    /// Adds or replaces an answer.
    pub fn set(&mut self, series: &str, sequence: Option<String>) {
        self.series.insert(series.to_owned(), sequence);
    }

    /// What a series is by an answer; `Some(None)` for none of the sequences.
    pub(super) fn of(&self, series: &str) -> Option<Option<&str>> {
        self.series.get(series).map(Option::as_deref)
    }

    /// Sequences that answers name.
    pub(super) fn sequences(&self) -> impl Iterator<Item = &String> {
        self.series.values().flatten()
    }

    /// # Errors
    /// The disk refuses.
    pub fn write(&self, folder: &Path) -> Result<(), ImportError> {
        let path = file(folder);
        let mut text = HEAD.to_owned();
        for (series, answer) in &self.series {
            let answer = answer.as_deref().unwrap_or(NONE);
            // Strings of any kind can be keys and values.
            text += &format!("{series:?} = {answer:?}\n");
        }
        program::files::replace(&path, |file| file.write_all(text.as_bytes()))
            .map_err(ImportError::disk(&path))
    }
}

fn file(folder: &Path) -> PathBuf {
    folder.join("answers.toml")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_back_and_nonsense_is_named() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Answers::read(folder.path()).unwrap(), Answers::default());
        let mut answers = Answers::default();
        answers.set("s1", Some("t1_post".into()));
        answers.set("s2", None);
        answers.write(folder.path()).unwrap();
        assert_eq!(Answers::read(folder.path()).unwrap(), answers);
        assert_eq!(answers.of("s1"), Some(Some("t1_post")));
        assert_eq!((answers.of("s2"), answers.of("s3")), (Some(None), None));
        std::fs::write(file(folder.path()), "[serie]\n").unwrap();
        let error = Answers::read(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("answers.toml") && error.contains("serie"),
            "{error}"
        );
    }
}
