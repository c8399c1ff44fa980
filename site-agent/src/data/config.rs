//! The `[data]` table of a site's file: which files are which sequence, and which values of the
//! label are lesion.

use super::DataError;
use super::find::{Found, find};
use super::pattern::CasePattern;
use imaging::brain::{BrainError, Program};
use protocol::settings::Input;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// How long `data.brain_command` may take for one image, if the settings do not say.
const BRAIN_MINUTES: f64 = 30.0;

/// Where a site's images are: one archive, `[data]`, or several, `[[data]]` each with a name.
#[derive(Clone, Debug, PartialEq)]
pub struct Archives(Vec<DataConfig>);

/// One archive's checked `[data]` table.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "DataTable")]
pub struct DataConfig {
    name: Option<String>,
    root: PathBuf,
    cases: Vec<String>,
    sequences: BTreeMap<String, Vec<CasePattern>>,
    label: Vec<CasePattern>,
    lesion_labels: Vec<u16>,
    brain: Vec<CasePattern>,
    brain_program: Option<Program>,
    require_defaced: bool,
    drop: Vec<String>,
}

/// A key of `[data]` whose value is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("data.{key} = {found}: expected {expected}")]
pub struct ConfigError {
    /// The key below `data`.
    pub key: String,
    /// Its value, as in the file.
    pub found: String,
    pub expected: &'static str,
}

fn wrong(key: &str, found: String, expected: &'static str) -> ConfigError {
    ConfigError {
        key: key.into(),
        found,
        expected,
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DataTable {
    name: Option<String>,
    root: String,
    #[serde(default)]
    cases: Names,
    sequences: BTreeMap<String, Names>,
    #[serde(default)]
    label: Names,
    #[serde(default)]
    lesion_labels: Vec<u16>,
    #[serde(default)]
    brain: Names,
    brain_command: Option<Names>,
    brain_command_minutes: Option<f64>,
    #[serde(default)]
    require_defaced: bool,
    #[serde(default)]
    drop: Names,
}

/// A string or a list of strings.
#[derive(Deserialize)]
#[serde(untagged)]
enum Names {
    One(String),
    Several(Vec<String>),
}

impl Default for Names {
    fn default() -> Self {
        Self::Several(Vec::new())
    }
}

impl Names {
    fn several(self) -> Vec<String> {
        match self {
            Self::One(name) => vec![name],
            Self::Several(names) => names,
        }
    }

    fn patterns(self, key: &str) -> Result<Vec<CasePattern>, ConfigError> {
        let mut patterns = Vec::new();
        for text in self.several() {
            match CasePattern::parse(&text) {
                Ok(pattern) => patterns.push(pattern),
                Err(error) => return Err(wrong(key, error.found, error.expected)),
            }
        }
        Ok(patterns)
    }
}

impl TryFrom<DataTable> for DataConfig {
    type Error = ConfigError;

    fn try_from(table: DataTable) -> Result<Self, ConfigError> {
        let root = expand(&table.root, |name| std::env::var(name).ok())?;
        let mut sequences = BTreeMap::new();
        for (name, texts) in table.sequences {
            let key = format!("sequences.{name}");
            let patterns = texts.patterns(&key)?;
            if patterns.is_empty() {
                return Err(wrong(&key, "[]".into(), "a path pattern"));
            }
            sequences.insert(name, patterns);
        }
        if sequences.is_empty() {
            return Err(wrong("sequences", "{}".into(), "at least one sequence"));
        }
        let label = table.label.patterns("label")?;
        if label.is_empty() != table.lesion_labels.is_empty() || table.lesion_labels.contains(&0) {
            let found = format!("{:?}", table.lesion_labels);
            let expected =
                "the values of the label that are lesion, never 0, if and only if label is set";
            return Err(wrong("lesion_labels", found, expected));
        }
        let config = Self {
            name: table.name,
            root: root.into(),
            cases: table.cases.several(),
            sequences,
            label,
            lesion_labels: table.lesion_labels,
            brain: table.brain.patterns("brain")?,
            brain_program: brain_program(table.brain_command, table.brain_command_minutes)?,
            require_defaced: table.require_defaced,
            drop: table.drop.several(),
        };
        config.check()
    }
}

/// The program that makes brain masks: a line with spaces between the words, or a list of words.
fn brain_program(
    command: Option<Names>,
    minutes: Option<f64>,
) -> Result<Option<Program>, ConfigError> {
    let words = match command {
        Some(Names::One(line)) => line.split_whitespace().map(str::to_owned).collect(),
        Some(Names::Several(words)) => words,
        None => {
            let expected = "a time only where data.brain_command is set";
            return match minutes {
                Some(minutes) => Err(wrong(
                    "brain_command_minutes",
                    minutes.to_string(),
                    expected,
                )),
                None => Ok(None),
            };
        }
    };
    let found = format!("{words:?}");
    let minutes = minutes.unwrap_or(BRAIN_MINUTES);
    match Program::new(words, minutes) {
        Ok(program) => Ok(Some(program)),
        Err(BrainError::Minutes(_)) => {
            let expected = "more than 0 and at most 1440 minutes";
            Err(wrong(
                "brain_command_minutes",
                minutes.to_string(),
                expected,
            ))
        }
        Err(_) => {
            let expected = "a program with {in} and {out} among its arguments, as in \
                hd-bet -i {in} -o {out}";
            Err(wrong("brain_command", found, expected))
        }
    }
}

/// Replaces `${NAME}` by environment variables, and a `~` at the start by the user's home folder.
fn expand(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<String, ConfigError> {
    expanded(text, variable).map_err(|expected| wrong("root", format!("{text:?}"), expected))
}

/// As [`expand`]; the error is what was expected.
fn expanded(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<String, &'static str> {
    let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
    if text.contains(char::is_control) {
        return Err("a path; a Windows path is written in single quotes, or with /");
    }
    let text = home(text, variable)?;
    let mut parts = text.split("${");
    let mut expanded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once('}').ok_or("a } after every ${")?;
        expanded += &variable(name).ok_or("environment variables that are set")?;
        expanded += rest;
    }
    if expanded.is_empty() {
        return Err("a folder");
    }
    Ok(expanded)
}

/// Replaces a `~` at the start of a path by the user's home folder; the error is what was expected.
pub(crate) fn home(
    text: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<String, &'static str> {
    let Some(below) = text.strip_prefix('~') else {
        return Ok(text.to_owned());
    };
    if !below.is_empty() && !below.starts_with(['/', '\\']) {
        return Err("~ for your own home folder only, or the full path");
    }
    let home = variable("HOME").or_else(|| variable("USERPROFILE"));
    let home = home.ok_or("the full path: HOME, which ~ means, is not set")?;
    Ok(home + below)
}

impl From<DataConfig> for Archives {
    fn from(only: DataConfig) -> Self {
        Self(vec![only])
    }
}

impl<'de> Deserialize<'de> for Archives {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrSeveral)
    }
}

/// Written by hand because the error of an untagged enum does not name the wrong key.
struct OneOrSeveral;

impl<'de> Visitor<'de> for OneOrSeveral {
    type Value = Archives;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a [data] table, or several [[data]]")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Archives, A::Error> {
        DataConfig::deserialize(MapAccessDeserializer::new(map)).map(Archives::from)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Archives, A::Error> {
        let archives: Vec<DataConfig> = Vec::deserialize(SeqAccessDeserializer::new(seq))?;
        let mut names = BTreeSet::new();
        for archive in &archives {
            names.insert(&archive.name);
        }
        if archives.is_empty() || names.len() < archives.len() || names.contains(&None) {
            return Err(serde::de::Error::custom(
                "each of several [[data]] needs a name of its own",
            ));
        }
        Ok(Archives(archives))
    }
}

impl Archives {
    /// The names of the sequences that at least one archive holds.
    #[must_use]
    pub fn sequences(&self) -> Vec<String> {
        let mut names = BTreeSet::new();
        for archive in &self.0 {
            names.extend(archive.sequences());
        }
        names.into_iter().collect()
    }

    /// The same images, for commands that need no reference.
    #[must_use]
    pub(super) fn without_reference(mut self) -> Self {
        for archive in &mut self.0 {
            archive.label = Vec::new();
            archive.lesion_labels = Vec::new();
        }
        self
    }

    /// The archives, in the order of the file.
    pub(super) fn iter(&self) -> impl Iterator<Item = &DataConfig> {
        self.0.iter()
    }
}

impl DataConfig {
    /// An archive without a reference.
    ///
    /// `cases` are names, which may contain wildcards; empty for all cases.
    pub(crate) fn of_images(
        root: PathBuf,
        cases: Vec<String>,
        sequences: BTreeMap<String, Vec<CasePattern>>,
        brain: Vec<CasePattern>,
    ) -> Self {
        Self {
            name: None,
            root,
            cases,
            sequences,
            label: Vec::new(),
            lesion_labels: Vec::new(),
            brain,
            brain_program: None,
            require_defaced: false,
            drop: Vec::new(),
        }
    }

    /// The archive's name; `None` where the site has one archive only.
    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The names of all sequences that have a path, dropped ones too.
    pub(super) fn names(&self) -> Vec<String> {
        self.sequences.keys().cloned().collect()
    }

    /// The names of the sequences that the site has: those with a path that are not dropped.
    #[must_use]
    pub fn sequences(&self) -> Vec<String> {
        self.sequences
            .keys()
            .filter(|name| !self.drop.contains(name))
            .cloned()
            .collect()
    }

    /// The values of the label that are lesion; empty without a label.
    #[must_use]
    pub fn lesion_labels(&self) -> &[u16] {
        &self.lesion_labels
    }

    /// The folder that all patterns start from.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Names of cases, which may contain wildcards; empty for all cases.
    pub(super) fn cases(&self) -> &[String] {
        &self.cases
    }

    /// The sequences that the site has, each with its name and its patterns.
    pub(super) fn images(&self) -> impl Iterator<Item = (&str, &[CasePattern])> {
        self.sequences
            .iter()
            .filter(|(name, _)| !self.drop.contains(name))
            .map(|(name, patterns)| (name.as_str(), patterns.as_slice()))
    }

    /// The patterns of a sequence; empty if the site does not have it.
    pub(super) fn images_of(&self, sequence: &str) -> &[CasePattern] {
        self.images()
            .find(|(name, _)| *name == sequence)
            .map(|(_, patterns)| patterns)
            .unwrap_or_default()
    }

    /// The patterns of the reference segmentation.
    pub(super) fn label(&self) -> &[CasePattern] {
        &self.label
    }

    /// The patterns of the brain mask.
    pub(super) fn brain(&self) -> &[CasePattern] {
        &self.brain
    }

    /// What makes the brain mask of a case that has no file of one.
    pub(super) fn brain_program(&self) -> Option<&Program> {
        self.brain_program.as_ref()
    }

    /// Whether only images that `site-agent deface` wrote may be used.
    pub(super) fn require_defaced(&self) -> bool {
        self.require_defaced
    }

    /// All patterns, without those of dropped sequences.
    pub(super) fn patterns(&self) -> impl Iterator<Item = &CasePattern> {
        self.images()
            .flat_map(|(_, patterns)| patterns)
            .chain(&self.label)
            .chain(&self.brain)
    }

    /// Whether the patterns contain `{patient}`.
    pub(super) fn names_patients(&self) -> bool {
        self.label
            .iter()
            .chain(self.sequences.values().flatten())
            .any(CasePattern::names_patients)
    }

    /// # Errors
    /// A sequence that the federation does not name, a root that cannot be listed, or no case.
    pub(super) fn find(&self, input: &Input) -> Result<Found, DataError> {
        self.check_names(input)?;
        if self.images().next().is_none() {
            return Err(DataError::NoSequence);
        }
        find(self, input)
    }

    fn check_names(&self, input: &Input) -> Result<(), DataError> {
        let in_sequences = self.sequences.keys().map(|name| ("sequences", name));
        let in_drop = self.drop.iter().map(|name| ("drop", name));
        for (key, name) in in_sequences.chain(in_drop) {
            if !input.sequences.contains(name) {
                return Err(DataError::UnknownSequence {
                    key,
                    name: name.clone(),
                    known: input.sequences.clone(),
                });
            }
        }
        Ok(())
    }

    /// Checks what takes more than one key.
    fn check(self) -> Result<Self, ConfigError> {
        let mut patterns: Vec<(String, &CasePattern)> = Vec::new();
        for (name, of_sequence) in &self.sequences {
            for pattern in of_sequence {
                patterns.push((format!("sequences.{name}"), pattern));
            }
        }
        for pattern in &self.label {
            patterns.push(("label".to_owned(), pattern));
        }
        for pattern in &self.brain {
            patterns.push(("brain".to_owned(), pattern));
        }
        for (place, (key, pattern)) in patterns.iter().enumerate() {
            if patterns[..place].iter().any(|(_, other)| other == pattern) {
                let expected =
                    "a pattern that is used once: one file is one sequence, the label or the mask";
                return Err(wrong(key, format!("\"{pattern}\""), expected));
            }
            if pattern.names_patients() != patterns[0].1.names_patients() {
                let expected = "{patient} in every pattern of an archive, or in none";
                return Err(wrong(key, format!("\"{pattern}\""), expected));
            }
        }
        let parts = if self.names_patients() { 2 } else { 1 };
        for case in &self.cases {
            let names: Vec<&str> = case.split('/').collect();
            let is_path = names.contains(&"") || names.contains(&".") || names.contains(&"..");
            if case.contains('\\') || names.len() > parts || is_path {
                let expected =
                    "the name of a case, PATIENT/CASE where patterns have {patient}; no path";
                return Err(wrong("cases", format!("{case:?}"), expected));
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "root = 'data'\n[sequences]\nflair = '{case}.nii'\n";

    #[test]
    fn the_least_table_is_a_root_and_a_sequence() {
        let config: DataConfig = toml::from_str(LEAST).unwrap();
        assert!(config.lesion_labels().is_empty());
        for missing in [
            "[sequences]\nflair = '{case}.nii'\n",
            "root = 'data'\n",
            "root = 'data'\n[sequences]\n",
        ] {
            assert!(toml::from_str::<DataConfig>(missing).is_err(), "{missing}");
        }
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        for (addition, key) in [
            ("label = '{case}_seg.nii'", "lesion_labels"),
            ("lesion_labels = [4]", "lesion_labels"),
            (
                "label = '{case}_seg.nii'\nlesion_labels = [0]",
                "lesion_labels",
            ),
            ("label = 'seg.nii'\nlesion_labels = [4]", "data.label"),
            ("brain = '*'", "data.brain"),
            ("brain = '{case}.nii'", "data.brain"),
            (
                "label = '{patient}/{case}_seg.nii'\nlesion_labels = [4]",
                "{patient} in every pattern",
            ),
            ("brain_command = 'hd-bet -i {in}'", "data.brain_command"),
            ("brain_command = ['{in}', '{out}']", "data.brain_command"),
            ("brain_command_minutes = 3", "data.brain_command_minutes"),
            (
                "brain_command = 'x {in} {out}'\nbrain_command_minutes = 0",
                "data.brain_command_minutes",
            ),
            ("cases = '../other/x'", "data.cases"),
            ("cases = ['a', '/srv/x']", "data.cases"),
            ("cases = ['a/b']", "data.cases"),
            ("cases = ['..']", "data.cases"),
            ("lesion_label = [4]", "lesion_label"),
            ("roots = 'elsewhere'", "roots"),
        ] {
            let error = toml::from_str::<DataConfig>(&format!("{addition}\n{LEAST}"))
                .unwrap_err()
                .to_string();
            assert!(error.contains(key), "{addition}: {error}");
        }
        let error = toml::from_str::<DataConfig>(&LEAST.replace("{case}.nii", "x.nii"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("sequences.flair"), "{error}");
    }

    #[test]
    fn several_archives_have_names_and_a_wrong_key_is_still_named() {
        #[derive(Debug, Deserialize)]
        struct File {
            data: Archives,
        }
        let archive = |name: &str, case: &str| {
            format!(
                "[[data]]\n{name}\nroot = '{case}'\n[data.sequences]\n{case} = '{{case}}.nii'\n"
            )
        };
        let read = |text: &str| {
            toml::from_str::<File>(text)
                .map(|file| file.data)
                .map_err(|error| error.to_string())
        };
        let both =
            read(&[archive("name = 'a'", "t1"), archive("name = 'b'", "flair")].concat()).unwrap();
        assert_eq!(both.sequences(), ["flair", "t1"]);
        assert_eq!(
            both.iter().map(DataConfig::name).collect::<Vec<_>>(),
            [Some("a"), Some("b")]
        );
        assert!(
            read(&archive("", "t1"))
                .unwrap_err()
                .contains("name of its own")
        );
        assert!(
            read(&[archive("name = 'a'", "t1"), archive("name = 'a'", "t1")].concat()).is_err()
        );
        assert!(
            read(&archive("names = 'a'", "t1"))
                .unwrap_err()
                .contains("names")
        );
        let one = read(&format!(
            "[data]\n{}",
            LEAST.replace("[sequences]", "[data.sequences]")
        ))
        .unwrap();
        assert_eq!(one.sequences(), ["flair"]);
    }

    #[test]
    fn environment_variables_stand_in_the_root() {
        let variable = |name: &str| match name {
            "DATA" => Some("/srv".to_owned()),
            "HOME" => Some("/home/anna".to_owned()),
            _ => None,
        };
        assert_eq!(expand("~", variable).unwrap(), "/home/anna");
        assert_eq!(
            expand("~/mets/${DATA}", variable).unwrap(),
            "/home/anna/mets//srv"
        );
        assert_eq!(expand("/srv/a~b", variable).unwrap(), "/srv/a~b");
        assert!(
            expand("~", |_| None)
                .unwrap_err()
                .to_string()
                .contains("HOME")
        );
        assert_eq!(expand("${DATA}/x", variable).unwrap(), "/srv/x");
        assert_eq!(expand("plain", variable).unwrap(), "plain");
        for broken in ["${OTHER}/x", "${DATA/x", "", "~otto/x", "C:\temp\new"] {
            assert_eq!(
                expand(broken, variable).unwrap_err().key,
                "root",
                "{broken}"
            );
        }
    }
}
