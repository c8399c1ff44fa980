//! Path patterns with a `{case}` in them, and wildcards for case names.

use super::config::ConfigError;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const CASE: &str = "{case}";

/// A path below the root, `{case}` standing for the case's name wherever it occurs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pattern(Vec<String>);

impl Pattern {
    /// Checks a pattern as typed under `key`.
    pub(crate) fn parse(key: &str, text: &str) -> Result<Self, ConfigError> {
        let parts: Vec<String> = text.split('/').map(Into::into).collect();
        let named = parts.iter().any(|part| part.contains(CASE));
        let foreign = text.replace(CASE, "").contains(['{', '}', '$', '*', '?', '\\']);
        if !named || foreign || parts.iter().any(|part| part.is_empty() || part == "." || part == "..") {
            return Err(ConfigError {
                key: key.into(),
                found: format!("{text:?}"),
                expected: "a path below data.root with {case} in it and no other wildcard",
            });
        }
        Ok(Self(parts))
    }

    /// The file of one case.
    pub(crate) fn file(&self, root: &Path, case: &str) -> PathBuf {
        self.0.iter().fold(root.to_path_buf(), |path, part| path.join(part.replace(CASE, case)))
    }

    /// Adds the names of all cases that have this file.
    pub(crate) fn discover(&self, root: &Path, names: &mut BTreeSet<String>) {
        let Some(first) = self.0.iter().position(|part| part.contains(CASE)) else { return };
        let folder = self.0[..first].iter().fold(root.to_path_buf(), |path, part| path.join(part));
        let Ok(entries) = std::fs::read_dir(folder) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let case = name.to_str().and_then(|name| case_in(&self.0[first], name));
            if let Some(case) = case.filter(|case| self.file(root, case).is_file()) {
                names.insert(case.into());
            }
        }
    }
}

/// The case's name in a file or folder name. Hidden files are none of ours.
fn case_in<'a>(part: &str, name: &'a str) -> Option<&'a str> {
    if name.starts_with('.') {
        return None;
    }
    // With {case} n times, its length follows from the lengths of part and name.
    let times = part.matches(CASE).count();
    let rest = name.len().checked_sub(part.len() - times * CASE.len())?;
    let start = part.find(CASE)?;
    let case = name.get(start..start + rest / times)?;
    (!case.is_empty() && part.replace(CASE, case) == name).then_some(case)
}

/// Whether `name` fits `pattern`, in which `*` stands for any text and `?` for one character.
pub(super) fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
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

    #[test]
    fn a_case_is_found_in_its_folder_and_file_name() {
        assert_eq!(case_in("{case}", "Brats18_1"), Some("Brats18_1"));
        assert_eq!(case_in("{case}_t1.nii.gz", "a_b_t1.nii.gz"), Some("a_b"));
        assert_eq!(case_in("sub-{case}-{case}.nii", "sub-07-07.nii"), Some("07"));
        assert_eq!(case_in("sub-{case}-{case}.nii", "sub-07-08.nii"), None);
        assert_eq!(case_in("{case}_t1.nii.gz", "_t1.nii.gz"), None);
        assert_eq!(case_in("{case}_t1.nii.gz", "._a_t1.nii.gz"), None);
        assert_eq!(case_in("é{case}", "éé"), Some("é"));
        assert_eq!(case_in("a{case}", "é"), None);
    }

    #[test]
    fn wildcards_fit_as_in_a_shell() {
        for (pattern, name) in [("*", ""), ("a*c", "abbc"), ("a*b*c", "a_b_b_c"), ("?b*", "ab"), ("case-1", "case-1")] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("a*c", "abcd"), ("?", ""), ("", "a"), ("case-1", "case-11"), ("*a?", "ba")] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn patterns_that_lead_nowhere_are_refused() {
        for text in ["flair.nii.gz", "/abs/{case}", "../{case}", "{case}//x", "{patient}/{case}", "{case}/*.nii"] {
            assert!(Pattern::parse("label", text).is_err(), "{text}");
        }
    }
}
