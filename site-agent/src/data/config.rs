//! The `[data]` table of a site's file: which files are which sequence, and what in the label is lesion.

use super::pattern::{Pattern, fits, is_wildcard};
use super::{CaseError, DataError, Files};
use protocol::federation::Input;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Where a site's images are: one archive, `[data]`, or several, `[[data]]` each with a name.
#[derive(Clone, Debug, PartialEq)]
pub struct Archives(Vec<DataConfig>);

/// One archive's checked `[data]` table.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Text")]
pub struct DataConfig {
    name: Option<String>,
    root: PathBuf,
    cases: Vec<String>,
    sequences: BTreeMap<String, Vec<Pattern>>,
    label: Vec<Pattern>,
    lesion_labels: Vec<u16>,
    brain: Vec<Pattern>,
    drop: Vec<String>,
}

/// A key of `[data]` that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("data.{key} = {found}: expected {expected}")]
pub struct ConfigError {
    /// The key below `data`.
    pub key: String,
    /// What stands there.
    pub found: String,
    /// What would work.
    pub expected: &'static str,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
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
    #[serde(default)]
    drop: Names,
}

/// One text or several.
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

    fn patterns(self, key: &str) -> Result<Vec<Pattern>, ConfigError> {
        self.several().iter().map(|text| Pattern::parse(key, text)).collect()
    }
}

impl TryFrom<Text> for DataConfig {
    type Error = ConfigError;

    fn try_from(text: Text) -> Result<Self, ConfigError> {
        let wrong = |key: &str, found: String, expected| ConfigError { key: key.into(), found, expected };
        let root = expand(&text.root, |name| std::env::var(name).ok())?;
        let sequences = text.sequences.into_iter().map(|(name, patterns)| {
            let key = format!("sequences.{name}");
            match patterns.patterns(&key)? {
                empty if empty.is_empty() => Err(wrong(&key, "[]".into(), "a path pattern")),
                patterns => Ok((name, patterns)),
            }
        });
        let sequences: BTreeMap<_, _> = sequences.collect::<Result<_, _>>()?;
        if sequences.is_empty() {
            return Err(wrong("sequences", "{}".into(), "one sequence at least"));
        }
        let label = text.label.patterns("label")?;
        if label.is_empty() != text.lesion_labels.is_empty() || text.lesion_labels.contains(&0) {
            let found = format!("{:?}", text.lesion_labels);
            let expected = "the label's values that are lesion, never 0, exactly when label is set";
            return Err(wrong("lesion_labels", found, expected));
        }
        Ok(Self {
            name: text.name,
            root: root.into(),
            cases: text.cases.several(),
            sequences,
            label,
            lesion_labels: text.lesion_labels,
            brain: text.brain.patterns("brain")?,
            drop: text.drop.several(),
        })
    }
}

/// Puts environment variables into `${NAME}`.
fn expand(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<String, ConfigError> {
    let wrong = |expected| ConfigError { key: "root".into(), found: format!("{text:?}"), expected };
    let mut parts = text.split("${");
    let mut expanded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once('}').ok_or_else(|| wrong("a } after every ${"))?;
        let value = variable(name).filter(|value| !value.is_empty());
        expanded += &value.ok_or_else(|| wrong("environment variables that are set"))?;
        expanded += rest;
    }
    if expanded.is_empty() { Err(wrong("a folder")) } else { Ok(expanded) }
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

/// By hand, because an untagged enum would forget which key of which archive is wrong.
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
        let names: BTreeSet<&Option<String>> = archives.iter().map(|archive| &archive.name).collect();
        if archives.is_empty() || names.len() < archives.len() || names.contains(&None) {
            return Err(serde::de::Error::custom("each of several [[data]] needs a name of its own"));
        }
        Ok(Archives(archives))
    }
}

impl Archives {
    /// The names of the sequences that at least one archive holds.
    #[must_use]
    pub fn sequences(&self) -> Vec<String> {
        self.0.iter().flat_map(DataConfig::sequences).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The archives, in the order of the file.
    pub(super) fn iter(&self) -> impl Iterator<Item = &DataConfig> {
        self.0.iter()
    }
}

impl DataConfig {
    /// The archive's name; `None` for the only one of its site.
    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The names of all sequences that have a path, dropped ones too.
    pub(super) fn names(&self) -> Vec<String> {
        self.sequences.keys().cloned().collect()
    }

    /// The names of the sequences that the site holds: those with a path that are not dropped.
    #[must_use]
    pub fn sequences(&self) -> Vec<String> {
        self.sequences.keys().filter(|name| !self.drop.contains(name)).cloned().collect()
    }

    /// The label's values that are lesion; empty without a label.
    #[must_use]
    pub fn lesion_labels(&self) -> &[u16] {
        &self.lesion_labels
    }

    /// Every case's name and its files, or why it cannot be used, by name.
    pub(super) fn find(&self, input: &Input) -> Result<BTreeMap<String, Result<Files, CaseError>>, DataError> {
        self.check_names(input)?;
        let held = |name: &&String| !self.drop.contains(name);
        if !self.sequences.keys().any(|name| held(&name)) {
            return Err(DataError::NoSequence);
        }
        std::fs::read_dir(&self.root).map_err(|error| DataError::Root { root: self.root.clone(), error })?;
        let mut names = BTreeSet::new();
        for pattern in self.sequences.iter().filter(|(name, _)| held(name)).flat_map(|(_, patterns)| patterns) {
            pattern.discover(&self.root, &mut names);
        }
        if !self.cases.is_empty() {
            names.retain(|name| self.cases.iter().any(|wanted| fits(wanted, name)));
            names.extend(self.cases.iter().filter(|wanted| !is_wildcard(wanted)).cloned());
        }
        if names.is_empty() {
            return Err(DataError::NoCases { root: self.root.clone() });
        }
        Ok(names.into_iter().map(|name| (self.files(&name, input), name)).map(|(files, name)| (name, files)).collect())
    }

    fn check_names(&self, input: &Input) -> Result<(), DataError> {
        let in_sequences = self.sequences.keys().map(|name| ("sequences", name));
        let unknown = in_sequences.chain(self.drop.iter().map(|name| ("drop", name)));
        match unknown.into_iter().find(|(_, name)| !input.sequences.contains(name)) {
            Some((key, name)) => {
                Err(DataError::UnknownSequence { key, name: name.clone(), known: input.sequences.clone() })
            }
            None => Ok(()),
        }
    }

    /// The files of one case: the first alias that exists.
    fn files(&self, case: &str, input: &Input) -> Result<Files, CaseError> {
        let first = |patterns: &[Pattern]| {
            patterns.iter().map(|pattern| pattern.file(&self.root, case)).find(|path| path.is_file())
        };
        let held = |name: &String| self.sequences.get(name).filter(|_| !self.drop.contains(name));
        let needed = |what: &'static str, patterns: &[Pattern]| match first(patterns) {
            None if !patterns.is_empty() => Err(CaseError::Missing(what)),
            file => Ok(file),
        };
        let sequences: Vec<_> = input.sequences.iter().map(|name| held(name).and_then(|p| first(p))).collect();
        if sequences.iter().all(Option::is_none) {
            return Err(CaseError::Missing("sequence"));
        }
        Ok(Files { sequences, label: needed("label", &self.label)?, brain: needed("brain mask", &self.brain)? })
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
        for missing in ["[sequences]\nflair = '{case}.nii'\n", "root = 'data'\n", "root = 'data'\n[sequences]\n"] {
            assert!(toml::from_str::<DataConfig>(missing).is_err(), "{missing}");
        }
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        for (addition, key) in [
            ("label = '{case}_seg.nii'", "lesion_labels"),
            ("lesion_labels = [4]", "lesion_labels"),
            ("label = '{case}_seg.nii'\nlesion_labels = [0]", "lesion_labels"),
            ("label = 'seg.nii'\nlesion_labels = [4]", "data.label"),
            ("brain = '*'", "data.brain"),
            ("lesion_label = [4]", "lesion_label"),
            ("roots = 'elsewhere'", "roots"),
        ] {
            let error = toml::from_str::<DataConfig>(&format!("{addition}\n{LEAST}")).unwrap_err().to_string();
            assert!(error.contains(key), "{addition}: {error}");
        }
        let error = toml::from_str::<DataConfig>(&LEAST.replace("{case}.nii", "x.nii")).unwrap_err().to_string();
        assert!(error.contains("sequences.flair"), "{error}");
    }

    #[test]
    fn several_archives_have_names_and_a_wrong_key_is_still_named() {
        #[derive(Debug, Deserialize)]
        struct File {
            data: Archives,
        }
        let archive = |name: &str, case: &str| {
            format!("[[data]]\n{name}\nroot = '{case}'\n[data.sequences]\n{case} = '{{case}}.nii'\n")
        };
        let read = |text: &str| toml::from_str::<File>(text).map(|file| file.data).map_err(|error| error.to_string());
        let both = read(&[archive("name = 'a'", "t1"), archive("name = 'b'", "flair")].concat()).unwrap();
        assert_eq!(both.sequences(), ["flair", "t1"]);
        assert_eq!(both.iter().map(DataConfig::name).collect::<Vec<_>>(), [Some("a"), Some("b")]);
        assert!(read(&archive("", "t1")).unwrap_err().contains("name of its own"));
        assert!(read(&[archive("name = 'a'", "t1"), archive("name = 'a'", "t1")].concat()).is_err());
        assert!(read(&archive("names = 'a'", "t1")).unwrap_err().contains("names"));
        let one = read(&format!("[data]\n{}", LEAST.replace("[sequences]", "[data.sequences]"))).unwrap();
        assert_eq!(one.sequences(), ["flair"]);
    }

    #[test]
    fn environment_variables_stand_in_the_root() {
        let variable = |name: &str| (name == "DATA").then(|| "/srv".to_owned());
        assert_eq!(expand("${DATA}/x", variable).unwrap(), "/srv/x");
        assert_eq!(expand("plain", variable).unwrap(), "plain");
        for broken in ["${OTHER}/x", "${DATA/x", ""] {
            assert_eq!(expand(broken, variable).unwrap_err().key, "root", "{broken}");
        }
    }
}
