//! Finding the cases of an archive. Every folder and file that matches the beginning of a pattern
//! becomes a case, even if it can only be reported as unusable.

use super::config::DataConfig;
use super::file_trouble::{FileTrouble, Presence, look};
use super::litter::{is_copy, is_litter};
use super::pattern::{
    CaseName, CasePattern, fill_in, is_known, is_wildcard, match_name, matches_wildcard,
};
use super::{CaseError, DataError, Files};
use crate::case::Note;
use protocol::settings::Input;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The most names to show of a folder that has none of the expected files.
const SHOWN: usize = 3;

#[derive(Debug, Default)]
pub(super) struct Found {
    /// All cases by name, usable or not.
    pub(super) cases: BTreeMap<String, Candidate>,
    /// Files and folders that match a pattern and are leftovers of other programs.
    pub(super) ignored: BTreeSet<String>,
    /// Warnings about the archive.
    pub(super) notes: Vec<Note>,
}

/// A case before its files are read.
#[derive(Debug)]
pub(super) struct Candidate {
    /// The text of `{patient}`, or the case's name where the patterns have none.
    pub(super) patient: String,
    /// Its files, or why they cannot be used.
    pub(super) files: Result<Files, CaseError>,
    pub(super) notes: Vec<Note>,
}

/// The cases below the root that the patterns name, each with its files or why it has none.
///
/// # Errors
/// The root cannot be listed, or contains no case.
pub(super) fn find(config: &DataConfig, input: &Input) -> Result<Found, DataError> {
    let root = config.root();
    fs::read_dir(root).map_err(|error| DataError::Root {
        root: root.into(),
        error,
    })?;
    let mut search = Search::new(config);
    for (key, patterns) in config.images() {
        for pattern in patterns {
            search.follow(key, pattern, root, 0, &CaseName::default());
        }
    }
    let with_images = search.names.clone();
    for (key, patterns) in [("label", config.label()), ("brain", config.brain())] {
        for pattern in patterns {
            search.follow(key, pattern, root, 0, &CaseName::default());
        }
    }
    // A case that only a pattern of a label or of a mask names counts if one of its files exists.
    search
        .names
        .retain(|name| with_images.contains(name) || !config.existing(name).is_empty());
    search.drop_misread();
    search.keep_configured();
    let Search {
        names,
        unusable,
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
        let files = config.files(&name, input);
        let notes = config.similar_names(&name);
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
    for (id, reason) in unusable {
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
    let unused = unused_sequences(&found.cases, input, config);
    found.notes.extend(unused);
    Ok(found)
}

/// Warnings about sequences that the settings name and no case has.
fn unused_sequences(
    cases: &BTreeMap<String, Candidate>,
    input: &Input,
    config: &DataConfig,
) -> Vec<Note> {
    let mut notes = Vec::new();
    let usable: Vec<&Files> = cases
        .values()
        .filter_map(|candidate| candidate.files.as_ref().ok())
        .collect();
    for (index, sequence) in input.sequences.iter().enumerate() {
        let patterns = config.images_of(sequence);
        let found = usable.iter().any(|files| files.sequences[index].is_some());
        if !patterns.is_empty() && !found && !usable.is_empty() {
            notes.push(Note::new(
                format!("no case has {sequence}: no file matches its pattern"),
                "correct data.sequences, or remove the sequence from it",
            ));
        }
    }
    notes
}

struct Search<'a> {
    config: &'a DataConfig,
    /// Folders that a pattern names without a placeholder: they belong to no single case.
    folders: BTreeSet<PathBuf>,
    names: BTreeSet<CaseName>,
    /// Cases for which no set of files was found, and why.
    unusable: BTreeMap<String, CaseError>,
    ignored: BTreeSet<String>,
    notes: Vec<Note>,
}

impl<'a> Search<'a> {
    fn new(config: &'a DataConfig) -> Self {
        let folders = config
            .patterns()
            .flat_map(|pattern| pattern.folders(config.root()))
            .collect();
        Self {
            config,
            folders,
            names: BTreeSet::new(),
            unusable: BTreeMap::new(),
            ignored: BTreeSet::new(),
            notes: Vec::new(),
        }
    }

    /// Follows a pattern from a folder down, until the values of all its placeholders are known.
    fn follow(
        &mut self,
        key: &str,
        pattern: &CasePattern,
        folder: &Path,
        depth: usize,
        known: &CaseName,
    ) {
        let Some(part) = pattern.parts().get(depth) else {
            return;
        };
        if is_known(part, known) {
            return self.follow(
                key,
                pattern,
                &folder.join(fill_in(part, known)),
                depth + 1,
                known,
            );
        }
        let Some(entries) = self.entries(key, pattern, folder, depth, known) else {
            return;
        };
        let last = depth + 1 == pattern.parts().len();
        let mut any_match = false;
        for text in &entries {
            let Some(name) = match_name(part, text, known) else {
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
            any_match = true;
            if !last && !self.is_folder(&path, &name) {
                continue;
            }
            if pattern.knows(&name) {
                self.names.insert(name);
            } else {
                self.follow(key, pattern, &path, depth + 1, &name);
            }
        }
        if !any_match && *known != CaseName::default() {
            self.add_unusable(&known.id(), nothing_matches(pattern, known, &entries));
        }
    }

    /// The names in a folder. Records a folder that cannot be listed, and matching names that are
    /// not UTF-8, as unusable.
    fn entries(
        &mut self,
        key: &str,
        pattern: &CasePattern,
        folder: &Path,
        depth: usize,
        known: &CaseName,
    ) -> Option<BTreeSet<String>> {
        let listed =
            fs::read_dir(folder).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
        let entries = match listed {
            Ok(entries) => entries,
            Err(error) if *known == CaseName::default() => {
                let what = format!(
                    "the folder {} of data.{key} cannot be listed: {error}",
                    self.below(folder)
                );
                self.notes.push(Note::new(
                    what,
                    "correct the pattern, or give the user that runs the program the right to \
                     read the folder",
                ));
                return None;
            }
            Err(error) => {
                let what = "the patient's folder".into();
                self.add_unusable(
                    &known.id(),
                    CaseError::Content {
                        what,
                        trouble: FileTrouble::Unreadable(error),
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
                    if is_litter(&name) {
                        continue;
                    }
                    let Some(case) = match_name(part, &name, known) else {
                        continue;
                    };
                    let what = format!("the file or folder {name}");
                    self.add_unusable(
                        &case.id(),
                        CaseError::Content {
                            what,
                            trouble: FileTrouble::Name,
                        },
                    );
                }
            }
        }
        Some(names)
    }

    /// Whether a case's path is a folder. Records a broken link, and a path that cannot be
    /// read, as an unusable case.
    fn is_folder(&mut self, path: &Path, name: &CaseName) -> bool {
        match look(path) {
            Presence::Folder => true,
            Presence::Bad(trouble @ (FileTrouble::Dangling(_) | FileTrouble::Unreadable(_))) => {
                self.add_unusable(
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

    fn add_unusable(&mut self, id: &str, reason: CaseError) {
        self.unusable.entry(id.into()).or_insert(reason);
    }

    fn below(&self, path: &Path) -> String {
        path.strip_prefix(self.config.root())
            .unwrap_or(path)
            .display()
            .to_string()
    }

    /// With `{case}.nii` for one sequence and `{case}_flair.nii` for another, `a_flair.nii` is not a
    /// case `a_flair`: a file belongs to the case with the shortest name, and names that share a
    /// file with a shorter one are dropped.
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

    /// Keeps the cases that `data.cases` names, and records those it names that do not exist.
    fn keep_configured(&mut self) {
        let wanted = self.config.cases();
        if wanted.is_empty() {
            return;
        }
        let mut ids: BTreeSet<String> = self.unusable.keys().cloned().collect();
        ids.extend(self.names.iter().map(CaseName::id));
        for wanted in wanted {
            if ids.iter().any(|id| names_case(wanted, id)) {
                continue;
            }
            if is_wildcard(wanted) {
                let what = format!("data.cases has {wanted:?}, which no case fits");
                self.notes.push(Note::new(what, "correct it, or remove it"));
            } else {
                self.add_unusable(wanted, CaseError::Missing("sequence"));
            }
        }
        self.names
            .retain(|name| wanted.iter().any(|wanted| names_case(wanted, &name.id())));
        self.unusable
            .retain(|id, _| wanted.iter().any(|wanted| names_case(wanted, id)));
    }
}

/// Whether an entry of `data.cases` is the name of a case, or of its patient.
fn names_case(wanted: &str, id: &str) -> bool {
    let patient = id.split_once('/').map_or(id, |(patient, _)| patient);
    matches_wildcard(wanted, id) || matches_wildcard(wanted, patient)
}

/// The error of a patient's folder in which no name matches.
fn nothing_matches(
    pattern: &CasePattern,
    known: &CaseName,
    entries: &BTreeSet<String>,
) -> CaseError {
    let wanted = CaseName {
        case: Some("{case}".into()),
        ..known.clone()
    };
    CaseError::NoSequences {
        wanted: pattern.file(&wanted),
        found: entries.iter().take(SHOWN).cloned().collect(),
    }
}

/// The first of several alternative patterns whose file exists.
///
/// # Errors
/// What is wrong with the first path that exists, if it is no file.
fn first_file(
    config: &DataConfig,
    patterns: &[CasePattern],
    name: &CaseName,
) -> Result<Option<PathBuf>, FileTrouble> {
    for pattern in patterns {
        let path = config.root().join(pattern.file(name));
        match look(&path) {
            Presence::File => return Ok(Some(path)),
            // Do not fall back silently: a later pattern's file may be another image.
            Presence::Folder => return Err(FileTrouble::Folder),
            Presence::Bad(trouble) => return Err(trouble),
            Presence::Nothing => {}
        }
    }
    Ok(None)
}

impl DataConfig {
    /// The paths of a case that exist, whether they are files or not.
    fn existing(&self, name: &CaseName) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        for pattern in self.patterns() {
            if !pattern.knows(name) {
                continue;
            }
            let path = self.root().join(pattern.file(name));
            if !matches!(look(&path), Presence::Nothing) {
                paths.push(path);
            }
        }
        paths
    }

    fn files(&self, name: &CaseName, input: &Input) -> Result<Files, CaseError> {
        let mut sequences = Vec::with_capacity(input.sequences.len());
        for sequence in &input.sequences {
            let patterns = self.images_of(sequence);
            let file = first_file(self, patterns, name);
            sequences.push(file.map_err(|trouble| CaseError::Content {
                what: sequence.clone(),
                trouble,
            })?);
        }
        if sequences.iter().all(Option::is_none) {
            return Err(self.no_sequences(name));
        }
        Ok(Files {
            sequences,
            label: self.required_file("label", self.label(), name)?,
            brain: self.brain_file(name)?,
        })
    }

    /// A file that every case must have if there are patterns for it.
    fn required_file(
        &self,
        what: &'static str,
        patterns: &[CasePattern],
        name: &CaseName,
    ) -> Result<Option<PathBuf>, CaseError> {
        match first_file(self, patterns, name) {
            Ok(None) if !patterns.is_empty() => Err(CaseError::Missing(what)),
            Ok(file) => Ok(file),
            Err(trouble) => Err(CaseError::Content {
                what: what.into(),
                trouble,
            }),
        }
    }

    /// The brain mask's file. Without one, the site's command makes it later.
    fn brain_file(&self, name: &CaseName) -> Result<Option<PathBuf>, CaseError> {
        match self.required_file("brain mask", self.brain(), name) {
            Err(CaseError::Missing(_)) if self.brain_program().is_some() => Ok(None),
            found => found,
        }
    }

    fn no_sequences(&self, name: &CaseName) -> CaseError {
        let Some(wanted) = self.images().flat_map(|(_, patterns)| patterns).next() else {
            return CaseError::Missing("sequence");
        };
        let wanted = wanted.file(name);
        let folder = self.root().join(&wanted);
        let mut found = Vec::new();
        // The files of a folder for all cases say nothing about this case.
        let in_own_folder = wanted
            .parent()
            .is_some_and(|parent| parent.components().next().is_some());
        if in_own_folder {
            found = folder.parent().map(names_in).unwrap_or_default();
            found.retain(|name| !is_litter(name));
            found.truncate(SHOWN);
        }
        CaseError::NoSequences { wanted, found }
    }

    /// Warnings about sequences without a file where a file with a similar name exists.
    fn similar_names(&self, name: &CaseName) -> Vec<Note> {
        let mut notes = Vec::new();
        for (sequence, patterns) in self.images() {
            let missing = patterns.iter().all(|pattern| {
                matches!(
                    look(&self.root().join(pattern.file(name))),
                    Presence::Nothing
                )
            });
            if !missing {
                continue;
            }
            let Some(pattern) = patterns.first() else {
                continue;
            };
            let path = self.root().join(pattern.file(name));
            let Some(wanted) = path.file_name().map(|name| plain(&name.to_string_lossy())) else {
                continue;
            };
            let other = path.parent().map(names_in).unwrap_or_default();
            if let Some(other) = other.into_iter().find(|other| plain(other) == wanted) {
                let what = format!(
                    "{sequence} is taken as missing: the pattern is {pattern}, and there is {other}"
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

/// The name of a file without case, separators and `.gz`, to find similar names.
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
