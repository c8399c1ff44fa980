//! Which reference belongs to which prediction: by one rule for all files of a folder, printed
//! before anything is scored.
//!
//! Four rules give the case of a file. The rule that pairs most is used, unless two rules pair the
//! same file differently: then the user must say with `--pair` what is meant.

use super::error::ScoreError;
use super::files::Found;
use crate::data::{CaseName, CasePattern};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

/// What a file's case is called.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rule {
    /// By the file's name without the suffix.
    File,
    /// By the name of the file's folder.
    Folder,
    /// By the file's complete path below the root, without the suffix.
    FilePath,
    /// By the folder's complete path below the root.
    FolderPath,
}

/// Which rules may go together: a name of one kind with a name of the same kind.
const TOGETHER: [[Rule; 2]; 6] = [
    [Rule::File, Rule::File],
    [Rule::Folder, Rule::Folder],
    [Rule::File, Rule::Folder],
    [Rule::Folder, Rule::File],
    [Rule::FolderPath, Rule::FolderPath],
    [Rule::FilePath, Rule::FilePath],
];

impl Rule {
    /// The case's name; `None` where the rule gives none, as a folder's name for a file in the
    /// root.
    fn name(self, file: &Found) -> Option<String> {
        let folder = file.folder.join("/");
        let name = match self {
            Self::File => file.name.clone(),
            Self::Folder => file.folder.last()?.clone(),
            Self::FolderPath => folder,
            Self::FilePath if folder.is_empty() => file.name.clone(),
            Self::FilePath => format!("{folder}/{}", file.name),
        };
        (!name.is_empty()).then_some(name)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "file name",
            Self::Folder => "folder name",
            Self::FilePath => "path of the file",
            Self::FolderPath => "path of the folder",
        })
    }
}

/// Files by case.
type Names<'a> = BTreeMap<String, Vec<&'a Found>>;

/// What is scored, and what is not.
#[derive(Debug, Default)]
pub(super) struct Pairing {
    /// Case, reference, prediction, by case.
    pub(super) pairs: Vec<(String, PathBuf, PathBuf)>,
    /// Files without a partner, with the reason.
    pub(super) unpaired: Vec<(PathBuf, String)>,
    /// Cases for which several files could be meant, with those.
    pub(super) unclear: Vec<String>,
    /// How it was done, in words.
    pub(super) rule: String,
}

/// Pairs the files of two folders.
pub(super) fn pair(references: &[Found], predictions: &[Found]) -> Result<Pairing, ScoreError> {
    let mut best: Option<Pairing> = None;
    let mut partner: BTreeMap<PathBuf, (PathBuf, String)> = BTreeMap::new();
    for [first, second] in TOGETHER {
        let pairing = by_rule(references, predictions, [first, second]);
        for (_, reference, prediction) in &pairing.pairs {
            let said = (prediction.clone(), pairing.rule.clone());
            let (other, rule) = partner
                .entry(reference.clone())
                .or_insert_with(|| said.clone());
            if other != prediction {
                return Err(ScoreError::Ambiguous {
                    reference: reference.clone(),
                    first: other.clone(),
                    first_rule: rule.clone(),
                    second: prediction.clone(),
                    second_rule: said.1,
                });
            }
        }
        if pairing.pairs.len() > best.as_ref().map_or(0, |best| best.pairs.len()) {
            best = Some(pairing);
        }
    }
    best.ok_or_else(|| ScoreError::NoPairs {
        examples: examples(references, predictions),
    })
}

/// Pairs by a pattern for each folder, `{case}` and `{patient}` standing for the same text in both.
pub(super) fn pair_by_patterns(
    [reference, prediction]: [&Path; 2],
    patterns: [&CasePattern; 2],
    files: [&[Found]; 2],
) -> Result<Pairing, ScoreError> {
    if patterns[0].names_patients() != patterns[1].names_patients() {
        return Err(ScoreError::Patients);
    }
    let (mut first, mut second) = (BTreeSet::new(), BTreeSet::new());
    patterns[0].discover(reference, &mut first);
    patterns[1].discover(prediction, &mut second);
    let mut pairing = Pairing {
        rule: "by the patterns of --pair".to_owned(),
        ..Pairing::default()
    };
    let names: BTreeSet<&CaseName> = first.union(&second).collect();
    for name in names {
        let path = |root: &Path, pattern: &CasePattern| root.join(pattern.file(name));
        let (one, other) = (path(reference, patterns[0]), path(prediction, patterns[1]));
        match (first.contains(name), second.contains(name)) {
            (true, true) => pairing.pairs.push((name.id(), one, other)),
            (true, false) => pairing
                .unpaired
                .push((one, format!("there is no {}", other.display()))),
            (false, _) => pairing
                .unpaired
                .push((other, format!("there is no {}", one.display()))),
        }
    }
    // A pattern says which files are meant: others, such as a patient's images, are not listed.
    if pairing.pairs.is_empty() {
        return Err(ScoreError::NoPairs {
            examples: examples(files[0], files[1]),
        });
    }
    Ok(pairing)
}

fn by_rule(references: &[Found], predictions: &[Found], rules: [Rule; 2]) -> Pairing {
    let (first, second) = (named(references, rules[0]), named(predictions, rules[1]));
    let rule = format!("references by {}, predictions by {}", rules[0], rules[1]);
    let mut pairing = Pairing {
        rule,
        ..Pairing::default()
    };
    let names: BTreeSet<&String> = first.keys().chain(second.keys()).collect();
    for name in names {
        let own = first.get(name).map_or(&[][..], Vec::as_slice);
        let theirs = second.get(name).map_or(&[][..], Vec::as_slice);
        match (own, theirs) {
            ([one], [other]) => {
                pairing
                    .pairs
                    .push((name.clone(), one.path.clone(), other.path.clone()))
            }
            (own, []) => pairing
                .unpaired
                .extend(own.iter().map(|one| alone(one, name, "prediction"))),
            ([], theirs) => pairing
                .unpaired
                .extend(theirs.iter().map(|one| alone(one, name, "reference"))),
            (own, theirs) => {
                let listed = own
                    .iter()
                    .chain(theirs)
                    .map(|one| one.path.display().to_string());
                pairing
                    .unclear
                    .push(format!("{name}: {}", listed.collect::<Vec<_>>().join(", ")));
            }
        }
    }
    for (files, rule) in [(references, rules[0]), (predictions, rules[1])] {
        let nameless = files.iter().filter(|file| rule.name(file).is_none());
        pairing
            .unpaired
            .extend(nameless.map(|file| (file.path.clone(), format!("it has no {rule}"))));
    }
    pairing
}

fn alone(file: &Found, name: &str, lacks: &str) -> (PathBuf, String) {
    (file.path.clone(), format!("{name} has no {lacks}"))
}

fn named(files: &[Found], rule: Rule) -> Names<'_> {
    let mut names = Names::new();
    for file in files {
        if let Some(name) = rule.name(file) {
            names.entry(name).or_default().push(file);
        }
    }
    names
}

/// What the files would be called, for a person who has to say what is meant.
fn examples(references: &[Found], predictions: &[Found]) -> String {
    let of = |what: &str, files: &[Found]| match files.first() {
        None => format!("no NIfTI file is a {what}"),
        Some(first) => {
            let by = |rule: Rule| rule.name(first).unwrap_or_else(|| "-".to_owned());
            let (name, folder) = (by(Rule::File), by(Rule::Folder));
            format!(
                "{} {what}s, the first is {name} by its name and {folder} by its folder",
                files.len()
            )
        }
    };
    format!(
        "{}; {}",
        of("reference", references),
        of("prediction", predictions)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files by their path below the root, without the ending.
    fn found(paths: &[&str]) -> Vec<Found> {
        let one = |path: &&str| {
            let mut folder: Vec<String> = path.split('/').map(str::to_owned).collect();
            let name = folder.pop().unwrap();
            Found {
                path: PathBuf::from(path),
                folder,
                name,
            }
        };
        paths.iter().map(one).collect()
    }

    fn cases(references: &[&str], predictions: &[&str]) -> Vec<String> {
        let pairing = pair(&found(references), &found(predictions)).unwrap();
        pairing.pairs.into_iter().map(|(name, ..)| name).collect()
    }

    #[test]
    fn every_usual_layout_is_paired_by_one_rule() {
        assert_eq!(cases(&["a", "b"], &["a", "b", "c"]), ["a", "b"]);
        assert_eq!(
            cases(&["p1/lesion", "p2/lesion"], &["p1/mask", "p2/mask"]),
            ["p1", "p2"]
        );
        assert_eq!(cases(&["p1", "p2"], &["p1/mask", "p2/mask"]), ["p1", "p2"]);
        assert_eq!(
            cases(&["p1/p1", "p2/p2"], &["p1/mask", "p2/mask"]),
            ["p1", "p2"]
        );
        assert_eq!(
            cases(&["n/p1/seg", "s/p1/seg"], &["n/p1/mask", "s/p1/mask"]),
            ["n/p1", "s/p1"]
        );
        assert_eq!(
            cases(&["n/a", "n/b", "s/a"], &["n/a", "n/b", "s/a"]),
            ["n/a", "n/b", "s/a"]
        );
    }

    #[test]
    fn what_two_rules_pair_differently_is_refused_with_both() {
        let refused = pair(&found(&["a/b", "b/a"]), &found(&["a", "b"]))
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("file name") && refused.contains("folder name"),
            "{refused}"
        );
    }

    #[test]
    fn one_patient_with_two_files_does_not_stop_the_others() {
        let pairing = pair(
            &found(&["p1/seg", "p2/seg"]),
            &found(&["p1/mask", "p2/mask", "p2/old"]),
        )
        .unwrap();
        assert_eq!(pairing.pairs.len(), 1);
        assert!(
            pairing.unclear[0].starts_with("p2: ") && pairing.unclear[0].contains("p2/old"),
            "{pairing:?}"
        );
    }

    #[test]
    fn every_file_without_a_partner_is_listed_and_nothing_in_common_is_refused() {
        let pairing = pair(&found(&["a", "b"]), &found(&["a", "c", "d"])).unwrap();
        let alone: Vec<String> = pairing
            .unpaired
            .iter()
            .map(|(path, _)| path.display().to_string())
            .collect();
        assert_eq!(alone, ["b", "c", "d"]);
        let refused = pair(&found(&["a"]), &found(&["b"]))
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("a by its name") && refused.contains("b by its name"),
            "{refused}"
        );
    }

    #[test]
    fn patterns_of_which_one_names_patients_pair_nothing() {
        let parse = |text: &str| CasePattern::parse(text).unwrap();
        let patterns = [parse("{patient}/{case}_seg.nii"), parse("{case}/mask.nii")];
        let refused = pair_by_patterns(
            [Path::new("."); 2],
            [&patterns[0], &patterns[1]],
            [&[], &[]],
        );
        assert!(
            refused
                .unwrap_err()
                .to_string()
                .contains("{patient} must be in both or in neither")
        );
    }
}
