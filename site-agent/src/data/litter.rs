//! What file managers, archivers and downloads leave behind: none of it is data.

use std::collections::BTreeSet;

const NAMES: [&str; 10] = [
    "__MACOSX",
    "Thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "Icon\r",
    "$RECYCLE.BIN",
    "System Volume Information",
    "lost+found",
    "@eaDir",
    "#recycle",
];
const ENDINGS: [&str; 9] = [
    "~",
    ".part",
    ".partial",
    ".crdownload",
    ".download",
    ".tmp",
    ".bak",
    ".swp",
    ".lock",
];

/// Whether a file or folder is one that a program left behind. Hidden ones are.
pub(super) fn is_litter(name: &str) -> bool {
    let ends = |ending: &&str| name.to_ascii_lowercase().ends_with(*ending);
    let known = NAMES.iter().any(|known| known.eq_ignore_ascii_case(name));
    name.starts_with('.') || name.starts_with("~$") || known || ENDINGS.iter().any(ends)
}

/// Whether a file or folder is a file manager's copy of another one in its folder: `x (1)`, `x -
/// Copy`, `Copy of x`.
pub(super) fn is_copy(name: &str, names: &BTreeSet<String>) -> bool {
    originals(name)
        .iter()
        .any(|original| names.contains(original))
}

/// What a copy of that name would be a copy of.
fn originals(name: &str) -> Vec<String> {
    let mut originals = Vec::new();
    if let Some(original) = name.strip_prefix("Copy of ") {
        originals.push(original.to_owned());
    }
    // The mark is before the ending, whatever is taken for one: "x (1).nii.gz", "x.nii (1).gz",
    // "x (1)".
    let dots = name
        .char_indices()
        .filter(|(_, character)| *character == '.')
        .map(|(at, _)| at);
    for end in dots.chain([name.len()]) {
        let (stem, ending) = name.split_at(end);
        if let Some(stem) = unmarked(stem) {
            originals.push(format!("{stem}{ending}"));
        }
    }
    originals
}

/// A name without a copy's mark at its end.
fn unmarked(stem: &str) -> Option<&str> {
    for mark in [" - Copy", " copy", " - Kopie"] {
        if let Some(original) = stem.strip_suffix(mark) {
            return Some(original);
        }
    }
    let (original, number) = stem.strip_suffix(')')?.rsplit_once('(')?;
    let number = number.chars().all(|character| character.is_ascii_digit()) && !number.is_empty();
    if number {
        let original = original.trim_end();
        return Some(unmarked(original).unwrap_or(original));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_programs_leave_behind_is_known_by_name() {
        for name in [
            "._a.nii.gz",
            ".DS_Store",
            "__MACOSX",
            "thumbs.db",
            "a.nii.gz~",
            "a.nii.gz.part",
            "~$a.xlsx",
            "c1.tmp",
        ] {
            assert!(is_litter(name), "{name}");
        }
        for name in ["a.nii.gz", "case-1", "party", "MACOSX", "tmp"] {
            assert!(!is_litter(name), "{name}");
        }
    }

    #[test]
    fn a_copy_is_one_only_where_its_original_is() {
        let names: BTreeSet<String> = ["a.nii.gz", "c1", "visit (1)"].map(Into::into).into();
        for copy in [
            "a (1).nii.gz",
            "a.nii (2).gz",
            "a(1).nii.gz",
            "c1 (1)",
            "c1 - Copy",
            "c1 - Copy (2)",
            "Copy of c1",
        ] {
            assert!(is_copy(copy, &names), "{copy}");
        }
        for own in [
            "visit (1)",
            "visit (2)",
            "b (1).nii.gz",
            "c1 (old)",
            "c2 - Copy",
            "c1 ()",
        ] {
            assert!(!is_copy(own, &names), "{own}");
        }
    }
}
