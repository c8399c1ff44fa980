//! BIDS: `sub-*/[ses-*/]anat/sub-*_[ses-*_]..._T1w.nii.gz`, with masks next to the images.

use super::layout::{Layout, Patterns, folders};
use super::nnunet::sequence;
use std::collections::BTreeMap;
use std::path::Path;

pub(super) const NAME: &str = "BIDS";

/// The endings of masks, the likeliest first.
const MASKS: [&str; 4] = ["lesion_mask", "mask", "dseg", "seg"];

pub(super) fn recognise(folder: &Path) -> Option<Layout> {
    let mut endings: BTreeMap<String, usize> = BTreeMap::new();
    let mut sessions = false;
    for subject in folders(folder) {
        let name = file_name(&subject);
        if !name.starts_with("sub-") {
            continue;
        }
        collect(&subject, &format!("{name}_"), &mut endings);
        for session in folders(&subject) {
            let own = file_name(&session);
            if own.starts_with("ses-") {
                sessions = true;
                collect(&session, &format!("{name}_{own}_"), &mut endings);
            }
        }
    }
    let start = if sessions {
        "sub-{patient}/ses-{case}/anat/sub-{patient}_ses-{case}_"
    } else {
        "sub-{case}/anat/sub-{case}_"
    };
    let mut patterns = Patterns::default();
    let mut notes = Vec::new();
    // The most frequent ones first.
    let mut ranked: Vec<(&String, &usize)> = endings.iter().collect();
    ranked.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    for (ending, _) in &ranked {
        if mask_rank(ending).is_some() {
            continue;
        }
        // A file of BIDS says by `ce-` that there is contrast agent.
        let post = ending.contains("ce-");
        let known = sequence(ending).filter(|name| *name != "bravo" || post);
        match known {
            Some(name) if !patterns.sequences.iter().any(|(other, _)| other == name) => {
                patterns
                    .sequences
                    .push((name.to_owned(), format!("{start}{ending}")));
            }
            _ => notes.push(format!(
                "files ..._{ending} are none of the model's sequences, or a second one, and are \
                 left out"
            )),
        }
    }
    let masks = ranked
        .iter()
        .filter_map(|(ending, _)| Some((mask_rank(ending)?, *ending)));
    let mask = masks.min_by_key(|(rank, _)| *rank);
    patterns.label = mask.map(|(_, ending)| format!("{start}{ending}"));
    if patterns.sequences.is_empty() {
        return None;
    }
    Some(Layout {
        name: NAME,
        roots: vec![folder.into()],
        patterns,
        notes,
    })
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// Counts what follows the subject and the session in the names of a folder's anatomical images.
fn collect(folder: &Path, start: &str, endings: &mut BTreeMap<String, usize>) {
    let entries = std::fs::read_dir(folder.join("anat"));
    for entry in entries.into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let image = name.ends_with(".nii.gz") || name.ends_with(".nii");
        if let Some(ending) = name.strip_prefix(start)
            && image
        {
            *endings.entry(ending.to_owned()).or_default() += 1;
        }
    }
}

/// How likely a file is the lesions' mask; the smallest is.
fn mask_rank(ending: &str) -> Option<usize> {
    let stem = ending.trim_end_matches(".gz").trim_end_matches(".nii");
    let plain = stem.replace('-', "_");
    MASKS.iter().position(|mask| plain.ends_with(mask))
}
