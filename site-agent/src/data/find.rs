//! Finding an archive's cases: every folder and file that a pattern could mean is accounted for.

use super::config::DataConfig;
use super::litter::{is_copy, is_litter};
use super::pattern::{Name, Pattern, filled, fit, fits, is_known, is_wildcard};
use super::trouble::{Presence, Trouble, look};
use super::{CaseError, DataError, Files};
use crate::case::Note;
use protocol::settings::Input;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Names that are shown of a folder without the files that were looked for.
const SHOWN: usize = 3;

/// What lies in an archive.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Everything that could be a case, by its name.
    pub(super) cases: BTreeMap<String, Candidate>,
    /// Files and folders that fit a pattern and are what programs leave behind.
    pub(super) ignored: BTreeSet<String>,
    /// What to look at in the archive.
    pub(super) notes: Vec<Note>,
}

/// What could be a case.
#[derive(Debug)]
pub(super) struct Candidate {
    /// Whose images they are: the case's own name where the patterns do not say.
    pub(super) patient: String,
    /// Its files, or why they cannot be used.
    pub(super) files: Result<Files, CaseError>,
    /// What to look at.
    pub(super) notes: Vec<Note>,
}

/// Looks for an archive's cases.
///
/// # Errors
/// The root cannot be listed, or nothing in it could be a case.
pub(super) fn find(config: &DataConfig, input: &Input) -> Result<Found, DataError> {
    let root = config.root();
    fs::read_dir(root).map_err(|error| DataError::Root {
        root: root.into(),
        error,
    })?;
    let mut search = Search::new(config);
    for (key, patterns) in config.images() {
        for pattern in patterns {
            search.walk(key, pattern, root, 0, &Name::default());
        }
    }
    let with_images = search.names.clone();
    for (key, patterns) in [("label", config.label()), ("brain", config.brain())] {
        for pattern in patterns {
            search.walk(key, pattern, root, 0, &Name::default());
        }
    }
    let there = |name: &Name| with_images.contains(name) || !config.existing(name).is_empty();
    search.names.retain(there);
    search.drop_misread();
    search.choose();
    let Search {
        names,
        odd,
        ignored,
        notes,
        ..
    } = search;
    let mut found = Found {
        cases: BTreeMap::new(),
        ignored,
        notes,
    };
    for name in names {
        let (files, notes) = (config.files(&name, input), config.nearly(&name));
        let patient = name.patient.clone().unwrap_or_else(|| name.id());
        found.cases.insert(
            name.id(),
            Candidate {
                patient,
                files,
                notes,
            },
        );
    }
    for (id, reason) in odd {
        let candidate = Candidate {
            patient: id.clone(),
            files: Err(reason),
            notes: Vec::new(),
        };
        found.cases.entry(id).or_insert(candidate);
    }
    if found.cases.is_empty() {
        return Err(DataError::NoCases { root: root.into() });
    }
    Ok(found)
}

struct Search<'a> {
    config: &'a DataConfig,
    /// Folders that a pattern names without placeholder: none of them is a case's.
    folders: BTreeSet<PathBuf>,
    names: BTreeSet<Name>,
    /// What is no case that could be named by its files.
    odd: BTreeMap<String, CaseError>,
    ignored: BTreeSet<String>,
    notes: Vec<Note>,
}

impl<'a> Search<'a> {
    fn new(config: &'a DataConfig) -> Self {
        let folders = config
            .patterns()
            .flat_map(|pattern| pattern.folders(config.root()))
            .collect();
        let (names, odd) = (BTreeSet::new(), BTreeMap::new());
        Self {
            config,
            folders,
            names,
            odd,
            ignored: BTreeSet::new(),
            notes: Vec::new(),
        }
    }

    /// Follows a pattern from a folder on, until all its placeholders are known.
    fn walk(&mut self, key: &str, pattern: &Pattern, folder: &Path, depth: usize, known: &Name) {
        let Some(part) = pattern.parts().get(depth) else {
            return;
        };
        if is_known(part, known) {
            return self.walk(
                key,
                pattern,
                &folder.join(filled(part, known)),
                depth + 1,
                known,
            );
        }
        let Some(entries) = self.entries(key, pattern, folder, depth, known) else {
            return;
        };
        let last = depth + 1 == pattern.parts().len();
        let mut any = false;
        for text in &entries {
            let Some(name) = fit(part, text, known) else {
                continue;
            };
            let path = folder.join(text);
            if self.folders.contains(&path) {
                continue;
            }
            if is_litter(text) || is_copy(text, &entries) {
                if !text.starts_with('.') {
                    self.ignored.insert(self.below(&path));
                }
                continue;
            }
            any = true;
            if !last && !self.is_folder(&path, &name) {
                continue;
            }
            if pattern.knows(&name) {
                self.names.insert(name);
            } else {
                self.walk(key, pattern, &path, depth + 1, &name);
            }
        }
        if !any && *known != Name::default() {
            self.add_odd(&known.id(), nothing(pattern, known, &entries));
        }
    }

    /// The names in a folder. A folder that cannot be listed, and names that fit and are not UTF-8,
    /// are put down.
    fn entries(
        &mut self,
        key: &str,
        pattern: &Pattern,
        folder: &Path,
        depth: usize,
        known: &Name,
    ) -> Option<BTreeSet<String>> {
        let listed =
            fs::read_dir(folder).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
        let entries = match listed {
            Ok(entries) => entries,
            Err(error) if *known == Name::default() => {
                let what = format!(
                    "the folder {} of data.{key} cannot be listed: {error}",
                    self.below(folder)
                );
                self.notes.push(Note::new(
                    what,
                    "correct the pattern, or give the program's user the right to read it",
                ));
                return None;
            }
            Err(error) => {
                let what = "the patient's folder".into();
                self.add_odd(
                    &known.id(),
                    CaseError::Content {
                        what,
                        trouble: Trouble::Unreadable(error),
                    },
                );
                return None;
            }
        };
        let mut names = BTreeSet::new();
        for entry in entries {
            match entry.file_name().into_string() {
                Ok(name) => {
                    names.insert(name);
                }
                Err(name) => {
                    let name = name.to_string_lossy();
                    let part = pattern
                        .parts()
                        .get(depth)
                        .map(Vec::as_slice)
                        .unwrap_or_default();
                    let Some(case) = fit(part, &name, known).filter(|_| !is_litter(&name)) else {
                        continue;
                    };
                    let what = format!("the file or folder {name}");
                    self.add_odd(
                        &case.id(),
                        CaseError::Content {
                            what,
                            trouble: Trouble::Name,
                        },
                    );
                }
            }
        }
        Some(names)
    }

    /// Whether a case's folder is one. A file is not; a link that leads nowhere, or what cannot be
    /// looked at, is put down as a case.
    fn is_folder(&mut self, path: &Path, name: &Name) -> bool {
        match look(path) {
            Presence::Bad(Trouble::Folder) => true,
            Presence::Bad(trouble @ (Trouble::Dangling(_) | Trouble::Unreadable(_))) => {
                self.add_odd(
                    &name.id(),
                    CaseError::Content {
                        what: "the case's folder".into(),
                        trouble,
                    },
                );
                false
            }
            _ => false,
        }
    }

    fn add_odd(&mut self, id: &str, reason: CaseError) {
        self.odd.entry(id.into()).or_insert(reason);
    }

    fn below(&self, path: &Path) -> String {
        path.strip_prefix(self.config.root())
            .unwrap_or(path)
            .display()
            .to_string()
    }

    /// With `{case}.nii` for one sequence and `{case}_flair.nii` for another, `a_flair.nii` is no
    /// case `a_flair`: a file belongs to the case with the shortest name, and who has a file of
    /// another is none.
    fn drop_misread(&mut self) {
        let mut owners: BTreeMap<PathBuf, String> = BTreeMap::new();
        for name in &self.names {
            for path in self.config.existing(name) {
                let owner = owners.entry(path).or_insert_with(|| name.id());
                if name.id().len() < owner.len() {
                    *owner = name.id();
                }
            }
        }
        let config = self.config;
        self.names.retain(|name| {
            config
                .existing(name)
                .iter()
                .all(|path| owners.get(path) == Some(&name.id()))
        });
    }

    /// Keeps what `cases` names, and puts down what it names and is not there.
    fn choose(&mut self) {
        let wanted = self.config.cases();
        if wanted.is_empty() {
            return;
        }
        let chosen = |wanted: &str, id: &str| {
            let patient = id.split_once('/').map_or(id, |(patient, _)| patient);
            fits(wanted, id) || fits(wanted, patient)
        };
        let ids: BTreeSet<String> = self
            .names
            .iter()
            .map(Name::id)
            .chain(self.odd.keys().cloned())
            .collect();
        for wanted in wanted {
            if ids.iter().any(|id| chosen(wanted, id)) {
                continue;
            }
            if is_wildcard(wanted) {
                let what = format!("data.cases has {wanted:?}, which no case fits");
                self.notes
                    .push(Note::new(what, "correct it, or take it out"));
            } else {
                self.add_odd(wanted, CaseError::Missing("sequence"));
            }
        }
        self.names
            .retain(|name| wanted.iter().any(|wanted| chosen(wanted, &name.id())));
        self.odd
            .retain(|id, _| wanted.iter().any(|wanted| chosen(wanted, id)));
    }
}

/// A patient's folder in which nothing fits.
fn nothing(pattern: &Pattern, known: &Name, entries: &BTreeSet<String>) -> CaseError {
    let wanted = Name {
        case: Some("{case}".into()),
        ..known.clone()
    };
    CaseError::NoSequences {
        wanted: pattern.file(&wanted),
        found: entries.iter().take(SHOWN).cloned().collect(),
    }
}

/// One kind of a case's files: the first alias that is a file, or what is wrong with the first that
/// is there.
fn first(
    config: &DataConfig,
    patterns: &[Pattern],
    name: &Name,
) -> Result<Option<PathBuf>, Trouble> {
    let mut worst = None;
    for pattern in patterns {
        let path = config.root().join(pattern.file(name));
        match look(&path) {
            Presence::File => return Ok(Some(path)),
            Presence::Bad(trouble) => worst = worst.or(Some(trouble)),
            Presence::Nothing => {}
        }
    }
    worst.map_or(Ok(None), Err)
}

impl DataConfig {
    /// Every path of a case that something lies at.
    fn existing(&self, name: &Name) -> Vec<PathBuf> {
        let path = |pattern: &Pattern| self.root().join(pattern.file(name));
        let there = |path: &PathBuf| !matches!(look(path), Presence::Nothing);
        self.patterns()
            .filter(|pattern| pattern.knows(name))
            .map(path)
            .filter(there)
            .collect()
    }

    /// The files of one case.
    fn files(&self, name: &Name, input: &Input) -> Result<Files, CaseError> {
        let mut sequences = Vec::with_capacity(input.sequences.len());
        for sequence in &input.sequences {
            let patterns = self.images_of(sequence);
            let file = first(self, patterns, name);
            sequences.push(file.map_err(|trouble| CaseError::Content {
                what: sequence.clone(),
                trouble,
            })?);
        }
        if sequences.iter().all(Option::is_none) {
            return Err(self.no_sequences(name));
        }
        let needed = |what: &'static str, patterns: &[Pattern]| match first(self, patterns, name) {
            Ok(None) if !patterns.is_empty() => Err(CaseError::Missing(what)),
            Ok(file) => Ok(file),
            Err(trouble) => Err(CaseError::Content {
                what: what.into(),
                trouble,
            }),
        };
        Ok(Files {
            sequences,
            label: needed("label", self.label())?,
            brain: needed("brain mask", self.brain())?,
        })
    }

    fn no_sequences(&self, name: &Name) -> CaseError {
        let Some(wanted) = self.images().flat_map(|(_, patterns)| patterns).next() else {
            return CaseError::Missing("sequence");
        };
        let wanted = wanted.file(name);
        let folder = self.root().join(&wanted);
        let names = folder.parent().map(names_in).unwrap_or_default();
        let shown = names
            .into_iter()
            .filter(|name| !is_litter(name))
            .take(SHOWN);
        // In a folder for all cases, its files say nothing about this one.
        let own = wanted
            .parent()
            .is_some_and(|parent| parent.components().next().is_some());
        CaseError::NoSequences {
            wanted,
            found: if own { shown.collect() } else { Vec::new() },
        }
    }

    /// Sequences whose file is not there while one of nearly the same name is.
    fn nearly(&self, name: &Name) -> Vec<Note> {
        let mut notes = Vec::new();
        for (sequence, patterns) in self.images() {
            let missing = patterns.iter().all(|pattern| {
                matches!(
                    look(&self.root().join(pattern.file(name))),
                    Presence::Nothing
                )
            });
            let Some(pattern) = patterns.first().filter(|_| missing) else {
                continue;
            };
            let path = self.root().join(pattern.file(name));
            let Some(wanted) = path.file_name().map(|name| plain(&name.to_string_lossy())) else {
                continue;
            };
            let other = path.parent().map(names_in).unwrap_or_default();
            if let Some(other) = other.into_iter().find(|other| plain(other) == wanted) {
                let what = format!(
                    "{sequence} is taken as missing: {other} is there, and the pattern is {pattern}"
                );
                notes.push(Note::new(
                    what,
                    "rename the file, or add its name to the sequence's patterns",
                ));
            }
        }
        notes
    }
}

/// A file's name without what people and systems take for nothing.
fn plain(name: &str) -> String {
    let lower = name.to_lowercase();
    let stem = lower.strip_suffix(".gz").unwrap_or(&lower);
    stem.replace(['_', '-', ' '], "")
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}
