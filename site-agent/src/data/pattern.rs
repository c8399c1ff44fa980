//! Path patterns with `{case}` and `{patient}` in them, and wildcards for case names.

use super::config::ConfigError;
use super::litter::is_litter;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const CASE: &str = "{case}";
const PATIENT: &str = "{patient}";

/// A path below the root; `{case}` and `{patient}` stand for the same text wherever they occur.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pattern(Vec<Part>);

/// One folder's or file's name in a pattern.
pub(super) type Part = Vec<Piece>;

/// What a name is made of.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    Text(String),
    Case,
    Patient,
}

/// What the placeholders stand for, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(super) patient: Option<String>,
    pub(super) case: Option<String>,
}

impl Name {
    /// The case's name: `PATIENT/CASE` where patterns name patients.
    pub(crate) fn id(&self) -> String {
        let known = self.patient.iter().chain(&self.case);
        known.map(String::as_str).collect::<Vec<_>>().join("/")
    }

    fn of(&mut self, piece: &Piece) -> Option<&mut Option<String>> {
        match piece {
            Piece::Text(_) => None,
            Piece::Case => Some(&mut self.case),
            Piece::Patient => Some(&mut self.patient),
        }
    }
}

impl Pattern {
    /// Checks a pattern as typed under `key`.
    pub(crate) fn parse(key: &str, text: &str) -> Result<Self, ConfigError> {
        let wrong = |expected| ConfigError {
            key: key.into(),
            found: format!("{text:?}"),
            expected,
        };
        if text.contains('\\') {
            return Err(wrong("folders parted by /, on Windows too"));
        }
        let parts: Vec<&str> = text.split('/').collect();
        if parts
            .iter()
            .any(|part| part.is_empty() || *part == "." || *part == "..")
        {
            return Err(wrong("a path below data.root, without // . or .."));
        }
        let foreign = text
            .replace(CASE, "")
            .replace(PATIENT, "")
            .contains(['{', '}', '$', '*', '?']);
        if foreign || !text.contains(CASE) {
            return Err(wrong(
                "a path below data.root with {case} in it, with {patient} if need be, and no other wildcard",
            ));
        }
        Ok(Self(parts.into_iter().map(pieces).collect()))
    }

    /// Whether it says which patient a case is of.
    pub(crate) fn names_patients(&self) -> bool {
        self.0
            .iter()
            .flatten()
            .any(|piece| *piece == Piece::Patient)
    }

    /// The names on the way from the root.
    pub(super) fn parts(&self) -> &[Part] {
        &self.0
    }

    /// Whether a name says all that the pattern asks for.
    pub(super) fn knows(&self, name: &Name) -> bool {
        name.case.is_some() && (name.patient.is_some() || !self.names_patients())
    }

    /// The file of one case, below the root.
    pub(crate) fn file(&self, name: &Name) -> PathBuf {
        self.0.iter().map(|part| filled(part, name)).collect()
    }

    /// Adds the names of all files below the root that fit.
    pub(crate) fn discover(&self, root: &Path, names: &mut BTreeSet<Name>) {
        self.discover_below(root, 0, &Name::default(), names);
    }

    fn discover_below(&self, path: &Path, depth: usize, known: &Name, names: &mut BTreeSet<Name>) {
        let Some(part) = self.0.get(depth) else {
            if path.is_file() {
                names.insert(known.clone());
            }
            return;
        };
        if is_known(part, known) {
            return self.discover_below(&path.join(filled(part, known)), depth + 1, known, names);
        }
        let Ok(entries) = std::fs::read_dir(path) else {
            return;
        };
        for entry in entries.flatten() {
            let text = entry.file_name();
            let fitting = text
                .to_str()
                .filter(|text| !is_litter(text))
                .and_then(|text| fit(part, text, known));
            if let Some(name) = fitting {
                self.discover_below(&entry.path(), depth + 1, &name, names);
            }
        }
    }

    /// The folders on the way to the first placeholder, from the root on.
    pub(super) fn folders(&self, root: &Path) -> Vec<PathBuf> {
        let mut folders = Vec::new();
        let mut path = root.to_path_buf();
        for part in &self.0 {
            let [Piece::Text(text)] = part.as_slice() else {
                break;
            };
            path.push(text);
            folders.push(path.clone());
        }
        folders
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = Name {
            patient: Some(PATIENT.into()),
            case: Some(CASE.into()),
        };
        write!(formatter, "{}", self.file(&name).display())
    }
}

fn pieces(mut part: &str) -> Part {
    let mut pieces = Vec::new();
    while !part.is_empty() {
        if let Some(rest) = part.strip_prefix(CASE) {
            pieces.push(Piece::Case);
            part = rest;
        } else if let Some(rest) = part.strip_prefix(PATIENT) {
            pieces.push(Piece::Patient);
            part = rest;
        } else {
            let next = part
                .char_indices()
                .skip(1)
                .find(|(_, letter)| *letter == '{');
            let next = next.map_or(part.len(), |(at, _)| at);
            pieces.push(Piece::Text(part[..next].into()));
            part = &part[next..];
        }
    }
    pieces
}

/// A folder's or file's name with what is known put in.
pub(super) fn filled(part: &[Piece], name: &Name) -> String {
    let text = |piece: &Piece| match piece {
        Piece::Text(text) => text.clone(),
        Piece::Case => name.case.clone().unwrap_or_default(),
        Piece::Patient => name.patient.clone().unwrap_or_default(),
    };
    part.iter().map(text).collect()
}

/// Whether a name is known already, without any look at the folder.
pub(super) fn is_known(part: &[Piece], name: &Name) -> bool {
    part.iter().all(|piece| match piece {
        Piece::Text(_) => true,
        Piece::Case => name.case.is_some(),
        Piece::Patient => name.patient.is_some(),
    })
}

/// What the placeholders stand for where a folder's or file's name fits. A placeholder takes as
/// much as it can: in `{patient}-{case}` the case is what follows the last dash.
pub(super) fn fit(part: &[Piece], text: &str, known: &Name) -> Option<Name> {
    let Some((first, rest)) = part.split_first() else {
        return text.is_empty().then(|| known.clone());
    };
    if let Piece::Text(prefix) = first {
        return fit(rest, text.strip_prefix(prefix.as_str())?, known);
    }
    let mut name = known.clone();
    if let Some(Some(value)) = name.of(first).cloned() {
        return fit(rest, text.strip_prefix(value.as_str())?, known);
    }
    let ends = text
        .char_indices()
        .map(|(at, character)| at + character.len_utf8());
    for end in ends.collect::<Vec<_>>().into_iter().rev() {
        if let Some(slot) = name.of(first) {
            *slot = Some(text[..end].into());
        }
        if let Some(found) = fit(rest, &text[end..], &name) {
            return Some(found);
        }
    }
    None
}

/// Whether `name` fits `pattern`, in which `*` stands for any text and `?` for one character.
pub(super) fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        if pattern.get(p) == Some(&'*') {
            retry = Some((p, n));
            p += 1;
        } else if pattern.get(p).is_some_and(|&c| c == '?' || c == name[n]) {
            (p, n) = (p + 1, n + 1);
        } else if let Some((star, from)) = retry {
            retry = Some((star, from + 1));
            (p, n) = (star + 1, from + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

/// Whether a name in `cases` is a wildcard.
pub(super) fn is_wildcard(name: &str) -> bool {
    name.contains(['*', '?'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(part: &str, text: &str) -> Option<String> {
        fit(&pieces(part), text, &Name::default()).map(|name| name.id())
    }

    #[test]
    fn a_case_is_found_in_its_folder_and_file_name() {
        for (part, text, expected) in [
            ("{case}", "Brats18_1", Some("Brats18_1")),
            ("{case}_t1.nii.gz", "a_b_t1.nii.gz", Some("a_b")),
            ("sub-{case}-{case}.nii", "sub-07-07.nii", Some("07")),
            ("sub-{case}-{case}.nii", "sub-07-08.nii", None),
            ("{case}_t1.nii.gz", "_t1.nii.gz", None),
            ("é{case}", "éé", Some("é")),
            ("a{case}", "é", None),
        ] {
            assert_eq!(id(part, text).as_deref(), expected, "{part} {text}");
        }
    }

    #[test]
    fn a_patients_time_points_are_told_by_the_last_separator() {
        for (part, text, expected) in [
            (
                "BraTS-MET-{patient}-{case}",
                "BraTS-MET-00002-001",
                Some("00002/001"),
            ),
            (
                "{patient}_{case}",
                "UCSF_BMSR_0004_2",
                Some("UCSF_BMSR_0004/2"),
            ),
            ("{patient}{case}", "100324B", Some("100324/B")),
            (
                "sub-{patient}_ses-{case}_T1w.nii.gz",
                "sub-07_ses-pre_T1w.nii.gz",
                Some("07/pre"),
            ),
            ("{patient}-{case}", "alone", None),
        ] {
            assert_eq!(id(part, text).as_deref(), expected, "{part} {text}");
        }
        let pattern = Pattern::parse(
            "label",
            "sub-{patient}/ses-{case}/anat/sub-{patient}_ses-{case}_seg.nii",
        )
        .unwrap();
        let name = Name {
            patient: Some("07".into()),
            case: Some("pre".into()),
        };
        assert_eq!(
            pattern.file(&name),
            Path::new("sub-07/ses-pre/anat/sub-07_ses-pre_seg.nii")
        );
        assert!(
            pattern.names_patients()
                && pattern.knows(&name)
                && !pattern.knows(&Name {
                    patient: None,
                    ..name
                })
        );
        assert_eq!(
            pattern.to_string(),
            "sub-{patient}/ses-{case}/anat/sub-{patient}_ses-{case}_seg.nii"
        );
    }

    #[test]
    fn files_are_found_by_patient_and_case_and_litter_is_none() {
        let folder = tempfile::tempdir().unwrap();
        for path in [
            "07/07_pre_seg.nii",
            "07/07_post_seg.nii",
            "08/07_pre_seg.nii",
            "08/._08_pre_seg.nii",
        ] {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        std::fs::create_dir(folder.path().join("08/08_pre_seg.nii")).unwrap();
        let found = |text: &str| {
            let mut names = BTreeSet::new();
            Pattern::parse("--pair", text)
                .unwrap()
                .discover(folder.path(), &mut names);
            names.iter().map(Name::id).collect::<Vec<_>>()
        };
        assert_eq!(
            found("{patient}/{patient}_{case}_seg.nii"),
            ["07/post", "07/pre"]
        );
        assert_eq!(found("07/07_{case}_seg.nii"), ["post", "pre"]);
        assert_eq!(found("none/{case}"), [""; 0]);
    }

    #[test]
    fn wildcards_fit_as_in_a_shell() {
        for (pattern, name) in [
            ("*", ""),
            ("a*c", "abbc"),
            ("a*b*c", "a_b_b_c"),
            ("?b*", "ab"),
            ("case-1", "case-1"),
        ] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("a*c", "abcd"),
            ("?", ""),
            ("", "a"),
            ("case-1", "case-11"),
            ("*a?", "ba"),
        ] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn patterns_that_lead_nowhere_are_refused() {
        for text in [
            "flair.nii.gz",
            "/abs/{case}",
            "../{case}",
            "{case}/../x",
            "{case}//x",
            "{patient}/x.nii",
            "{site}/{case}",
            "{case}/*.nii",
            "{case}\\x.nii",
        ] {
            assert!(Pattern::parse("label", text).is_err(), "{text}");
        }
    }
}
