//! nnU-Net v2: `dataset.json`, `imagesTr/CASE_0000.nii.gz` for each channel, `labelsTr/CASE.nii.gz`.

use super::layout::{Layout, Patterns};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

pub(super) const NAME: &str = "nnU-Net v2";

/// `dataset.json`, as far as it is needed.
#[derive(Deserialize)]
struct Dataset {
    channel_names: BTreeMap<String, String>,
    #[serde(default)]
    labels: BTreeMap<String, serde_json::Value>,
    #[serde(default = "usual_ending")]
    file_ending: String,
}

fn usual_ending() -> String {
    ".nii.gz".into()
}

pub(super) fn recognise(folder: &Path) -> Option<Layout> {
    let text = std::fs::read(folder.join("dataset.json")).ok()?;
    let dataset: Dataset = serde_json::from_slice(&text).ok()?;
    let ending = &dataset.file_ending;
    let mut notes = Vec::new();
    let mut sequences: Vec<(String, String)> = Vec::new();
    for (number, channel) in &dataset.channel_names {
        let Ok(number) = number.parse::<u32>() else {
            continue;
        };
        let known = sequence(channel);
        match known {
            Some(name) if !sequences.iter().any(|(other, _)| other == name) => {
                sequences.push((
                    name.to_owned(),
                    format!("imagesTr/{{case}}_{number:04}{ending}"),
                ));
            }
            _ => notes.push(format!(
                "channel {number} ({channel}) is none of the model's sequences, or a second one, \
                 and is left out"
            )),
        }
    }
    if sequences.is_empty() {
        return None;
    }
    let mut lesion_labels = Vec::new();
    for (name, value) in &dataset.labels {
        // A region of several values is a list.
        let values = value
            .as_array()
            .map_or(std::slice::from_ref(value), Vec::as_slice);
        for value in values {
            let value = value.as_u64().and_then(|value| u16::try_from(value).ok());
            if let Some(value) = value
                && value > 0
                && !lesion_labels.contains(&value)
            {
                lesion_labels.push(value);
                notes.push(format!(
                    "label {value} is \"{name}\", and is taken as lesion"
                ));
            }
        }
    }
    lesion_labels.sort_unstable();
    Some(Layout {
        name: NAME,
        roots: vec![folder.into()],
        patterns: Patterns {
            sequences,
            label: Some(format!("labelsTr/{{case}}{ending}")),
            lesion_labels,
            brain: None,
        },
        notes,
    })
}

/// The model's sequence that a channel's or a file's name means.
pub(super) fn sequence(name: &str) -> Option<&'static str> {
    let name = name.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    if has(&["flair", "t2f"]) {
        return Some("flair");
    }
    if has(&["bravo", "mprage", "spgr", "gre", "tfe"]) {
        return Some("bravo");
    }
    if !name.contains("t1") {
        return None;
    }
    if has(&["post", "gd", "gad", "ce", "t1c", "contrast", "km", "+c"]) {
        Some("t1_post")
    } else {
        Some("t1_pre")
    }
}
