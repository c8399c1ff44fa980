//! The rules that tell sequences apart: a TOML file that people read and change.

use super::facts::{Facts, Plane};
use super::words;
use program::{Class, Explain};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The rules that the program brings along.
const BUILT_IN: &str = include_str!("../../../../configs/sequences.toml");

/// The form of the file that is read.
const VERSION: u32 = 1;

/// Why a file of rules cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    #[error("{}: {source}", .path.display())]
    Disk {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the rules: {0}")]
    Toml(#[from] toml::de::Error),
    #[error("the rules have version {0}; this program reads version {VERSION}")]
    Version(u32),
    /// A rule that can never hold, or names what cannot be a file.
    #[error("the rules: {rule}: {what}")]
    Rule { rule: String, what: &'static str },
}

impl Explain for RulesError {
    fn class(&self) -> Class {
        match self {
            Self::Disk { .. } => Class::Disk,
            _ => Class::Configuration,
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        Some("configs/sequences.toml is the file that is built in: copy and change it".into())
    }
}

/// Checked rules.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    version: u32,
    pub(super) contrast: ContrastWords,
    #[serde(default)]
    pub(super) exclude: Vec<Exclusion>,
    pub(super) sequence: Vec<SequenceRule>,
}

/// What descriptions say of contrast agent.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ContrastWords {
    pub(super) after: Vec<String>,
    pub(super) before: Vec<String>,
    pub(super) no_agent: Vec<String>,
}

/// What is never used.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Exclusion {
    pub(super) reason: String,
    pub(super) any: Vec<Conditions>,
}

/// What makes a series one of the federation's sequences.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SequenceRule {
    pub(super) before: Option<String>,
    pub(super) after: Option<String>,
    pub(super) whatever: Option<String>,
    pub(super) about: String,
    #[serde(default)]
    pub(super) always: Conditions,
    pub(super) one_of: Vec<Kind>,
}

/// One way in which a sequence is acquired.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kind {
    pub(super) kind: String,
    pub(super) when: Conditions,
    pub(super) doubt: Option<String>,
}

/// Conditions that must hold together; see the file for their meaning.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Conditions {
    tr_ms: Option<[f64; 2]>,
    te_ms: Option<[f64; 2]>,
    ti_ms: Option<[f64; 2]>,
    flip_deg: Option<[f64; 2]>,
    echo_train: Option<[f64; 2]>,
    least_slices: Option<usize>,
    acquisition: Option<String>,
    scanning: Vec<String>,
    not_scanning: Vec<String>,
    variant: Vec<String>,
    image_type: Vec<String>,
    plane: Vec<Plane>,
    inversion: Option<bool>,
    words: Vec<String>,
    modality: Vec<String>,
    body_part: Vec<String>,
    diffusion: Option<bool>,
    angiography: Option<bool>,
}

/// What became of conditions, each with the header's value in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Checked {
    pub(super) hold: Vec<String>,
    pub(super) fail: Vec<String>,
    /// The header does not say.
    pub(super) unknown: Vec<String>,
}

impl Rules {
    /// The rules that the program brings along.
    ///
    /// # Errors
    /// Never; the tests read them.
    pub fn built_in() -> Result<Self, RulesError> {
        Self::parse(BUILT_IN)
    }

    /// # Errors
    /// A file that cannot be read or has rules that cannot work.
    pub fn read(path: &Path) -> Result<Self, RulesError> {
        let disk = |source| RulesError::Disk {
            path: path.into(),
            source,
        };
        let bytes = std::fs::read(path).map_err(disk)?;
        let text = protocol::text::decode(&bytes)
            .map_err(std::io::Error::other)
            .map_err(disk)?;
        Self::parse(text)
    }

    /// # Errors
    /// Rules that cannot work.
    pub fn parse(text: &str) -> Result<Self, RulesError> {
        let mut rules: Self = toml::from_str(text)?;
        if rules.version != VERSION {
            return Err(RulesError::Version(rules.version));
        }
        rules.prepare();
        rules.check()?;
        Ok(rules)
    }

    /// The names of all sequences that a series can be.
    #[must_use]
    pub fn sequences(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for rule in &self.sequence {
            names.extend(rule.names().cloned());
        }
        names
    }

    /// Makes words and codes as they are compared.
    fn prepare(&mut self) {
        let ContrastWords {
            after,
            before,
            no_agent,
        } = &mut self.contrast;
        for list in [after, before, no_agent] {
            plain(list);
        }
        for exclusion in &mut self.exclude {
            exclusion.any.iter_mut().for_each(Conditions::prepare);
        }
        for rule in &mut self.sequence {
            rule.always.prepare();
            for kind in &mut rule.one_of {
                kind.when.prepare();
            }
        }
    }

    fn check(&self) -> Result<(), RulesError> {
        let wrong = |rule: &str, what| {
            Err(RulesError::Rule {
                rule: rule.into(),
                what,
            })
        };
        for exclusion in &self.exclude {
            for conditions in &exclusion.any {
                if conditions.count() == 0 {
                    return wrong(&exclusion.reason, "an entry of `any` without a condition");
                }
                if let Some(what) = conditions.fault() {
                    return wrong(&exclusion.reason, what);
                }
            }
        }
        for rule in &self.sequence {
            if rule.names().next().is_none() {
                return wrong(
                    &rule.about,
                    "names no sequence in before, after or whatever",
                );
            }
            for name in rule.names() {
                let letters =
                    |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
                if name.is_empty() || !name.chars().all(letters) {
                    return wrong(name, "a sequence's name has letters, digits, _ and - only");
                }
            }
            let all = rule.one_of.iter().map(|kind| &kind.when);
            for conditions in all.chain([&rule.always]) {
                if let Some(what) = conditions.fault() {
                    return wrong(&rule.about, what);
                }
            }
        }
        Ok(())
    }
}

impl SequenceRule {
    fn names(&self) -> impl Iterator<Item = &String> {
        [&self.before, &self.after, &self.whatever]
            .into_iter()
            .flatten()
    }

    /// All names together, for people.
    pub(super) fn spoken(&self) -> String {
        let names: Vec<&str> = self.names().map(String::as_str).collect();
        names.join(" or ")
    }
}

fn plain(list: &mut [String]) {
    for word in list {
        *word = words::plain(word);
    }
}

fn capitals(list: &mut [String]) {
    for code in list {
        *code = code.to_uppercase();
    }
}

impl Conditions {
    fn prepare(&mut self) {
        plain(&mut self.words);
        for list in [
            &mut self.scanning,
            &mut self.not_scanning,
            &mut self.variant,
            &mut self.image_type,
            &mut self.modality,
            &mut self.body_part,
        ] {
            capitals(list);
        }
    }

    /// How many conditions there are.
    fn count(&self) -> usize {
        // Conditions of nothing hold for nothing: what is counted is what could be said of an empty
        // header.
        let checked = self.check(&Facts::default(), 0);
        checked.hold.len() + checked.fail.len() + checked.unknown.len()
    }

    /// Why they can never hold.
    fn fault(&self) -> Option<&'static str> {
        let ranges = [
            self.tr_ms,
            self.te_ms,
            self.ti_ms,
            self.flip_deg,
            self.echo_train,
        ];
        // Also where one of the two is not a number.
        let empty = |[least, most]: &[f64; 2]| !matches!(least.partial_cmp(most), Some(order) if order.is_le());
        if ranges.iter().flatten().any(empty) {
            return Some("the first number of a range is greater than the second");
        }
        if self
            .acquisition
            .as_deref()
            .is_some_and(|kind| kind != "2D" && kind != "3D")
        {
            return Some("acquisition is \"2D\" or \"3D\"");
        }
        None
    }

    /// Compares a series of so many slices.
    pub(super) fn check(&self, facts: &Facts, slices: usize) -> Checked {
        let mut checked = Checked::default();
        for (name, unit, range, value) in [
            ("TR", " ms", self.tr_ms, facts.tr_ms),
            ("TE", " ms", self.te_ms, facts.te_ms),
            ("TI", " ms", self.ti_ms, facts.ti_ms),
            ("flip angle", " degrees", self.flip_deg, facts.flip_deg),
            ("echo train", "", self.echo_train, facts.echo_train),
        ] {
            checked.range(name, unit, range, value);
        }
        if let Some(least) = self.least_slices {
            let words = format!("{slices} slices (at least {least})");
            checked.say(slices >= least, words);
        }
        if let Some(wanted) = &self.acquisition {
            match &facts.acquisition {
                Some(found) => checked.say(found == wanted, format!("{found} acquisition")),
                None => checked.unknown.push("MRAcquisitionType is missing".into()),
            }
        }
        checked.codes("ScanningSequence", &self.scanning, &facts.scanning);
        checked.codes("SequenceVariant", &self.variant, &facts.variant);
        for code in &self.not_scanning {
            if facts.scanning.contains(code) {
                let found = facts.scanning.join(", ");
                checked.fail.push(format!("ScanningSequence {found}"));
            }
        }
        let kinds = &facts.image_type;
        if !self.image_type.is_empty() {
            let found = self.image_type.iter().find(|code| kinds.contains(code));
            match found {
                Some(code) => checked.hold.push(format!("ImageType {code}")),
                None => checked.fail.push(format!("ImageType {}", kinds.join(", "))),
            }
        }
        if !self.plane.is_empty() {
            match facts.plane {
                Some(plane) => {
                    checked.say(
                        self.plane.contains(&plane),
                        format!("{} plane", plane.word()),
                    );
                }
                None => checked
                    .unknown
                    .push("ImageOrientationPatient is missing".into()),
            }
        }
        if let Some(wanted) = self.inversion {
            let words = if facts.inverts() {
                "an inversion pulse"
            } else {
                "no inversion pulse"
            };
            checked.say(facts.inverts() == wanted, words.into());
        }
        if !self.words.is_empty() {
            let own = if facts.description.is_empty() {
                &facts.protocol
            } else {
                &facts.description
            };
            let text = words::plain(&format!("{own} | {}", facts.pulse_sequence));
            match words::first(&text, &self.words) {
                Some(word) => {
                    let word = word.trim_matches('*').trim();
                    checked.hold.push(format!("the word \"{word}\""));
                }
                None => checked.fail.push("none of the words".into()),
            }
        }
        for (name, wanted, found) in [
            ("Modality", &self.modality, &facts.modality),
            ("BodyPartExamined", &self.body_part, &facts.body_part),
        ] {
            if !wanted.is_empty() {
                checked.say(wanted.contains(found), format!("{name} {found}"));
            }
        }
        for (name, wanted, found) in [
            ("a b-value above 0", self.diffusion, facts.diffusion),
            ("AngioFlag", self.angiography, facts.angiography),
        ] {
            if let Some(wanted) = wanted {
                let words = if found {
                    name.to_owned()
                } else {
                    format!("no {name}")
                };
                checked.say(found == wanted, words);
            }
        }
        checked
    }
}

impl Checked {
    fn say(&mut self, holds: bool, words: String) {
        if holds {
            self.hold.push(words);
        } else {
            self.fail.push(words);
        }
    }

    fn range(&mut self, name: &str, unit: &str, range: Option<[f64; 2]>, value: Option<f64>) {
        let Some([least, most]) = range else { return };
        match value {
            Some(value) => {
                let shown = (value * 100.0).round() / 100.0;
                let words = format!("{name} {shown}{unit} ({least} to {most})");
                self.say((least..=most).contains(&value), words);
            }
            None => self.unknown.push(format!("{name} is missing")),
        }
    }

    fn codes(&mut self, name: &str, wanted: &[String], found: &[String]) {
        if wanted.is_empty() {
            return;
        }
        if found.is_empty() {
            self.unknown.push(format!("{name} is missing"));
            return;
        }
        let words = format!("{name} {}", found.join(", "));
        self.say(wanted.iter().any(|code| found.contains(code)), words);
    }

    /// Both together.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.hold.extend(other.hold);
        self.fail.extend(other.fail);
        self.unknown.extend(other.unknown);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "version = 1\n[contrast]\nafter = ['post']\nbefore = ['pre']\nno_agent = \
                         ['']\n[[sequence]]\nafter = 't1'\nabout = 'x'\none_of = [{ kind = 'y', \
                         when = { tr_ms = [1, 2] } }]\n";

    #[test]
    fn the_built_in_rules_are_sound_and_name_the_four_sequences() {
        let rules = Rules::built_in().unwrap();
        let names: Vec<String> = rules.sequences().into_iter().collect();
        assert_eq!(names, ["bravo", "flair", "t1_post", "t1_pre"]);
    }

    #[test]
    fn rules_that_cannot_work_are_refused_by_name() {
        assert!(Rules::parse(LEAST).is_ok());
        for (from, to, said) in [
            ("version = 1", "version = 2", "version 2"),
            ("after = 't1'", "", "names no sequence"),
            ("after = 't1'", "after = '../t1'", "../t1"),
            ("[1, 2]", "[3, 2]", "greater"),
            ("[1, 2]", "[nan, 2]", "greater"),
            ("tr_ms", "trms", "trms"),
            ("{ tr_ms = [1, 2] }", "{ acquisition = '4D' }", "2D"),
            (
                "[[sequence]]",
                "[[exclude]]\nreason = 'all'\nany = [{}]\n[[sequence]]",
                "all",
            ),
        ] {
            let error = Rules::parse(&LEAST.replace(from, to)).unwrap_err();
            assert!(error.to_string().contains(said), "{to}: {error}");
            assert!(error.hint().is_some());
        }
    }
}
