//! Path patterns with `{case}` and `{patient}` in them, and wildcards for case names.

use super::litter::is_litter;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const CASE: &str = "{case}";
const PATIENT: &str = "{patient}";

/// A path below the root. `{case}` and `{patient}` mean the same text wherever they occur.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CasePattern(Vec<NamePattern>);

/// The name of one folder or file in a pattern.
pub(super) type NamePattern = Vec<NamePiece>;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum NamePiece {
    Text(String),
    Case,
    Patient,
}

/// A text that is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found}: expected {expected}")]
pub(crate) struct PatternError {
    /// The text, quoted.
    pub(crate) found: String,
    pub(crate) expected: &'static str,
}

/// The values of the placeholders, as far as they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CaseName {
    pub(super) patient: Option<String>,
    pub(super) case: Option<String>,
}

impl CaseName {
    /// The case's name: `PATIENT/CASE` where patterns name patients.
    pub(crate) fn id(&self) -> String {
        let case = self.case.as_deref().unwrap_or_default();
        match self.patient.as_deref() {
            None => case.to_owned(),
            Some(patient) if self.case.is_none() => patient.to_owned(),
            Some(patient) => format!("{patient}/{case}"),
        }
    }

    /// The value of a placeholder; `None` for text.
    fn value_of(&mut self, piece: &NamePiece) -> Option<&mut Option<String>> {
        match piece {
            NamePiece::Text(_) => None,
            NamePiece::Case => Some(&mut self.case),
            NamePiece::Patient => Some(&mut self.patient),
        }
    }
}

impl CasePattern {
    /// # Errors
    /// A text that is no path below the root, or that has no `{case}`.
    pub(crate) fn parse(text: &str) -> Result<Self, PatternError> {
        let wrong = |expected| PatternError {
            found: format!("{text:?}"),
            expected,
        };
        if text.contains('\\') {
            return Err(wrong("folders separated by /, on Windows too"));
        }
        let parts: Vec<&str> = text.split('/').collect();
        for part in &parts {
            if part.is_empty() || *part == "." || *part == ".." {
                return Err(wrong("a path below data.root, without // . or .."));
            }
        }
        let foreign = text
            .replace(CASE, "")
            .replace(PATIENT, "")
            .contains(['{', '}', '$', '*', '?']);
        if foreign || !text.contains(CASE) {
            return Err(wrong(
                "a path below data.root that contains {case}, optionally {patient}, and no other \
                 wildcard",
            ));
        }
        Ok(Self(parts.into_iter().map(pieces).collect()))
    }

    /// Whether the pattern contains `{patient}`.
    pub(crate) fn names_patients(&self) -> bool {
        self.0
            .iter()
            .flatten()
            .any(|piece| *piece == NamePiece::Patient)
    }

    /// The names of its folders and its file, from the root on.
    pub(super) fn parts(&self) -> &[NamePattern] {
        &self.0
    }

    /// Whether a name has a value for each placeholder of the pattern.
    pub(super) fn knows(&self, name: &CaseName) -> bool {
        name.case.is_some() && (name.patient.is_some() || !self.names_patients())
    }

    /// The file of one case, below the root.
    pub(crate) fn file(&self, name: &CaseName) -> PathBuf {
        self.0.iter().map(|part| fill_in(part, name)).collect()
    }

    /// Adds the names of all files below the root that match.
    pub(crate) fn discover(&self, root: &Path, names: &mut BTreeSet<CaseName>) {
        self.discover_below(root, 0, &CaseName::default(), names);
    }

    fn discover_below(
        &self,
        path: &Path,
        depth: usize,
        known: &CaseName,
        names: &mut BTreeSet<CaseName>,
    ) {
        let Some(part) = self.0.get(depth) else {
            if path.is_file() {
                names.insert(known.clone());
            }
            return;
        };
        if is_known(part, known) {
            return self.discover_below(&path.join(fill_in(part, known)), depth + 1, known, names);
        }
        let Ok(entries) = std::fs::read_dir(path) else {
            return;
        };
        for entry in entries.flatten() {
            let file_name = entry.file_name();
            let Some(text) = file_name.to_str() else {
                continue;
            };
            if is_litter(text) {
                continue;
            }
            if let Some(name) = match_name(part, text, known) {
                self.discover_below(&entry.path(), depth + 1, &name, names);
            }
        }
    }

    /// The folders above the first placeholder, from the root on.
    pub(super) fn folders(&self, root: &Path) -> Vec<PathBuf> {
        let mut folders = Vec::new();
        let mut path = root.to_path_buf();
        for part in &self.0 {
            let [NamePiece::Text(text)] = part.as_slice() else {
                break;
            };
            path.push(text);
            folders.push(path.clone());
        }
        folders
    }
}

impl std::fmt::Display for CasePattern {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = CaseName {
            patient: Some(PATIENT.into()),
            case: Some(CASE.into()),
        };
        write!(formatter, "{}", self.file(&name).display())
    }
}

fn pieces(mut part: &str) -> NamePattern {
    let mut pieces = Vec::new();
    while !part.is_empty() {
        if let Some(rest) = part.strip_prefix(CASE) {
            pieces.push(NamePiece::Case);
            part = rest;
        } else if let Some(rest) = part.strip_prefix(PATIENT) {
            pieces.push(NamePiece::Patient);
            part = rest;
        } else {
            let first = part.chars().next().map_or(0, char::len_utf8);
            let end = part[first..].find('{').map_or(part.len(), |at| first + at);
            pieces.push(NamePiece::Text(part[..end].into()));
            part = &part[end..];
        }
    }
    pieces
}

/// The name of a folder or file, with the values of its placeholders.
pub(super) fn fill_in(part: &[NamePiece], name: &CaseName) -> String {
    let mut filled = String::new();
    for piece in part {
        filled += match piece {
            NamePiece::Text(text) => text,
            NamePiece::Case => name.case.as_deref().unwrap_or_default(),
            NamePiece::Patient => name.patient.as_deref().unwrap_or_default(),
        };
    }
    filled
}

/// Whether the name of a folder or file is known without listing the folder above it.
pub(super) fn is_known(part: &[NamePiece], name: &CaseName) -> bool {
    part.iter().all(|piece| match piece {
        NamePiece::Text(_) => true,
        NamePiece::Case => name.case.is_some(),
        NamePiece::Patient => name.patient.is_some(),
    })
}

/// The values of the placeholders, if the name of a folder or file matches. A placeholder takes as
/// much text as it can: in `{patient}-{case}` the case is the text after the last dash.
pub(super) fn match_name(part: &[NamePiece], text: &str, known: &CaseName) -> Option<CaseName> {
    let Some((first, rest)) = part.split_first() else {
        return text.is_empty().then(|| known.clone());
    };
    if let NamePiece::Text(prefix) = first {
        return match_name(rest, text.strip_prefix(prefix.as_str())?, known);
    }
    let mut name = known.clone();
    if let Some(Some(value)) = name.value_of(first).cloned() {
        return match_name(rest, text.strip_prefix(value.as_str())?, known);
    }
    for (start, character) in text.char_indices().rev() {
        let end = start + character.len_utf8();
        if let Some(slot) = name.value_of(first) {
            *slot = Some(text[..end].into());
        }
        if let Some(found) = match_name(rest, &text[end..], &name) {
            return Some(found);
        }
    }
    None
}

/// Whether `name` matches `pattern`, in which `*` is any text and `?` is one character.
pub(super) fn matches_wildcard(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let mut p = 0;
    let mut n = 0;
    // Where to go on after a mismatch: behind the last star, one more character of the name.
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        if pattern.get(p) == Some(&'*') {
            retry = Some((p, n));
            p += 1;
        } else if pattern.get(p).is_some_and(|&c| c == '?' || c == name[n]) {
            p += 1;
            n += 1;
        } else if let Some((star, from)) = retry {
            retry = Some((star, from + 1));
            p = star + 1;
            n = from + 1;
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
        match_name(&pieces(part), text, &CaseName::default()).map(|name| name.id())
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
        let pattern =
            CasePattern::parse("sub-{patient}/ses-{case}/anat/sub-{patient}_ses-{case}_seg.nii")
                .unwrap();
        let name = CaseName {
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
                && !pattern.knows(&CaseName {
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
            CasePattern::parse(text)
                .unwrap()
                .discover(folder.path(), &mut names);
            names.iter().map(CaseName::id).collect::<Vec<_>>()
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
            assert!(matches_wildcard(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("a*c", "abcd"),
            ("?", ""),
            ("", "a"),
            ("case-1", "case-11"),
            ("*a?", "ba"),
        ] {
            assert!(!matches_wildcard(pattern, name), "{pattern} {name}");
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
            assert!(CasePattern::parse(text).is_err(), "{text}");
        }
    }
}
