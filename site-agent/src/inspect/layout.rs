//! The layouts in which published data sets and other programs store their images.

use super::{bids, nnunet};
use crate::data::{CaseName, CasePattern};
use imaging::label::label;
use imaging::nifti;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Labels that are read to see which values they have.
const READ: usize = 5;

/// A folder's layout: one or more archives of the same patterns.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) name: &'static str,
    pub(super) roots: Vec<PathBuf>,
    pub(super) patterns: Patterns,
    pub(super) notes: Vec<String>,
}

/// The patterns of a layout, as in a `[data]` table.
#[derive(Clone, Debug, Default)]
pub(super) struct Patterns {
    /// Each sequence with its pattern.
    pub(super) sequences: Vec<(String, String)>,
    pub(super) label: Option<String>,
    /// Empty where the labels' own values tell.
    pub(super) lesion_labels: Vec<u16>,
    pub(super) brain: Option<String>,
}

/// A layout with fixed names.
struct Known {
    name: &'static str,
    /// What precedes each name.
    folder: &'static str,
    sequences: &'static [(&'static str, &'static str)],
    label: &'static str,
    lesion_labels: &'static [u16],
    brain: Option<&'static str>,
}

const KNOWN: [Known; 6] = [
    Known {
        name: "BrainMetShare",
        folder: "{case}/",
        sequences: &[
            ("bravo", "bravo.nii.gz"),
            ("t1_pre", "t1_pre.nii.gz"),
            ("t1_post", "t1_gd.nii.gz"),
            ("flair", "flair.nii.gz"),
        ],
        label: "seg.nii.gz",
        lesion_labels: &[],
        brain: None,
    },
    Known {
        name: "UCSF-BMSR",
        folder: "{patient}{case}/{patient}{case}_",
        sequences: &[
            ("t1_pre", "T1pre.nii.gz"),
            ("t1_post", "T1post.nii.gz"),
            ("flair", "FLAIR.nii.gz"),
        ],
        label: "seg.nii.gz",
        lesion_labels: &[],
        brain: None,
    },
    Known {
        name: "BraTS 2017-2020",
        folder: "{case}/{case}_",
        sequences: &[
            ("t1_pre", "t1.nii.gz"),
            ("t1_post", "t1ce.nii.gz"),
            ("flair", "flair.nii.gz"),
        ],
        label: "seg.nii.gz",
        // The enhancing tumour.
        lesion_labels: &[4],
        brain: None,
    },
    Known {
        name: "BraTS-METS",
        folder: "BraTS-MET-{patient}-{case}/BraTS-MET-{patient}-{case}-",
        sequences: &[
            ("t1_pre", "t1n.nii.gz"),
            ("t1_post", "t1c.nii.gz"),
            ("flair", "t2f.nii.gz"),
        ],
        label: "seg.nii.gz",
        // The enhancing tumour.
        lesion_labels: &[3],
        brain: None,
    },
    Known {
        name: "site-agent import",
        folder: "{patient}_{case}/",
        sequences: &[
            ("bravo", "bravo.nii.gz"),
            ("t1_pre", "t1_pre.nii.gz"),
            ("t1_post", "t1_post.nii.gz"),
            ("flair", "flair.nii.gz"),
        ],
        label: "lesion.nii.gz",
        lesion_labels: &[1],
        brain: Some("brain.nii.gz"),
    },
    Known {
        name: "site-agent phantom",
        folder: "{case}/",
        sequences: &[
            ("bravo", "bravo.nii.gz"),
            ("t1_pre", "t1_pre.nii.gz"),
            ("t1_post", "t1_post.nii.gz"),
            ("flair", "flair.nii.gz"),
        ],
        label: "lesion.nii.gz",
        lesion_labels: &[1],
        brain: Some("brain.nii.gz"),
    },
];

/// The names of all layouts.
pub(super) fn names() -> Vec<&'static str> {
    let mut names: Vec<&str> = KNOWN.iter().map(|known| known.name).collect();
    names.extend([nnunet::NAME, bids::NAME]);
    names
}

/// The layout that explains most files of a folder, or of the folders in it. `None` where none
/// explains any.
pub(super) fn recognise(folder: &Path) -> Option<Layout> {
    if let Some(layout) = nnunet::recognise(folder).or_else(|| bids::recognise(folder)) {
        return Some(layout.completed());
    }
    let mut places = vec![folder.to_path_buf()];
    places.extend(folders(folder));
    let mut best: Option<(usize, Layout)> = None;
    for known in &KNOWN {
        let mut layout = known.layout();
        let mut files = 0;
        for place in &places {
            let found = layout.patterns.files(place);
            if found > 0 {
                files += found;
                layout.roots.push(place.clone());
            }
        }
        if files > best.as_ref().map_or(0, |(most, _)| *most) {
            best = Some((files, layout));
        }
    }
    best.map(|(_, layout)| layout.completed())
}

/// The folders in a folder, in order, without hidden ones.
pub(super) fn folders(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        if !hidden && entry.path().is_dir() {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

impl Known {
    fn layout(&self) -> Layout {
        let file = |name: &str| format!("{}{name}", self.folder);
        let mut sequences = Vec::new();
        for (sequence, name) in self.sequences {
            sequences.push(((*sequence).to_owned(), file(name)));
        }
        Layout {
            name: self.name,
            roots: Vec::new(),
            patterns: Patterns {
                sequences,
                label: Some(file(self.label)),
                lesion_labels: self.lesion_labels.to_vec(),
                brain: self.brain.map(file),
            },
            notes: Vec::new(),
        }
    }
}

/// The cases that have a file of a pattern.
fn discovered(pattern: &str, root: &Path) -> BTreeSet<CaseName> {
    let mut names = BTreeSet::new();
    if let Ok(pattern) = CasePattern::parse(pattern) {
        pattern.discover(root, &mut names);
    }
    names
}

impl Patterns {
    /// How many files below a root match.
    fn files(&self, root: &Path) -> usize {
        let sequences = self.sequences.iter().map(|(_, pattern)| pattern);
        let all = sequences.chain(&self.label).chain(&self.brain);
        all.map(|pattern| discovered(pattern, root).len()).sum()
    }
}

impl Layout {
    /// Leaves out patterns without a file, and looks into labels for the values that they have.
    fn completed(mut self) -> Self {
        let roots = self.roots.clone();
        let there = |pattern: &str| {
            roots
                .iter()
                .any(|root| !discovered(pattern, root).is_empty())
        };
        self.patterns
            .sequences
            .retain(|(_, pattern)| there(pattern));
        self.patterns.label = self.patterns.label.take().filter(|pattern| there(pattern));
        self.patterns.brain = self.patterns.brain.take().filter(|pattern| there(pattern));
        let Some(pattern) = &self.patterns.label else {
            self.notes.push(
                "there are no labels: cases can be segmented, not trained on or scored".into(),
            );
            return self;
        };
        if self.patterns.lesion_labels.is_empty() {
            let values = self.values(pattern);
            if values.len() > 1 {
                self.notes.push(format!(
                    "labels have the values {values:?}, and all of them are taken as lesion: \
                     correct lesion_labels where some are not"
                ));
            }
            self.patterns.lesion_labels = values;
        }
        if self.patterns.lesion_labels.is_empty() {
            self.notes
                .push("the labels that were read have no lesion: lesion_labels is a guess".into());
            self.patterns.lesion_labels = vec![1];
        }
        self
    }

    /// The values of the first labels, without the background.
    fn values(&self, pattern: &str) -> Vec<u16> {
        let mut values = BTreeSet::new();
        let Ok(parsed) = CasePattern::parse(pattern) else {
            return Vec::new();
        };
        for root in &self.roots {
            for name in discovered(pattern, root).iter().take(READ) {
                let Ok(volume) = nifti::read(&root.join(parsed.file(name))) else {
                    continue;
                };
                values.extend(volume.values.iter().filter_map(|value| label(*value).ok()));
            }
        }
        values.remove(&0);
        values.into_iter().collect()
    }

    /// The `[data]` table, or one for each root.
    pub(super) fn table(&self) -> String {
        let mut text = String::new();
        for root in &self.roots {
            let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
            let head = if self.roots.len() == 1 {
                "[data]\n".to_owned()
            } else {
                let name = root.file_name().unwrap_or_default().to_string_lossy();
                format!("[[data]]\nname = {}\n", quoted(&name))
            };
            text += &head;
            text += &format!("root = {}\n", quoted(&root.display().to_string()));
            let Patterns {
                sequences,
                label,
                lesion_labels,
                brain,
            } = &self.patterns;
            if let Some(label) = label {
                text += &format!(
                    "label = {}\nlesion_labels = {lesion_labels:?}\n",
                    quoted(label)
                );
            }
            if let Some(brain) = brain {
                text += &format!("brain = {}\n", quoted(brain));
            }
            text += "\n[data.sequences]\n";
            for (name, pattern) in sequences {
                text += &format!("{name} = {}\n", quoted(pattern));
            }
            text.push('\n');
        }
        text.trim_end().to_owned() + "\n"
    }
}
